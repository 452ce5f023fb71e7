//! `POST /session/decrypt`, `POST /session/verify`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use serde::Deserialize;

use super::body::Body;
use super::problem::Problem;
use super::session::SignedIn;
use crate::app::App;

#[derive(Deserialize)]
pub(super) struct Encrypted {
    #[serde(rename = "encryptedData")]
    encrypted_data: String,
    iv: String,
}

#[derive(Deserialize)]
pub(super) struct Signed {
    #[serde(rename = "rawData")]
    raw_data: String,
    signature: String,
}

/// The JSON object that WeChat encrypted for the signed-in user.
pub(super) async fn decrypt(
    State(app): State<Arc<App>>,
    user: SignedIn,
    Body(body): Body<Encrypted>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let opened = app
        .user_data
        .decrypt(&user.session, &body.encrypted_data, &body.iv)
        .await?;
    Ok(([(CONTENT_TYPE, "application/json")], opened))
}

/// Nothing, if WeChat signed this for the signed-in user.
pub(super) async fn verify(
    State(app): State<Arc<App>>,
    user: SignedIn,
    Body(body): Body<Signed>,
) -> Result<StatusCode, Problem> {
    app.user_data
        .verify(&user.session, &body.raw_data, &body.signature)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
