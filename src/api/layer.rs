//! The layer around the routes of both listeners: every response gets a request id and no caching, every failure its
//! problem document, every request one log line and its metrics, and a panic an answer.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use aws_lc_rs::rand;
use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::ROUTES;
use crate::app::WxLogin;
use crate::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// nginx's status for a client that has closed the connection.
const CLIENT_CLOSED_REQUEST: (u16, &str) = (499, "499");

/// The middleware function.
pub(super) async fn observe(
    State(wxlogin): State<WxLogin>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers());
    // For handlers that log.
    request.headers_mut().insert(REQUEST_ID, id.header());
    let has_body = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
    let ignores_body = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut record = RequestRecord {
        begin: Instant::now(),
        id,
        method: method_label(request.method()),
        route: request.extensions().get().cloned(),
        wxlogin,
        status: None,
        problem: None,
    };
    let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response =
        response.unwrap_or_else(|_| Problem::Internal("a handler panicked").into_response());
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        response = problem.document(response, Some(&record.id));
    }
    if has_body && (ignores_body || problem.is_some()) {
        // The rest of the body is not read: hyper would close the connection unannounced.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, record.id.header());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (record.status, record.problem) = (Some(response.status()), problem);
    response
}

/// What is logged and counted of a request when it is dropped, also if it was never answered.
struct RequestRecord {
    wxlogin: WxLogin,
    begin: Instant,
    id: RequestId,
    method: &'static str,
    /// The route's template: a path can hold anything, and the query holds the code.
    route: Option<MatchedPath>,
    /// `None` if the client has closed the connection before.
    status: Option<StatusCode>,
    problem: Option<Problem>,
}

impl Drop for RequestRecord {
    /// Logs one line. A failure of the service is a warning; what is polled and successful lookups are DEBUG.
    fn drop(&mut self) {
        let (duration, problem) = (self.begin.elapsed(), self.problem.as_ref());
        let (status, label) = match &self.status {
            Some(status) => (status.as_u16(), status.as_str()),
            None => CLIENT_CLOSED_REQUEST,
        };
        let route = self.route.as_ref().map(MatchedPath::as_str);
        let own = route.map_or("none", template);
        let metrics = &self.wxlogin.0.metrics;
        metrics.answered(self.method, own, label, duration);
        let is_polled = match own {
            "/healthz" | "/readyz" | "/metrics" => true,
            // At INFO, the lookups of a busy backend fill a disk.
            "/session" => self.method == "GET" && problem.is_none(),
            _ => false,
        };
        let good = self.status.map_or("unanswered", |_| "ok");
        macro_rules! line {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    request_id = self.id.as_str(),
                    method = self.method,
                    route,
                    path = problem.and_then(Problem::path),
                    status,
                    outcome = problem.map_or(good, Problem::code),
                    errcode = problem.and_then(Problem::errcode),
                    duration_ms = (duration.as_secs_f64() * 1e6).round() / 1e3,
                    cause = problem.and_then(Problem::cause),
                    $message
                )
            };
        }
        match self.status {
            None => line!(
                info,
                "request not answered: the client has gone, or the service stopped"
            ),
            Some(status) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                line!(warn, "request failed");
            }
            Some(_) if is_polled => line!(debug, "request answered"),
            Some(_) => line!(info, "request answered"),
        }
    }
}

/// 1 to 128 visible ASCII characters.
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's own id if it is valid, else a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let is_valid =
            |id: &[u8]| (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
        match headers.get(REQUEST_ID) {
            Some(id) if is_valid(id.as_bytes()) => Self(id.clone()),
            _ => Self::new(),
        }
    }

    /// 16 random bytes in hex. If there are none, it is a constant, and logins fail.
    fn new() -> Self {
        let mut bytes = [0; 16];
        let _ = rand::fill(&mut bytes);
        let id = format!("{:032x}", u128::from_ne_bytes(bytes));
        Self(HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-")))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// A route's template without the path that a host has nested it under: the label of its series, which
/// exist from the start.
fn template(route: &str) -> &str {
    let mut templates = ROUTES.iter().map(|(_, _, path, _)| *path);
    let own = templates.find(|template| route.ends_with(template));
    own.unwrap_or(route)
}

/// A method by a name that is one of few.
fn method_label(method: &Method) -> &'static str {
    let mut known = ["GET", "POST", "DELETE", "HEAD"].into_iter();
    known.find(|name| method == name).unwrap_or("other")
}
