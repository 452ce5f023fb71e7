//! `wxlogin healthcheck` requests `/healthz` of the running service.

use std::error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::redirect::Policy;

/// Shorter than the timeouts of container health checks.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// Requests `/healthz` at `addr`; at the loopback address if `addr` is unspecified (`0.0.0.0` or `[::]`).
///
/// # Errors
/// What went wrong.
pub async fn health(mut addr: SocketAddr) -> Result<(), String> {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    match status(format!("http://{addr}/healthz")).await {
        Ok(StatusCode::OK) => Ok(()),
        Ok(status) => Err(format!("{addr} answers with HTTP status {status}")),
        Err(error) if error.is_timeout() => Err(format!("{addr} does not answer in time")),
        Err(error) => Err(format!("{addr} does not answer: {}", root_cause(&error))),
    }
}

async fn status(url: String) -> reqwest::Result<StatusCode> {
    let client = reqwest::Client::builder()
        .tls_certs_only([]) // plain HTTP: does not load the system's certificates
        .no_proxy()
        .redirect(Policy::none())
        .timeout(HEALTH_TIMEOUT)
        .build()?;
    Ok(client.get(url).send().await?.status())
}

fn root_cause(error: &dyn error::Error) -> &dyn error::Error {
    error.source().map_or(error, root_cause)
}
