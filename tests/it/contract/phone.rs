//! A phone code is exchanged once, for one user.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::fake_wechat::{APPID, OTHER_APPID, openid, phone_number};
use crate::support::backend::{Backend, TOKEN, start};
use crate::support::wait::eventually;

#[tokio::test]
async fn a_phone_code_gives_the_users_number() {
    let app = start(&[]).await;
    let answer = Backend::of(&app).phone("alice", "phone-alice").await;
    answer.assert_status(200);
    let number = phone_number(&openid("alice"));
    assert_eq!(
        answer.json(),
        json!({"phoneNumber": number, "purePhoneNumber": number, "countryCode": "86"})
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_phone_code_is_not_used_up_by_an_access_token_that_wechat_refuses() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    backend.access_token().await.assert_status(200);
    app.wechat.replace_access_token(APPID, 40001);
    app.wechat.refuse_access_tokens(Some(45009));
    let refused = backend.phone("alice", "phone-alice").await;
    refused.assert_problem(503, "quota_exhausted", "retry_later");
    app.wechat.refuse_access_tokens(None);
    app.clock.forward(10);
    let number = backend.phone("alice", "phone-alice").await;
    number.assert_status(200);
}

#[tokio::test]
async fn requests_for_one_phone_code_at_once_share_one_exchange() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    let answers = join_all((0..24).map(|_| backend.phone("alice", "slow-200"))).await;
    let first = answers[0].text.clone();
    for answer in answers {
        answer.assert_status(200);
        assert_eq!(answer.text, first);
    }
    assert_eq!(app.wechat.phone_requests_for("slow-200"), 1);
}

#[tokio::test]
async fn a_repeat_within_a_minute_is_the_same_number_and_then_the_code_is_used() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    let first = backend.phone("alice", "phone-alice").await;
    app.clock.forward(59);
    let again = backend.phone("alice", "phone-alice").await;
    again.assert_status(200);
    assert_eq!(again.text, first.text);
    assert_eq!(app.wechat.phone_requests_for("phone-alice"), 1);
    app.clock.forward(1);
    let late = backend.phone("alice", "phone-alice").await;
    late.assert_problem(400, "invalid_phone_code", "ask_again");
    assert_eq!(late.json()["errcode"], 40029);
    assert_eq!(app.wechat.phone_requests_for("phone-alice"), 2);
}

#[tokio::test]
async fn another_user_with_the_same_phone_code_is_refused_unasked() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    let (first, other) = tokio::join!(backend.phone("alice", "slow-200"), async {
        eventually("WeChat is asked for the phone code", async || {
            app.wechat.phone_requests_for("slow-200") > 0
        })
        .await;
        backend.phone("mallory", "slow-200").await
    });
    first.assert_status(200);
    let later = backend.phone("mallory", "slow-200").await;
    for refused in [other, later] {
        refused.assert_problem(400, "invalid_phone_code", "ask_again");
        assert!(refused.json().get("errcode").is_none());
    }
    backend.phone("alice", "slow-200").await.assert_status(200);
    assert_eq!(app.wechat.phone_requests_for("slow-200"), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_and_repeats_gets_the_number() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    let mut gone = TcpStream::connect(app.internal.addr).await.unwrap();
    let body = r#"{"code":"slow-300"}"#;
    let request = format!(
        "POST /users/{APPID}/{}/phone HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n{body}",
        openid("alice"),
        body.len()
    );
    gone.write_all(request.as_bytes()).await.unwrap();
    eventually("WeChat is asked for the phone code", async || {
        app.wechat.phone_requests_for("slow-300") > 0
    })
    .await;
    drop(gone);
    backend.phone("alice", "slow-300").await.assert_status(200);
    assert_eq!(app.wechat.phone_requests_for("slow-300"), 1);
}

