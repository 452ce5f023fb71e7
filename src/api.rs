//! The HTTP interface: routes, handlers and problem documents. The only module with handlers and extractors of axum.
//!
//! The same layer ([`layer`]) is around the routes of the binary's two doors and those for another app.

mod body;
#[cfg(feature = "server")]
mod doors;
#[cfg(feature = "server")]
mod internal;
mod layer;
mod login;
#[cfg(feature = "server")]
mod probes;
mod problem;
mod query;
mod request_id;
mod session;
mod signed_in;
mod user_data;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::app::WxLogin;
#[cfg(feature = "server")]
pub use internal::InternalDoor;
pub use problem::Problem;
pub use signed_in::SignedIn;

/// The public requests whose metrics exist from the start: each route of [`paths`].
const SERIES: [(&str, &str); 5] = [
    ("GET", "/onLogin"),
    ("GET", "/session"),
    ("DELETE", "/session"),
    ("POST", "/session/decrypt"),
    ("POST", "/session/verify"),
];

impl WxLogin {
    /// The public paths for another Axum app, without the probes: `/onLogin`, `/session`,
    /// `/session/decrypt` and `/session/verify`. The other routes, 404s and request ids of the app that merges
    /// or nests them are not changed.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        self.finish(self.paths())
    }

    fn paths(&self) -> Router<Self> {
        for (method, route) in SERIES {
            self.metrics().add_route(method, route);
        }
        paths()
    }

    fn finish<S: Clone + Send + Sync + 'static>(&self, router: Router<Self>) -> Router<S> {
        router
            .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
            .layer(from_fn_with_state(self.clone(), layer::observe))
            .with_state(self.clone())
    }
}

/// The public routes. Each also needs [`SERIES`], its segments in `LOGGABLE_SEGMENTS` (doors.rs),
/// docs/openapi.yaml and docs/*/http-api.md: tests/it/openapi/drift.rs names what is missing. Routes for the
/// backend are in internal.rs.
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
