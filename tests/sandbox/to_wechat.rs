//! The stand-in as the sandbox serves it: each request is recorded with its answer.

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::time::timeout;

use super::fake_wechat::{BODY_TIMEOUT, MAX_BODY, parameter};
use super::proxy::code_in_json;
use super::redaction::code_in_query;
use super::requests::{Answer, Begin, To};
use super::state::Sandbox;

pub fn router(sandbox: &Sandbox) -> Router {
    let layer = from_fn_with_state(sandbox.clone(), note);
    sandbox.wechat.router().route_layer(layer)
}

async fn note(State(sandbox): State<Sandbox>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let query = head.uri.query().unwrap_or_default();
    let code = code_in_query(query, &["js_code"]).or_else(|| code_in_json(&body));
    let pending = sandbox.requests.begin(Begin {
        to: To::Wechat,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers.clone(),
        body: body.clone(),
        code: code.clone(),
    });
    let user = user(query, &body);
    let is_login = head.uri.path() == "/sns/jscode2session";
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    let (head, body) = response.into_parts();
    let body = to_bytes(body, MAX_BODY)
        .await
        .unwrap_or_else(|_| Bytes::new());
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let (true, Some(code)) = (is_login, &code) {
        sandbox
            .logged_in
            .wechat_answered(code, &json, &sandbox.wechat);
    }
    pending.answered(Answer {
        status: Some(head.status.as_u16()),
        errcode: json["errcode"].as_i64(),
        user: json["openid"].as_str().map(str::to_owned).or(user),
        headers: head.headers.clone(),
        body: body.clone(),
        ..Answer::default()
    });
    (head, body).into_response()
}

/// The openid in a request.
fn user(query: &str, body: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let in_body = ["openid", "touser"]
        .iter()
        .find_map(|name| json[name].as_str());
    in_body
        .map(str::to_owned)
        .or_else(|| parameter(query, "openid"))
}
