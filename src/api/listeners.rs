//! The routers of the public and of the internal listener.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::pass_through::Calls;
use super::signed_in::bearer;
use super::{Group, ROUTES};
use crate::app::WxLogin;
use crate::config::InternalConfig;
use crate::problem::Problem;
use crate::session::sha256;

/// The most calls at a time that are passed through: each can hold a body of 10 MB.
const MAX_CALLS: usize = 32;

impl WxLogin {
    /// The public listener: the paths of [`routes`](Self::routes) and the probes.
    pub(crate) fn public_router(&self) -> Router {
        let router = self.group(Group::Public).merge(self.group(Group::Probe));
        self.finish(router.fallback(not_found))
    }

    /// The internal listener: metrics, probes and, if there is a token, the backend's routes.
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
            let slots = Arc::new(Semaphore::new(MAX_CALLS));
            let calls: Calls = (config.wechat_paths.as_slice().into(), slots);
            let mut backend = self.group(Group::Backend).layer(Extension(calls));
            if config.gives_access_tokens {
                backend = backend.merge(self.group(Group::AccessToken));
            }
            router = router.merge(with_token(backend, &config.tokens));
        }
        self.finish(router.fallback(not_found))
    }
}

/// Routes that need one of these tokens.
fn with_token(routes: Router<WxLogin>, tokens: &[SecretString]) -> Router<WxLogin> {
    let hash = |token: &SecretString| sha256(&[token.expose_secret().as_bytes()]);
    let tokens: Arc<[_]> = tokens.iter().map(hash).collect();
    // The fallback comes before the layer, so that a wrong method without a token is 401 too.
    routes
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .route_layer(from_fn_with_state(tokens, authenticate))
}

/// Refuses requests without one of the tokens. Hashes are compared, so that the time depends neither on the
/// token nor on its length.
async fn authenticate(
    State(tokens): State<Arc<[[u8; 32]]>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let presented = bearer(&headers).ok_or(Problem::InvalidInternalToken)?;
    let presented = sha256(&[presented.as_bytes()]);
    if !(tokens.iter()).any(|token| verify_slices_are_equal(token, &presented).is_ok()) {
        return Err(Problem::InvalidInternalToken);
    }
    Ok(next.run(request).await)
}

async fn not_found(uri: Uri) -> Problem {
    Problem::NotFound(redacted(uri.path()))
}

/// Whether it is a segment of one of our routes.
#[must_use]
pub fn is_path_segment(segment: &str) -> bool {
    let mut routes = ROUTES.iter();
    routes.any(|route| route.2.split('/').any(|it| it == segment))
}

/// The path with `…` for each segment that is not one of our routes': it can be a code, a token or an openid.
fn redacted(path: &str) -> String {
    /// In characters.
    const MAX_LOGGED: usize = 64;
    let segments = path.split('/');
    let segments = segments.map(|it| if is_path_segment(it) { it } else { "…" });
    let path = segments.collect::<Vec<_>>().join("/");
    path.chars().take(MAX_LOGGED).collect()
}