#[tokio::test]
async fn a_stop_waits_for_an_exchange_whose_client_hung_up() {
    let app = start(&[]).await;
    let mut gone = TcpStream::connect(app.internal.addr).await.unwrap();
    let body = r#"{"code":"slow-500"}"#;
    let request = format!(
        "POST /users/{APPID}/{}/phone HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n{body}",
        openid("alice"),
        body.len()
    );
    gone.write_all(request.as_bytes()).await.unwrap();
    eventually("WeChat is asked for the phone code", async || {
        app.wechat.phone_requests_for("slow-500") > 0
    })
    .await;
    drop(gone);
    let begin = std::time::Instant::now();
    app.stop().await;
    assert!(
        begin.elapsed() > Duration::from_millis(300),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn each_refusal_of_a_phone_code_has_its_answer_and_is_not_asked_for_again() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    let rows = [
        ("invalid_phone_code", 400, "ask_again", 40029),
        ("invalid_phone_code", 400, "ask_again", 40163),
        ("user_blocked", 403, "give_up", 40226),
        ("rate_limited", 429, "ask_again", 45011),
        ("quota_exhausted", 503, "ask_again", 45009),
        ("upstream_busy", 503, "ask_again", -1),
        ("upstream_error", 502, "ask_again", 1),
        ("upstream_error", 502, "ask_again", 47001),
    ];
    let misconfigured = [
        40002, 40013, 40066, 40097, 40125, 40164, 40243, 41001, 41002, 41004, 41008, 48001, 50002,
        50004, 50007, 61003, 89503, 89506, 89507,
    ];
    let misconfigured = misconfigured.map(|errcode| ("misconfigured", 500, "give_up", errcode));
    for (code, status, action, errcode) in rows.into_iter().chain(misconfigured) {
        let phone_code = format!("error-{errcode}");
        for _ in 0..2 {
            let answer = backend.phone("alice", &phone_code).await;
            answer.assert_problem(status, code, action);
            assert_eq!(answer.json()["errcode"], errcode);
            assert!(!answer.text.contains("scripted"), "{}", answer.text);
        }
        let asked = if errcode == -1 { 3 } else { 1 };
        assert_eq!(
            app.wechat.phone_requests_for(&phone_code),
            asked,
            "{errcode}"
        );
    }
    let limited = backend.phone("alice", "error-45011.b").await;
    assert_eq!(limited.header("retry-after"), Some("60"));
    let junk = backend.phone("alice", "user-alice").await;
    junk.assert_problem(400, "invalid_phone_code", "ask_again");
    let of_bob = backend.phone("alice", "phone-bob").await;
    of_bob.assert_problem(400, "invalid_phone_code", "ask_again");
}

#[tokio::test]
async fn an_unusable_answer_may_have_used_the_phone_code_up() {
    let app = start(&[("WECHAT_TIMEOUT", "400ms")]).await;
    let backend = Backend::of(&app);
    backend.access_token().await.assert_status(200);
    for (code, problem, status) in [
        ("garbage", "upstream_invalid", 502),
        ("empty", "upstream_invalid", 502),
        ("html-502", "upstream_invalid", 502),
        ("hang", "upstream_timeout", 504),
        ("slow-5000", "upstream_timeout", 504),
    ] {
        for _ in 0..2 {
            let answer = backend.phone("alice", code).await;
            answer.assert_problem(status, problem, "ask_again");
        }
        assert_eq!(app.wechat.phone_requests_for(code), 1, "{code}");
    }
}

#[tokio::test]
async fn a_number_must_be_complete_and_of_this_mini_program() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    let info = |phone: &str, code: &str, appid: &str| {
        format!(
            r#"{{"errcode":0,"errmsg":"ok","phone_info":{{"phoneNumber":{phone},"purePhoneNumber":{phone},"countryCode":{code},"watermark":{{"timestamp":1637744274,"appid":"{appid}"}}}}}}"#
        )
    };
    let long = format!(r#""{}""#, "1".repeat(65));
    let number = r#""13800000000""#;
    for (at, body) in [
        info(number, "86", OTHER_APPID),
        info(number, "86", ""),
        info("7", "86", APPID),
        info("null", "86", APPID),
        info(r#""""#, "86", APPID),
        info(&long, "86", APPID),
        info(r#""1\n2""#, "86", APPID),
        info(number, "null", APPID),
        info(number, "[]", APPID),
        r#"{"errcode":0,"errmsg":"ok"}"#.to_owned(),
        r#"{"phone_info":[]}"#.to_owned(),
        r#"{"phone_info":{"phoneNumber":"1","purePhoneNumber":"1","countryCode":"1"}}"#.to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let code = format!("phone-alice.{at}");
        app.wechat.script(&code, body);
        let answer = backend.phone("alice", &code).await;
        assert_eq!(answer.status, 502, "{body}");
        answer.assert_problem(502, "upstream_invalid", "ask_again");
        assert!(!answer.text.contains("13800000000"), "{}", answer.text);
    }
    for (code, body, country) in [
        ("phone-alice.text", info(number, r#""86""#, APPID), "86"),
        ("phone-alice.number", info(number, "852", APPID), "852"),
    ] {
        app.wechat.script(code, &body);
        let answer = backend.phone("alice", code).await;
        answer.assert_status(200);
        assert_eq!(answer.json()["countryCode"], country);
        assert_eq!(answer.json()["phoneNumber"], "13800000000");
    }
}

#[tokio::test]
async fn a_busy_wechat_is_asked_three_times() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    backend.phone("alice", "busy-2").await.assert_status(200);
    assert_eq!(app.wechat.phone_requests_for("busy-2"), 3);
    let busy = backend.phone("alice", "busy-3").await;
    busy.assert_problem(503, "upstream_busy", "ask_again");
    assert_eq!(app.wechat.phone_requests_for("busy-3"), 3);
}

#[tokio::test]
async fn a_phone_code_that_finds_no_slot_can_be_sent_again() {
    let app = start(&[("WECHAT_MAX_IN_FLIGHT", "1")]).await;
    let backend = Backend::of(&app);
    let (slow, overloaded) = tokio::join!(backend.phone("alice", "slow-1500"), async {
        eventually("WeChat is asked for the phone code", async || {
            app.wechat.phone_requests_for("slow-1500") > 0
        })
        .await;
        backend.phone("bob", "phone-bob").await
    });
    slow.assert_status(200);
    overloaded.assert_problem(503, "overloaded", "retry_later");
    backend.phone("bob", "phone-bob").await.assert_status(200);
    assert_eq!(app.wechat.phone_requests_for("phone-bob"), 1);
}
