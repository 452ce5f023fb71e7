//! The HTTP interface: the table of contents of the service. Only here is axum known.

mod body;
mod envelope;
mod login;
mod ops;
mod problem;
mod query;
mod request_id;
mod session;
mod user_data;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::app::App;
use problem::Problem;

/// All routes, ready to be served.
///
/// The last layer sits around everything, the fallbacks included, so that no answer leaves without
/// a request id and no failure without its problem document.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(
            "/onLogin",
            get(login::on_login)
                .head(login::only_get)
                .fallback(login::only_get),
        )
        .route("/session", get(session::show).delete(session::end))
        .route("/session/decrypt", post(user_data::decrypt))
        .route("/session/verify", post(user_data::verify))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(body::MAX_BODY))
        .layer(from_fn_with_state(app.clone(), envelope::wrap))
        .with_state(app)
}

/// `GET /metrics`, for an address of its own.
pub fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(ops::metrics))
        .with_state(app)
}
