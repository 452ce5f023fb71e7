//! What the sandbox's WeChat does with codes that say nothing of it: those of a real `wx.login` and of the phone
//! number button, and calls without a code.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_wechat::{APPID, openid, phone_number};
use crate::support::client::Answer;
use crate::support::sandbox_process::Sandbox;

/// What DevTools gives to a project without an AppID, as it stands in a URL.
const MOCK: &str = "the%20code%20is%20a%20mock%20one";

/// A code as a real `wx.login` gives it.
fn real_code() -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .take(32)
        .collect()
}

async fn log_in(sandbox: &Sandbox) -> Answer {
    sandbox.public().login(&real_code()).await
}

async fn set(sandbox: &Sandbox, rule: Value) {
    let answer = sandbox.call(Method::PUT, "/sandbox/next", Some(rule)).await;
    answer.assert_status(204);
}

async fn rules(sandbox: &Sandbox) -> Value {
    sandbox.page().get("/sandbox").await.json()["next"].clone()
}

async fn phone(sandbox: &Sandbox, name: &str, code: &str) -> Answer {
    let path = format!("/users/{APPID}/{}/phone", openid(name));
    let token = sandbox.value("INTERNAL_TOKEN");
    let body = json!({"code": code}).to_string();
    sandbox.internal().post(&path, &token, body).await
}

#[track_caller]
fn assert_user(answer: &Answer, name: &str) {
    assert_eq!(answer.assert_status(200).json()["openid"], openid(name));
}

#[tokio::test]
async fn the_next_login_is_another_user_and_then_the_developer_again() {
    let sandbox = Sandbox::start();
    assert_user(&log_in(&sandbox).await, "devtools");
    set(&sandbox, json!({"script": "guest-bob"})).await;
    // A code with a script of its own is not meant.
    assert_user(&sandbox.public().login("user-alice").await, "alice");
    let bob = log_in(&sandbox).await;
    assert_user(&bob, "bob");
    assert_eq!(bob.json().get("unionid"), None);
    assert_user(&log_in(&sandbox).await, "devtools");
    assert_eq!(rules(&sandbox).await, json!([]));

    set(&sandbox, json!({"script": "user-张三", "times": 2})).await;
    for name in ["张三", "张三", "devtools"] {
        assert_user(&log_in(&sandbox).await, name);
    }
    set(&sandbox, json!({"script": "new-user", "times": null})).await;
    let [first, second] = [log_in(&sandbox).await, log_in(&sandbox).await];
    assert_ne!(first.json()["openid"], second.json()["openid"]);
    let removed = sandbox.call(Method::DELETE, "/sandbox/next?call=login", None);
    removed.await.assert_status(204);
    assert_user(&log_in(&sandbox).await, "devtools");
}

#[tokio::test]
async fn every_failure_of_a_login_can_be_the_next_one() {
    let sandbox = Sandbox::start();
    for (script, status, code) in [
        ("error-40029", 400, "invalid_code"),
        ("error-40163", 400, "code_used"),
        ("error-40226", 403, "user_blocked"),
        ("error-45011", 429, "rate_limited"),
        ("error-40125", 500, "misconfigured"),
        ("error--1", 503, "upstream_busy"), // wxlogin repeats it with the same code
        ("error-77", 502, "upstream_error"),
        ("incomplete", 502, "upstream_invalid"),
        ("garbage", 502, "upstream_invalid"),
        ("empty", 502, "upstream_invalid"),
        ("html-502", 502, "upstream_invalid"),
        ("hang", 504, "upstream_timeout"),
    ] {
        set(&sandbox, json!({"script": script})).await;
        let answer = log_in(&sandbox).await;
        assert_eq!(answer.json()["code"], code, "{script}: {}", answer.text);
        answer.assert_status(status);
        assert_user(&log_in(&sandbox).await, "devtools");
    }
    set(&sandbox, json!({"script": "slow-300"})).await;
    let begin = std::time::Instant::now();
    assert_user(&log_in(&sandbox).await, "devtools");
    assert!(begin.elapsed().as_millis() >= 300);
    set(
        &sandbox,
        json!({"answer": {"errcode": 40029, "errmsg": "mine"}}),
    )
    .await;
    log_in(&sandbox).await.assert_status(400);
}

