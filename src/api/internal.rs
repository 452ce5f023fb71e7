//! The internal listener's handlers for the team's own backend, with `Authorization: Bearer INTERNAL_TOKEN`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{JsonBody, NoFields};
use crate::app::WxLogin;
use crate::problem::Problem;
use crate::session::Session;

/// The appid and the openid in a path.
pub(super) type UserPath = Result<Path<(String, String)>, PathRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PhoneRequest {
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignRequest {
    data: String,
}

impl From<PathRejection> for Problem {
    /// Not UTF-8.
    fn from(_: PathRejection) -> Self {
        Self::MalformedOpenid
    }
}

pub(super) async fn phone(
    State(wxlogin): State<WxLogin>,
    path: UserPath,
    JsonBody(body): JsonBody<PhoneRequest>,
) -> Result<Json<Value>, Problem> {
    let Path((appid, openid)) = path?;
    let number = wxlogin.phone_number(&appid, &openid, &body.code).await?;
    Ok(Json(json!({
        "phoneNumber": number.phone_number(),
        "purePhoneNumber": number.pure_phone_number(),
        "countryCode": number.country_code(),
    })))
}

pub(super) async fn sign(
    State(wxlogin): State<WxLogin>,
    path: UserPath,
    JsonBody(body): JsonBody<SignRequest>,
) -> Result<Json<Value>, Problem> {
    let Path((appid, openid)) = path?;
    let signature = wxlogin.sign(&appid, &openid, &body.data).await?;
    Ok(Json(json!({"signature": signature})))
}

pub(super) async fn session_key(
    State(wxlogin): State<WxLogin>,
    path: UserPath,
) -> Result<Json<Value>, Problem> {
    let Path((appid, openid)) = path?;
    let is_valid = wxlogin.check_session(&appid, &openid).await?;
    Ok(Json(json!({"valid": is_valid})))
}

pub(super) async fn sessions(
    State(wxlogin): State<WxLogin>,
    path: UserPath,
) -> Result<Json<Value>, Problem> {
    let Path((appid, openid)) = path?;
    let sessions = wxlogin.sessions(&appid, &openid).await?;
    let times = |it: &Session| json!({"created_at": it.created, "expires_at": it.expires});
    let mut answer = json!({"sessions": sessions.iter().map(times).collect::<Vec<_>>()});
    if let Some(unionid) = sessions.into_iter().find_map(|session| session.unionid) {
        answer["unionid"] = unionid.into();
    }
    Ok(Json(answer))
}

pub(super) async fn end_sessions(
    State(wxlogin): State<WxLogin>,
    path: UserPath,
    _: JsonBody<NoFields>,
) -> Result<StatusCode, Problem> {
    let Path((appid, openid)) = path?;
    wxlogin.end_all(&appid, &openid).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn access_token(
    State(wxlogin): State<WxLogin>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let Path(appid) = path.map_err(|_| Problem::UnknownAppInPath)?;
    let token = wxlogin.access_token(&appid).await?;
    Ok(Json(json!({
        "access_token": token.expose(),
        "expires_in": token.expires_in,
    })))
}
