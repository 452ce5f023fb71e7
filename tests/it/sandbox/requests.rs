//! The requests that the sandbox shows: both sides together, without secrets, and each with its details.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_wechat::openid;
use crate::support::client::Answer;
use crate::support::sandbox_process::Sandbox;

async fn post(sandbox: &Sandbox, path: &str, body: Value) -> Answer {
    sandbox.call(Method::POST, path, Some(body)).await
}

async fn state(sandbox: &Sandbox) -> Value {
    sandbox.page().get("/sandbox").await.json()
}

#[tokio::test]
async fn both_sides_of_a_request_are_shown_together_without_secrets() {
    let sandbox = Sandbox::start();
    let public = sandbox.public();
    let devtools = "0a1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p";
    let token = public.token(devtools).await;
    public.session(&token).await.assert_status(200);
    public.get(&format!("/{token}")).await.assert_status(404);
    let login = json!({"script": "busy-1"});
    post(&sandbox, "/sandbox/logins", login)
        .await
        .assert_status(200);
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
async fn a_request_opens_without_secrets_and_on_request_with_them() {
    let sandbox = Sandbox::start();
    let token = sandbox.public().token("user-alice").await;
    sandbox.public().session(&token).await.assert_status(200);
    let state = state(&sandbox).await;
    let [session, login] = [0, 1].map(|at| state["requests_to_wxlogin"][at]["id"].clone());
    let open = async |id: &Value, query: &str| {
        let path = format!("/sandbox/requests/{id}{query}");
        sandbox.page().get(&path).await.assert_status(200).json()
    };
    let shown = open(&session, "").await;
    assert_eq!(shown["user"], openid("alice"), "{shown:#}");
    assert!(shown["request_id"].is_string(), "{shown:#}");
    assert!(!shown.to_string().contains(&token), "{shown:#}");
    let with_token = open(&session, "?secrets=true").await["curl"].to_string();
    assert!(with_token.contains(&token), "{with_token}");

    let shown = open(&login, "").await;
    let secret = sandbox.value("WECHAT_SECRET");
    for secret in [&*token, &secret, "session_key\\\":\\\"5"] {
        assert!(!shown.to_string().contains(secret), "{secret} in {shown:#}");
    }
    assert_eq!(shown["to_wechat"][0]["request"], "GET /sns/jscode2session");
    let with_secrets = open(&login, "?secrets=true").await;
    assert!(
        with_secrets["response_body"]
            .as_str()
            .unwrap()
            .contains(&token)
    );
    let url = with_secrets["to_wechat"][0]["url"].as_str().unwrap();
    assert!(url.contains(&secret), "{url}");
    sandbox
        .page()
        .get("/sandbox/requests/77")
        .await
        .assert_status(404);
}
