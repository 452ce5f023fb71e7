//! `GET /healthz`, `GET /readyz`, and `GET /metrics` on the internal door

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};

use super::problem::Problem;
use crate::app::WxLogin;
use crate::metrics;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 if a login could be stored.
pub(super) async fn readyz(State(wxlogin): State<WxLogin>) -> Result<&'static str, Problem> {
    wxlogin.ready().await.map_err(Problem::Store)?;
    Ok("ready\n")
}

pub(super) async fn metrics(
    State(wxlogin): State<WxLogin>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    // In a blocking thread: the size of the store is read from the disk.
    let text = tokio::task::spawn_blocking(move || wxlogin.metrics().text()).await;
    let text = text.map_err(|_| Problem::Internal("a metric panicked"))?;
    let text = text.map_err(|_| Problem::Internal("the metrics cannot be written"))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}
