//! The stand-in's calls over HTTP.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{RawQuery, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::Value;
use tokio::net::TcpListener;

use super::model::Model;
use super::reply::error;
use super::{check_session, code_to_session, phone_number, stable_token, token};

pub type SharedModel = Arc<Mutex<Model>>;

pub fn router(model: SharedModel) -> Router {
    Router::new()
        .route("/sns/jscode2session", any(jscode2session))
        .route("/cgi-bin/stable_token", any(stable_token))
        .route("/cgi-bin/token", any(token))
        .route("/wxa/business/getuserphonenumber", any(getuserphonenumber))
        .route("/wxa/checksession", any(checksession))
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

/// A POST with a JSON object and its length, as WeChat wants it; else what WeChat answers.
async fn read_json(request: Request<Body>) -> Result<Value, Response> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Err(error(43002, "require POST method"));
    }
    if !head.headers.contains_key(CONTENT_LENGTH) {
        return Err(StatusCode::PRECONDITION_FAILED.into_response());
    }
    let content_type = head.headers.get(CONTENT_TYPE);
    let is_form = content_type.is_some_and(|it| it == "application/x-www-form-urlencoded");
    if is_form {
        return Err(error(41002, "appid missing"));
    }
    let body = to_bytes(body, 65_536).await.unwrap();
    match serde_json::from_slice(&body) {
        Ok(json @ Value::Object(_)) => Ok(json),
        _ => Err(error(47001, "data format error")),
    }
}

pub async fn serve(listener: TcpListener, router: Router) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            // The client may close the connection at any time.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        });
    }
}
