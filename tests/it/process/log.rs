//! The lines of the log.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_wechat::{
    APPID, FakeWechat, OTHER_APPID, SECRET, encrypt, openid, session_key, user_info,
};
use crate::support::app::vars;
use crate::support::client::Client;
use crate::support::process::Process;

/// Runs a process with a JSON log during `requests`, and returns its lines without those of start and stop.
async fn lines_of(settings: &[(&str, &str)], requests: impl AsyncFnOnce(&Client)) -> Vec<Value> {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = vars(&wechat.base(), settings);
    settings.insert("LOG_FORMAT".into(), "json".into());
    let process = Process::start(dir.path(), &settings);
    requests(&process.client).await;
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    let lines: Vec<Value> = lines.collect();
    let [first, between @ .., last] = &lines[..] else {
        panic!("{log}");
    };
    assert_eq!(
        (&first["message"], &last["message"]),
        (&"listening".into(), &"stopping".into())
    );
    between.to_vec()
}

fn at_level(lines: &[Value], level: &str) -> Vec<Value> {
    let lines = lines.iter().filter(|line| line["level"] == level);
    lines.cloned().collect()
}

#[tokio::test]
async fn each_request_is_one_line_that_names_it_and_not_its_query() {
    let lines = lines_of(&[], async |client| {
        let headers = [("x-request-id", "trace-me")];
        let login = "/onLogin?code=user-alice";
        client.send(Method::GET, login, &headers).await;
        client.login("error-40029").await;
        client.login("slow-50").await;
        let mut gone = TcpStream::connect(client.addr).unwrap();
        gone.write_all(b"GET /onLogin?code=slow-300 HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        gone.set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        gone.read_exact(&mut [0]).unwrap_err();
        drop(gone);
        client.login("slow-300").await; // joins the exchange that goes on
        client.get("/nowhere/at?all").await;
        client.session("wxs_x").await;
        client.login("garbage").await;
        let token = client.token("user-alice").await;
        client.session(&token).await; // a successful lookup: no line
        client.get("/healthz").await; // a probe: no line
        client.get("/readyz").await;
    })
    .await;
    let mut rows: Vec<_> = lines
        .iter()
        .map(|line| {
            assert!(line["request_id"].as_str().unwrap().len() >= 8 && line["method"] == "GET");
            assert!(line["duration_ms"].as_f64().unwrap() > 0.0, "{line}");
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let (level, outcome) = (text(&line["level"]), text(&line["outcome"]));
            (
                level,
                text(&line["route"]),
                line["status"].as_u64().unwrap(),
                outcome,
            )
        })
        .collect();
    let row = |level: &str, route: &str, status, outcome: &str| {
        (
            level.to_owned(),
            route.to_owned(),
            status,
            outcome.to_owned(),
        )
    };
    // The exchange of the closed connection ends during the next requests, so the order of lines varies.
    rows[3..].sort();
    assert_eq!(
        rows,
        [
            row("INFO", "/onLogin", 200, "ok"),
            row("INFO", "/onLogin", 400, "invalid_code"),
            row("INFO", "/onLogin", 200, "ok"),
            row("INFO", "-", 404, "not_found"),
            row("INFO", "/onLogin", 200, "ok"),
            row("INFO", "/onLogin", 200, "ok"),
            row("INFO", "/onLogin", 200, "ok"),
            row("INFO", "/session", 401, "invalid_token"),
            row("WARN", "/onLogin", 502, "upstream_invalid"),
        ]
    );
    assert_eq!(lines[0]["request_id"], "trace-me");
    assert_eq!(lines[1]["errcode"], 40029);
    assert!(lines[2]["duration_ms"].as_f64().unwrap() >= 50.0);
    let warning = &at_level(&lines, "WARN")[0];
    assert!(warning["cause"].as_str().unwrap().contains("not usable"));
}

#[tokio::test]
async fn a_refusal_that_the_operator_can_mend_is_one_complete_error_line() {
    let remedies = [
        (40001, "AppSecret is wrong"),
        (40002, "WECHAT_API_BASE"),
        (40013, "compare WECHAT_APPID"),
        (40066, "WECHAT_API_BASE"),
        (40125, "it was reset or mistyped"),
        (40164, "IP whitelist"),
        (40243, "unfreeze it"),
        (41002, "WECHAT_API_BASE"),
        (48001, "not verified or is limited"),
        (50002, "not verified or is limited"),
        (61003, "has not authorised"),
    ];
    let lines = lines_of(&[], async |client| {
        for (errcode, _) in remedies {
            let code = format!("error-{errcode}");
            // Repeated and concurrent requests add no line.
            let [one, other] = [client.login(&code), client.login(&code)];
            tokio::join!(one, other);
            client.login(&code).await;
        }
    })
    .await;
    let errors = at_level(&lines, "ERROR");
    assert_eq!(errors.len(), remedies.len(), "{errors:?}");
    for (line, (errcode, remedy)) in errors.iter().zip(remedies) {
        assert_eq!(line["message"], "WeChat refuses this service");
        assert_eq!(line["appid"], APPID);
        assert_eq!(line["errcode"], errcode);
        assert_eq!(line["rid"], "66c69111-5ccc9dc8-0fd94c9e");
        assert!(line["remedy"].as_str().unwrap().contains(remedy), "{line}");
        let ip = (errcode == 40164).then_some("203.0.113.7");
        assert_eq!(line["ip"].as_str(), ip, "{line}");
        assert!(line["request_id"].as_str().unwrap().len() >= 8);
    }
}

#[tokio::test]
async fn a_logout_is_a_line_at_info_and_a_limit_of_wechat_a_warning() {
    let lines = lines_of(&[], async |client| {
        let token = client.token("user-alice").await;
        client.session(&token).await; // no line
        client.end(&token).await;
        client.login("error-45011").await;
    })
    .await;
    let row = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        let status = line["status"].to_string();
        [text("level"), text("method"), text("route"), status].join(" ")
    };
    let rows: Vec<_> = lines.iter().map(row).collect();
    let expected = [
        "INFO GET /onLogin 200",
        "INFO DELETE /session 204",
        "WARN GET /onLogin 429",
    ];
    assert_eq!(rows, expected);
}

