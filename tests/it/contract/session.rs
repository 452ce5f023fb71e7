//! `GET /session`, `DELETE /session`

use reqwest::Method;

use crate::fake_wechat::{APPID, openid};
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::client::exchange_bytes;

#[tokio::test]
async fn a_token_tells_who_it_stands_for_in_body_and_headers() {
    let app = TestApp::start().await;
    let login = app.client.login("user-alice").await.json();
    app.clock.forward(77);
    let session = app.client.session(login["token"].as_str().unwrap()).await;
    session.assert_status(200);
    let body = session.json();
    let mut fields: Vec<_> = body.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["appid", "expires_in", "openid", "unionid"]);
    assert_eq!(body["openid"], login["openid"]);
    assert_eq!(body["unionid"], login["unionid"]);
    assert_eq!(body["appid"], APPID);
    assert_eq!(body["expires_in"], 604_800 - 77);
    assert_eq!(session.header("x-wx-openid"), body["openid"].as_str());
    assert_eq!(session.header("x-wx-unionid"), body["unionid"].as_str());
    assert_eq!(session.header("x-wx-appid"), Some(APPID));
}

#[tokio::test]
async fn a_forged_identity_header_does_not_come_back() {
    let app = TestApp::start().await;
    let token = app.client.token("guest-bob").await;
    let forged = [
        ("authorization", format!("Bearer {token}")),
        ("x-wx-openid", "oForged".into()),
        ("x-wx-unionid", "oForged".into()),
    ];
    let headers: Vec<_> = forged
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let session = app.client.send(Method::GET, "/session", &headers).await;
    assert_eq!(session.header("x-wx-openid"), Some(openid("bob").as_str()));
    assert_eq!(session.header("x-wx-unionid"), None);
}

#[tokio::test]
async fn an_ended_session_is_dead_and_the_users_other_one_lives() {
    let app = TestApp::start().await;
    let phone = app.client.token("user-alice").await;
    let tablet = app.client.token("user-alice.2").await;
    let ended = app.client.end(&phone).await;
    ended.assert_status(204);
    assert_eq!(ended.text, "");
    app.client
        .session(&phone)
        .await
        .assert_problem(401, "invalid_token", "login_again");
    app.client
        .end(&phone)
        .await
        .assert_problem(401, "invalid_token", "login_again");
    app.client.session(&tablet).await.assert_status(200);
}

#[tokio::test]
async fn all_of_a_users_sessions_in_one_mini_program_can_be_ended_at_once() {
    let app = TestApp::start().await;
    let phone = app.client.token("user-alice").await;
    let tablet = app.client.token("user-alice.2").await;
    let bob = app.client.token("user-bob").await;
    app.client.end_all(&tablet).await.assert_status(204);
    for token in [&phone, &tablet] {
        let dead = app.client.session(token).await;
        dead.assert_problem(401, "invalid_token", "login_again");
    }
    app.client.session(&bob).await.assert_status(200);
    let again = app.client.token("user-alice.3").await;
    app.client.session(&again).await.assert_status(200);
    let other = app.client.token("user-alice.4").await;
    let bearer = format!("Bearer {again}");
    let headers = [("authorization", &*bearer)];
    for unclear in [
        "all=1",
        "all=True",
        "all=true%FF",
        "all",
        "all=",
        "all=true&all=true",
    ] {
        let path = format!("/session?{unclear}");
        let refused = app.client.send(Method::DELETE, &path, &headers).await;
        refused.assert_problem(400, "malformed_query", "fix_request");
    }
    app.client.session(&again).await.assert_status(200);
    let one = "/session?all=false";
    let ended = app.client.send(Method::DELETE, one, &headers).await;
    ended.assert_status(204);
    app.client.session(&again).await.assert_status(401);
    app.client.session(&other).await.assert_status(200);
}

