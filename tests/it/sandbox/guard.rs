//! Access to the page and its controls: for the page itself and for programs, not for other sites in a browser.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::options::Openness;
use super::state::Sandbox;

/// Against DNS rebinding: only names of this machine are accepted as `Host`.
pub async fn own_host(State(sandbox): State<Sandbox>, request: Request, next: Next) -> Response {
    let is_own = host(request.headers()).is_some_and(|host| is_own(&host, sandbox.openness));
    if is_own {
        next.run(request).await
    } else {
        refused("The Host header names another machine.")
    }
}

/// Against other sites in the same browser. A program sends neither of these headers.
pub async fn own_page(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str().ok());
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let is_own_origin =
        origin.is_none_or(|origin| origin.and_then(|it| it.strip_prefix("http://")) == host);
    let site = headers.get("sec-fetch-site");
    let is_own_site = site.is_none_or(|site| site == "same-origin" || site == "none");
    if is_own_origin && is_own_site {
        next.run(request).await
    } else {
        refused("Only the sandbox's own page and programs may ask this.")
    }
}

pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || ip(host).is_some_and(|ip| ip.is_loopback())
}

/// The name or IP address in the `Host` header.
fn host(headers: &HeaderMap) -> Option<String> {
    let host: Uri = headers.get(HOST)?.to_str().ok()?.parse().ok()?;
    host.host().map(str::to_owned)
}

/// In a container also an IP address, a name without dots as in Compose, and Docker's name of the host: an
/// attacker cannot control the DNS of these names.
fn is_own(host: &str, openness: Openness) -> bool {
    is_loopback(host)
        || openness == Openness::Everything
            && (ip(host).is_some() || !host.contains('.') || host == "host.docker.internal")
}

fn ip(host: &str) -> Option<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().ok()
}

fn refused(detail: &str) -> Response {
    (StatusCode::FORBIDDEN, Json(json!({"detail": detail}))).into_response()
}
