//! The stand-in's calls over HTTP.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{RawQuery, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::model::Model;
use super::others::Received;
use super::reply::error;
use super::{check_session, code_to_session, others, phone_number, stable_token, token};

/// The largest body of a request: that of an uploaded file.
pub const MAX_BODY: usize = 10 * 1024 * 1024;
/// The longest time for a body to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// For the head of a request, including the idle time before it, as wxlogin has it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Request line and headers together, in bytes.
const MAX_HEAD: usize = 32 * 1024;

pub type SharedModel = Arc<Mutex<Model>>;

pub fn router(model: SharedModel) -> Router {
    Router::new()
        .route("/sns/jscode2session", any(jscode2session))
        .route("/cgi-bin/stable_token", any(stable_token))
        .route("/cgi-bin/token", any(token))
        .route("/wxa/business/getuserphonenumber", any(getuserphonenumber))
        .route("/wxa/checksession", any(checksession))
        .route("/{*path}", any(other))
        .with_state(model)
}

async fn jscode2session(
    State(model): State<SharedModel>,
    method: Method,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let reply = code_to_session::reply(&mut model.lock().unwrap(), &method, &query);
    reply.send().await
}

async fn checksession(
    State(model): State<SharedModel>,
    method: Method,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let reply = check_session::reply(&mut model.lock().unwrap(), &method, &query);
    reply.send().await
}

async fn token(
    State(model): State<SharedModel>,
    method: Method,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let reply = token::reply(&mut model.lock().unwrap(), &method, &query);
    reply.send().await
}

async fn stable_token(State(model): State<SharedModel>, request: Request) -> Response {
    let body = match read_json(request).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let reply = stable_token::reply(&mut model.lock().unwrap(), &body);
    reply.send().await
}

async fn getuserphonenumber(
    State(model): State<SharedModel>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let body = match read_json(request).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let query = query.unwrap_or_default();
    let reply = phone_number::reply(&mut model.lock().unwrap(), &query, &body);
    reply.send().await
}

/// Any other path. GET, or POST with its length.
async fn other(State(model): State<SharedModel>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = if head.method == Method::POST {
        match read(&head.headers, body).await {
            Ok(body) => body,
            Err(response) => return response,
        }
    } else {
        Bytes::new()
    };
    let request = Received {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    let reply = others::reply(&mut model.lock().unwrap(), request);
    reply.send().await
}

/// A POST with a JSON object and its length, as WeChat wants it; else what WeChat answers.
async fn read_json(request: Request) -> Result<Value, Response> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Err(error(43002, "require POST method"));
    }
    let content_type = head.headers.get(CONTENT_TYPE);
    let is_form = content_type.is_some_and(|it| it == "application/x-www-form-urlencoded");
    let body = read(&head.headers, body).await?;
    if is_form {
        return Err(error(41002, "appid missing"));
    }
    match serde_json::from_slice(&body) {
        Ok(json @ Value::Object(_)) => Ok(json),
        _ => Err(error(47001, "data format error")),
    }
}

/// A body with its length: WeChat's gateway does not take chunks.
async fn read(headers: &axum::http::HeaderMap, body: Body) -> Result<Bytes, Response> {
    if !headers.contains_key(CONTENT_LENGTH) {
        return Err(StatusCode::PRECONDITION_FAILED.into_response());
    }
    match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE.into_response()),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT.into_response()),
    }
}

pub async fn serve(listener: TcpListener, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .half_close(true);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await; // no free file descriptor
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _ = connection.await; // the client may close the connection at any time
        });
    }
}
