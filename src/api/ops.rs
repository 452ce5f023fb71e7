//! `GET /healthz`, `GET /readyz`

use std::sync::Arc;

use axum::extract::State;

use super::problem::Problem;
use crate::app::App;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready while the session store can be written to.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    app.sessions.check().await.map_err(Problem::Store)?;
    Ok("ready\n")
}
