//! The HTTP interface: the table of routes, and the routers of both listeners. The only module with handlers and
//! extractors of axum.

mod body;
mod document;
mod internal;
mod layer;
#[cfg(feature = "server")]
mod listeners;
mod pass_through;
mod probes;
mod public;
mod signed_in;

use axum::Router;
use axum::http::header::SERVER;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};

use crate::app::WxLogin;
use crate::problem::Problem;
#[cfg(feature = "server")]
pub use listeners::is_path_segment;
pub use signed_in::SignedIn;

/// Where a route is served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    /// At the public listener, and in the app of a host.
    Public,
    /// At both listeners.
    Probe,
    /// At the internal listener.
    Metrics,
    /// At the internal listener, with `INTERNAL_TOKEN`.
    Backend,
    /// The same, if `INTERNAL_ACCESS_TOKEN` is `on`.
    AccessToken,
}

/// A route: its group, its method, its path, and its handler.
type Route = (
    Group,
    &'static str,
    &'static str,
    fn() -> MethodRouter<WxLogin>,
);

/// All routes. Their series are made from it, and what is logged of a path. A new one also needs docs/openapi.yaml
/// and docs/*/http-api.md: the tests of the contract name what is missing.
#[rustfmt::skip]
const ROUTES: &[Route] = &[
    (Group::Public, "GET", "/onLogin", public::log_in_route),
    (Group::Public, "GET", "/session", || get(public::show_session)),
    (Group::Public, "DELETE", "/session", || delete(public::end_session)),
    (Group::Public, "POST", "/session/decrypt", || post(public::decrypt)),
    (Group::Public, "POST", "/session/verify", || post(public::verify)),
    (Group::Probe, "GET", "/healthz", || get(async || ([(SERVER, "wxlogin")], "ok\n"))),
    (Group::Probe, "GET", "/readyz", || get(probes::readyz)),
    (Group::Metrics, "GET", "/metrics", || get(probes::metrics)),
    (Group::Backend, "POST", "/users/{appid}/{openid}/phone", || post(internal::phone)),
    (Group::Backend, "POST", "/users/{appid}/{openid}/sign", || post(internal::sign)),
    (Group::Backend, "GET", "/users/{appid}/{openid}/session_key", || get(internal::session_key)),
    (Group::Backend, "GET", "/users/{appid}/{openid}/sessions", || get(internal::sessions)),
    (Group::Backend, "DELETE", "/users/{appid}/{openid}/sessions", || delete(internal::end_sessions)),
    (Group::Backend, "GET", "/wechat/{appid}/{*path}", pass_through::get_route),
    (Group::Backend, "POST", "/wechat/{appid}/{*path}", || post(pass_through::pass)),
    (Group::AccessToken, "GET", "/access_token/{appid}", || get(internal::access_token)),
];

impl WxLogin {
    /// The public paths for another Axum app, without the probes: `/onLogin`, `/session`, `/session/decrypt` and
    /// `/session/verify`. The other routes, 404s and request ids of the app that merges or nests them are not
    /// changed.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        self.finish(self.group(Group::Public))
    }

    /// The routes of a group. Makes their series, which begin at 0.
    fn group(&self, group: Group) -> Router<Self> {
        let mut router = Router::new();
        for (_, method, path, handler) in ROUTES.iter().filter(|route| route.0 == group) {
            self.0.metrics.add_route(method, path);
            router = router.route(path, handler());
        }
        router
    }

    fn finish<S: Clone + Send + Sync + 'static>(&self, router: Router<Self>) -> Router<S> {
        router
            .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
            .layer(from_fn_with_state(self.clone(), layer::observe))
            .with_state(self.clone())
    }
}
