//! wxlogin's two doors in the sandbox: each request is forwarded, and recorded with its response.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, LOCATION, TRANSFER_ENCODING,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::Value;

use super::guard;
use super::redaction::{code_in_query, path};
use super::requests::{Answer, Begin, To};
use super::state::Sandbox;

/// One byte more than wxlogin accepts, so that wxlogin itself refuses a body that is too large.
const MAX_BODY: usize = 64 * 1024 + 1;
/// Headers of one connection.
const HOP_BY_HOP: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING];

#[derive(Clone)]
struct Door {
    sandbox: Sandbox,
    to: To,
}

/// Everything that comes in at the public or the internal door.
pub fn router(sandbox: &Sandbox, to: To) -> Router {
    let sandbox = sandbox.clone();
    Router::new()
        .fallback(pass_on)
        .with_state(Door { sandbox, to })
}

async fn pass_on(State(door): State<Door>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if door.to == To::PublicDoor
        && let Some(page) = door.page_instead(&head)
    {
        return page;
    }
    let body = read(body).await;
    let code = match door.to {
        To::PublicDoor => code_in_query(head.uri.query().unwrap_or_default(), &["code"]),
        _ => code_in_json(&body),
    };
    let pending = door.sandbox.requests.begin(Begin {
        to: door.to,
        request: format!("{} {}", head.method, path(head.uri.path())),
        code: code.clone(),
    });
    let (status, headers, body) = match door.send(head, body).await {
        Ok(answer) => answer,
        Err(error) => {
            let text = format!("wxlogin does not answer: {}\n", error.without_url());
            return (StatusCode::BAD_GATEWAY, text).into_response();
        }
    };
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let (To::PublicDoor, Some(code), true) = (door.to, &code, status.is_success()) {
        door.sandbox.logged_in.wxlogin_answered(code, &json);
    }
    pending.answered(answer(status, &json));
    (status, headers, body).into_response()
}

impl Door {
    async fn send(
        &self,
        head: Parts,
        body: Bytes,
    ) -> reqwest::Result<(StatusCode, HeaderMap, Bytes)> {
        let addr = self.addr().await;
        let path = head.uri.path_and_query().map_or("/", |it| it.as_str());
        let is_head = head.method == Method::HEAD;
        let mut headers = head.headers;
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        let http = &self.sandbox.http;
        let mut request = http
            .request(head.method, format!("http://{addr}{path}"))
            .headers(headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let mut headers = answer.headers().clone();
        headers.remove(TRANSFER_ENCODING);
        if !is_head {
            headers.remove(CONTENT_LENGTH);
        }
        Ok((status, headers, answer.bytes().await?))
    }

    async fn addr(&self) -> SocketAddr {
        let service = self.sandbox.service.read().await;
        match self.to {
            To::InternalDoor => service.internal,
            _ => service.public,
        }
    }

    /// Redirects a browser on this machine that opens the service's address to the page. Other clients get
    /// wxlogin's 404.
    fn page_instead(&self, head: &Parts) -> Option<Response> {
        let wants_html = head
            .headers
            .get(ACCEPT)?
            .to_str()
            .ok()?
            .contains("text/html");
        let host: Uri = head.headers.get(HOST)?.to_str().ok()?.parse().ok()?;
        let is_home = head.method == Method::GET && head.uri.path() == "/";
        if !(wants_html && is_home && guard::is_loopback(host.host()?)) {
            return None;
        }
        let port = self.sandbox.addresses.page.port();
        let page = format!("http://{}:{port}/", host.host()?);
        Some((StatusCode::SEE_OTHER, [(LOCATION, page)]).into_response())
    }
}

/// The status and what the problem document says.
fn answer(status: StatusCode, json: &Value) -> Answer {
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    let is_problem = !status.is_success();
    Answer {
        status: Some(status.as_u16()),
        code: if is_problem {
            text("code")
        } else {
            Some("ok".to_owned())
        },
        errcode: json["errcode"].as_i64().filter(|_| is_problem),
        action: text("action").filter(|_| is_problem),
        duration_ms: 0,
    }
}

pub fn code_in_json(body: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(body).ok()?;
    json["code"].as_str().map(str::to_owned)
}

/// The bytes that were read of a body that is too large or incomplete.
async fn read(mut body: Body) -> Bytes {
    let mut all = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
        if all.len() >= MAX_BODY {
            all.truncate(MAX_BODY);
            break;
        }
    }
    all.into()
}
