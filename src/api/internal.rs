//! The internal listener's handlers for the team's own backend, with `Authorization: Bearer INTERNAL_TOKEN`.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{JsonBody, NoBody};
use super::signed_in::bearer;
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

/// Routes that need one of these tokens.
pub(super) fn with_token(routes: Router<WxLogin>, tokens: &[SecretString]) -> Router<WxLogin> {
    let tokens: Arc<[Digest]> = tokens.iter().map(hash).collect();
    // The fallback comes before the layer, so that a wrong method without a token is 401 too.
    routes
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .route_layer(from_fn_with_state(tokens, authenticate))
}

/// Refuses requests without one of the tokens. Hashes are compared, so that the time depends neither on the
/// token nor on its length.
async fn authenticate(
    State(tokens): State<Arc<[Digest]>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let presented = bearer(&headers).map(|token| hash(&token.into()));
    let presented = presented.ok_or(Problem::InvalidInternalToken)?;
    let is_equal = |token: &Digest| verify_slices_are_equal(token.as_ref(), presented.as_ref());
    let equal = tokens.iter().filter(|token| is_equal(token).is_ok());
    if equal.count() == 0 {
        return Err(Problem::InvalidInternalToken);
    }
    Ok(next.run(request).await)
}

fn hash(token: &SecretString) -> Digest {
    digest(&SHA256, token.expose_secret().as_bytes())
}

fn appid_and_openid(path: UserPath) -> Result<(String, String), Problem> {
    match path {
        Ok(Path(user)) => Ok(user),
        // Not UTF-8.
        Err(_) => Err(Problem::MalformedOpenid),
    }
}

pub(super) async fn phone(
    State(wxlogin): State<WxLogin>,
    path: UserPath,
    JsonBody(body): JsonBody<PhoneRequest>,
) -> Result<Json<Value>, Problem> {
    let (appid, openid) = appid_and_openid(path)?;
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
    let (appid, openid) = appid_and_openid(path)?;
    let signature = wxlogin.sign(&appid, &openid, &body.data).await?;
    Ok(Json(json!({"signature": signature})))
}

pub(super) async fn session_key(
    State(wxlogin): State<WxLogin>,
    path: UserPath,
) -> Result<Json<Value>, Problem> {
    let (appid, openid) = appid_and_openid(path)?;
    let is_valid = wxlogin.check_session(&appid, &openid).await?;
    Ok(Json(json!({"valid": is_valid})))
}

pub(super) async fn sessions(
    State(wxlogin): State<WxLogin>,
    path: UserPath,
) -> Result<Json<Value>, Problem> {
    let (appid, openid) = appid_and_openid(path)?;
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
    _: NoBody,
) -> Result<StatusCode, Problem> {
    let (appid, openid) = appid_and_openid(path)?;
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
