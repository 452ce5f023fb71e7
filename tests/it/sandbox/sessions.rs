//! Sessions in the sandbox: ended, expired, with the settings of the service; and its clock.

use std::process::Stdio;

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_wechat::openid;
use crate::support::sandbox_process::{Sandbox, command, ended_in_time};

/// The ids of the sessions of the user who logged in last, the newest first.
async fn sessions(sandbox: &Sandbox) -> Vec<Value> {
    let state = sandbox.page().get("/sandbox").await.json();
    let sessions = state["users"][0]["sessions"].as_array().unwrap();
    sessions
        .iter()
        .map(|session| session["id"].clone())
        .collect()
}

async fn statuses(sandbox: &Sandbox, tokens: &[String]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for token in tokens {
        statuses.push(sandbox.public().session(token).await.status.as_u16());
    }
    statuses
}

async fn log_in(sandbox: &Sandbox, codes: &[&str]) -> Vec<String> {
    let mut tokens = Vec::new();
    for code in codes {
        tokens.push(sandbox.public().token(code).await);
    }
    tokens
}

#[tokio::test]
async fn one_session_ends_or_all_of_a_user() {
    let sandbox = Sandbox::start();
    let tokens = log_in(
        &sandbox,
        &["user-bob", "user-alice", "user-alice.2", "user-alice.3"],
    )
    .await;
    let ids = sessions(&sandbox).await;
    let path = format!("/sandbox/sessions/{}", ids[1]);
    let end = sandbox.call(Method::DELETE, &path, None).await;
    end.assert_status(204);
    assert_eq!(statuses(&sandbox, &tokens).await, [200, 200, 401, 200]);
    let path = format!("/sandbox/users/{}/sessions", openid("alice"));
    let end_all = sandbox.call(Method::DELETE, &path, None).await;
    end_all.assert_status(204);
    assert_eq!(statuses(&sandbox, &tokens).await, [200, 401, 401, 401]);
    for path in ["/sandbox/sessions/77", "/sandbox/users/oNobody/sessions"] {
        sandbox
            .call(Method::DELETE, path, None)
            .await
            .assert_status(404);
    }
}

#[tokio::test]
async fn a_session_expires_with_those_that_are_older_and_a_new_one_has_its_whole_life() {
    let sandbox = Sandbox::of(command(&[]).env("SESSION_TTL", "1h"));
    let mut tokens = log_in(&sandbox, &["user-alice"]).await;
    let forward = sandbox.call(
        Method::POST,
        "/sandbox/clock",
        Some(json!({"forward": 600})),
    );
    assert_eq!(forward.await.assert_status(200).json()["clock_ahead"], 600);
    tokens.extend(log_in(&sandbox, &["user-alice.2"]).await);
    let [second, first] = sessions(&sandbox).await.try_into().unwrap();
    let expire = async |id| {
        let path = format!("/sandbox/sessions/{id}/expire");
        let answer = sandbox.call(Method::POST, &path, None).await;
        answer.assert_status(200).json()["clock_ahead"]
            .as_u64()
            .unwrap()
    };
    let ahead = expire(first).await;
    assert!((3595..=3601).contains(&ahead), "{ahead}");
    assert_eq!(statuses(&sandbox, &tokens).await, [401, 200]);
    expire(second).await;
    assert_eq!(statuses(&sandbox, &tokens).await, [401, 401]);
    let login = sandbox.public().login("user-alice.3").await.json();
    assert_eq!(login["expires_in"], 3600);
}

#[tokio::test]
async fn the_data_to_decrypt_fits_the_newest_key_at_any_time() {
    let sandbox = Sandbox::start();
    let token = sandbox.public().token("user-alice").await;
    sandbox.public().token("user-alice.2").await;
    // USERDATA_MAX_AGE is ten minutes.
    let forward = sandbox.call(
        Method::POST,
        "/sandbox/clock",
        Some(json!({"forward": 3600})),
    );
    forward.await.assert_status(200);
    let path = format!("/sandbox/users/{}/encrypted_data", openid("alice"));
    let data = sandbox.call(Method::POST, &path, None).await;
    let data = data.assert_status(200).json();
    let opened = sandbox
        .public()
        .post("/session/decrypt", &token, data.to_string())
        .await;
    assert_eq!(opened.assert_status(200).json()["openId"], openid("alice"));
    let verified = sandbox
        .public()
        .post("/session/verify", &token, data.to_string())
        .await;
    verified.assert_status(204);
}

#[tokio::test]
async fn the_pause_after_errcode_45009_is_said_and_can_be_ended() {
    let sandbox = Sandbox::start();
    let pause = async || sandbox.page().get("/sandbox").await.json()["quota_pause"].clone();
    assert_eq!(pause().await, Value::Null);
    sandbox
        .public()
        .login("error-45009")
        .await
        .assert_status(503);
    let held = sandbox.public().login("user-alice").await;
    held.assert_problem(503, "quota_exhausted", "retry_later");
    assert!(pause().await.as_u64().unwrap() > 0);
    let end = sandbox.call(Method::DELETE, "/sandbox/quota_pause", None);
    end.await.assert_status(200);
    assert_eq!(pause().await, Value::Null);
    sandbox
        .public()
        .login("user-alice.2")
        .await
        .assert_status(200);
}

#[test]
fn settings_of_the_service_are_obeyed_or_refused_but_for_what_the_sandbox_sets_itself() {
    let foreign = [
        ("WECHAT_APPID", "wx1111111111111111"),
        ("SESSION_STORE", "redis://nobody.invalid"),
        ("INTERNAL_TOKEN", "short"),
    ];
    let sandbox = Sandbox::of(command(&[]).envs(foreign));
    for (name, _) in foreign {
        let said = format!("{name} has no effect here");
        assert!(sandbox.printed.contains(&said), "{}", sandbox.printed);
    }
    let mut child = command(&[])
        .env("SESSION_TTL", "soon")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(ended_in_time(&mut child), Some(2));
}
