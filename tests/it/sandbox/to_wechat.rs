//! The stand-in as the sandbox serves it: each request is recorded with its answer, and some are refused as the
//! page's switch is set.

use std::collections::HashMap;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::doors::code_in_json;
use super::fake_wechat::refusal;
use super::redaction::{code_in_query, path};
use super::requests::{Answer, Begin, To};
use super::state::Sandbox;

/// More than any body of ours.
const MAX_BODY: usize = 1024 * 1024;

/// The switch: WeChat refuses requests with this errcode, with this probability.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failures {
    pub errcode: i64,
    /// From 0 to 1.
    pub probability: f64,
}

pub fn router(sandbox: &Sandbox) -> Router {
    let layer = from_fn_with_state(sandbox.clone(), note);
    sandbox.wechat.router().route_layer(layer)
}

async fn note(State(sandbox): State<Sandbox>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return refusal(47001);
    };
    let query = head.uri.query().unwrap_or_default();
    let code = code_in_query(query, &["js_code"]).or_else(|| code_in_json(&body));
    let pending = sandbox.requests.begin(Begin {
        to: To::Wechat,
        request: format!("{} {}", head.method, path(head.uri.path())),
        code: code.clone(),
    });
    let is_login = head.uri.path() == "/sns/jscode2session";
    let response = match sandbox.chance() {
        Some(errcode) => refusal(errcode),
        None => next.run(Request::from_parts(head, Body::from(body))).await,
    };
    let (head, body) = response.into_parts();
    let body = to_bytes(body, MAX_BODY)
        .await
        .unwrap_or_else(|_| Bytes::new());
    let json: Option<HashMap<String, Value>> = serde_json::from_slice(&body).ok();
    let errcode = json.as_ref().and_then(|json| json.get("errcode")?.as_i64());
    if let (true, Some(code), Some(json)) = (is_login, &code, json) {
        let json = json.into_iter().collect();
        sandbox.logged_in.wechat_answered(code, &json);
    }
    pending.answered(Answer {
        status: Some(head.status.as_u16()),
        errcode,
        ..Answer::default()
    });
    (head, body).into_response()
}
