//! The configurations of nginx and Caddy that the documentation shows, with the real servers.

use std::fs;
use std::path::Path;
use std::process::Command;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::fake_wechat::{APPID, openid};
use crate::support::app::TestApp;
use crate::support::gateways::{HOST, client, example, write_certificate};
use crate::support::ports::nobody;
use crate::support::redis_server::RedisServer;
use crate::support::running_gateway::{Gateway, Kind, seen};

const METHODS: [Method; 6] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
];

async fn tells_a_backend_who_it_is(kind: Kind) {
    let gateway = kind.start(TestApp::start().await).await;
    let alice = gateway.token("user-alice").await;
    let bob = gateway.token("guest-bob").await; // without a unionid
    for method in METHODS {
        for (token, name) in [(&alice, "alice"), (&bob, "bob")] {
            let answer = gateway
                .request(method.clone(), "/api/things?x=1")
                .bearer_auth(token)
                .header("X-WX-OPENID", "oForged")
                .header("X-WX-UNIONID", "oForged")
                .header("x-wx-appid", "wxforged")
                .header("X_WX_OPENID", "oForged")
                .header("X-WX_UNIONID", "oForged")
                .header("X-WX-FROM-OPENID", "oForged")
                .header("X-WX-SOURCE", "wx_client")
                .header("X-WX-FOO", "oForged")
                .header("x_wx_bar", "oForged")
                .header("Connection", "close, X-WX-OPENID, X-WX-UNIONID")
                .body("a body")
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{kind:?} {method}");
            let seen = seen(&answer).unwrap();
            assert_eq!(seen["method"], method.as_str());
            assert_eq!(seen["openid"], json!([openid(name)]), "{kind:?} {method}");
            assert_eq!(seen["appid"], json!([APPID]));
            let names = seen.as_object().unwrap().len();
            if name == "alice" {
                let unionid = seen["unionid"][0].as_str().unwrap();
                assert!(unionid.starts_with('o') && unionid != "oForged", "{seen}");
                assert_eq!(names, 4, "{kind:?} {method} {seen}");
            } else {
                assert_eq!(names, 3, "{kind:?} {method} {seen}");
            }
        }
        for token in ["", "wxs_forged"] {
            let request = gateway.request(method.clone(), "/api/things");
            let request = request.bearer_auth(token).header("X-WX-OPENID", "oForged");
            let answer = request.body("a body").send().await.unwrap();
            assert_eq!(answer.status(), 401, "{kind:?} {method}");
            assert_eq!(seen(&answer), None);
            let headers = answer.headers().clone();
            assert_eq!(headers["www-authenticate"], "Bearer");
            assert_eq!(headers["content-type"], "application/problem+json");
            if method != Method::HEAD {
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["code"], "invalid_token");
                assert_eq!(problem["action"], "login_again");
                assert!(problem["request_id"].is_string());
            }
        }
    }
    // An ended session is refused at once.
    let ended = gateway
        .request(Method::DELETE, "/session")
        .bearer_auth(&alice);
    assert_eq!(ended.send().await.unwrap().status(), 204);
    let request = gateway
        .request(Method::GET, "/api/things")
        .bearer_auth(&alice);
    assert_eq!(request.send().await.unwrap().status(), 401);
    // No other path of wxlogin is reachable.
    for path in ["/readyz", "/healthz", "/metrics", "/_who", "/"] {
        let answer = gateway.request(Method::GET, path).bearer_auth(&bob);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 404, "{kind:?} {path}");
        if path != "/_who" {
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["code"], "not_found", "{kind:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_backend_gets_the_clients_address_and_host_and_no_token() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let gateway = kind.start(TestApp::start().await).await;
        let token = gateway.token("user-alice").await;
        let request = gateway
            .request(Method::GET, "/api/socket")
            .bearer_auth(&token)
            .header("X-Forwarded-For", "203.0.113.9")
            .header("X-Real-IP", "203.0.113.9")
            .header("Content-Type", "application/json")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Version", "13");
        let answer = request.send().await.unwrap();
        let all = answer.headers()["x-all"].to_str().unwrap();
        let all: Value = serde_json::from_str(all).unwrap();
        let host = all["host"].as_str().unwrap();
        assert_eq!(host.split(':').next(), Some(HOST), "{kind:?} {all}");
        for (name, value) in [
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("content-type", "application/json"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ] {
            assert_eq!(all[name], value, "{kind:?} {name} in {all}");
        }
        let connection = all["connection"].as_str().unwrap();
        assert!(connection.eq_ignore_ascii_case("upgrade"), "{kind:?} {all}");
        assert_eq!(all["authorization"], Value::Null, "{kind:?} {all}");
    }
}

