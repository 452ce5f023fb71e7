//! `POST /session/decrypt`, `POST /session/verify`

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use serde::Deserialize;

use super::body::JsonBody;
use super::problem::Problem;
use super::signed_in::Authenticated;
use crate::app::WxLogin;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DecryptRequest {
    encrypted_data: String,
    iv: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VerifyRequest {
    raw_data: String,
    signature: String,
}

/// The JSON object that WeChat encrypted for the user of the token.
pub(super) async fn decrypt(
    State(wxlogin): State<WxLogin>,
    user: Authenticated,
    JsonBody(body): JsonBody<DecryptRequest>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let user_data = wxlogin.user_data();
    let json = user_data.decrypt(&user.session, &body.encrypted_data, &body.iv);
    Ok(([(CONTENT_TYPE, "application/json")], json.await?))
}

/// 204 if WeChat signed this data for the user of the token.
pub(super) async fn verify(
    State(wxlogin): State<WxLogin>,
    user: Authenticated,
    JsonBody(body): JsonBody<VerifyRequest>,
) -> Result<StatusCode, Problem> {
    let user_data = wxlogin.user_data();
    let verified = user_data.verify(&user.session, &body.raw_data, &body.signature);
    verified.await?;
    Ok(StatusCode::NO_CONTENT)
}
