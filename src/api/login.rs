//! `GET /onLogin?code=CODE[&appid=APPID]`

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::{ALLOW, HeaderName};
use serde::Serialize;

use super::problem::Problem;
use super::query::parameter;
use crate::app::App;
use crate::wechat::{JsCode, JsCodeError};

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
) -> Result<Json<Answer>, Problem> {
    let query = query.unwrap_or_default();
    let js_code = js_code(&query)?;
    match parameter(&query, "appid") {
        Ok(None) => {}
        Ok(Some(appid)) if appid == app.login.appid() => {}
        _ => return Err(Problem::UnknownApp),
    }
    let logged_in = app.login.log_in(&js_code).await?;
    let session = logged_in.session;
    Ok(Json(Answer {
        expires_in: session.expires.saturating_sub(app.clock.now()),
        openid: session.openid,
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
