//! `GET /session`, `DELETE /session`, and who is signed in.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::Problem;
use super::query::parameter;
use crate::app::App;
use crate::session::{Session, Token, TokenId};

const APPID: HeaderName = HeaderName::from_static("x-wx-appid");
const OPENID: HeaderName = HeaderName::from_static("x-wx-openid");
const UNIONID: HeaderName = HeaderName::from_static("x-wx-unionid");

/// The user whose living token came with the request.
pub(super) struct SignedIn {
    token: TokenId,
    pub(super) session: Session,
}

impl FromRequestParts<Arc<App>> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or(Problem::InvalidToken)?.id();
        let session = app.sessions.find(token).await.map_err(Problem::Store)?;
        let session = session.ok_or(Problem::InvalidToken)?;
        Ok(Self { token, session })
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750); two such headers are as good as none.
fn bearer(headers: &HeaderMap) -> Option<Token> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("Bearer");
    is_bearer.then(|| Token::parse(token.trim()))?
}

#[derive(Serialize)]
pub(super) struct Answer {
    openid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unionid: Option<String>,
    appid: String,
    /// Seconds.
    expires_in: u64,
}

/// Who the token stands for, in the body and in the headers that a gateway passes on.
pub(super) async fn show(State(app): State<Arc<App>>, user: SignedIn) -> Result<Response, Problem> {
    let session = user.session;
    let appid = header(&session.user.appid)?;
    let openid = header(&session.user.openid)?;
    let unionid = session.unionid.as_deref().map(header).transpose()?;
    let answer = Answer {
        expires_in: session.expires.saturating_sub(app.clock.now()),
        openid: session.user.openid,
        unionid: session.unionid,
        appid: session.user.appid,
    };
    let mut response = Json(answer).into_response();
    let headers = response.headers_mut();
    headers.insert(APPID, appid);
    headers.insert(OPENID, openid);
    if let Some(unionid) = unionid {
        headers.insert(UNIONID, unionid);
    }
    Ok(response)
}

/// Ends the session of this token; the user's other sessions live on, unless the query has `all=true`.
pub(super) async fn end(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    user: SignedIn,
) -> Result<StatusCode, Problem> {
    let all = parameter(query.as_deref().unwrap_or_default(), "all");
    // Whoever asks for more than it says must not be told that it was done.
    let all = all.map_err(|_| Problem::MalformedQuery)?;
    let ended = match all.as_deref() {
        Some("true") => app.sessions.end_all(&user.session.user, user.token).await,
        None | Some("false") => app.sessions.end(user.token).await,
        Some(_) => return Err(Problem::MalformedQuery),
    };
    ended.map_err(Problem::Store)?;
    Ok(StatusCode::NO_CONTENT)
}

fn header(id: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(id).map_err(|_| Problem::Internal("an id is not fit for a header"))
}
