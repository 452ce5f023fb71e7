//! wxlogin's two listeners in the sandbox: each request is forwarded, and recorded with its response.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, LOCATION, RETRY_AFTER, TRANSFER_ENCODING,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::developer::Target;
use super::fake_wechat::{BODY_TIMEOUT, MAX_BODY};
use super::guard::{self, Hosts, own_host};
use super::options::Openness;
use super::requests::{Answer, Begin, To};
use super::state::Sandbox;

/// The largest body that wxlogin takes, in bytes, but for those that it passes on to WeChat.
const MAX_JSON: usize = 64 * 1024;
/// Headers of one connection.
const HOP_BY_HOP: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING];

#[derive(Clone)]
struct Listener {
    sandbox: Sandbox,
    to: To,
}

/// Everything that comes in at the public or the internal listener.
pub fn router(sandbox: &Sandbox, to: To) -> Router {
    let is_open = match to {
        To::PublicListener => sandbox.openness != Openness::Nothing,
        _ => sandbox.openness == Openness::Everything,
    };
    let sandbox = sandbox.clone();
    Router::new()
        .fallback(pass_on)
        .layer(from_fn_with_state(Hosts::of(is_open), own_host))
        .with_state(Listener { sandbox, to })
}

async fn pass_on(State(listener): State<Listener>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if listener.to == To::PublicListener
        && let Some(page) = listener.page_instead(&head)
    {
        return page;
    }
    let is_large = head.uri.path().starts_with("/wechat/");
    let max = if is_large { MAX_BODY } else { MAX_JSON };
    let body = read(body, max).await;
    let target = match listener.to {
        To::PublicListener => Target::of(&head.uri),
        _ => Target {
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            code: code_in_json(&body),
        },
    };
    let pending = listener.sandbox.requests.begin(Begin {
        to: listener.to,
        method: head.method.to_string(),
        path: target.path.clone(),
        query: target.query.clone(),
        headers: head.headers.clone(),
        body: body.clone(),
        code: target.code.clone(),
    });
    let user = listener.user(&head, &target);
    let (status, headers, body) = match listener.send(head, &target, body).await {
        Ok(answer) => answer,
        Err(error) => {
            let text = format!("wxlogin does not answer: {}\n", error.without_url());
            return (StatusCode::BAD_GATEWAY, text).into_response();
        }
    };
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    if target.path == "/onLogin" {
        listener.logged_in(&target, status, &headers, &json).await;
    }
    pending.answered(Answer {
        user: json["openid"].as_str().map(str::to_owned).or(user),
        headers: headers.clone(),
        body: body.clone(),
        ..answer(status, &json)
    });
    (status, headers, body).into_response()
}

impl Listener {
    async fn send(
        &self,
        head: Parts,
        target: &Target,
        body: Bytes,
    ) -> reqwest::Result<(StatusCode, HeaderMap, Bytes)> {
        let query = target.query.as_ref();
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        let url = format!("http://{}{}{query}", self.addr().await, target.path);
        let is_head = head.method == Method::HEAD;
        let mut headers = head.headers;
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        let request = self.sandbox.http.request(head.method, url);
        let mut request = request.headers(headers);
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
            To::InternalListener => service.internal,
            _ => service.public,
        }
    }

    /// The openid of the user whose token or path this is.
    fn user(&self, head: &Parts, target: &Target) -> Option<String> {
        if self.to == To::InternalListener {
            let path = target.path.strip_prefix("/users/")?;
            return path.split('/').nth(1).map(str::to_owned);
        }
        let bearer = head.headers.get("authorization")?.to_str().ok()?;
        let token = bearer.strip_prefix("Bearer ")?;
        self.sandbox.logged_in.openid_of(token)
    }

    async fn logged_in(
        &self,
        target: &Target,
        status: StatusCode,
        headers: &HeaderMap,
        json: &Value,
    ) {
        if let (Some(code), true) = (&target.code, status.is_success()) {
            let now = self.sandbox.clock().await.now();
            self.sandbox.logged_in.wxlogin_answered(code, json, now);
            self.sandbox.note_quota(None).await;
        } else if json["code"] == "quota_exhausted" {
            let retry_after = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok());
            let seconds = retry_after.and_then(|seconds| seconds.parse().ok());
            self.sandbox.note_quota(seconds).await;
        }
    }

    /// Redirects a browser on this machine that opens the service's address to the page. Other clients get
    /// wxlogin's 404.
    fn page_instead(&self, head: &Parts) -> Option<Response> {
        let accept = head.headers.get(ACCEPT)?.to_str().ok()?;
        let host: Uri = head.headers.get(HOST)?.to_str().ok()?.parse().ok()?;
        let is_home = head.method == Method::GET && head.uri.path() == "/";
        if !(accept.contains("text/html") && is_home && guard::is_loopback(host.host()?)) {
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
        ..Answer::default()
    }
}

pub fn code_in_json(body: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(body).ok()?;
    json["code"].as_str().map(str::to_owned)
}

/// What has arrived in time. One byte more than wxlogin accepts, so that wxlogin itself refuses a body that is
/// too large.
async fn read(mut body: Body, max: usize) -> Bytes {
    let mut all = Vec::new();
    let deadline = Instant::now() + BODY_TIMEOUT;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
        if all.len() > max {
            all.truncate(max + 1);
            break;
        }
    }
    all.into()
}
