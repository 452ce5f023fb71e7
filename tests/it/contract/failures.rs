//! Every row of the table of failures, over HTTP.

use std::time::Duration;

use reqwest::Method;

use crate::support::app::{ManualClock, TestApp};
use crate::support::client::exchange_bytes;
use crate::support::ports::nobody;
use wxlogin::clock::Clock;

#[tokio::test]
async fn what_a_client_does_wrong_is_told_and_never_reaches_wechat() {
    let app = TestApp::start().await;
    let long = format!("/onLogin?code={}", "x".repeat(257));
    let mock = "the%20code%20is%20a%20mock%20one";
    let rows = [
        ("/onLogin", "missing_code"),
        ("/onLogin?", "missing_code"),
        ("/onLogin?code", "missing_code"),
        ("/onLogin?code=", "missing_code"),
        ("/onLogin?Code=user-alice", "missing_code"),
        ("/onLogin?code=a&code=a", "malformed_code"),
        ("/onLogin?code=a&%63ode=b", "malformed_code"),
        ("/onLogin?code=%FF", "malformed_code"),
        ("/onLogin?code=%00", "malformed_code"),
        ("/onLogin?code=a%0d%0ab", "malformed_code"),
        ("/onLogin?code=a+b", "malformed_code"),
        ("/onLogin?code=%E7%A0%81", "malformed_code"),
        (&long, "malformed_code"),
        ("/onLogin?code=undefined", "malformed_code"),
        ("/onLogin?code=null", "malformed_code"),
        ("/onLogin?code=NaN", "malformed_code"),
        ("/onLogin?code=%5Bobject%20Object%5D", "malformed_code"),
        ("/onLogin?code=%22user-alice%22", "malformed_code"),
        ("/onLogin?code='user-alice'", "malformed_code"),
        ("/onLogin?code=`user-alice`", "malformed_code"),
        ("/onLogin?code=%2522user-alice%2522", "malformed_code"),
        ("/onLogin?code=a%250ab", "malformed_code"),
        ("/onLogin?code=%2575ndefined", "malformed_code"),
        (
            "/onLogin?code=%7B%22code%22:%22user-alice%22%7D",
            "malformed_code",
        ),
        ("/onLogin?code=$%7Bres.code%7D", "malformed_code"),
        ("/onLogin?code=%3Ccode%3E", "malformed_code"),
        ("/onLogin?code=user%5C-alice", "malformed_code"),
        (&format!("/onLogin?code={mock}"), "mock_code"),
        (
            &format!("/onLogin?code={}", mock.replace("%20", "+")),
            "mock_code",
        ),
        ("/onLogin?code=user-alice&appid=wx1", "unknown_app"),
        ("/onLogin?code=user-alice&appid=", "unknown_app"),
        ("/onLogin?code=user-alice&appid=%FF", "unknown_app"),
    ];
    for (path, code) in rows {
        let answer = app.client.get(path).await;
        answer.assert_problem(400, code, "fix_request");
        assert!(answer.json().get("errcode").is_none());
    }
    assert_eq!(app.wechat.requests(), 0);
}

#[tokio::test]
async fn each_errcode_of_wechat_has_its_answer() {
    let misconfigured = [
        40001, 40002, 40013, 40066, 40125, 40164, 40243, 41002, 41004, 41008, 48001, 50002, 61003,
    ];
    let rows = [
        ("invalid_code", 400, "login_again", 40029),
        ("invalid_code", 400, "login_again", 41029),
        ("code_used", 400, "login_again", 40163),
        ("user_blocked", 403, "give_up", 40226),
        ("rate_limited", 429, "retry_later", 45011),
        ("upstream_busy", 503, "retry_later", -1),
        ("upstream_error", 502, "retry_later", 1),
        (
            "upstream_error",
            502,
            "retry_later",
            9_007_199_254_740_993_i64,
        ),
    ];
    let misconfigured = misconfigured.map(|errcode| ("misconfigured", 500, "give_up", errcode));
    let app = TestApp::start().await;
    for (code, status, action, errcode) in rows.into_iter().chain(misconfigured) {
        let answer = app.client.login(&format!("error-{errcode}")).await;
        answer.assert_problem(status, code, action);
        assert_eq!(answer.json()["errcode"], errcode);
        assert!(
            !answer.text.contains("scripted"),
            "errmsg went out: {}",
            answer.text
        );
    }
    let limited = app.client.login("error-45011.b").await;
    assert_eq!(limited.header("retry-after"), Some("60"));
    // Last: further exchanges are refused for 10 s.
    let exhausted = app.client.login("error-45009").await;
    exhausted.assert_problem(503, "quota_exhausted", "retry_later");
    assert_eq!(exhausted.json()["errcode"], 45009);
}

