//! The HTTP interface: the table of routes, and the routers of both listeners. The only module with handlers and
//! extractors of axum.

mod body;
mod document;
#[cfg(feature = "server")]
mod internal;
mod layer;
#[cfg(feature = "server")]
mod pass_through;
#[cfg(feature = "server")]
mod probes;
mod public;
mod signed_in;

#[cfg(feature = "server")]
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
#[cfg(feature = "server")]
use axum::{Extension, http::Uri, routing::delete};
#[cfg(feature = "server")]
use tokio::sync::Semaphore;

use crate::app::WxLogin;
#[cfg(feature = "server")]
use crate::config::InternalConfig;
use crate::problem::Problem;

pub use signed_in::SignedIn;

/// Where a route is served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    /// At the public listener, and in the app of a host.
    Public,
    /// At both listeners.
    #[cfg(feature = "server")]
    Probe,
    /// At the internal listener.
    #[cfg(feature = "server")]
    Metrics,
    /// At the internal listener, with `INTERNAL_TOKEN`.
    #[cfg(feature = "server")]
    Backend,
    /// The same, if `INTERNAL_ACCESS_TOKEN` is `on`.
    #[cfg(feature = "server")]
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
/// and docs/*/http-api.md or docs/*/backend.md: the tests of the contract name what is missing.
#[rustfmt::skip]
const ROUTES: &[Route] = &[
    (Group::Public, "GET", "/onLogin", public::log_in_route),
    (Group::Public, "GET", "/session", || get(public::show_session)),
    (Group::Public, "DELETE", "/session", || MethodRouter::new().delete(public::end_session)),
    (Group::Public, "POST", "/session/decrypt", || post(public::decrypt)),
    (Group::Public, "POST", "/session/verify", || post(public::verify)),
    #[cfg(feature = "server")]
    (Group::Probe, "GET", "/healthz", || get(probes::healthz)),
    #[cfg(feature = "server")]
    (Group::Probe, "GET", "/readyz", || get(probes::readyz)),
    #[cfg(feature = "server")]
    (Group::Metrics, "GET", "/metrics", || get(probes::metrics)),
    #[cfg(feature = "server")]
    (Group::Backend, "POST", "/users/{appid}/{openid}/phone", || post(internal::phone)),
    #[cfg(feature = "server")]
    (Group::Backend, "POST", "/users/{appid}/{openid}/sign", || post(internal::sign)),
    #[cfg(feature = "server")]
    (Group::Backend, "GET", "/users/{appid}/{openid}/session_key", || get(internal::session_key)),
    #[cfg(feature = "server")]
    (Group::Backend, "GET", "/users/{appid}/{openid}/sessions", || get(internal::sessions)),
    #[cfg(feature = "server")]
    (Group::Backend, "DELETE", "/users/{appid}/{openid}/sessions", || delete(internal::end_sessions)),
    #[cfg(feature = "server")]
    (Group::Backend, "GET", "/wechat/{appid}/{*path}", pass_through::get_route),
    #[cfg(feature = "server")]
    (Group::Backend, "POST", "/wechat/{appid}/{*path}", || post(pass_through::pass)),
    #[cfg(feature = "server")]
    (Group::AccessToken, "GET", "/access_token/{appid}", || get(internal::access_token)),
];

impl WxLogin {
    /// The public paths for another Axum app, without the probes: `/onLogin`, `/session`, `/session/decrypt` and
    /// `/session/verify`. The other routes, 404s and request ids of the app that merges or nests them are not
    /// changed.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        self.finish(self.group(Group::Public))
    }

    /// The public listener: the paths of [`routes`](Self::routes) and the probes.
    #[cfg(feature = "server")]
    pub(crate) fn public_router(&self) -> Router {
        let router = self.group(Group::Public).merge(self.group(Group::Probe));
        self.finish(router.fallback(not_found))
    }

    /// The internal listener: metrics, probes and, if there is a token, the backend's routes.
    #[cfg(feature = "server")]
    pub(crate) fn internal_router(&self, config: &InternalConfig) -> Router {
        let (off, setting): (&[&str], _) = match config {
            _ if config.tokens.is_empty() => {
                (&["users", "wechat", "access_token"], "INTERNAL_TOKEN")
            }
            _ if !config.gives_access_tokens => (&["access_token"], "INTERNAL_ACCESS_TOKEN=on"),
            _ => (&[], ""),
        };
        let not_found = async move |uri: Uri| match uri.path().split('/').nth(1) {
            Some(first) if off.contains(&first) => Problem::RouteOff(setting),
            _ => not_found(uri).await,
        };
        let mut router = self.group(Group::Probe).merge(self.group(Group::Metrics));
        if !config.tokens.is_empty() {
            for mini_program in &self.0.mini_programs {
                let paths = config.wechat_paths.iter().map(String::as_str);
                self.0.metrics.add_calls(mini_program.appid(), paths);
            }
            let slots = Arc::new(Semaphore::new(pass_through::MAX_CALLS));
            let calls: pass_through::Calls = (config.wechat_paths.as_slice().into(), slots);
            let mut backend = self.group(Group::Backend).layer(Extension(calls));
            if config.gives_access_tokens {
                backend = backend.merge(self.group(Group::AccessToken));
            }
            router = router.merge(internal::with_token(backend, &config.tokens));
        }
        self.finish(router.fallback(not_found))
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

#[cfg(feature = "server")]
async fn not_found(uri: Uri) -> Problem {
    Problem::NotFound(redacted(uri.path()))
}

/// Whether it is a segment of one of our routes.
#[cfg(feature = "server")]
#[must_use]
pub fn is_path_segment(segment: &str) -> bool {
    let mut routes = ROUTES.iter();
    routes.any(|route| route.2.split('/').any(|it| it == segment))
}

/// The path with `…` for each segment that is not one of our routes': it can be a code, a token or an openid.
#[cfg(feature = "server")]
fn redacted(path: &str) -> String {
    /// In characters.
    const MAX_LOGGED: usize = 64;
    let segments = path.split('/');
    let segments = segments.map(|it| if is_path_segment(it) { it } else { "…" });
    let path = segments.collect::<Vec<_>>().join("/");
    path.chars().take(MAX_LOGGED).collect()
}