/// Where the AppSecret is set. An empty value is none.
#[tokio::test]
async fn the_remedy_in_the_log_names_the_setting_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (secret, apps) = (file("secret", SECRET), format!("{APPID}:{SECRET}"));
    let lines = file("apps", &apps);
    let none = [("WECHAT_APPID", ""), ("WECHAT_SECRET", "")];
    for (setting, value, appid_setting) in [
        ("WECHAT_SECRET_FILE", &secret, "WECHAT_APPID"),
        ("WECHAT_APPS", &apps, "WECHAT_APPS"),
        ("WECHAT_APPS_FILE", &lines, "WECHAT_APPS_FILE"),
    ] {
        let unset = &none[usize::from(appid_setting == "WECHAT_APPID")..];
        let settings = [unset, &[(setting, value)]].concat();
        let lines = lines_of(&settings, async |client| {
            client.login("error-40125").await;
            client.login("error-40013").await;
        })
        .await;
        let [wrong_secret, wrong_appid] = &at_level(&lines, "ERROR")[..] else {
            panic!("{lines:?}");
        };
        let remedy = |line: &Value| line["remedy"].as_str().unwrap().to_owned();
        assert!(
            remedy(wrong_secret).ends_with(&format!(" in {setting}")),
            "{wrong_secret}"
        );
        let compare = format!(" compare {appid_setting} with ");
        assert!(remedy(wrong_appid).contains(&compare), "{wrong_appid}");
    }
}

#[tokio::test]
async fn a_code_of_another_mini_program_is_warned_of_and_a_used_up_quota_is_an_error() {
    let lines = lines_of(&[], async |client| {
        let referer = format!("https://servicewechat.com/{OTHER_APPID}/0/page-frame.html");
        let ours = referer.replace(OTHER_APPID, APPID);
        let forged = referer.replace(OTHER_APPID, "wx;forged");
        for (code, referer) in [
            ("error-40029.1", &referer),
            ("error-40029.2", &ours),
            ("error-40029.3", &forged),
            ("error-45009", &referer),
        ] {
            let path = format!("/onLogin?code={code}");
            client
                .send(Method::GET, &path, &[("referer", referer)])
                .await;
        }
    })
    .await;
    let warnings = at_level(&lines, "WARN");
    let errors = at_level(&lines, "ERROR");
    let ([other, unanswered], [quota]) = (&warnings[..], &errors[..]) else {
        panic!("{warnings:?} {errors:?}");
    };
    assert_eq!(
        (&other["appid"], &other["referring_appid"]),
        (&APPID.into(), &OTHER_APPID.into())
    );
    assert_eq!(other["errcode"], 40029);
    assert!(quota["remedy"].as_str().unwrap().contains("daily quota"));
    assert_eq!(
        (&quota["appid"], &quota["errcode"]),
        (&APPID.into(), &45009.into())
    );
    assert_eq!(unanswered["outcome"], "quota_exhausted");
}

