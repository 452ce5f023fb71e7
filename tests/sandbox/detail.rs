//! All of a request and its response: without secrets, or with them where the page's user asks for them.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::fake_wechat::parameter;
use super::redaction;
use super::requests::{Noted, To};
use super::state::Sandbox;

/// Headers that a `curl` line repeats: the others are of one connection or of the client.
const REPEATED: &[&str] = &["authorization", "content-type", "referer", "x-request-id"];

#[derive(Serialize)]
pub struct Detail {
    #[serde(flatten)]
    pub noted: Noted,
    pub url: String,
    pub request_headers: Vec<(String, String)>,
    pub request_body: String,
    pub response_headers: Vec<(String, String)>,
    pub response_body: String,
    pub request_id: Option<String>,
    /// Works as it stands if it is with secrets.
    pub curl: String,
    /// What wxlogin asked of WeChat meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to_wechat: Vec<Detail>,
}

/// `GET /sandbox/requests/{id}[?secrets=true]`
pub async fn request(
    State(sandbox): State<Sandbox>,
    Path(id): Path<u64>,
    RawQuery(query): RawQuery,
) -> Response {
    if let Some(detail) = of(&sandbox, id, wants_secrets(query.as_deref())) {
        return Json(detail).into_response();
    }
    let detail = "There is no such request among the last ones.";
    (StatusCode::NOT_FOUND, Json(json!({"detail": detail}))).into_response()
}

pub fn wants_secrets(query: Option<&str>) -> bool {
    query
        .and_then(|query| parameter(query, "secrets"))
        .as_deref()
        == Some("true")
}

pub fn of(sandbox: &Sandbox, id: u64, with_secrets: bool) -> Option<Detail> {
    let (request, caused) = sandbox.requests.with_caused(id)?;
    let mut detail = Detail::new(sandbox, request, with_secrets);
    let caused = caused.into_iter();
    detail.to_wechat = caused
        .map(|request| Detail::new(sandbox, request, with_secrets))
        .collect();
    Some(detail)
}

impl Detail {
    fn new(sandbox: &Sandbox, noted: Noted, with_secrets: bool) -> Self {
        let sent = noted.sent.clone();
        let addresses = sandbox.addresses;
        let server = match noted.to {
            To::PublicListener => addresses.public,
            To::InternalListener => addresses.internal,
            To::Wechat => addresses.page,
        };
        let shown = |text: &str, redacted: fn(&str) -> String| {
            if with_secrets {
                text.to_owned()
            } else {
                redacted(text)
            }
        };
        let query = sent.query.as_deref();
        let query = query.map(|query| format!("?{}", shown(query, redaction::query)));
        let path = shown(&sent.path, redaction::path);
        let url = format!("http://{server}{path}{}", query.unwrap_or_default());
        let request_headers = redaction::headers(&sent.headers, with_secrets);
        let request_body = redaction::body(&sent.body, with_secrets);
        let answer = noted.answer.clone().unwrap_or_default();
        let request_id = answer.headers.get("x-request-id");
        let request_id = request_id
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned);
        Self {
            curl: curl(&sent.method, &url, &request_headers, &request_body),
            url,
            request_headers,
            request_body,
            response_headers: redaction::headers(&answer.headers, with_secrets),
            response_body: redaction::body(&answer.body, with_secrets),
            request_id,
            noted,
            to_wechat: Vec::new(),
        }
    }
}

fn curl(method: &str, url: &str, headers: &[(String, String)], body: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut line = "curl".to_owned();
    if method != if body.is_empty() { "GET" } else { "POST" } {
        line = format!("{line} -X {method}");
    }
    for (name, value) in headers {
        if REPEATED.contains(&&**name) {
            line = format!("{line} -H {}", quoted(&format!("{name}: {value}")));
        }
    }
    line = format!("{line} {}", quoted(url));
    if !body.is_empty() {
        line = format!("{line} -d {}", quoted(body));
    }
    line
}
