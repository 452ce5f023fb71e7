//! The HTTP interface: the table of contents of the service. Only here is axum known.

mod envelope;
mod login;
mod ops;
mod problem;
mod query;
mod request_id;
mod session;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::get;

use crate::app::App;
use problem::Problem;

/// All routes, ready to be served.
///
/// The one layer sits around everything, the fallbacks included, so that no answer leaves without
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
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(from_fn(envelope::wrap))
        .with_state(app)
}
