//! What every answer has: a request id, no caching, and a problem document if it is a failure.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::{Instrument, Span, error_span};

use super::body::MAX_BODY;
use super::problem::Problem;
use super::request_id::RequestId;
use crate::app::App;

/// nginx's status for a client that goes before it is answered.
const CLIENT_GONE: u16 = 499;

/// The outermost layer.
pub(super) async fn wrap(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let has_body = has_body(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    // The route and not the path, which can hold anything; never the query, which holds the code.
    // At the highest level, so that no RUST_LOG takes the id from a line.
    let span = error_span!(
        "request",
        id = id.as_str(),
        method = %name_of(request.method()),
        route = route.as_ref().map(MatchedPath::as_str),
    );
    let record = Record {
        app,
        begin: Instant::now(),
        method: name_of(request.method()),
        route,
        span: span.clone(),
        is_complete: false,
    };
    let mut response = answer(request, next).instrument(span).await;
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        response = problem.document(response, &id);
        if has_body {
            // It may not have been read, and what is left of it would end the connection unannounced.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }
    let headers = response.headers_mut();
    headers.insert("x-request-id", id.header());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    record.complete(response.status(), problem.as_ref());
    response
}

/// What is logged and counted of a request, also if the client goes before it is answered.
struct Record {
    app: Arc<App>,
    begin: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    span: Span,
    is_complete: bool,
}

impl Record {
    fn complete(mut self, status: StatusCode, problem: Option<&Problem>) {
        self.is_complete = true;
        self.count(status.as_u16());
        let route = self.route.as_ref().map(MatchedPath::as_str);
        let duration = self.begin.elapsed();
        self.span.in_scope(|| log(route, status, problem, duration));
    }

    fn count(&self, status: u16) {
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        self.app.metrics.answered(self.method, route, status);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        self.count(CLIENT_GONE);
        let duration_ms = self.begin.elapsed().as_secs_f64() * 1000.0;
        self.span.in_scope(|| {
            tracing::info!(
                status = CLIENT_GONE,
                outcome = "client_gone",
                duration_ms,
                "not answered"
            );
        });
    }
}

/// One line: a failure of the service is a warning, and what others ask every few seconds a detail.
fn log(route: Option<&str>, status: StatusCode, problem: Option<&Problem>, duration: Duration) {
    let status_code = status.as_u16();
    let outcome = problem.map_or("ok", Problem::code);
    let errcode = problem.and_then(Problem::errcode);
    let duration_ms = duration.as_secs_f64() * 1000.0;
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        let cause = problem.and_then(Problem::cause);
        tracing::warn!(
            status = status_code,
            outcome,
            errcode,
            duration_ms,
            cause,
            "could not answer"
        );
    } else if matches!(route, Some("/healthz" | "/readyz")) {
        tracing::debug!(status = status_code, outcome, duration_ms, "answered");
    } else {
        tracing::info!(
            status = status_code,
            outcome,
            errcode,
            duration_ms,
            "answered"
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

async fn answer(request: Request, next: Next) -> Response {
    if announced_length(request.headers()) > MAX_BODY as u64 {
        return Problem::BodyTooLarge.into_response();
    }
    // A panic is a fault of ours; the next request must not suffer from it.
    AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Problem::Internal("a handler panicked").into_response())
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
