//! The sandbox's page and its controls over HTTP, as a team's own end-to-end tests use them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_wechat::{APPID, openid};
use crate::support::client::Answer;
use crate::support::sandbox_process::Sandbox;

async fn post(sandbox: &Sandbox, path: &str, body: Value) -> Answer {
    sandbox.call(Method::POST, path, Some(body)).await
}

async fn log_in(sandbox: &Sandbox, script: &str) -> Answer {
    post(sandbox, "/sandbox/logins", json!({"script": script})).await
}

async fn state(sandbox: &Sandbox) -> Value {
    sandbox.page().get("/sandbox").await.json()
}

#[tokio::test]
async fn a_user_who_logs_in_is_shown_with_living_sessions_and_the_newest_session_key() {
    let sandbox = Sandbox::start();
    let first = log_in(&sandbox, "user-alice").await;
    let first = first.assert_status(200).json()["token"].clone();
    log_in(&sandbox, "user-alice").await.assert_status(200);
    log_in(&sandbox, "guest-bob").await.assert_status(200);
    sandbox.public().end(first.as_str().unwrap()).await;

    let state = state(&sandbox).await;
    let users = state["users"].as_array().unwrap();
    let [bob, alice] = users.as_slice() else {
        panic!("{state:#}");
    };
    assert_eq!(alice["name"], "alice");
    assert_eq!(alice["openid"], openid("alice"));
    assert_eq!(alice["newest_session_key"], 2);
    let sessions = alice["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1, "one is ended: {state:#}");
    assert_eq!(sessions[0]["session_key"], 2);
    assert_eq!(
        (&bob["name"], &bob["unionid"]),
        (&"bob".into(), &Value::Null)
    );
    // A login by another program with the same AppID.
    let base = sandbox.value("WECHAT_API_BASE");
    let secret = sandbox.value("WECHAT_SECRET");
    let url = format!(
        "{base}/sns/jscode2session?appid={APPID}&secret={secret}&js_code=user-alice.e&grant_type=authorization_code"
    );
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    http.get(url).send().await.unwrap();
    let state = self::state(&sandbox).await;
    let elsewhere = &state["requests_to_wechat"][0];
    assert_eq!(elsewhere["login_code"], "user-alice.e", "{state:#}");
    assert_eq!(elsewhere["for_request"], Value::Null, "{state:#}");
    let alice = state["users"][0].clone();
    assert_eq!(alice["newest_session_key"], 3, "{alice:#}");
    assert_eq!(alice["sessions"][0]["session_key"], 2);
}

#[tokio::test]
async fn scripted_failures_can_be_asked_for_again_and_again() {
    let sandbox = Sandbox::start();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = sandbox.value("WECHAT_API_BASE");
    let secret = sandbox.value("WECHAT_SECRET");
    let ask = async |code: &str| {
        let url = format!(
            "{base}/sns/jscode2session?appid={APPID}&secret={secret}&js_code={code}&grant_type=authorization_code"
        );
        http.get(url).send().await.unwrap().text().await.unwrap()
    };
    for code in [
        "error-40029",
        "error-45011.x",
        "garbage",
        "empty",
        "html-502",
    ] {
        let first = ask(code).await;
        assert_eq!(ask(code).await, first, "{code}");
    }
    for _ in 0..2 {
        assert!(ask("busy-used").await.contains("-1"));
        assert!(ask("busy-used").await.contains("40163"));
    }
    // A login uses its code up, as WeChat's does.
    assert!(ask("user-alice").await.contains("openid"));
    assert!(ask("user-alice").await.contains("40163"));
    for _ in 0..3 {
        log_in(&sandbox, "error-40029")
            .await
            .assert_problem(400, "invalid_code", "login_again");
    }
}

#[tokio::test]
async fn codes_are_fresh_and_come_with_a_curl_line() {
    let sandbox = Sandbox::start();
    let mut codes = std::collections::HashSet::new();
    for _ in 0..3 {
        let made = post(&sandbox, "/sandbox/codes", json!({"script": "user-alice"}))
            .await
            .json();
        let code = made["code"].as_str().unwrap().to_owned();
        let addr = sandbox.public().addr;
        assert_eq!(
            made["curl"],
            format!("curl 'http://{addr}/onLogin?code={code}'")
        );
        sandbox.public().login(&code).await.assert_status(200);
        codes.insert(code);
    }
    assert_eq!(codes.len(), 3);
    let phone = post(&sandbox, "/sandbox/phone_codes", json!({"name": "alice"}))
        .await
        .json();
    assert!(phone["code"].as_str().unwrap().starts_with("phone-alice."));
    assert!(phone["curl"].as_str().unwrap().contains("/phone -d "));
    let refused = json!({"name": "alice", "script": "error-40029"});
    let refused = post(&sandbox, "/sandbox/phone_numbers", refused).await;
    refused.assert_problem(400, "invalid_phone_code", "ask_again");
    for wrong in [
        json!({"script": "alice"}),
        json!({"script": ""}),
        json!({"script": "a.b"}),
        json!({"name": "alice"}),
        json!([]),
    ] {
        let answer = post(&sandbox, "/sandbox/codes", wrong).await;
        assert!(answer.status.is_client_error(), "{}", answer.text);
        assert!(answer.json()["detail"].is_string(), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_name_can_have_any_characters() {
    let sandbox = Sandbox::start();
    for name in ["张三", "a b", "\"'><", "user-x"] {
        let answer = log_in(&sandbox, &format!("guest-{name}")).await;
        let login = answer.assert_status(200).json();
        assert_eq!(login["openid"], openid(name), "{name}");
        let number = post(&sandbox, "/sandbox/phone_numbers", json!({"name": name})).await;
        number.assert_status(200);
        let state = state(&sandbox).await;
        assert_eq!(state["users"][0]["name"], name, "{state:#}");
        let shown = state["requests_to_wxlogin"][1]["login_code"].as_str();
        let shown = shown.unwrap().starts_with(&format!("guest-{name}."));
        assert!(shown, "{state:#}");
    }
    for wrong in [
        "user-",
        "user- ",
        "user-a\nb",
        &format!("user-{}", "x".repeat(33)),
    ] {
        log_in(&sandbox, wrong).await.assert_status(400);
    }
}

#[tokio::test]
async fn whoever_logs_in_again_has_a_unionid_if_he_had_one_before() {
    let sandbox = Sandbox::start();
    for script in ["user-alice", "guest-bob", "guest-李四"] {
        let first = log_in(&sandbox, script).await.json();
        let path = format!(
            "/sandbox/users/{}/logins",
            first["openid"].as_str().unwrap()
        );
        let again = sandbox.call(Method::POST, &path, None).await;
        let again = again.assert_status(200).json();
        assert_eq!(again["openid"], first["openid"], "{script}");
        assert_eq!(again.get("unionid"), first.get("unionid"), "{script}");
    }
    let nobody = sandbox.call(Method::POST, "/sandbox/users/oNobody/logins", None);
    nobody.await.assert_status(404);
}

#[tokio::test]
async fn reset_forgets_everything() {
    let sandbox = Sandbox::start();
    let token = sandbox.public().token("user-alice").await;
    let rule = json!({"call": "all", "script": "error-45011", "times": null});
    let rule = sandbox.call(Method::PUT, "/sandbox/next", Some(rule)).await;
    rule.assert_status(204);
    post(&sandbox, "/sandbox/clock", json!({"forward": 60})).await;
    let reset = sandbox.call(Method::POST, "/sandbox/reset", None).await;
    reset.assert_status(204);
    let state = state(&sandbox).await;
    for emptied in ["users", "requests_to_wxlogin", "requests_to_wechat", "next"] {
        assert_eq!(state[emptied], json!([]), "{emptied}");
    }
    assert_eq!(state["clock_ahead"], 0);
    sandbox.public().session(&token).await.assert_status(401);
    // A code that was used before.
    sandbox
        .public()
        .login("user-alice")
        .await
        .assert_status(200);
}