#[tokio::test]
async fn a_session_ends_at_its_time_and_use_does_not_prolong_it() {
    let app = TestApp::with(&[("SESSION_TTL", "100s")]).await;
    let token = app.client.token("user-alice").await;
    app.clock.forward(99);
    let last = app.client.session(&token).await;
    last.assert_status(200);
    assert_eq!(last.json()["expires_in"], 1);
    app.clock.forward(1);
    app.client
        .session(&token)
        .await
        .assert_problem(401, "invalid_token", "login_again");
}

#[tokio::test]
async fn only_one_well_formed_bearer_token_is_taken() {
    let app = TestApp::start().await;
    let token = app.client.token("user-alice").await;
    let tail = &token[4..];
    let refused = [
        String::new(),
        token.clone(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Basic {token}"),
        format!("Bearer {tail}"),
        format!("Bearer wxs_{tail}A"),
        format!("Bearer wxs_{}", &tail[1..]),
        format!("Bearer wxs_{tail}="),
        format!("Bearer WXS_{tail}"),
        format!("Bearer wxs_{}", "A".repeat(43)),
        format!("Bearer {token} {token}"),
        format!("Bearer {token}, Bearer {token}"),
        "Bearer wxs_é".into(),
    ];
    for value in &refused {
        let answer = app
            .client
            .send(Method::GET, "/session", &[("authorization", value)])
            .await;
        answer.assert_problem(401, "invalid_token", "login_again");
    }
    app.client
        .get("/session")
        .await
        .assert_problem(401, "invalid_token", "login_again");
    let bearer = format!("Bearer {token}");
    let twice = [
        ("authorization", bearer.as_str()),
        ("authorization", bearer.as_str()),
    ];
    let answer = app.client.send(Method::GET, "/session", &twice).await;
    answer.assert_problem(401, "invalid_token", "login_again");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let value = format!("{scheme} {token}");
        let answer = app
            .client
            .send(Method::GET, "/session", &[("authorization", &value)])
            .await;
        answer.assert_status(200);
    }
}

#[tokio::test]
async fn a_logout_whose_body_asks_for_more_is_refused_and_ends_nothing() {
    let app = TestApp::start().await;
    let token = app.client.token("user-alice").await;
    let bearer = format!("Bearer {token}");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let end = async |path: &str, body: &'static str, content_type: &str| {
        let url = format!("http://{}{path}", app.client.addr);
        let request = http.delete(url).header("authorization", &bearer);
        let request = request.header("content-type", content_type).body(body);
        Answer::read(request.send().await.unwrap()).await.unwrap()
    };
    let json = "application/json";
    for path in ["/session", "/session?all=true"] {
        for (body, content_type) in [
            (r#"{"all":true}"#, json),
            (r#"{"all":false}"#, json),
            ("[]", json),
            ("null", json),
            ("{", json),
            ("{} {}", json),
            ("all=true", "application/x-www-form-urlencoded"),
        ] {
            let refused = end(path, body, content_type).await;
            refused.assert_problem(400, "malformed_body", "fix_request");
        }
    }
    app.client.session(&token).await.assert_status(200);
    // wx.request sends these for no data, and for an empty object.
    end("/session", " {} ", json).await.assert_status(204);
    app.client.session(&token).await.assert_status(401);
    let other = app.client.token("user-alice.2").await;
    app.client.end(&other).await.assert_status(204);
}

#[tokio::test]
async fn a_logout_whose_body_is_large_or_announced_and_not_sent_is_refused() {
    let app = TestApp::start().await;
    let token = app.client.token("user-alice").await;
    let head = format!("DELETE /session HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n");
    let large = format!("{head}content-length: 65537\r\n\r\n");
    let answer = exchange_bytes(&app, large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let chunked =
        format!("{head}transfer-encoding: chunked\r\n\r\n5\r\n{{\"a\":\r\n2\r\n1}}\r\n0\r\n\r\n");
    let answer = exchange_bytes(&app, chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    app.client.session(&token).await.assert_status(200);
}
