//! `GET /healthz`, `GET /readyz`, and `GET /metrics` on the internal door

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};

use super::problem::Problem;
use crate::app::WxLogin;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready while a login could be stored.
pub(super) async fn readyz(State(wxlogin): State<WxLogin>) -> Result<&'static str, Problem> {
    wxlogin.ready().await.map_err(Problem::Store)?;
    Ok("ready\n")
}

pub(super) async fn metrics(
    State(wxlogin): State<WxLogin>,
) -> ([(HeaderName, &'static str); 1], String) {
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, open_metrics)], wxlogin.metrics().text())
}
