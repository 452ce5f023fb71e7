//! `GET /session`, `DELETE /session`

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::body::NoBody;
use super::problem::Problem;
use super::query::parameter;
use super::signed_in::Authenticated;
use crate::app::WxLogin;

const APPID: HeaderName = HeaderName::from_static("x-wx-appid");
const OPENID: HeaderName = HeaderName::from_static("x-wx-openid");
const UNIONID: HeaderName = HeaderName::from_static("x-wx-unionid");

#[derive(Serialize)]
struct SessionResponse {
    openid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unionid: Option<String>,
    appid: String,
    /// Seconds.
    expires_in: u64,
}

/// The user of the token, in the body and in headers that a gateway can forward.
pub(super) async fn show(
    State(wxlogin): State<WxLogin>,
    Authenticated { session, .. }: Authenticated,
) -> Result<Response, Problem> {
    let appid = header(&session.user.appid)?;
    let openid = header(&session.user.openid)?;
    let unionid = session.unionid.as_deref().map(header).transpose()?;
    let body = SessionResponse {
        expires_in: session.expires.saturating_sub(wxlogin.clock().now()),
        openid: session.user.openid,
        unionid: session.unionid,
        appid: session.user.appid,
    };
    let mut response = Json(body).into_response();
    let headers = response.headers_mut();
    headers.insert(APPID, appid);
    headers.insert(OPENID, openid);
    if let Some(unionid) = unionid {
        headers.insert(UNIONID, unionid);
    }
    Ok(response)
}

/// Ends the session of this token, or with `?all=true` all sessions of its user.
pub(super) async fn end(
    State(wxlogin): State<WxLogin>,
    RawQuery(query): RawQuery,
    Authenticated { token, session }: Authenticated,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    let all = parameter(query.as_deref().unwrap_or_default(), "all");
    let all = all.map_err(|_| Problem::MalformedQuery)?;
    let sessions = wxlogin.sessions();
    let ended = match all.as_deref() {
        Some("true") => sessions.end_all(&session.user, token).await,
        None | Some("false") => sessions.end(token).await,
        Some(_) => return Err(Problem::MalformedQuery),
    };
    ended.map_err(Problem::Store)?;
    Ok(StatusCode::NO_CONTENT)
}

fn header(id: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(id).map_err(|_| Problem::Internal("an id cannot be a header value"))
}