/// Neither wxlogin nor the backend listens, or the backend alone does not.
#[tokio::test]
async fn the_moment_without_a_service_behind_it_is_a_problem_document() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let app = TestApp::start().await;
        let token = app.client.token("user-alice").await;
        let nobody = nobody();
        for wxlogin in [app.client.addr, nobody] {
            let dir = tempfile::tempdir().unwrap();
            let certificate = write_certificate(dir.path());
            let launched = kind
                .launch(dir.path(), (wxlogin, nobody), str::to_owned)
                .await;
            let (mut server, port) = launched.unwrap();
            let client = client(certificate, port);
            let paths: &[&str] = if wxlogin == nobody {
                &["/onLogin?code=user-bob", "/session", "/api/photo.jpg"]
            } else {
                &["/api/photo.jpg"]
            };
            for path in paths {
                let request = client.get(format!("https://{HOST}:{port}{path}"));
                let answer = request.bearer_auth(&token).send().await.unwrap();
                assert_eq!(answer.status(), 503, "{kind:?} {path}");
                assert_eq!(answer.headers()["retry-after"], "2", "{kind:?} {path}");
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["action"], "retry_later", "{kind:?} {path}");
                assert!(problem["request_id"].as_str().unwrap().len() > 16);
            }
            let quit = format!("kill -TERM {}", server.id());
            Command::new("sh").args(["-c", &quit]).status().unwrap();
            server.wait().unwrap();
        }
    }
}

#[tokio::test]
async fn nginx_tells_a_backend_who_it_is() {
    tells_a_backend_who_it_is(Kind::Nginx).await;
}

#[tokio::test]
async fn caddy_tells_a_backend_who_it_is() {
    tells_a_backend_who_it_is(Kind::Caddy).await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_503_and_nobody_is_logged_out() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let redis = RedisServer::start();
        let app = TestApp::with(&[("SESSION_STORE", &redis.url())]).await;
        let gateway = kind.start(app).await;
        let token = gateway.token("user-alice").await;
        redis.cli(&["ACL", "SETUSER", "default", "-get"]);
        let request = gateway
            .request(Method::GET, "/api/things")
            .bearer_auth(&token);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 503, "{kind:?}");
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(seen(&answer), None);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "store_unavailable");
        redis.cli(&["ACL", "SETUSER", "default", "+get"]);
        let request = gateway
            .request(Method::GET, "/api/things")
            .bearer_auth(&token);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn nginx_lets_no_address_send_codes_without_end() {
    let gateway = Kind::Nginx.start(TestApp::start().await).await;
    let logins =
        (0..200).map(|number| get_owned(&gateway, format!("/onLogin?code=error-40029.{number}")));
    let answers = futures_util::future::join_all(logins).await;
    let refused: Vec<_> = answers
        .into_iter()
        .filter(|answer| answer.status() == 429)
        .collect();
    assert!(refused.len() > 50, "{}", refused.len());
    assert_eq!(gateway.app.wechat.requests(), 200 - refused.len());
    for answer in refused {
        assert_eq!(answer.headers()["retry-after"], "1");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(
            (&problem["code"], &problem["action"]),
            (&"rate_limited".into(), &"retry_later".into())
        );
    }
}

async fn get_owned(gateway: &Gateway, path: String) -> Response {
    gateway.get(&path).await
}

#[test]
fn the_documentation_shows_what_is_tested() {
    for page in ["docs/en/reverse-proxy.md", "docs/zh-CN/reverse-proxy.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = fs::read_to_string(path).unwrap();
        for name in ["nginx.conf", "Caddyfile"] {
            assert!(text.contains(&example(name)), "{page} shows another {name}");
        }
    }
}
