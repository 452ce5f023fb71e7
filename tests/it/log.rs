//! The log: says what the operator needs, and no secret at any level.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use reqwest::Method;

use crate::app::vars;
use crate::fake_wechat::{FakeWechat, SECRET};
use crate::process::Process;

/// Every kind of request and failure, in one process; returns its log and all that it must not hold.
async fn eventful_log(format: &str) -> (String, Vec<String>) {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("SESSION_STORE", "file:s.redb"),
        (
            "RUST_LOG",
            "trace,hyper=trace,hyper_util=trace,reqwest=trace,rustls=trace",
        ),
        ("LOG_FORMAT", format),
        ("WECHAT_TIMEOUT", "500ms"),
    ];
    let process = Process::start(dir.path(), &vars(&wechat.base(), &settings));
    let client = &process.client;
    let mut secrets = vec![SECRET.to_owned()];
    for code in [
        "user-canary",
        "guest-canary",
        "user-canary",
        "error-40029",
        "error-40125",
        "error--1",
        "error-77",
        "slow-100",
        "hang",
        "garbage",
        "empty",
        "html-502",
        "busy-1",
        "busy-used",
        "error-45009", // last, since it holds up all others
    ] {
        let answer = client.login(code).await;
        if let Some(token) = answer.json()["token"].as_str() {
            client.session(token).await.assert_status(200);
            client.end(token).await.assert_status(204);
            client.session(token).await.assert_status(401);
            secrets.push(token.to_owned());
        }
    }
    client
        .get("/onLogin?code=twice-canary&code=twice-canary")
        .await;
    client.get("/onLogin/path-canary?x=path-canary").await;
    client
        .send(Method::POST, "/onLogin?code=post-canary", &[])
        .await;
    client.session("wxs_bearer-canary").await;
    secrets.extend(
        [
            "twice-canary",
            "path-canary",
            "post-canary",
            "bearer-canary",
        ]
        .map(String::from),
    );
    let mut broken = TcpStream::connect(client.addr).unwrap();
    broken
        .write_all(b"GET /onLogin?code=broken-canary HTTP/1.1\r\n\0\r\n")
        .unwrap();
    secrets.push("broken-canary".into());
    for path in ["/healthz", "/readyz"] {
        client.get(path).await.assert_status(200);
    }
    process.signal("TERM");
    let (status, mut log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert_eq!(status, Some(0), "{log}");

    // And a process that cannot reach WeChat, where errors hold the URL.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let process = Process::start(dir.path(), &vars(&format!("http://{nobody}"), &settings));
    process
        .client
        .login("user-unreachable")
        .await
        .assert_status(502);
    process.signal("TERM");
    log += &tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap()
        .1;
    secrets.push("user-unreachable".into());
    secrets.extend(wechat.secrets());
    (log, secrets)
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    for format in ["text", "json"] {
        let (log, secrets) = eventful_log(format).await;
        assert!(secrets.len() > 20);
        // These words name scripts and stand in messages too; as codes they carry a dash.
        let words = ["hang", "garbage", "empty"];
        for secret in secrets
            .iter()
            .filter(|secret| !words.contains(&secret.as_str()))
        {
            let urlencoded = secret
                .replace('/', "%2F")
                .replace('+', "%2B")
                .replace('=', "%3D");
            for form in [secret, &urlencoded] {
                let line = log.lines().find(|line| line.contains(form.as_str()));
                assert_eq!(line, None, "{form} is in the log");
            }
        }
        // The test would see it if there were anything: the failures are all there.
        for told in [
            "WeChat refuses this service",
            "40125",
            "the AppSecret is wrong",
            "was not reached",
            "Connection refused",
            "not usable",
            "DEBUG",
        ] {
            assert!(log.contains(told), "{told} is not in the log:\n{log}");
        }
    }
}

#[tokio::test]
async fn a_json_log_is_one_object_a_line_with_the_request_id() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(
        dir.path(),
        &vars(
            &wechat.base(),
            &[
                ("LOG_FORMAT", "json"),
                ("RUST_LOG", "info,wxlogin::api=warn"),
            ],
        ),
    );
    let headers = [("x-request-id", "trace-me")];
    process
        .client
        .send(Method::GET, "/onLogin?code=error-40013", &headers)
        .await;
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    assert_eq!(refused.len(), 1, "{log}");
    assert_eq!(refused[0]["errcode"], 40013);
    assert!(
        refused[0]["remedy"]
            .as_str()
            .unwrap()
            .contains("WECHAT_APPID")
    );
    assert_eq!(refused[0]["span"]["id"], "trace-me");
    assert_eq!(refused[0]["span"]["route"], "/onLogin");
}

#[tokio::test]
async fn what_clients_do_wrong_does_not_fill_the_log() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path(), &vars(&wechat.base(), &[]));
    for path in [
        "/onLogin",
        "/nowhere",
        "/session",
        "/onLogin?code=error-40029",
    ] {
        process.client.get(path).await;
    }
    drop(TcpStream::connect(process.client.addr).unwrap());
    tokio::time::timeout(Duration::from_secs(5), process.client.get("/healthz"))
        .await
        .unwrap();
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert_eq!(log.lines().count(), 2, "{log}"); // listening, stopping
}
