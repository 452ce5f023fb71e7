//! The sandbox's page and its controls over HTTP, as a team's own end-to-end tests use them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::Answer;
use crate::fake_wechat::{APPID, openid};
use crate::sandbox_process::Sandbox;

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
async fn both_sides_of_a_request_are_shown_together_without_secrets() {
    let sandbox = Sandbox::start();
    let public = sandbox.public();
    let devtools = "0a1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p";
    let token = public.token(devtools).await;
    public.session(&token).await.assert_status(200);
    public.get(&format!("/{token}")).await.assert_status(404);
    log_in(&sandbox, "busy-1").await.assert_status(200);
    let number = post(
        &sandbox,
        "/sandbox/phone_numbers",
        json!({"name": "devtools"}),
    )
    .await;
    let number = number.assert_status(200).json()["phoneNumber"].clone();

    let state = state(&sandbox).await;
    let to_wxlogin = state["requests_to_wxlogin"].as_array().unwrap();
    let to_wechat = state["requests_to_wechat"].as_array().unwrap();
    let asked_for = |path: &str, code: Option<&str>| -> Vec<&Value> {
        let starts = |request: &&Value| {
            let code_of = request["login_code"].as_str();
            request["request"] == path
                && code.is_none_or(|code| code_of.is_some_and(|it| it.starts_with(code)))
        };
        let request = to_wxlogin
            .iter()
            .find(starts)
            .unwrap_or_else(|| panic!("{path}: {state:#}"));
        let asked = to_wechat
            .iter()
            .filter(|asked| asked["for_request"] == request["id"]);
        asked.collect()
    };
    let login = asked_for("GET /onLogin", Some("…"));
    assert_eq!(login.len(), 1);
    assert_eq!(login[0]["request"], "GET /sns/jscode2session");
    let busy = asked_for("GET /onLogin", Some("busy-1."));
    let errcodes: Vec<_> = busy.iter().map(|asked| &asked["errcode"]).collect();
    assert_eq!(errcodes, [&Value::Null, &json!(-1)], "the newest first");
    assert_eq!(asked_for("GET /session", None).len(), 0);
    assert_eq!(asked_for("GET /…", None).len(), 0);
    let phone = asked_for("POST /users/…/…/phone", Some("phone-devtools."));
    let calls: Vec<_> = phone
        .iter()
        .map(|asked| asked["request"].as_str().unwrap())
        .collect();
    assert_eq!(
        calls,
        [
            "POST /wxa/business/getuserphonenumber",
            "POST /cgi-bin/stable_token"
        ]
    );

    let page = sandbox.page().get("/").await.text;
    let live = sandbox.page().get("/live").await.text;
    let secrets = [devtools, &token, number.as_str().unwrap(), "t0ken"];
    for text in [&page, &live, &state.to_string()] {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
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
        json!({"script": "user alice"}),
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
async fn the_switch_makes_wechat_refuse_and_reset_forgets_everything() {
    let sandbox = Sandbox::start();
    let switch = async |body| {
        sandbox
            .call(Method::PUT, "/sandbox/failures", Some(body))
            .await
    };
    let token = sandbox.public().token("user-alice").await;
    switch(json!({"errcode": 45011, "probability": 1}))
        .await
        .assert_status(204);
    log_in(&sandbox, "user-bob")
        .await
        .assert_problem(429, "rate_limited", "retry_later");
    sandbox.public().session(&token).await.assert_status(200);
    switch(json!({"errcode": 45011, "probability": 0}))
        .await
        .assert_status(204);
    log_in(&sandbox, "user-bob").await.assert_status(200);
    for wrong in [
        json!({"errcode": 1, "probability": 2}),
        json!({"errcode": 0, "probability": 1}),
    ] {
        switch(wrong).await.assert_status(400);
    }
    switch(json!({"errcode": 40029, "probability": 1}))
        .await
        .assert_status(204);
    sandbox
        .call(Method::DELETE, "/sandbox/failures", None)
        .await
        .assert_status(204);
    log_in(&sandbox, "user-bob").await.assert_status(200);

    switch(json!({"errcode": 45011, "probability": 1}))
        .await
        .assert_status(204);
    sandbox
        .call(Method::POST, "/sandbox/reset", None)
        .await
        .assert_status(204);
    let state = state(&sandbox).await;
    for emptied in ["users", "requests_to_wxlogin", "requests_to_wechat"] {
        assert_eq!(state[emptied], json!([]), "{emptied}");
    }
    assert_eq!(state["failures"], Value::Null);
    sandbox.public().session(&token).await.assert_status(401);
    // A code that was used before.
    sandbox
        .public()
        .login("user-alice")
        .await
        .assert_status(200);
}