#[tokio::test]
async fn a_text_log_names_the_request_too_and_rust_log_cannot_hide_its_id() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = [("RUST_LOG", "info,wxlogin::api=warn")];
    let process = Process::start(dir.path(), &vars(&wechat.base(), &settings));
    let headers = [("x-request-id", "trace-me")];
    let path = "/onLogin?code=error-40013";
    process.client.send(Method::GET, path, &headers).await;
    process.client.login("error-40029").await;
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 4, "{log}"); // with "listening" and "stopping"
    for line in &lines[1..3] {
        assert!(line.contains("request_id=\"trace-me\""), "{line}");
    }
}

#[tokio::test]
async fn a_text_line_quotes_its_texts_and_escapes_what_is_not_plain() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path(), &vars(&wechat.base(), &[]));
    let headers = [("x-request-id", r#"quo"te\back"#)];
    process.client.send(Method::GET, "/session", &headers).await;
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    let line = log.lines().nth(1).unwrap();
    let expected = r#" answered request_id="quo\"te\\back" method="GET" route="/session" status=401 outcome="invalid_token" duration_ms="#;
    assert!(line.contains(expected), "{line}");
}

#[tokio::test]
async fn a_path_that_is_not_found_is_logged_and_answered_without_what_may_be_secret() {
    let long = format!("/session{}", "/session".repeat(20));
    let rows = [
        ("//onLogin?code=user-alice", "//onLogin"),
        ("/onLogin/?code=user-alice", "/onLogin/"),
        ("/api/onLogin", "/…/onLogin"),
        ("/onlogin", "/…"),
        ("/session/wxs_secret", "/session/…"),
        ("/users/wx1/oAlice", "/users/…/…"),
        ("/users/wx1/oAlice/phones", "/users/…/…/…"),
        ("/access_token/wx1", "/access_token/…"),
        ("/%6fnLogin", "/…"),
        (&*long, &long[..64]),
    ];
    let lines = lines_of(&[], async |client| {
        for (path, logged) in rows {
            let answer = client.get(path).await;
            answer.assert_problem(404, "not_found", "fix_request");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(&format!(" {logged} ")), "{detail}");
        }
    })
    .await;
    let paths: Vec<_> = lines.iter().map(|line| line["path"].clone()).collect();
    let expected: Vec<Value> = rows.iter().map(|(_, logged)| (*logged).into()).collect();
    assert_eq!(paths, expected);
    for secret in ["user-alice", "wxs_secret", "oAlice"] {
        let whole = format!("{lines:?}");
        assert!(!whole.contains(secret), "{secret} in {whole}");
    }
}

/// The client's answer is the same.
#[tokio::test]
async fn why_data_does_not_decrypt_is_in_the_log() {
    let code = "user-alice";
    let made = |appid, user, time| {
        let info = user_info(appid, &openid(user), time);
        encrypt(&session_key(code), &info)
    };
    let junk = encrypt(&session_key("user-bob"), "{}");
    let timeless = json!({"openId": openid("alice"), "watermark": {"appid": APPID}});
    let timeless = encrypt(&session_key(code), timeless.to_string());
    let lines = lines_of(&[], async |client| {
        let token = client.token(code).await;
        for data in [
            made(APPID, "alice", 1_000_000_000),
            made(OTHER_APPID, "alice", 1_000_000_000),
            made(APPID, "bob", 1_000_000_000),
            timeless,
            junk,
            ("AAAA".into(), "AAAA".into()),
        ] {
            let answer = client.decrypt(&token, &data).await;
            answer.assert_problem(422, "undecryptable", "login_again");
        }
    })
    .await;
    let causes = lines.iter().filter_map(|line| line["cause"].as_str());
    let expected = [
        "it is older than USERDATA_MAX_AGE, or this clock is wrong",
        "it is of another Mini Program",
        "it is of another user",
        "it has no timestamp",
        "it is encrypted with another session_key, or damaged",
        "it is not base64 of whole blocks",
    ];
    assert_eq!(causes.collect::<Vec<_>>(), expected);
}