#[tokio::test]
async fn the_mock_code_is_the_developers_and_each_of_two_developers_has_an_address() {
    let sandbox = Sandbox::start();
    for _ in 0..2 {
        assert_user(&sandbox.public().login(MOCK).await, "devtools");
    }
    let public = sandbox.public();
    for (address, name) in [("li", "li"), ("%E7%8E%8B", "王")] {
        for code in [real_code(), MOCK.to_owned()] {
            let login = public
                .get(&format!("/as/{address}/onLogin?code={code}"))
                .await;
            assert_user(&login, name);
            let token = login.json()["token"].as_str().unwrap().to_owned();
            let bearer = format!("Bearer {token}");
            let path = format!("/as/{address}/session");
            let headers = [("authorization", &*bearer)];
            assert_user(&public.send(Method::GET, &path, &headers).await, name);
        }
    }
    let repeated = real_code();
    for _ in 0..2 {
        assert_user(
            &public.get(&format!("/as/li/onLogin?code={repeated}")).await,
            "li",
        );
    }
    let scripted = public.get("/as/li/onLogin?code=user-alice").await;
    assert_user(&scripted, "alice");
}

#[tokio::test]
async fn the_phone_number_button_works_with_real_codes_and_fails_as_a_rule_says() {
    let sandbox = Sandbox::start();
    let code = || -> String {
        let digits = std::iter::repeat_with(|| fastrand::digit(16));
        digits.take(64).collect()
    };
    let used = code();
    let number = phone(&sandbox, "devtools", &used).await;
    let number = number.assert_status(200).json()["phoneNumber"].clone();
    assert_eq!(number, phone_number(&openid("devtools")));
    phone(&sandbox, "bob", &used).await.assert_status(400);
    let login_code = real_code();
    sandbox.public().login(&login_code).await.assert_status(200);
    let refused = phone(&sandbox, "devtools", &login_code).await;
    refused.assert_problem(400, "invalid_phone_code", "ask_again");
    for (script, code_of_problem) in [
        ("error-40029", "invalid_phone_code"),
        ("incomplete", "upstream_invalid"),
        ("hang", "upstream_timeout"),
    ] {
        set(&sandbox, json!({"call": "phone_number", "script": script})).await;
        let answer = phone(&sandbox, "devtools", &code()).await;
        assert_eq!(answer.json()["code"], code_of_problem, "{}", answer.text);
        phone(&sandbox, "devtools", &code())
            .await
            .assert_status(200);
    }
}

#[tokio::test]
async fn rules_for_calls_without_a_code_and_for_every_request() {
    let sandbox = Sandbox::start();
    log_in(&sandbox).await;
    set(
        &sandbox,
        json!({"call": "access_token", "script": "error-40164"}),
    )
    .await;
    let refused = phone(&sandbox, "devtools", &"a".repeat(64)).await;
    assert_eq!(refused.json()["errcode"], 40164, "{}", refused.text);
    set(
        &sandbox,
        json!({"call": "session_key", "script": "garbage"}),
    )
    .await;
    let token = sandbox.value("INTERNAL_TOKEN");
    let bearer = format!("Bearer {token}");
    let path = format!("/users/{APPID}/{}/session_key", openid("devtools"));
    // A failed fetch of the access_token is remembered for ten seconds.
    let forward = sandbox.call(Method::POST, "/sandbox/clock", Some(json!({"forward": 11})));
    forward.await.assert_status(200);
    let headers = [("authorization", &*bearer)];
    for status in [502, 200] {
        let valid = sandbox.internal().send(Method::GET, &path, &headers).await;
        valid.assert_status(status);
    }

    let all = |probability| json!({"call": "all", "script": "error-45011", "times": null, "probability": probability});
    set(&sandbox, all(1)).await;
    for answer in [
        log_in(&sandbox).await,
        sandbox.public().login("user-bob").await,
    ] {
        answer.assert_problem(429, "rate_limited", "retry_later");
    }
    set(&sandbox, all(0)).await;
    sandbox
        .public()
        .login("user-bob.2")
        .await
        .assert_status(200);
}

#[tokio::test]
async fn a_rule_that_cannot_be_is_refused_in_a_sentence() {
    let sandbox = Sandbox::start();
    for wrong in [
        json!({}),
        json!({"script": "hang", "answer": {}}),
        json!({"script": "nonsense"}),
        json!({"script": "error-0"}),
        json!({"script": "busy-2"}),
        json!({"script": "phone-alice"}),
        json!({"script": "user-alice", "call": "phone_number"}),
        json!({"script": "user-alice", "call": "all"}),
        json!({"script": "hang", "call": "logins"}),
        json!({"script": "hang", "times": 0}),
        json!({"script": "hang", "probability": 2}),
        json!({"script": "hang", "time": 1}),
    ] {
        let text = wrong.to_string();
        let answer = sandbox
            .call(Method::PUT, "/sandbox/next", Some(wrong))
            .await;
        assert!(answer.status.is_client_error(), "{text}");
        assert!(
            answer.json()["detail"].is_string(),
            "{text}: {}",
            answer.text
        );
    }
    assert_eq!(rules(&sandbox).await, json!([]));
}
