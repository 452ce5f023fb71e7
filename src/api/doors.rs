//! The routers of the binary's two doors: the public one for clients and gateways, the internal one for the
//! team's own backend, Prometheus and probes.

use axum::Router;
use axum::http::Uri;
use axum::routing::get;

use super::internal::{self, InternalDoor};
use super::probes;
use super::problem::Problem;
use crate::app::WxLogin;

/// The longest path that is logged, in characters.
const MAX_LOGGED_PATH: usize = 64;
/// The literal segments of all routes. Others are redacted in the log and in problem documents.
const LOGGABLE_SEGMENTS: [&str; 14] = [
    "",
    "onLogin",
    "session",
    "decrypt",
    "verify",
    "healthz",
    "readyz",
    "metrics",
    "users",
    "phone",
    "sign",
    "session_key",
    "sessions",
    "access_token",
];

impl WxLogin {
    /// The public door: the paths of [`routes`](Self::routes) and the probes.
    pub(crate) fn public_door(&self) -> Router {
        self.door(self.paths())
    }

    /// The internal door: metrics, probes and, if there is a token, the backend's routes.
    pub(crate) fn internal_door(&self, door: &InternalDoor) -> Router {
        let router = internal::routes(self, door);
        self.door(router.route("/metrics", get(probes::metrics)))
    }

    fn door(&self, router: Router<Self>) -> Router {
        for route in ["/healthz", "/readyz", "/metrics"] {
            self.metrics().add_route("GET", route);
        }
        let probes = router
            .route("/healthz", get(probes::healthz))
            .route("/readyz", get(probes::readyz));
        self.finish(probes.fallback(not_found))
    }
}

async fn not_found(uri: Uri) -> Problem {
    Problem::NotFound(redacted(uri.path()))
}

/// The path with `…` for each segment that is not in [`LOGGABLE_SEGMENTS`]: it can be a code, a token or an
/// openid.
fn redacted(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        if LOGGABLE_SEGMENTS.contains(&segment) {
            segment
        } else {
            "…"
        }
    });
    let path = segments.collect::<Vec<_>>().join("/");
    path.chars().take(MAX_LOGGED_PATH).collect()
}
