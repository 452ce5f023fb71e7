//! The internal listener as the team's backend uses it: authentication, refused requests, signatures, and the end
//! of a user's sessions.

use proptest::prelude::ProptestConfig;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wxlogin::Problem;

use crate::fake_wechat::{
    APPID, FakeWechat, OTHER_APPID, OTHER_SECRET, SECRET, hmac_sign, openid, session_key,
};
use crate::support::app::{ManualClock, TestApp, vars};
use crate::support::backend::{Backend, OPEN, TOKEN, start};
use crate::support::client::Answer;
use crate::support::process::Process;
use crate::support::redis_server::RedisServer;

/// All paths of the backend, each with its method.
fn paths() -> [(Method, String); 6] {
    let user = format!("/users/{APPID}/{}", openid("alice"));
    [
        (Method::POST, format!("{user}/phone")),
        (Method::POST, format!("{user}/sign")),
        (Method::GET, format!("{user}/session_key")),
        (Method::GET, format!("{user}/sessions")),
        (Method::DELETE, format!("{user}/sessions")),
        (Method::GET, format!("/access_token/{APPID}")),
    ]
}

#[tokio::test]
async fn the_backends_paths_exist_on_the_internal_listener_alone_and_with_a_token_alone() {
    let closed = TestApp::with(&[("INTERNAL_ACCESS_TOKEN", "on")]).await;
    let open = TestApp::with(&[("INTERNAL_TOKEN", TOKEN)]).await;
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    for (method, path) in paths() {
        for listener in [&closed.internal, &closed.client, &open.client] {
            let answer = listener.send(method.clone(), &path, &headers).await;
            answer.assert_problem(404, "not_found", "fix_request");
        }
        let answer = open.internal.send(method, &path, &headers).await;
        let exists = !path.starts_with("/access_token");
        assert_eq!(answer.status != 404, exists, "{path}: {}", answer.text);
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        closed.internal.get(path).await.assert_status(200);
        open.internal.get(path).await.assert_status(200);
    }
}

