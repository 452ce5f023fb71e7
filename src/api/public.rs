//! The handlers of the public listener: `/onLogin`, `/session`, `/session/decrypt`, `/session/verify`.

use axum::Json;
use axum::extract::{RawQuery, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, REFERER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::{Deserialize, Serialize};

use super::body::{JsonBody, NoFields};
use super::layer::RequestId;
use super::signed_in::Authenticated;
use crate::app::WxLogin;
use crate::login::{LoggedIn, LoginOrigin};
use crate::problem::Problem;
use crate::wechat::Error;

const APPID: HeaderName = HeaderName::from_static("x-wx-appid");
const OPENID: HeaderName = HeaderName::from_static("x-wx-openid");
const UNIONID: HeaderName = HeaderName::from_static("x-wx-unionid");

#[derive(Serialize)]
struct LoginResponse {
    openid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unionid: Option<String>,
    token: String,
    /// Seconds.
    expires_in: u64,
}

#[derive(Serialize)]
struct SessionResponse {
    openid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unionid: Option<String>,
    appid: String,
    /// Seconds.
    expires_in: u64,
}

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

/// GET only: HEAD would use the code up without returning the token.
pub(super) fn log_in_route() -> MethodRouter<WxLogin> {
    let only_get = async || ([(ALLOW, "GET")], Problem::MethodNotAllowed);
    get(log_in).head(only_get).fallback(only_get)
}

/// `GET /onLogin?code=CODE[&appid=APPID]`
async fn log_in(State(wxlogin): State<WxLogin>, request: Request) -> Result<Response, Problem> {
    let result = log_in_by(&wxlogin, request).await;
    match &result {
        Ok(_) => wxlogin.0.metrics.good_logins.inc(),
        Err(problem) => {
            let errcode = problem.wechat().and_then(Error::errcode_label);
            let labels = [problem.code(), errcode.as_deref().unwrap_or("none")];
            wxlogin.0.metrics.logins.with_label_values(&labels).inc();
        }
    }
    let LoggedIn { token, session } = result?;
    let body = LoginResponse {
        expires_in: session.expires.saturating_sub(wxlogin.0.clock.now()),
        openid: session.openid,
        unionid: session.unionid,
        token: token.to_text(),
    };
    Ok(Json(body).into_response())
}

async fn log_in_by(wxlogin: &WxLogin, request: Request) -> Result<LoggedIn, Problem> {
    let query = request.uri().query().unwrap_or_default();
    let code = parameter(query, "code", Problem::MalformedCode)?.unwrap_or_default();
    let appid = parameter(query, "appid", Problem::UnknownApp)?;
    let referring_appid = referring_appid(request.headers()).map(str::to_owned);
    let request_id = RequestId::of(request.headers());
    // Frees the headers during the exchange.
    drop(request);
    let origin = LoginOrigin {
        appid: appid.as_deref(),
        referring_appid: referring_appid.as_deref(),
        request_id: request_id.as_str(),
    };
    wxlogin.log_in(&code, origin).await
}

/// The appid in `Referer: https://servicewechat.com/{appid}/{version}/page-frame.html`, which WeChat
/// sets, and which any client can forge.
fn referring_appid(headers: &HeaderMap) -> Option<&str> {
    let referer = headers.get(REFERER)?.to_str().ok()?;
    let path = referer.strip_prefix("https://servicewechat.com/")?;
    let appid = path.split('/').next()?;
    let fits = (1..=64).contains(&appid.len()) && appid.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then_some(appid)
}

/// `GET /session`: the user of the token, in the body and in headers that a reverse proxy can forward.
pub(super) async fn show_session(
    State(wxlogin): State<WxLogin>,
    Authenticated { session, .. }: Authenticated,
) -> Result<Response, Problem> {
    let appid = header(&session.appid)?;
    let openid = header(&session.openid)?;
    let unionid = session.unionid.as_deref().map(header).transpose()?;
    let body = SessionResponse {
        expires_in: session.expires.saturating_sub(wxlogin.0.clock.now()),
        openid: session.openid,
        unionid: session.unionid,
        appid: session.appid,
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

fn header(id: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(id).map_err(|_| Problem::Internal("an id cannot be a header value"))
}

/// `DELETE /session`: ends the session of this token, or with `?all=true` all sessions of its user.
pub(super) async fn end_session(
    State(wxlogin): State<WxLogin>,
    RawQuery(query): RawQuery,
    Authenticated { token, session }: Authenticated,
    _: JsonBody<NoFields>,
) -> Result<StatusCode, Problem> {
    let malformed =
        || Problem::MalformedQuery("The parameter all must be given once, as true or false.");
    let all = parameter(query.as_deref().unwrap_or_default(), "all", malformed())?;
    match all.as_deref() {
        Some("true") => wxlogin.end_all_of(session.user(), Some(&token)).await?,
        None | Some("false") => wxlogin.0.sessions.end(&token, &session).await?,
        Some(_) => return Err(malformed()),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /session/decrypt`: the JSON object that WeChat encrypted for the user of the token.
pub(super) async fn decrypt(
    State(wxlogin): State<WxLogin>,
    Authenticated { session, .. }: Authenticated,
    JsonBody(body): JsonBody<DecryptRequest>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let json = wxlogin.decrypt(&session, &body.encrypted_data, &body.iv);
    Ok(([(CONTENT_TYPE, "application/json")], json.await?))
}

/// `POST /session/verify`: 204 if WeChat signed this data for the user of the token.
pub(super) async fn verify(
    State(wxlogin): State<WxLogin>,
    Authenticated { session, .. }: Authenticated,
    JsonBody(body): JsonBody<VerifyRequest>,
) -> Result<StatusCode, Problem> {
    let verified = wxlogin.verify(&session, &body.raw_data, &body.signature);
    verified.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The value of the parameter `name` in an `application/x-www-form-urlencoded` query, if present; `repeated` if it
/// stands there twice.
///
/// Bytes that are not UTF-8 become U+FFFD, which no parameter of ours may have.
fn parameter(query: &str, name: &str, repeated: Problem) -> Result<Option<String>, Problem> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut values = pairs.filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    values.next().map_or(Ok(value), |_| Err(repeated))
}
