//! The limits of the sandbox: bodies that are too large, calls that it does not know, and its memory.

use std::fs;

use axum::body::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_wechat::{APPID, openid};
use crate::support::sandbox_process::{Sandbox, command};

/// One of WeChat's calls with an `access_token`, as a backend makes it.
async fn call(sandbox: &Sandbox, path: &str, body: reqwest::Body) -> reqwest::Response {
    let internal = format!("http://{}", sandbox.internal().addr);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let token = http.get(format!("{internal}/access_token/{APPID}"));
    let token = token
        .bearer_auth(sandbox.value("INTERNAL_TOKEN"))
        .send()
        .await;
    let token: Value = token.unwrap().json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    let base = sandbox.value("WECHAT_API_BASE");
    let url = format!("{base}{path}?access_token={token}");
    http.post(url).body(body).send().await.unwrap()
}

async fn errcode(sandbox: &Sandbox, path: &str, body: Value) -> i64 {
    let answer = call(sandbox, path, body.to_string().into()).await;
    let answer: Value = answer.json().await.unwrap();
    answer["errcode"].as_i64().unwrap()
}

#[tokio::test]
async fn a_body_that_is_too_large_is_an_answer_everywhere() {
    let sandbox = Sandbox::start();
    let token = sandbox.public().token("user-alice").await;
    // No more than fits into the buffers of a connection: the answer comes before the body is read.
    let large = "x".repeat(100_000);
    let public = sandbox.public();
    let at_service = public.post("/session/decrypt", &token, large).await;
    at_service.assert_problem(413, "body_too_large", "fix_request");
    let large = "x".repeat(11 * 1024 * 1024);
    for path in ["/cgi-bin/stable_token", "/wxa/msg_sec_check"] {
        let at_wechat = call(&sandbox, path, large.clone().into()).await;
        assert_eq!(at_wechat.status(), 413, "{path}");
    }
    let script = json!({"script": "x".repeat(5000)});
    let at_page = sandbox.call(Method::POST, "/sandbox/logins", Some(script));
    at_page.await.assert_status(413);
    sandbox.public().session(&token).await.assert_status(200);
}

#[tokio::test]
async fn the_stand_in_knows_the_calls_that_a_backend_makes_beside_ours() {
    let sandbox = Sandbox::start();
    sandbox.public().token("user-alice").await;
    let send = "/cgi-bin/message/subscribe/send";
    let message = json!({"touser": openid("alice"), "template_id": "t", "data": {}});
    assert_eq!(errcode(&sandbox, send, message).await, 0);
    assert_eq!(errcode(&sandbox, send, json!({"touser": "o"})).await, 40037);
    assert_eq!(
        errcode(&sandbox, send, json!({"access_token": "in the body"})).await,
        47001
    );

    let check = "/wxa/msg_sec_check";
    let text = |content: &str, name: &str| json!({"content": content, "version": 2, "scene": 1, "openid": openid(name)});
    assert_eq!(
        errcode(&sandbox, check, text("hello", "nobody")).await,
        61010
    );
    for (content, suggest) in [("hello", "pass"), ("违规内容", "risky")] {
        let body = text(content, "alice").to_string();
        let answer: Value = call(&sandbox, check, body.into())
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(answer["result"]["suggest"], suggest, "{answer}");
    }

    let code = "/wxa/getwxacodeunlimit";
    let image = call(&sandbox, code, json!({"scene": "a=1"}).to_string().into()).await;
    assert_eq!(image.headers()["content-type"], "image/png");
    assert!(image.bytes().await.unwrap().starts_with(b"\x89PNG\r\n"));
    assert_eq!(errcode(&sandbox, code, json!({"scene": "é"})).await, 40169);

    let other = "/wxa/generatescheme";
    assert_eq!(errcode(&sandbox, other, json!({})).await, 40066);
    let rule = json!({"call": other, "answer": {"errcode": 0, "openlink": "weixin://dl/x"}});
    let rule = sandbox.call(Method::PUT, "/sandbox/next", Some(rule));
    rule.await.assert_status(204);
    assert_eq!(errcode(&sandbox, other, json!({})).await, 0);

    let chunk = Frame::data(Bytes::from_static(b"{}"));
    let chunks = StreamBody::new(stream::iter([Ok::<_, std::io::Error>(chunk)]));
    let chunked = call(&sandbox, send, reqwest::Body::wrap(chunks)).await;
    assert_eq!(chunked.status(), 412);
}

/// Resident memory, in MiB.
fn memory(sandbox: &Sandbox) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", sandbox.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

/// `users` who log in for the first time, 32 at a time.
async fn log_in(sandbox: &Sandbox, users: std::ops::Range<usize>) {
    let public = sandbox.public();
    let logins = stream::iter(users).map(|user| {
        let public = public.clone();
        async move {
            public
                .login(&format!("user-{user}"))
                .await
                .assert_status(200)
                .status
        }
    });
    logins.buffer_unordered(32).for_each(async |_| ()).await;
}

/// It keeps the newest 20,000 users and codes, so from then on nothing may grow: 500 bytes a login would be found.
#[tokio::test]
#[ignore = "minutes"]
async fn its_memory_is_bounded_over_50_000_logins() {
    let settings = [
        ("SESSION_TTL", "1s"),
        ("WECHAT_TIMEOUT", "60s"), // also on a busy machine
        ("RUST_LOG", "error"),
    ];
    let sandbox = Sandbox::of(command(&[]).envs(settings));
    log_in(&sandbox, 0..20_000).await;
    let before = memory(&sandbox);
    log_in(&sandbox, 20_000..50_000).await;
    let after = memory(&sandbox);
    println!("{before} MiB, after 30,000 further logins {after} MiB");
    assert!(after < before + 15, "{before} MiB, then {after} MiB");
}
