//! The extractor of the user whose token a request has.

use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::app::WxLogin;
use crate::problem::Problem;
use crate::session::{Session, Token};

/// The user of the request, from `Authorization: Bearer TOKEN` of a valid session.
///
/// Other requests do not reach the handler: they get 401 `invalid_token`, or 503 `store_unavailable` while the
/// session store does not answer. `Option<SignedIn>` is `None` if the request has no Bearer token, or one that is
/// not ours (it does not begin with `wxs_`). Needs a state `S` with `WxLogin: FromRef<S>`.
#[derive(Debug, Clone)]
pub struct SignedIn(
    /// The user and the session.
    pub Session,
);

/// The session of the request's token.
pub(super) struct Authenticated {
    pub(super) token: Token,
    pub(super) session: Session,
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn
where
    WxLogin: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wxlogin = WxLogin::from_ref(state);
        let Authenticated { session, .. } = authenticate(&parts.headers, &wxlogin).await?;
        Ok(Self(session))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for SignedIn
where
    WxLogin: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Problem> {
        let is_ours = bearer(&parts.headers).is_some_and(|token| token.starts_with("wxs_"));
        if !is_ours {
            return Ok(None);
        }
        let signed_in = <Self as FromRequestParts<S>>::from_request_parts(parts, state);
        signed_in.await.map(Some)
    }
}

impl FromRequestParts<WxLogin> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, wxlogin: &WxLogin) -> Result<Self, Problem> {
        authenticate(&parts.headers, wxlogin).await
    }
}

async fn authenticate(headers: &HeaderMap, wxlogin: &WxLogin) -> Result<Authenticated, Problem> {
    let token = bearer(headers).and_then(Token::parse);
    let token = token.ok_or(Problem::InvalidToken)?;
    let session = wxlogin.0.sessions.find(&token).await?;
    let session = session.ok_or(Problem::InvalidToken)?;
    Ok(Authenticated { token, session })
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750); `None` if there are two such headers.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}