#[tokio::test]
async fn a_refused_phone_code_is_called_one() {
    let app = TestApp::start().await;
    let phone_code = "0123456789abcdef".repeat(4);
    for code in [&phone_code, &phone_code] {
        let answer = app.client.login(code).await;
        answer.assert_problem(400, "invalid_code", "login_again");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("phone number button"), "{detail}");
    }
    let upper = app.client.login(&phone_code.to_uppercase()).await;
    upper.assert_problem(400, "invalid_code", "login_again");
    assert!(!upper.text.contains("phone"), "{}", upper.text);
}

#[tokio::test]
async fn an_unusable_answer_of_wechat_is_told_from_none() {
    let app = TestApp::with(&[("WECHAT_TIMEOUT", "300ms")]).await;
    let rows = [
        ("garbage", "upstream_invalid", 502),
        ("empty", "upstream_invalid", 502),
        ("html-502", "upstream_invalid", 502),
        ("hang", "upstream_timeout", 504),
        ("slow-5000", "upstream_timeout", 504),
    ];
    for (script, code, status) in rows {
        let answer = app.client.login(script).await;
        answer.assert_problem(status, code, "login_again");
    }
}

#[tokio::test]
async fn an_unreachable_wechat_has_not_seen_the_code() {
    let nobody = nobody();
    let bases = [
        format!("http://{nobody}"),
        "http://name..invalid".to_owned(),
    ];
    for base in &bases {
        let app = TestApp::with(&[("WECHAT_API_BASE", base)]).await;
        let answer = app.client.login("user-alice").await;
        answer.assert_problem(502, "upstream_unreachable", "retry_later");
    }
}

#[tokio::test]
async fn paths_methods_and_bodies_that_are_not_taken() {
    let app = TestApp::start().await;
    for path in ["/", "/onlogin", "/onLogin/", "/session/x", "/%FF"] {
        app.client
            .get(path)
            .await
            .assert_problem(404, "not_found", "fix_request");
    }
    let rows = [
        (Method::POST, "/onLogin", "GET"),
        (Method::OPTIONS, "/onLogin", "GET"),
        (Method::PUT, "/session", "GET,HEAD,DELETE"),
        (Method::POST, "/healthz", "GET,HEAD"),
        (Method::DELETE, "/readyz", "GET,HEAD"),
    ];
    for (method, path, allow) in rows {
        let answer = app.client.send(method, path, &[]).await;
        answer.assert_problem(405, "method_not_allowed", "fix_request");
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
    }
    // GET and HEAD ignore an announced body.
    for (request, status) in [
        ("GET /onLogin?code=user-alice", 200),
        ("HEAD /healthz", 200),
        ("GET /nowhere", 404),
    ] {
        let request = format!("{request} HTTP/1.1\r\nhost: x\r\ncontent-length: 65537\r\n\r\n");
        let reply = exchange_bytes(&app, request.as_bytes()).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
        assert!(reply.contains("connection: close"), "{reply}");
        assert!(reply.contains("connection: close"), "{reply}");
    }
}

#[tokio::test]
async fn a_panic_is_answered_and_the_service_goes_on() {
    let manual_clock = ManualClock::at(0);
    let odd = manual_clock.clock();
    let wall = move || match odd.wall() {
        now if now.as_secs() == 13 => panic!("an odd time"),
        now => now,
    };
    let clock = Clock::new(wall, || Duration::ZERO);
    let app = TestApp::setup()
        .clock(manual_clock)
        .service_clock(clock)
        .start()
        .await;
    app.clock.forward(13);
    app.client
        .login("user-alice")
        .await
        .assert_problem(500, "internal", "retry_later");
    app.clock.forward(1);
    app.client.login("user-bob").await.assert_status(200);
}

#[tokio::test]
async fn a_query_that_is_not_utf8_on_the_wire_is_refused() {
    let app = TestApp::start().await;
    let reply = exchange_bytes(&app, b"GET /onLogin?code=\xff HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
}
