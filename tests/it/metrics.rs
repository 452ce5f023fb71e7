//! `GET /metrics`, at an address of its own.

use std::collections::BTreeMap;

use reqwest::Method;

use crate::app::{Client, TestApp};
use crate::fake_wechat::openid;

/// The numbers by name and labels.
async fn numbers(metrics: &Client) -> BTreeMap<String, String> {
    let answer = metrics.get("/metrics").await;
    answer.assert_status(200);
    let content_type = answer.header("content-type").unwrap();
    assert!(content_type.starts_with("application/openmetrics-text"));
    assert!(answer.text.ends_with("# EOF\n"), "{}", answer.text);
    let lines = answer.text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, number) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), number.to_owned())
        })
        .collect()
}

#[tokio::test]
async fn what_happens_is_counted() {
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
        async move { client.login("slow-300").await }
    });
    while app.wechat.requests_for("slow-300") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(
        numbers(&app.metrics).await["wxlogin_exchanges_in_flight"],
        "1"
    );
    running.await.unwrap().assert_status(200);
    let numbers = numbers(&app.metrics).await;
    for (name, number) in [
        (
            r#"requests_total{method="GET",route="/onLogin",status="200"}"#,
            "3",
        ),
        (
            r#"requests_total{method="GET",route="/onLogin",status="400"}"#,
            "2",
        ),
        (
            r#"requests_total{method="GET",route="/session",status="401"}"#,
            "1",
        ),
        (
            r#"requests_total{method="DELETE",route="/session",status="204"}"#,
            "1",
        ),
        (
            r#"requests_total{method="GET",route="none",status="404"}"#,
            "1",
        ),
        (
            r#"requests_total{method="other",route="/session",status="405"}"#,
            "1",
        ),
        (r#"logins_total{outcome="ok",errcode="none"}"#, "3"),
        (
            r#"logins_total{outcome="invalid_code",errcode="40029"}"#,
            "1",
        ),
        (
            r#"logins_total{outcome="misconfigured",errcode="40125"}"#,
            "1",
        ),
        (
            r#"logins_total{outcome="upstream_error",errcode="other"}"#,
            "2",
        ),
        (
            r#"logins_total{outcome="missing_code",errcode="none"}"#,
            "1",
        ),
        ("login_repeats_total", "1"),
        ("exchange_duration_seconds_count", "6"),
        ("exchanges_in_flight", "0"),
        (r#"store_duration_seconds_count{operation="create"}"#, "3"),
        (r#"store_duration_seconds_count{operation="find"}"#, "3"),
        ("sessions_opened_total", "3"),
        ("sessions_ended_total", "1"),
    ] {
        assert_eq!(
            numbers.get(&format!("wxlogin_{name}")).map(String::as_str),
            Some(number),
            "{name} in {numbers:#?}"
        );
    }
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
async fn a_store_that_fails_is_counted() {
    let redis = crate::redis_server::RedisServer::start();
    let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
    redis.cli(&["ACL", "SETUSER", "default", "-set"]);
    app.client.login("user-alice").await.assert_status(503);
    let numbers = numbers(&app.metrics).await;
    assert_eq!(
        numbers[r#"wxlogin_store_errors_total{operation="create"}"#],
        "1"
    );
    assert!(!numbers.contains_key(r#"wxlogin_store_errors_total{operation="exchanged"}"#));
}

#[tokio::test]
async fn metrics_are_at_their_own_address_only() {
    let app = TestApp::start().await;
    let answer = app.client.get("/metrics").await;
    answer.assert_problem(404, "not_found", "fix_request");
    app.metrics.get("/session").await.assert_status(404);
}
