//! `GET /healthz`, `GET /readyz`, and `GET /metrics` at its own address

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};

use super::problem::Problem;
use crate::app::App;
use crate::metrics;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready while the session store can be written to.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    app.sessions.check().await.map_err(Problem::Store)?;
    Ok("ready\n")
}

pub(super) async fn metrics(
    State(app): State<Arc<App>>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let text = app.metrics.text();
    let text = text.map_err(|_| Problem::Internal("the metrics cannot be written"))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}
