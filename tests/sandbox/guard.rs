//! Access to the sandbox: for the page itself and for programs, not for other sites in a browser.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Which names a listener accepts as `Host`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// Those of this machine.
    Loopback,
    /// Also those by which other machines reach this one.
    Reachable,
}

/// Against DNS rebinding: only names whose DNS an attacker cannot control are accepted as `Host`.
pub async fn own_host(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if host(request.headers()).is_some_and(|host| hosts.have(&host)) {
        next.run(request).await
    } else {
        let detail =
            "The Host header is not a name of this machine, so the sandbox does not answer.";
        refused(detail)
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

impl Hosts {
    pub fn of(is_open: bool) -> Self {
        if is_open {
            Self::Reachable
        } else {
            Self::Loopback
        }
    }

    /// `Reachable`: an IP address, a name without dots as in Compose, a name of the local network. Docker gives
    /// the last name to this machine, also where only the loopback is listened on.
    fn have(self, host: &str) -> bool {
        let is_local = || {
            ip(host).is_some() || !host.contains('.') || host.rsplit('.').next() == Some("local")
        };
        is_loopback(host) || host == "host.docker.internal" || self == Self::Reachable && is_local()
    }
}

/// The name or IP address in the `Host` header.
fn host(headers: &HeaderMap) -> Option<String> {
    let host: Uri = headers.get(HOST)?.to_str().ok()?.parse().ok()?;
    host.host().map(str::to_owned)
}

fn ip(host: &str) -> Option<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().ok()
}

/// In the form of a failure of wxlogin, for the client in the Mini Program.
fn refused(detail: &str) -> Response {
    let body = json!({"detail": detail, "code": "refused_by_sandbox", "action": "fix_request"});
    (StatusCode::FORBIDDEN, Json(body)).into_response()
}