#[tokio::test]
async fn only_one_of_the_tokens_opens_the_internal_listener() {
    let tokens = format!("{TOKEN}, another-internal-token");
    let settings = [
        ("INTERNAL_TOKEN", &*tokens),
        ("INTERNAL_ACCESS_TOKEN", "on"),
    ];
    let app = TestApp::with(&settings).await;
    let session = app.client.token("user-alice").await;
    for (method, path) in paths() {
        for authorization in [
            None,
            Some("Bearer "),
            Some("Bearer internal-token-of-test"),
            Some("Bearer internal-token-of-testsx"),
            Some("Bearer Internal-token-of-tests"),
            Some(&*format!("Bearer {tokens}")),
            Some(&*format!("Bearer {session}")),
            Some(&*format!("Basic {TOKEN}")),
            Some(TOKEN),
        ] {
            let headers: Vec<_> = authorization
                .map(|it| ("authorization", it))
                .into_iter()
                .collect();
            let answer = app.internal.send(method.clone(), &path, &headers).await;
            answer.assert_problem(401, "invalid_internal_token", "fix_request");
        }
        let twice = format!("Bearer {TOKEN}");
        let twice = [("authorization", &*twice), ("authorization", &*twice)];
        let answer = app.internal.send(method, &path, &twice).await;
        answer.assert_problem(401, "invalid_internal_token", "fix_request");
    }
    // Also with a method that the path does not have. A path that does not exist is 404 without a token.
    let bearer = format!("Bearer {TOKEN}");
    let sign = format!("/users/{APPID}/{}/sign", openid("alice"));
    for path in [&*sign, &format!("/access_token/{APPID}")] {
        for method in [Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = app.internal.send(method.clone(), path, &[]).await;
            answer.assert_problem(401, "invalid_internal_token", "fix_request");
            let headers = [("authorization", &*bearer)];
            let answer = app.internal.send(method, path, &headers).await;
            answer.assert_problem(405, "method_not_allowed", "fix_request");
            assert!(answer.header("allow").is_some());
        }
    }
    let answer = app.internal.send(Method::PUT, "/metrics", &[]).await;
    answer.assert_problem(405, "method_not_allowed", "fix_request");
    for path in ["/users", "/access_token", &format!("{sign}/x"), "/onLogin"] {
        let answer = app.internal.get(path).await;
        answer.assert_problem(404, "not_found", "fix_request");
    }
    assert_eq!(app.wechat.access_token_requests(), 0);
    app.client.session(&session).await.assert_status(200);
    for token in [TOKEN, "another-internal-token"] {
        let bearer = format!("bearer  {token}");
        let headers = [("authorization", bearer.as_str())];
        let path = format!("/access_token/{APPID}");
        app.internal
            .send(Method::GET, &path, &headers)
            .await
            .assert_status(200);
    }
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "tables")]
async fn what_a_backend_does_wrong_is_told_and_never_reaches_wechat() {
    let app = start(&[]).await;
    let alice = openid("alice");
    let long = "o".repeat(129);
    let post = async |path: &str, body: &str| app.internal.post(path, TOKEN, body.to_owned()).await;
    for action in ["phone", "sign"] {
        let body = [r#"{"code": "phone-alice"}"#, r#"{"data": ""}"#][usize::from(action == "sign")];
        let answer = post(&format!("/users/wx1/{alice}/{action}"), body).await;
        answer.assert_problem(404, "unknown_app", "fix_request");
        for (user, code) in [
            (format!("%FF/{alice}"), "malformed_openid"),
            (format!("{APPID}/{long}"), "malformed_openid"),
            (format!("{APPID}/o%20x"), "malformed_openid"),
            (format!("{APPID}/o%0A"), "malformed_openid"),
            (format!("{APPID}/%C3%A9"), "malformed_openid"),
            (format!("{APPID}/%FF"), "malformed_openid"),
        ] {
            let answer = post(&format!("/users/{user}/{action}"), body).await;
            answer.assert_problem(400, code, "fix_request");
        }
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#"["x"]"#,
            r#"{"code":7,"data":7}"#,
            "{",
            "\u{feff}{}",
        ] {
            let answer = post(&format!("/users/{APPID}/{alice}/{action}"), body).await;
            answer.assert_problem(400, "malformed_body", "fix_request");
        }
        let large = format!(r#"{{"code":"x","data":"{}"}}"#, "x".repeat(65_536));
        let answer = post(&format!("/users/{APPID}/{alice}/{action}"), &large).await;
        answer.assert_problem(413, "body_too_large", "fix_request");
    }
    let long = "x".repeat(257);
    for code in [
        "",
        "undefined",
        "null",
        "a b",
        "\"x\"",
        "<x>",
        "%22x%22",
        "é",
        &long,
    ] {
        let answer = Backend::of(&app).phone("alice", code).await;
        answer.assert_problem(400, "malformed_code", "fix_request");
    }
    let mock = Backend::of(&app)
        .phone("alice", "the code is a mock one")
        .await;
    mock.assert_problem(400, "mock_code", "fix_request");
    let backend = Backend::of(&app);
    for (method, path, code) in [
        (Method::GET, "/access_token/wx1".to_owned(), "unknown_app"),
        (Method::GET, "/access_token/%FF".to_owned(), "unknown_app"),
        (
            Method::GET,
            format!("/users/wx1/{alice}/session_key"),
            "unknown_app",
        ),
        (
            Method::DELETE,
            format!("/users/wx1/{alice}/sessions"),
            "unknown_app",
        ),
        (
            Method::DELETE,
            format!("/users/{APPID}/o%20x/sessions"),
            "malformed_openid",
        ),
    ] {
        let answer = backend.ask(method, &path).await;
        let status = if code == "unknown_app" { 404 } else { 400 };
        answer.assert_problem(status, code, "fix_request");
    }
    for (method, path, allow) in [
        (Method::GET, format!("/users/{APPID}/{alice}/phone"), "POST"),
        (
            Method::POST,
            format!("/users/{APPID}/{alice}/session_key"),
            "GET,HEAD",
        ),
        (
            Method::POST,
            format!("/users/{APPID}/{alice}/sessions"),
            "GET,HEAD,DELETE",
        ),
        (Method::POST, format!("/access_token/{APPID}"), "GET,HEAD"),
    ] {
        let answer = backend.ask(method, &path).await;
        answer.assert_problem(405, "method_not_allowed", "fix_request");
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
    }
    assert_eq!(
        app.wechat.access_token_requests() + app.wechat.requests(),
        0
    );
}

/// Lets a user log in whose `session_key` is this base64 text.
async fn log_in_with_key(app: &TestApp, name: &str, key: &str) {
    let code = format!("user-{name}.{}", key.len());
    let body = json!({"openid": openid(name), "session_key": key}).to_string();
    app.wechat.script(&code, &body);
    app.client.token(&code).await;
}

#[tokio::test]
async fn signatures_are_those_that_wechat_documents() {
    let app = start(&[]).await;
    let first = "9hAb/NEYUlkaMBEsmFgzig==";
    log_in_with_key(&app, "one", first).await;
    log_in_with_key(&app, "two", "o0q0otL8aEzpcZL/FT9WsQ==").await;
    for (user, data, signature) in [
        (
            "one",
            r#"{"openid": "xxx", "user_ip": "127.0.0.1", "env": 0}"#,
            "089d9e8dc5d308977360c4b79ec600a93d736802802a807d634192328032f6c7",
        ),
        (
            "one",
            r#"{"offer_id": "12345678", "openid": "oUrsfxxxxxxxxxx", "ts": 1668136271, "zone_id": "1", "env": 0}"#,
            "42fe1d3341fb1c8bd6f5014ba735ab04eacc80a2deb3ab4669eab4700b5b6729",
        ),
        (
            "one",
            "",
            "1f7605aea24c0785899e51bc4c483167a20ea7b0f5f36cfd398e89cb21c91e9c",
        ),
        (
            "two",
            r#"{"foo":"bar"}"#,
            "654571f79995b2ce1e149e53c0a33dc39c0a74090db514261454e8dbe432aa0b",
        ),
    ] {
        let answer = Backend::of(&app).sign(user, data).await;
        answer.assert_status(200);
        assert_eq!(answer.json(), json!({"signature": signature}), "{data}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn the_newest_session_key_signs_if_there_is_a_living_session() {
    let app = start(&[("SESSION_TTL", "100s")]).await;
    let backend = Backend::of(&app);
    let none = backend.sign("alice", "{}").await;
    none.assert_problem(409, "no_session_key", "login_again");
    let first = app.client.token("user-alice").await;
    let second = app.client.token("user-alice.2").await;
    let newest = hmac_sign(&session_key("user-alice.2"), "{}");
    assert_eq!(
        backend.sign("alice", "{}").await.json()["signature"],
        *newest
    );
    app.client.end(&second).await.assert_status(204);
    assert_eq!(
        backend.sign("alice", "{}").await.json()["signature"],
        *newest
    );
    app.client.end(&first).await.assert_status(204);
    let ended = backend.sign("alice", "{}").await;
    ended.assert_problem(409, "no_session_key", "login_again");

    let token = app.client.token("user-bob").await;
    let wrong = (
        "AAAAAAAAAAAAAAAAAAAAAA==".to_owned(),
        "AAAAAAAAAAAAAAAAAAAAAA==".to_owned(),
    );
    for _ in 0..10 {
        app.client.decrypt(&token, &wrong).await.assert_status(422);
    }
    let dropped = backend.sign("bob", "{}").await;
    dropped.assert_problem(409, "no_session_key", "login_again");
    app.client.token("user-carol").await;
    app.clock.forward(100);
    let expired = backend.sign("carol", "{}").await;
    expired.assert_problem(409, "no_session_key", "login_again");
    assert_eq!(
        app.wechat.access_token_requests(),
        0,
        "a signature needs no access_token"
    );
}

#[tokio::test]
async fn wechat_is_asked_whether_a_session_key_is_valid() {
    let app = start(&[]).await;
    let backend = Backend::of(&app);
    assert_eq!(
        backend.session_key("alice").await.json(),
        json!({"valid": false})
    );
    assert_eq!(
        app.wechat.access_token_requests(),
        0,
        "there is no key to ask about"
    );
    app.client.token("user-alice").await;
    assert_eq!(
        backend.session_key("alice").await.json(),
        json!({"valid": true})
    );
    app.wechat.replace_key(&openid("alice"));
    assert_eq!(
        backend.session_key("alice").await.json(),
        json!({"valid": false})
    );
    app.client.token("user-alice.2").await;
    assert_eq!(
        backend.session_key("alice").await.json(),
        json!({"valid": true})
    );
}

#[tokio::test]
async fn a_malformed_body_names_the_field_and_what_belongs_there() {
    let app = start(&[]).await;
    let session = app.client.token("user-alice").await;
    let backend = |action: &str| format!("/users/{APPID}/{}/{action}", openid("alice"));
    let long = format!("{{\"{}\":1}}", "x".repeat(60_000));
    for (path, body, told) in [
        (
            "sign",
            r#"{"data":{"offerId":"1"}}"#,
            "data: invalid type: map, expected a string",
        ),
        (
            "sign",
            r#"{"data":null}"#,
            "data: invalid type: null, expected a string",
        ),
        (
            "sign",
            r#"{"date":"x"}"#,
            "unknown field `date`, expected `data`",
        ),
        (
            "sign",
            r#"{"data":"x","appid":"y"}"#,
            "unknown field `appid`, expected `data`",
        ),
        ("sign", "{}", "missing field `data`"),
        (
            "sign",
            r#"{"data":"x","data":"y"}"#,
            "duplicate field `data`",
        ),
        ("sign", r#"{"data":"x"} {}"#, "trailing characters"),
        ("sign", r#"{"data":"x"#, "EOF while parsing a string"),
        ("sign", r#"["x"]"#, "it is no object"),
        ("sign", &long, "xxx"),
        (
            "phone",
            r#"{"code":7}"#,
            "code: invalid type: integer `7`, expected a string",
        ),
        (
            "/session/decrypt",
            r#"{"encryptedData":"x"}"#,
            "missing field `iv`",
        ),
        (
            "/session/verify",
            r#"{"rawData":{},"signature":"x"}"#,
            "rawData: invalid type: map, expected a string",
        ),
    ] {
        let (listener, token, path) = if path.starts_with('/') {
            (&app.client, &*session, path.to_owned())
        } else {
            (&app.internal, TOKEN, backend(path))
        };
        let answer = listener.post(&path, token, body.to_owned()).await;
        answer.assert_problem(400, "malformed_body", "fix_request");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains(told) && detail.len() < 300,
            "{body}: {detail}"
        );
    }
    // A Mini Program posts whole events.
    let event = r#"{"encryptedData":"x","iv":"y","errMsg":"getUserInfo:ok","cloudID":{}}"#;
    let answer = app.client.post("/session/decrypt", &session, event).await;
    answer.assert_problem(422, "undecryptable", "login_again");
}

#[tokio::test]
async fn a_route_that_is_off_names_the_setting_that_switches_it_on() {
    let user = format!("/users/{APPID}/o1/sign");
    let (token, call) = (
        format!("/access_token/{APPID}"),
        format!("/wechat/{APPID}/wxa/x"),
    );
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    for (settings, rows) in [
        (
            &[("INTERNAL_ACCESS_TOKEN", "on")][..],
            &[
                (&user, "INTERNAL_TOKEN switches"),
                (&token, "INTERNAL_TOKEN switches"),
                (&call, "INTERNAL_TOKEN switches"),
            ][..],
        ),
        (
            &[("INTERNAL_TOKEN", TOKEN)],
            &[
                (&token, "INTERNAL_ACCESS_TOKEN=on switches"),
                (&call, "INTERNAL_WECHAT_PATHS"),
            ],
        ),
        (&OPEN, &[(&call, "INTERNAL_WECHAT_PATHS")]),
    ] {
        let app = TestApp::with(settings).await;
        for (path, told) in rows {
            let answer = app.internal.send(Method::GET, path, &headers).await;
            assert!(
                matches!(answer.status.as_u16(), 403 | 404),
                "{}",
                answer.text
            );
            assert!(answer.text.contains(told), "{path}: {}", answer.text);
        }
        let answer = app.client.send(Method::GET, &user, &headers).await;
        assert!(answer.text.contains("a proxy in front"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_users_sessions_are_listed_without_their_tokens_in_each_store() {
    let redis = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let file = format!("file:{}", dir.path().join("s.sessions").display());
    for store in ["memory:", &file, &redis.url()] {
        let app = start(&[("SESSION_STORE", store), ("SESSION_TTL", "1h")]).await;
        let clock = &app.clock;
        let backend = Backend::of(&app);
        let none = json!({"sessions": []});
        assert_eq!(backend.sessions("alice").await.json(), none, "{store}");
        let unionid = app.client.login("user-alice").await.json()["unionid"].clone();
        assert!(unionid.is_string());
        let mut tokens = Vec::new();
        for login in 1..=2 {
            clock.forward(100);
            tokens.push(app.client.token(&format!("user-alice.{login}")).await);
        }
        app.client.token("user-bob").await;
        let answer = backend.sessions("alice").await;
        let at = |created: u64| json!({"created_at": created, "expires_at": created + 3600});
        let now = 1_800_000_000;
        let three =
            json!({"unionid": unionid, "sessions": [at(now + 200), at(now + 100), at(now)]});
        assert_eq!(answer.json(), three, "{store}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        for token in &tokens {
            assert!(
                !answer.text.contains(&token[4..12]),
                "{store}: part of a token"
            );
        }
        // One that has ended, and one that has expired.
        app.client.end(&tokens[0]).await.assert_status(204);
        clock.forward(3500);
        let left = backend.sessions("alice").await.json();
        assert_eq!(left["sessions"], json!([at(now + 200)]), "{store}");
        backend.end("alice").await.assert_status(204);
        assert_eq!(backend.sessions("alice").await.json(), none, "{store}");
        assert_eq!(
            backend.sessions("bob").await.json()["sessions"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        app.stop().await;
    }
}

#[tokio::test]
async fn all_sessions_of_a_user_end_and_those_of_others_do_not() {
    let redis = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let file = format!("file:{}", dir.path().join("s.sessions").display());
    for store in ["memory:", &file, &redis.url()] {
        let app = start(&[("SESSION_STORE", store)]).await;
        let backend = Backend::of(&app);
        let alices = [
            app.client.token("user-alice").await,
            app.client.token("user-alice.2").await,
        ];
        let bob = app.client.token("user-bob").await;
        let answer = backend.end("alice").await;
        answer.assert_status(204);
        assert_eq!(
            (&*answer.text, answer.header("cache-control")),
            ("", Some("no-store"))
        );
        for token in &alices {
            app.client
                .session(token)
                .await
                .assert_problem(401, "invalid_token", "login_again");
        }
        backend
            .sign("alice", "")
            .await
            .assert_problem(409, "no_session_key", "login_again");
        app.client.session(&bob).await.assert_status(200);
        backend.sign("bob", "").await.assert_status(200);
        backend.end("nobody").await.assert_status(204);
        let path = format!("/users/{APPID}/{}/sessions", openid("bob"));
        let body = app.internal.post(&path, TOKEN, "{}").await;
        body.assert_problem(405, "method_not_allowed", "fix_request");
        app.client.token("user-alice.3").await;
        backend.sign("alice", "").await.assert_status(200);
        app.stop().await;
    }
}

#[tokio::test]
async fn an_end_of_all_sessions_and_a_signature_work_across_replicas() {
    let redis = RedisServer::start();
    let wechat = FakeWechat::start().await;
    let url = redis.url();
    let settings = [&OPEN[..], &[("SESSION_STORE", &*url)]].concat();
    let clock = ManualClock::at(1_800_000_000);
    let replica = async || {
        TestApp::setup()
            .wechat(&wechat)
            .settings(&settings)
            .clock(clock.clone())
            .start()
            .await
    };
    let (one, two) = (replica().await, replica().await);
    let token = one.client.token("user-alice").await;
    let signature = hmac_sign(&session_key("user-alice"), "x");
    assert_eq!(
        Backend::of(&two).sign("alice", "x").await.json()["signature"],
        *signature
    );
    Backend::of(&two).end("alice").await.assert_status(204);
    one.client.session(&token).await.assert_status(401);
    Backend::of(&one)
        .sign("alice", "x")
        .await
        .assert_status(409);
}

#[tokio::test]
async fn a_store_that_fails_is_told_as_one() {
    let redis = RedisServer::start();
    let app = start(&[("SESSION_STORE", &redis.url())]).await;
    app.client.token("user-alice").await;
    redis.cli(&["ACL", "SETUSER", "default", "-eval", "-zrange", "-del"]);
    let backend = Backend::of(&app);
    for answer in [
        backend.sign("alice", "").await,
        backend.session_key("alice").await,
        backend.sessions("alice").await,
        backend.end("alice").await,
    ] {
        answer.assert_problem(503, "store_unavailable", "retry_later");
    }
}

#[tokio::test]
async fn each_mini_program_has_its_own_users_and_tokens() {
    let apps = format!("{APPID}:{SECRET},{OTHER_APPID}:{OTHER_SECRET}");
    let app = TestApp::with(
        &[
            &OPEN[..],
            &[
                ("WECHAT_APPS", &apps),
                ("WECHAT_APPID", ""),
                ("WECHAT_SECRET", ""),
            ],
        ]
        .concat(),
    )
    .await;
    let backend = Backend::of(&app);
    let other = Backend {
        appid: OTHER_APPID,
        ..backend.clone()
    };
    let (one, two) = (backend.access_token().await, other.access_token().await);
    assert_eq!(one.json()["access_token"], *app.wechat.access_token(APPID));
    assert_eq!(
        two.json()["access_token"],
        *app.wechat.access_token(OTHER_APPID)
    );
    app.client.token("user-alice").await;
    backend.sign("alice", "").await.assert_status(200);
    other
        .sign("alice", "")
        .await
        .assert_problem(409, "no_session_key", "login_again");
}

#[tokio::test]
async fn the_log_names_the_template_of_a_route_and_no_user() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        &OPEN[..],
        &[("INTERNAL_ADDR", "127.0.0.1:0"), ("RUST_LOG", "debug")],
    ]
    .concat();
    let process = Process::start(dir.path(), &vars(&wechat.base(), &settings));
    let internal = process.internal();
    let backend = Backend {
        internal: internal.clone(),
        appid: APPID,
    };
    process.client.token("user-alice").await;
    backend.sign("alice", "").await.assert_status(200);
    backend
        .phone("alice", "phone-alice")
        .await
        .assert_status(200);
    backend
        .phone("alice", "error-48001")
        .await
        .assert_problem(500, "misconfigured", "give_up");
    let metrics = internal.get("/metrics").await.text;
    process.signal("TERM");
    let (_, log) = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    for line in [
        r#"route="/users/{appid}/{openid}/sign" status=200"#,
        r#"route="/users/{appid}/{openid}/phone" status=200"#,
        r#"call="getuserphonenumber" errcode=48001"#,
    ] {
        assert!(log.contains(line), "{line} is not in {log}");
    }
    assert!(
        metrics.contains(r#"route="/users/{appid}/{openid}/sign""#),
        "{metrics}"
    );
    for text in [&log, &metrics] {
        assert!(!text.contains(&openid("alice")), "{text}");
    }
}

#[tokio::test]
async fn a_host_app_calls_the_same_functions() {
    let wechat = FakeWechat::start().await;
    let clock = ManualClock::at(1_800_000_000).clock();
    let config = crate::support::app::config(&wechat.base(), &[]);
    let wxlogin = wxlogin::WxLogin::with_clock(config, clock).unwrap();
    let alice = openid("alice");
    let number = wxlogin
        .phone_number(APPID, &alice, "phone-alice")
        .await
        .unwrap();
    assert_eq!(
        number.pure_phone_number(),
        crate::fake_wechat::phone_number(&alice)
    );
    assert_eq!(number.country_code(), "86");
    let token = wxlogin.access_token(APPID).await.unwrap();
    assert_eq!(token.expose(), wechat.access_token(APPID));
    assert!(!format!("{number:?} {token:?}").contains(token.expose()));
    assert!(!format!("{number:?}").contains(number.phone_number()));
    let error = wxlogin.sign(APPID, &alice, "").await.unwrap_err();
    assert!(matches!(error, Problem::NoSessionKey), "{error}");
    assert!(!wxlogin.check_session(APPID, &alice).await.unwrap());
    let error = wxlogin.end_all("wx1", &alice).await.unwrap_err();
    assert!(matches!(error, Problem::UnknownAppInPath), "{error}");
    let error = wxlogin.phone_number(APPID, "o\n", "x").await.unwrap_err();
    assert!(matches!(error, Problem::MalformedOpenid), "{error}");
    let error = wxlogin.phone_number(APPID, &alice, "").await.unwrap_err();
    assert!(matches!(error, Problem::MalformedCode), "{error}");
    assert_eq!(Problem::AnotherUsersCode.code(), "invalid_phone_code");
    wxlogin.end_all(APPID, &alice).await.unwrap();
}

#[test]
fn any_path_and_any_body_has_a_typed_answer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = runtime.block_on(start(&[]));
    let segment = proptest::prop_oneof![
        proptest::strategy::Just(APPID.to_owned()),
        "(%[0-9A-Fa-f]{2}){1,9}",
        "[a-zA-Z0-9._~!$&'()*+,;=:@-]{1,140}",
        "%[0-9A-G]?",
    ];
    let action = proptest::prop_oneof!["phone", "sign", "session_key", "sessions", "[a-z]{0,9}"];
    let method = proptest::prop_oneof!["GET", "POST", "DELETE", "PUT"];
    let body = proptest::prop_oneof![
        "\\PC{0,60}",
        r#"\{"(code|data)":"[a-zA-Z0-9 %\\\\u.-]{0,300}"\}"#,
        r#"\{"code":[0-9]{1,30}\}"#,
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let request = (segment.clone(), segment, action, method, body);
    let checked = runner.run(&request, |(appid, openid, action, method, body)| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!(
            "http://{}/users/{appid}/{openid}/{action}",
            app.internal.addr
        );
        let request = reqwest::Client::new()
            .request(method, url)
            .bearer_auth(TOKEN);
        let answer = runtime.block_on(async {
            Answer::read(request.body(body).send().await.unwrap())
                .await
                .unwrap()
        });
        let is_good = answer.status.is_success();
        proptest::prop_assert!(
            is_good || answer.status.is_client_error(),
            "{}",
            answer.text
        );
        proptest::prop_assert!(
            is_good || answer.json()["code"].is_string(),
            "{}",
            answer.text
        );
        Ok(())
    });
    checked.unwrap();
    runtime
        .block_on(app.internal.get("/readyz"))
        .assert_status(200);
}

#[tokio::test]
async fn the_stand_in_for_wechat_takes_only_what_wechat_takes() {
    let wechat = FakeWechat::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/cgi-bin/stable_token", wechat.base());
    let good =
        json!({"grant_type": "client_credential", "appid": APPID, "secret": SECRET}).to_string();
    let errcode = async |request: reqwest::RequestBuilder| {
        let answer = Answer::read(request.send().await.unwrap()).await.unwrap();
        (answer.status.as_u16(), answer.json()["errcode"].as_i64())
    };
    assert_eq!(
        errcode(http.post(&url).body(good.clone())).await,
        (200, None)
    );
    let form = http
        .post(&url)
        .header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(errcode(form.body(good.clone())).await, (200, Some(41002)));
    assert_eq!(errcode(http.post(&url).body("{")).await, (200, Some(47001)));
    assert_eq!(errcode(http.get(&url)).await, (200, Some(43002)));
    let mut chunked = tokio::net::TcpStream::connect(url[7..].split('/').next().unwrap())
        .await
        .unwrap();
    let request = format!(
        "POST /cgi-bin/stable_token HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{good}\r\n0\r\n\r\n",
        good.len()
    );
    chunked.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    chunked.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 412 "), "{answer}");
    let phone = format!("{}/wxa/business/getuserphonenumber", wechat.base());
    let body = json!({"code": "phone-alice", "openid": openid("alice")}).to_string();
    let with = |token: &str| {
        http.post(format!("{phone}?access_token={token}"))
            .body(body.clone())
    };
    assert_eq!(
        errcode(http.post(&phone).body(body.clone())).await,
        (200, Some(41001))
    );
    assert_eq!(errcode(with("junk")).await, (200, Some(40001)));
    let token = wechat.access_token(APPID);
    let of_other = with(&wechat.access_token(OTHER_APPID));
    assert_eq!(errcode(of_other).await, (200, Some(40029)));
    assert_eq!(errcode(with(&token)).await, (200, Some(40029)), "used up");
    wechat.refuse_access_token(APPID, 42001);
    assert_eq!(errcode(with(&token)).await, (200, Some(42001)));
}
