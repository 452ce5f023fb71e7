//! The internal door's routes for the team's own backend, with `Authorization: Bearer INTERNAL_TOKEN`.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{JsonBody, NoBody};
use super::problem::Problem;
use super::signed_in::bearer;
use crate::app::WxLogin;

/// What the internal door serves beside metrics and probes.
#[derive(Debug, Clone, Default)]
pub struct InternalDoor {
    /// `INTERNAL_TOKEN`: each of these is accepted. Without any, the backend's routes do not exist.
    pub tokens: Vec<SecretString>,
    /// `INTERNAL_ACCESS_TOKEN`: whether `access_token`s are given out.
    pub gives_access_tokens: bool,
}

/// The backend's requests, for their metrics.
const SERIES: [(&str, &str); 4] = [
    ("POST", "/users/{appid}/{openid}/phone"),
    ("POST", "/users/{appid}/{openid}/sign"),
    ("GET", "/users/{appid}/{openid}/session_key"),
    ("DELETE", "/users/{appid}/{openid}/sessions"),
];
const ACCESS_TOKEN: (&str, &str) = ("GET", "/access_token/{appid}");

/// appid and openid.
type User = Result<Path<(String, String)>, PathRejection>;

#[derive(Deserialize)]
struct PhoneRequest {
    code: String,
}

#[derive(Deserialize)]
struct SignRequest {
    data: String,
}

/// The backend's routes, and their metrics.
pub(super) fn routes(wxlogin: &WxLogin, door: &InternalDoor) -> Router<WxLogin> {
    if door.tokens.is_empty() {
        return Router::new();
    }
    let mut series = SERIES.to_vec();
    let mut router = Router::new()
        .route(SERIES[0].1, post(phone))
        .route(SERIES[1].1, post(sign))
        .route(SERIES[2].1, get(session_key))
        .route(SERIES[3].1, delete(end_sessions));
    if door.gives_access_tokens {
        router = router.route(ACCESS_TOKEN.1, get(access_token));
        series.push(ACCESS_TOKEN);
    }
    for (method, route) in series {
        wxlogin.metrics().add_route(method, route);
    }
    let tokens = door.tokens.iter().map(hash).collect();
    // In this order, so that a wrong method without a token is 401 as well.
    router
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .route_layer(from_fn_with_state(tokens, authenticate))
}

/// Refuses every request without one of the tokens. Hashes are compared, so that neither the time nor the
/// length tells anything about a token.
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

fn user(path: User) -> Result<(String, String), Problem> {
    match path {
        Ok(Path(user)) => Ok(user),
        // Not UTF-8.
        Err(_) => Err(Problem::MalformedOpenid),
    }
}

async fn phone(
    State(wxlogin): State<WxLogin>,
    path: User,
    JsonBody(body): JsonBody<PhoneRequest>,
) -> Result<Json<Value>, Problem> {
    let (appid, openid) = user(path)?;
    let number = wxlogin.phone_number(&appid, &openid, &body.code).await?;
    Ok(Json(json!({
        "phoneNumber": number.phone_number(),
        "purePhoneNumber": number.pure_phone_number(),
        "countryCode": number.country_code(),
    })))
}

async fn sign(
    State(wxlogin): State<WxLogin>,
    path: User,
    JsonBody(body): JsonBody<SignRequest>,
) -> Result<Json<Value>, Problem> {
    let (appid, openid) = user(path)?;
    let signature = wxlogin.sign(&appid, &openid, &body.data).await?;
    Ok(Json(json!({"signature": signature})))
}

async fn session_key(State(wxlogin): State<WxLogin>, path: User) -> Result<Json<Value>, Problem> {
    let (appid, openid) = user(path)?;
    let is_valid = wxlogin.check_session(&appid, &openid).await?;
    Ok(Json(json!({"valid": is_valid})))
}

async fn end_sessions(
    State(wxlogin): State<WxLogin>,
    path: User,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    let (appid, openid) = user(path)?;
    wxlogin.end_all(&appid, &openid).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn access_token(
    State(wxlogin): State<WxLogin>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let Path(appid) = path.map_err(|_| Problem::UnknownApp)?;
    let token = wxlogin.access_token(&appid).await?;
    Ok(Json(json!({
        "access_token": token.expose(),
        "expires_in": token.expires_in,
    })))
}
