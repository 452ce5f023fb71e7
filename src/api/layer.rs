//! What every answer has: a request id, no caching, and a problem document if it is a failure.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::{Body as _, Incoming};
use tower_service::Service;

use super::body::MAX_BODY;
use super::problem::Problem;
use super::request_id::{REQUEST_ID, RequestId};
use super::route_of;
use crate::app::App;

/// nginx's status for a client that goes before it is answered.
const CLIENT_GONE: u16 = 499;

/// Answers a request by `router`.
pub(super) async fn answer(
    app: Arc<App>,
    router: Router,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut request = request.map(body);
    let id = RequestId::of(request.headers());
    // For who logs something on the way.
    request.headers_mut().insert(REQUEST_ID, id.header());
    let has_body = has_body(request.headers());
    let record = Record {
        app,
        begin: Instant::now(),
        id,
        method: name_of(request.method()),
        route: route_of(&request),
        is_complete: false,
    };
    let mut response = guarded(router, request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        response = problem.document(response, &record.id);
        if has_body {
            // It may not have been read, and what is left of it would end the connection unannounced.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, record.id.header());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    record.complete(response.status(), problem.as_ref());
    Ok(response)
}

/// Answers a request by `router`, without anything around it.
pub(super) async fn route(
    mut router: Router,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    router.call(request.map(body)).await
}

/// A body for axum; none costs nothing.
fn body(incoming: Incoming) -> Body {
    if incoming.is_end_stream() {
        Body::empty()
    } else {
        Body::new(incoming)
    }
}

/// What is logged and counted of a request, also if the client goes before it is answered.
struct Record {
    app: Arc<App>,
    begin: Instant,
    id: RequestId,
    method: &'static str,
    /// And not the path, which can hold anything; never the query, which holds the code.
    route: Option<&'static str>,
    is_complete: bool,
}

impl Record {
    fn complete(mut self, status: StatusCode, problem: Option<&Problem>) {
        self.is_complete = true;
        self.count(status.as_str());
        self.log(status, problem);
    }

    fn count(&self, status: &str) {
        let route = self.route.unwrap_or("none");
        let metrics = &self.app.metrics;
        metrics.answered(self.method, route, status, self.begin.elapsed());
    }

    fn milliseconds(&self) -> f64 {
        let microseconds = self.begin.elapsed().as_micros();
        f64::from(u32::try_from(microseconds).unwrap_or(u32::MAX)) / 1000.0
    }

    /// One line: a failure of the service is a warning, and what others ask every few seconds a
    /// detail.
    fn log(&self, status: StatusCode, problem: Option<&Problem>) {
        let Self { method, route, .. } = *self;
        let (request_id, status_code) = (self.id.as_str(), status.as_u16());
        let outcome = problem.map_or("ok", Problem::code);
        let errcode = problem.and_then(Problem::errcode);
        let duration_ms = self.milliseconds();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let cause = problem.and_then(Problem::cause);
            tracing::warn!(
                request_id,
                method,
                route,
                status = status_code,
                outcome,
                errcode,
                duration_ms,
                cause,
                "could not answer"
            );
        } else if matches!(route, Some("/healthz" | "/readyz")) {
            tracing::debug!(
                request_id,
                method,
                route,
                status = status_code,
                outcome,
                duration_ms,
                "answered"
            );
        } else {
            tracing::info!(
                request_id,
                method,
                route,
                status = status_code,
                outcome,
                errcode,
                duration_ms,
                "answered"
            );
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        self.count("499");
        tracing::info!(
            request_id = self.id.as_str(),
            method = self.method,
            route = self.route,
            status = CLIENT_GONE,
            outcome = "client_gone",
            duration_ms = self.milliseconds(),
            "not answered"
        );
    }
}

/// A method by a name that is one of few.
fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

async fn guarded(mut router: Router, request: Request) -> Response {
    if announced_length(request.headers()) > MAX_BODY as u64 {
        return Problem::BodyTooLarge.into_response();
    }
    // A panic is a fault of ours; the next request must not suffer from it.
    let Ok(response) = AssertUnwindSafe(async { router.call(request).await })
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Ok(Problem::Internal("a handler panicked").into_response()));
    response
}

fn has_body(headers: &HeaderMap) -> bool {
    announced_length(headers) > 0 || headers.contains_key(TRANSFER_ENCODING)
}

/// The length of the body that a client announces; hyper has checked that it is a number.
fn announced_length(headers: &HeaderMap) -> u64 {
    headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}
