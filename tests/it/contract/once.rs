//! One code, one exchange: repeated codes are answered without another request to WeChat.

use std::collections::HashSet;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::fake_wechat::openid;
use crate::support::app::TestApp;
use crate::support::wait::asked_for;

#[tokio::test]
async fn requests_for_one_code_at_once_share_one_exchange_and_get_a_token_each() {
    let app = TestApp::start().await;
    let requests = (0..24).map(|_| app.client.login("slow-200"));
    let answers = futures_util::future::join_all(requests).await;
    let mut tokens = HashSet::new();
    for answer in answers {
        answer.assert_status(200);
        assert_eq!(answer.json()["openid"], openid("slow"));
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        app.client.session(&token).await.assert_status(200);
        tokens.insert(token);
    }
    assert_eq!(tokens.len(), 24);
    assert_eq!(app.wechat.requests_for("slow-200"), 1);
}

#[tokio::test]
async fn a_repeat_within_a_minute_is_the_same_user_and_then_the_code_is_used() {
    let app = TestApp::start().await;
    let first = app.client.login("user-alice").await.json();
    app.clock.forward(59);
    let repeat = app.client.login("user-alice").await;
    repeat.assert_status(200);
    assert_eq!(repeat.json()["openid"], first["openid"]);
    assert_eq!(repeat.json()["unionid"], first["unionid"]);
    assert_ne!(repeat.json()["token"], first["token"]);
    assert_eq!(repeat.json()["expires_in"], 604_800);
    assert_eq!(app.wechat.requests_for("user-alice"), 1);

    app.clock.forward(1);
    let late = app.client.login("user-alice").await;
    late.assert_problem(400, "code_used", "login_again");
    assert_eq!(app.wechat.requests_for("user-alice"), 2);
}

#[tokio::test]
async fn a_refusal_is_repeated_without_asking_again() {
    let app = TestApp::start().await;
    for code in [
        "error-40029",
        "error-40226",
        "error-45011",
        "error-40125",
        "junk",
    ] {
        let first = app.client.login(code).await;
        for _ in 0..3 {
            let again = app.client.login(code).await;
            assert_eq!(again.status, first.status);
            assert_eq!(again.json()["code"], first.json()["code"]);
            assert_eq!(again.json()["errcode"], first.json()["errcode"]);
        }
        assert_eq!(app.wechat.requests_for(code), 1, "{code}");
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_not_tried_out_again() {
    let app = TestApp::with(&[("WECHAT_TIMEOUT", "300ms")]).await;
    for code in ["garbage", "html-502", "empty", "hang", "slow-1000"] {
        let first = app.client.login(code).await;
        let again = app.client.login(code).await;
        assert_eq!(again.json()["code"], first.json()["code"]);
        assert_eq!(again.json()["action"], "login_again");
        assert_eq!(app.wechat.requests_for(code), 1, "{code}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_lose_its_code() {
    let app = TestApp::start().await;
    for (code, pause) in [("slow-300.at-once", 0), ("slow-300.later", 1000)] {
        let mut gone = TcpStream::connect(app.client.addr).await.unwrap();
        let request = format!("GET /onLogin?code={code} HTTP/1.1\r\nhost: x\r\n\r\n");
        gone.write_all(request.as_bytes()).await.unwrap();
        asked_for(&app.wechat, code).await;
        drop(gone);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let answer = app.client.login(code).await;
        answer.assert_status(200);
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        app.client.session(&token).await.assert_status(200);
        assert_eq!(app.wechat.requests_for(code), 1);
    }
}

#[tokio::test]
async fn a_stop_waits_for_an_exchange_whose_client_hung_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = format!("file:{}", dir.path().join("s.sessions").display());
    let app = TestApp::with(&[("SESSION_STORE", &file)]).await;
    let mut gone = TcpStream::connect(app.client.addr).await.unwrap();
    let request = b"GET /onLogin?code=slow-500 HTTP/1.1\r\nhost: x\r\n\r\n";
    gone.write_all(request).await.unwrap();
    asked_for(&app.wechat, "slow-500").await;
    drop(gone);
    let (wechat, manual_clock, clock) = (app.wechat.clone(), app.clock.clone(), app.clock.clock());
    app.stop().await;

    let app = TestApp::setup()
        .wechat(&wechat)
        .clock(manual_clock)
        .service_clock(clock)
        .settings(&[("SESSION_STORE", &file)])
        .start()
        .await;
    app.client.login("slow-500").await.assert_status(200);
    assert_eq!(app.wechat.requests_for("slow-500"), 1);
}

#[tokio::test]
async fn one_code_does_not_fill_the_store() {
    let app = TestApp::start().await;
    for _ in 0..=100 {
        app.client.login("user-alice").await.assert_status(200);
    }
    let more = app.client.login("user-alice").await;
    more.assert_problem(400, "code_used", "login_again");
    assert_eq!(app.wechat.requests_for("user-alice"), 1);
}

#[tokio::test]
async fn a_busy_wechat_is_asked_three_times() {
    let app = TestApp::start().await;
    app.client.login("busy-2").await.assert_status(200);
    assert_eq!(app.wechat.requests_for("busy-2"), 3);
    let busy = app.client.login("busy-3").await;
    busy.assert_problem(503, "upstream_busy", "retry_later");
    assert_eq!(busy.json()["errcode"], -1);
    assert_eq!(app.wechat.requests_for("busy-3"), 3);
    // WeChat used the code up although it answered that it was busy.
    let used = app.client.login("busy-used").await;
    used.assert_problem(502, "upstream_invalid", "login_again");
    assert_eq!(app.wechat.requests_for("busy-used"), 2);
}

#[tokio::test]
async fn further_tries_keep_to_the_timeout() {
    // The third try comes after 550 ms or more.
    let app = TestApp::with(&[("WECHAT_TIMEOUT", "500ms")]).await;
    let busy = app.client.login("busy-2").await;
    busy.assert_problem(503, "upstream_busy", "retry_later");
    assert!(app.wechat.requests_for("busy-2") <= 2);
}
