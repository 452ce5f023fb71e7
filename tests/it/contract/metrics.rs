//! `GET /metrics`, at an address of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;

use crate::fake_wechat::{APPID, FakeWechat, encrypt, openid, session_key, user_info};
use crate::support::app::{TestApp, vars};
use crate::support::client::Client;
use crate::support::metrics::{numbers, text};
use crate::support::process::Process;
use crate::support::wait::asked_for;

#[track_caller]
fn assert_numbers(numbers: &BTreeMap<String, f64>, expected: &[(&str, u32)]) {
    for (name, number) in expected {
        assert_eq!(
            numbers.get(&format!("wxlogin_{name}")),
            Some(&f64::from(*number)),
            "{name} in {numbers:#?}"
        );
    }
}

#[tokio::test]
async fn requests_logins_exchanges_and_sessions_are_counted() {
    let app = TestApp::start().await;
    let token = app.client.token("user-alice").await;
    app.client.token("user-alice").await;
    for code in ["error-40029", "error-40125", "error-77", "error-78"] {
        app.client.login(code).await;
    }
    app.client.login("").await;
    app.client.session(&token).await;
    app.client.end(&token).await;
    app.client.session(&token).await;
    app.client.get("/nowhere/canary-path").await;
    let purge = Method::from_bytes(b"PURGE").unwrap();
    app.client.send(purge, "/session", &[]).await;
    let running = tokio::spawn({
        let client = app.client.clone();
        async move { client.login("slow-1000").await }
    });
    asked_for(&app.wechat, "slow-1000").await;
    assert_numbers(&numbers(&app.internal).await, &[("exchanges_in_flight", 1)]);
    running.await.unwrap().assert_status(200);
    let numbers = numbers(&app.internal).await;
    assert_numbers(
        &numbers,
        &[
            (
                r#"requests_total{method="GET",route="/onLogin",status="200"}"#,
                3,
            ),
            (
                r#"requests_total{method="GET",route="/onLogin",status="400"}"#,
                2,
            ),
            (
                r#"requests_total{method="GET",route="/session",status="401"}"#,
                1,
            ),
            (
                r#"requests_total{method="DELETE",route="/session",status="204"}"#,
                1,
            ),
            (
                r#"requests_total{method="GET",route="none",status="404"}"#,
                1,
            ),
            (
                r#"requests_total{method="other",route="/session",status="405"}"#,
                1,
            ),
            (r#"request_duration_seconds_count{route="/onLogin"}"#, 8),
            (
                r#"request_duration_seconds_bucket{route="/onLogin",le="0.8"}"#,
                7,
            ),
            (r#"logins_total{errcode="none",outcome="ok"}"#, 3),
            (r#"logins_total{errcode="40029",outcome="invalid_code"}"#, 1),
            (
                r#"logins_total{errcode="40125",outcome="misconfigured"}"#,
                1,
            ),
            (
                r#"logins_total{errcode="other",outcome="upstream_error"}"#,
                2,
            ),
            (r#"logins_total{errcode="none",outcome="missing_code"}"#, 1),
            ("login_repeats_total", 1),
            ("exchange_duration_seconds_count", 6),
            ("exchanges_in_flight", 0),
            (r#"store_duration_seconds_count{operation="create"}"#, 3),
            (r#"store_duration_seconds_count{operation="find"}"#, 3),
            ("sessions_opened_total", 3),
            ("sessions_ended_total", 1),
        ],
    );
    let all = format!("{numbers:?}");
    for identity in [
        &*openid("alice"),
        &token,
        "user-alice",
        "canary-path",
        "error-77",
    ] {
        assert!(!all.contains(identity), "{all}");
    }
}

#[tokio::test]
async fn the_read_of_a_decryption_is_counted_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("s");
    let url = format!("file:{}", store.display());
    let app = TestApp::with(&[("SESSION_STORE", &url), ("USERDATA_MAX_AGE", "0")]).await;
    let token = app.client.token("user-alice").await;
    let data = encrypt(
        &session_key("user-alice"),
        user_info(APPID, &openid("alice"), 0),
    );
    app.client.decrypt(&token, &data).await.assert_status(200);
    let reads = r#"store_duration_seconds_count{operation="newest_key"}"#;
    assert_numbers(&numbers(&app.internal).await, &[(reads, 1)]);
}

#[tokio::test]
async fn every_series_exists_before_its_first_event() {
    let app = TestApp::with(&[("WECHAT_TIMEOUT", "300ms")]).await;
    let before = numbers(&app.internal).await;
    let happened = |name: &str| name.ends_with("_total") && before[name] != 0.0;
    let happened: Vec<_> = before
        .keys()
        .filter(|name| name.starts_with("wxlogin_") && happened(name))
        .collect();
    assert!(happened.is_empty(), "{happened:?}");

    let token = app.client.token("user-alice").await;
    for code in [
        "",
        "a b",
        "the code is a mock one",
        "hang",
        "garbage",
        "drop",
        "error-12345",
    ] {
        app.client.login(code).await;
    }
    for errcode in [
        -1, 40001, 40002, 40013, 40029, 40066, 40125, 40163, 40164, 40226, 40243, 41002, 41004,
        41008, 41029, 45011, 48001, 50002, 61003, 45009,
    ] {
        app.client.login(&format!("error-{errcode}")).await;
    }
    app.client
        .get("/onLogin?code=x&appid=wx1")
        .await
        .assert_status(400);
    app.client.session(&token).await.assert_status(200);
    app.client
        .post("/session/decrypt", &token, "{}")
        .await
        .assert_status(400);
    app.client
        .verify(&token, "{}", "wrong")
        .await
        .assert_status(422);
    app.client.end_all(&token).await.assert_status(204);
    app.client.end(&token).await.assert_status(401);
    app.client.get("/readyz").await.assert_status(200);

    let after = numbers(&app.internal).await;
    // By any errcode, when it is met; the outcome of the call is foreseen.
    let is_errcode = |name: &str| name.starts_with("wxlogin_wechat_refusals_total");
    let new: Vec<_> = after
        .keys()
        .filter(|name| !before.contains_key(*name) && !is_errcode(name))
        .collect();
    assert!(new.is_empty(), "{new:#?}");
}

#[tokio::test]
async fn a_store_that_fails_is_counted() {
    let redis = crate::support::redis_server::RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    redis.cli(&["ACL", "SETUSER", "default", "-set"]);
    app.client.login("user-alice").await.assert_status(503);
    assert_numbers(
        &numbers(&app.internal).await,
        &[
            (r#"store_errors_total{operation="create"}"#, 1),
            (r#"store_errors_total{operation="exchanged"}"#, 0),
            (
                r#"logins_total{errcode="none",outcome="store_unavailable"}"#,
                1,
            ),
        ],
    );
}

/// The metrics, once the store counts so many sessions: files are measured now and then.
async fn with_sessions(metrics: &Client, sessions: f64) -> BTreeMap<String, f64> {
    let counted = async {
        loop {
            let numbers = numbers(metrics).await;
            if (numbers["wxlogin_sessions"] - sessions).abs() < 0.5 {
                return numbers;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let counted = tokio::time::timeout(Duration::from_secs(20), counted).await;
    counted.unwrap_or_else(|_| panic!("there are never {sessions} sessions"))
}

#[tokio::test]
async fn the_size_of_an_embedded_store_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file:{}/s.sessions", dir.path().display());
    for store in ["memory:", &*url] {
        let app = TestApp::with(&[("SESSION_STORE", store)]).await;
        let before = with_sessions(&app.internal, 0.0).await;
        let alice = app.client.token("user-alice").await;
        for number in 0..100 {
            app.client.token(&format!("user-bob.{number}")).await;
        }
        let full = with_sessions(&app.internal, 101.0).await;
        let bytes = |numbers: &BTreeMap<String, f64>| numbers.get("wxlogin_store_bytes").copied();
        assert_eq!(bytes(&full).is_some(), store != "memory:");
        assert!(bytes(&full) >= bytes(&before));
        app.client.end_all(&alice).await.assert_status(204);
        with_sessions(&app.internal, 100.0).await;
        app.stop().await;
    }
    let redis = crate::support::redis_server::RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    assert!(
        !numbers(&app.internal)
            .await
            .contains_key("wxlogin_sessions")
    );
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open() {
    let app = TestApp::start().await;
    let open = async || numbers(&app.internal).await["wxlogin_connections"];
    let before = open().await; // the connection of the scrape
    let connection = tokio::net::TcpStream::connect(app.client.addr)
        .await
        .unwrap();
    while open().await < before + 1.0 {
        tokio::task::yield_now().await;
    }
    drop(connection);
    while open().await > before {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_process_and_its_version_are_described() {
    let app = TestApp::start().await;
    let numbers = numbers(&app.internal).await;
    let build_info = format!(r#"build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"));
    assert_numbers(
        &numbers,
        &[(&build_info, 1), ("log_lines_dropped_total", 0)],
    );
    for name in [
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
        "process_virtual_memory_bytes",
    ] {
        assert!(numbers.contains_key(name), "{name} in {numbers:#?}");
    }
    assert!(numbers["process_resident_memory_bytes"] > 1e6);
    assert!(numbers["process_start_time_seconds"] > 1.6e9);
}

#[tokio::test]
async fn every_call_to_wechat_is_counted_by_outcome_and_errcode() {
    let token = "0123456789abcdef";
    let app = TestApp::with(&[("INTERNAL_TOKEN", token)]).await;
    app.client.token("user-alice").await;
    app.client.login("error-40029").await;
    app.client.login("error-12345").await;
    let path = format!("/users/{APPID}/{}/phone", openid("alice"));
    let body = r#"{"code": "error-40164"}"#;
    let answer = app.internal.post(&path, token, body).await;
    answer.assert_problem(500, "misconfigured", "give_up");
    let numbers = numbers(&app.internal).await;
    let calls = |call: &str, outcome: &str| {
        let labels = format!(r#"appid="{APPID}",call="{call}",outcome="{outcome}""#);
        numbers[&format!("wxlogin_wechat_calls_total{{{labels}}}")]
    };
    let refusals = |call: &str, errcode: &str| {
        let labels = format!(r#"appid="{APPID}",call="{call}",errcode="{errcode}""#);
        numbers[&format!("wxlogin_wechat_refusals_total{{{labels}}}")]
    };
    for (call, outcome, count) in [
        ("jscode2session", "ok", 1.0),
        ("jscode2session", "invalid_code", 1.0),
        ("jscode2session", "upstream_error", 1.0),
        ("jscode2session", "misconfigured", 0.0),
        ("stable_token", "ok", 1.0),
        ("getuserphonenumber", "misconfigured", 1.0),
        ("checksession", "ok", 0.0),
    ] {
        assert!(
            (calls(call, outcome) - count).abs() < 0.1,
            "{call} {outcome}"
        );
    }
    for (call, errcode) in [
        ("jscode2session", "40029"),
        ("jscode2session", "other"),
        ("getuserphonenumber", "40164"),
    ] {
        assert!(
            (refusals(call, errcode) - 1.0).abs() < 0.1,
            "{call} {errcode}"
        );
    }
}

/// As `ProcSubset=pid` of systemd does.
#[tokio::test]
async fn a_proc_with_processes_alone_has_the_time_of_the_start() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    let mount = r#"mount -t proc -o subset=pid proc /proc; exec "$0""#;
    command
        .args([
            "--map-root-user",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .args(["sh", "-c", mount, env!("CARGO_BIN_EXE_wxlogin")])
        .current_dir(dir.path())
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .envs(vars(&wechat.base(), &[("INTERNAL_ADDR", "127.0.0.1:0")]));
    let process = Process::of(&mut command);
    let numbers = numbers(&process.internal()).await;
    assert!(
        numbers["process_start_time_seconds"] > 1.6e9,
        "{numbers:#?}"
    );
}

#[tokio::test]
async fn promtool_finds_nothing_to_criticise() {
    let app = TestApp::start().await;
    app.client.token("user-alice").await;
    let text = text(&app.internal).await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[tokio::test]
async fn the_documentation_has_a_row_for_each_metric() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file:{}/s.sessions", dir.path().display());
    let app = TestApp::with(&[("SESSION_STORE", &url)]).await;
    app.client.login("error-40029").await; // whose errcode begins a series
    let text = text(&app.internal).await;
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    let served: BTreeSet<_> = names.filter(|name| name.starts_with("wxlogin_")).collect();
    for page in [
        "docs/en/logs-and-metrics.md",
        "docs/zh-CN/logs-and-metrics.md",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let page_text = std::fs::read_to_string(path).unwrap();
        let names = page_text
            .lines()
            .filter_map(|line| line.strip_prefix("| `wxlogin_")?.split('`').next())
            .map(|name| format!("wxlogin_{name}"));
        let documented: BTreeSet<_> = names.collect();
        let served = served.iter().map(ToString::to_string).collect();
        assert_eq!(documented, served, "{page}");
    }
}

#[tokio::test]
async fn metrics_are_at_their_own_address_only() {
    let app = TestApp::start().await;
    let answer = app.client.get("/metrics").await;
    answer.assert_problem(404, "not_found", "fix_request");
    app.internal.get("/session").await.assert_status(404);
}
