//! The HTTP interface: the table of contents of the service. Only here is axum known.

mod body;
mod layer;
mod login;
mod probes;
mod problem;
mod query;
mod request_id;
mod session;
mod user_data;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};

use crate::app::App;
use problem::Problem;

/// All routes, and around them what every answer has.
///
/// It sits around the router and not in it, so that no answer leaves without a request id and no
/// failure without its problem document, and because every layer of a router costs each request
/// several allocations.
#[must_use]
pub fn service(app: Arc<App>) -> impl Answers {
    let router = router(app.clone());
    for (method, route) in SERIES {
        app.metrics.add_route(method, route);
    }
    service_fn(move |request| layer::answer(app.clone(), router.clone(), request))
}

/// `GET /metrics`, for an address of its own.
#[must_use]
pub fn metrics_service(app: Arc<App>) -> impl Answers {
    let router = Router::new()
        .route("/metrics", get(probes::metrics))
        .with_state(app);
    service_fn(move |request| layer::route(router.clone(), request))
}

/// What every request gets.
pub type Answer = Response;

/// What answers every request, and can be cloned for every connection.
pub trait Answers:
    Service<hyper::Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> Answers for S where
    S: Service<hyper::Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The paths, which are also what requests are called in the log and in the metrics.
const ROUTES: [&str; 6] = [
    "/onLogin",
    "/session",
    "/session/decrypt",
    "/session/verify",
    "/healthz",
    "/readyz",
];

/// The requests that are counted from 0.
const SERIES: [(&str, &str); 7] = [
    ("GET", "/onLogin"),
    ("GET", "/session"),
    ("DELETE", "/session"),
    ("POST", "/session/decrypt"),
    ("POST", "/session/verify"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
];

fn router(app: Arc<App>) -> Router {
    let [on_login, session, decrypt, verify, healthz, readyz] = ROUTES;
    let body_limit = DefaultBodyLimit::max(body::MAX_BODY);
    Router::new()
        .route(
            on_login,
            get(login::on_login)
                .head(login::only_get)
                .fallback(login::only_get),
        )
        .route(session, get(session::show).delete(session::end))
        .route(decrypt, post(user_data::decrypt).layer(body_limit))
        .route(verify, post(user_data::verify).layer(body_limit))
        .route(healthz, get(probes::healthz))
        .route(readyz, get(probes::readyz))
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .with_state(app)
}

/// Which of the routes a request is for.
fn route_of(request: &Request) -> Option<&'static str> {
    let path = request.uri().path();
    ROUTES.into_iter().find(|route| *route == path)
}
