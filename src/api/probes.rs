//! `GET /readyz`, and `GET /metrics` at the internal listener.

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};

use crate::app::WxLogin;
use crate::metrics;
use crate::problem::Problem;

/// 200 if a login could be stored.
pub(super) async fn readyz(State(wxlogin): State<WxLogin>) -> Result<&'static str, Problem> {
    wxlogin.ready().await?;
    Ok("ready\n")
}

pub(super) async fn metrics(
    State(wxlogin): State<WxLogin>,
) -> ([(HeaderName, &'static str); 1], String) {
    let content_type = [(CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (content_type, wxlogin.metrics_text())
}
