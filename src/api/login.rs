//! `GET /onLogin?code=CODE[&appid=APPID]`

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::{ALLOW, HeaderName, REFERER};
use serde::Serialize;

use super::problem::Problem;
use super::query::parameter;
use crate::app::App;
use crate::wechat::{JsCode, JsCodeError, MiniProgram};

#[derive(Serialize)]
pub(super) struct Answer {
    openid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unionid: Option<String>,
    token: String,
    /// Seconds.
    expires_in: u64,
}

pub(super) async fn on_login(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Answer>, Problem> {
    let query = query.unwrap_or_default();
    let js_code = js_code(&query)?;
    let mini_program = mini_program(app.login.mini_programs(), &query, &headers)?;
    let logged_in = app.login.log_in(mini_program, &js_code).await?;
    let session = logged_in.session;
    Ok(Json(Answer {
        expires_in: session.expires.saturating_sub(app.clock.now()),
        openid: session.user.openid,
        unionid: session.unionid,
        token: logged_in.token.to_text(),
    }))
}

/// Refuses every other method, HEAD too: it would use the code up and hide the token.
pub(super) async fn only_get() -> ([(HeaderName, &'static str); 1], Problem) {
    ([(ALLOW, "GET")], Problem::MethodNotAllowed)
}

fn js_code(query: &str) -> Result<JsCode, Problem> {
    let code = parameter(query, "code").map_err(|_| Problem::MalformedCode)?;
    let code = code.filter(|code| !code.is_empty());
    JsCode::parse(&code.ok_or(Problem::MissingCode)?).map_err(|error| match error {
        JsCodeError::Malformed => Problem::MalformedCode,
        JsCodeError::Mock => Problem::MockCode,
    })
}

/// The Mini Program that the query names, else the one that the request comes from, else the first.
fn mini_program<'a>(
    all: &'a [Arc<MiniProgram>],
    query: &str,
    headers: &HeaderMap,
) -> Result<&'a Arc<MiniProgram>, Problem> {
    let configured = |appid: &str| all.iter().find(|known| known.appid() == appid);
    match parameter(query, "appid") {
        Ok(Some(appid)) => configured(&appid).ok_or(Problem::UnknownApp),
        Ok(None) => referring_appid(headers)
            .and_then(configured)
            .or(all.first())
            .ok_or(Problem::Internal("no Mini Program is configured")),
        Err(_) => Err(Problem::UnknownApp),
    }
}

/// The appid in `Referer: https://servicewechat.com/{appid}/{version}/page-frame.html`, which WeChat
/// sets, and anybody can.
fn referring_appid(headers: &HeaderMap) -> Option<&str> {
    let referer = headers.get(REFERER)?.to_str().ok()?;
    let path = referer.strip_prefix("https://servicewechat.com/")?;
    path.split('/').next()
}
