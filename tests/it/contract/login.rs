//! `GET /onLogin`

use reqwest::Method;
use serde_json::json;

use crate::fake_wechat::{APPID, openid};
use crate::support::app::TestApp;

#[tokio::test]
async fn a_code_becomes_openid_unionid_and_token_and_nothing_else() {
    let app = TestApp::start().await;
    let answer = app.client.login("user-alice").await;
    answer.assert_status(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("set-cookie"), None);
    let body = answer.json();
    let mut fields: Vec<_> = body.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["expires_in", "openid", "token", "unionid"]);
    assert_eq!(body["openid"], openid("alice"));
    assert_eq!(body["expires_in"], 604_800);
    let token = body["token"].as_str().unwrap();
    assert!(token.starts_with("wxs_") && token.len() == 47, "{token}");
}

#[tokio::test]
async fn a_user_without_unionid_gets_none() {
    let app = TestApp::start().await;
    let body = app.client.login("guest-bob").await.json();
    assert_eq!(body["openid"], openid("bob"));
    assert!(body.get("unionid").is_none(), "{body}");
    let token = body["token"].as_str().unwrap();
    let session = app.client.session(token).await;
    assert!(session.json().get("unionid").is_none(), "{}", session.text);
    assert_eq!(session.header("x-wx-unionid"), None);
}

#[tokio::test]
async fn a_code_is_sent_to_wechat_as_it_is_whatever_its_characters() {
    let app = TestApp::start().await;
    app.client
        .login("user-a%26secret%3Dx%2B%25%23")
        .await
        .assert_status(200);
    assert_eq!(app.wechat.requests_for("user-a&secret=x+%#"), 1);
}

#[tokio::test]
async fn the_appid_may_be_named_and_must_then_be_ours() {
    let app = TestApp::start().await;
    let ours = format!("/onLogin?code=user-alice&appid={APPID}");
    app.client.get(&ours).await.assert_status(200);
    let other = app.client.get("/onLogin?code=user-bob&appid=wxother").await;
    other.assert_problem(400, "unknown_app", "fix_request");
    assert_eq!(app.wechat.requests_for("user-bob"), 0);
}

#[tokio::test]
async fn head_does_not_use_the_code_up() {
    let app = TestApp::start().await;
    let head = app
        .client
        .send(Method::HEAD, "/onLogin?code=user-alice", &[])
        .await;
    head.assert_status(405);
    assert_eq!(head.header("allow"), Some("GET"));
    app.client.login("user-alice").await.assert_status(200);
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_keeps_a_valid_one() {
    let app = TestApp::start().await;
    let longest = "x".repeat(128);
    for valid in ["a", r#"tr"ace\1"#, longest.as_str()] {
        let answer = app
            .client
            .send(Method::GET, "/healthz", &[("x-request-id", valid)])
            .await;
        assert_eq!(answer.header("x-request-id"), Some(valid));
        let problem = app
            .client
            .send(Method::GET, "/nowhere", &[("x-request-id", valid)])
            .await;
        assert_eq!(problem.json()["request_id"], json!(valid));
    }
    let too_long = "x".repeat(129);
    for invalid in ["", "with space", too_long.as_str()] {
        let answer = app
            .client
            .send(Method::GET, "/healthz", &[("x-request-id", invalid)])
            .await;
        let new = answer.header("x-request-id").unwrap();
        let is_hex = new.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(new.len() == 32 && is_hex, "{new}");
    }
    let [one, two] = [
        app.client.get("/healthz").await,
        app.client.get("/healthz").await,
    ];
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
}
