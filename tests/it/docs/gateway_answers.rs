//! What nginx and Caddy answer on their own, and what they make of large bodies.

use reqwest::{Method, Response};
use serde_json::Value;

use crate::support::app::TestApp;
use crate::support::running_gateway::{Gateway, Kind};

/// The status, `code` and `action` of a problem document.
async fn problem(answer: Response) -> (u16, String, String) {
    let status = answer.status().as_u16();
    let content_type = answer.headers().get("content-type").cloned();
    let text = answer.text().await.unwrap();
    let content_type = content_type.unwrap_or_else(|| panic!("{status} {text}"));
    assert_eq!(content_type, "application/problem+json", "{status} {text}");
    document(status, &text)
}

fn document(status: u16, text: &str) -> (u16, String, String) {
    let document: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!(document["status"], status, "{text}");
    for name in ["title", "detail", "request_id"] {
        let value = document[name].as_str();
        assert!(value.is_some_and(|value| !value.is_empty()), "{text}");
    }
    let part = |name: &str| document[name].as_str().unwrap().to_owned();
    (status, part("code"), part("action"))
}

fn expected(status: u16, code: &str, action: &str) -> (u16, String, String) {
    (status, code.to_owned(), action.to_owned())
}

#[tokio::test]
async fn the_ending_of_a_path_does_not_change_the_type_of_a_document() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let gateway = kind.start(TestApp::start().await).await;
        let logged_out = expected(401, "invalid_token", "login_again");
        for path in ["/api/photo.jpg", "/api/data.json", "/api/page.html"] {
            let answer = gateway.get(path).await;
            assert_eq!(problem(answer).await, logged_out, "{kind:?} {path}");
        }
        let not_found = expected(404, "not_found", "fix_request");
        for path in ["/index.html", "/data.json", "/photo.jpg"] {
            let answer = gateway.get(path).await;
            assert_eq!(problem(answer).await, not_found, "{kind:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_path_that_a_gateway_does_not_serve_is_a_problem_document() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let gateway = kind.start(TestApp::start().await).await;
        let not_found = expected(404, "not_found", "fix_request");
        for path in ["/api", "/api?x=1", "/_who", "//_who", "/_bad_request"] {
            let answer = gateway.get(path).await;
            assert_eq!(problem(answer).await, not_found, "{kind:?} {path}");
        }
    }
}

async fn post(gateway: &Gateway, path: &str, token: &str, length: usize) -> Response {
    let request = gateway.request(Method::POST, path).bearer_auth(token);
    request.body(vec![b'a'; length]).send().await.unwrap()
}

#[tokio::test]
async fn photos_are_passed_on_to_a_backend() {
    for kind in [Kind::Nginx, Kind::Caddy] {
        let gateway = kind.start(TestApp::start().await).await;
        let token = gateway.token("user-alice").await;
        let answer = post(&gateway, "/api/photos", &token, 9_000_000).await;
        assert_eq!(answer.status(), 200, "{kind:?}");
        assert_eq!(answer.headers()["x-length"], "9000000", "{kind:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_for_nginx_is_a_problem_document() {
    let gateway = Kind::Nginx.start(TestApp::start().await).await;
    let token = gateway.token("user-alice").await;
    for (path, length) in [
        ("/session/decrypt", 66_000),
        ("/session/decrypt", 1_100_000),
        ("/api/photos", 21_000_000),
    ] {
        let answer = post(&gateway, path, &token, length).await;
        let too_large = expected(413, "body_too_large", "fix_request");
        assert_eq!(problem(answer).await, too_large, "{path} {length}");
    }
}

/// Caddy has no page of its own for them: Go answers them before Caddy sees them.
#[tokio::test]
async fn a_request_that_nginx_refuses_gets_a_problem_document() {
    let gateway = Kind::Nginx.start(TestApp::start().await).await;
    let token = gateway.token("user-alice").await;
    let host = "Host: login.example.com\r\nConnection: close";
    let authorization = format!("Authorization: Bearer {token}");
    let (long_path, long_header) = ("a".repeat(9000), "a".repeat(20_000));
    for request in [
        format!("GET /{long_path} HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("GET /api/ HTTP/1.1\r\n{host}\r\nX-Long: {long_header}\r\n\r\n"),
        format!("GET /api/%00 HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("GET /api/ HTTP/3.0\r\n{host}\r\n\r\n"),
        format!("TRACE /api/ HTTP/1.1\r\n{host}\r\n{authorization}\r\n\r\n"),
        format!("POST /api/ HTTP/1.1\r\n{host}\r\nTransfer-Encoding: gzip\r\n\r\n"),
        format!(
            "POST /api/ HTTP/1.1\r\n{host}\r\n{authorization}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        ),
        "GET /api/ HTTP/1.1\r\n\r\n".to_owned(),
    ] {
        let answer = gateway.raw(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let shown = request.get(..60).unwrap_or(&request);
        assert!(head.starts_with("HTTP/1.1 400 "), "{shown}: {head}");
        let content_type = "\r\nContent-Type: application/problem+json\r\n";
        assert!(head.contains(content_type), "{shown}: {head}");
        let refused = expected(400, "bad_request", "fix_request");
        assert_eq!(document(400, body), refused, "{shown}");
    }
}
