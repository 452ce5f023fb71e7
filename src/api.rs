//! The HTTP interface: the table of contents of the service. Only here is axum known.
//!
//! Two routers, one for each door, and one layer around both ([`layer`]).

mod body;
mod layer;
mod login;
mod probes;
mod problem;
mod query;
mod request_id;
mod session;
mod signed_in;
mod user_data;

use axum::Router;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::app::WxLogin;
pub use problem::Problem;
pub use signed_in::SignedIn;

impl WxLogin {
    /// The public paths for another Axum app, without the probes: `/onLogin`, `/session`,
    /// `/session/decrypt` and `/session/verify`. Paths, 404s, layers and request ids of the app that
    /// merges or nests them stay its own.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        self.finish(paths())
    }

    /// The public door: the paths, the probes, and nothing else.
    pub(crate) fn public_door(&self) -> Router {
        self.finish(probes(paths()).fallback(not_found))
    }

    /// The internal door: metrics and probes.
    pub(crate) fn internal_door(&self) -> Router {
        let metrics = Router::new().route("/metrics", get(probes::metrics));
        self.finish(probes(metrics).fallback(not_found))
    }

    fn finish<S: Clone + Send + Sync + 'static>(&self, router: Router<Self>) -> Router<S> {
        router
            .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
            .layer(from_fn_with_state(self.clone(), layer::observe))
            .with_state(self.clone())
    }
}

fn paths() -> Router<WxLogin> {
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
}

fn probes(router: Router<WxLogin>) -> Router<WxLogin> {
    router
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
}

async fn not_found(uri: Uri) -> Problem {
    Problem::NotFound(layer::redacted_path(uri.path()))
}
