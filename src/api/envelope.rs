//! What every answer has: a request id, no caching, and a problem document if it is a failure.

use std::panic::AssertUnwindSafe;

use axum::extract::{MatchedPath, Request};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::{Instrument, error_span};

use super::body::MAX_BODY;
use super::problem::Problem;
use super::request_id::RequestId;

/// The outermost layer.
pub(super) async fn wrap(request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    // The route and not the path, which can hold anything; never the query, which holds the code.
    // At the highest level, so that no RUST_LOG takes the id from a line.
    let span = error_span!(
        "request",
        id = id.as_str(),
        method = %request.method(),
        route = route.as_ref().map(MatchedPath::as_str),
    );
    let has_body = has_body(request.headers());
    let mut response = answer(request, next).instrument(span.clone()).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        span.in_scope(|| problem.log());
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
    response
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
