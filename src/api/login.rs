//! `GET /onLogin?code=CODE[&appid=APPID]`

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{ALLOW, HeaderName, REFERER};
use serde::Serialize;

use super::problem::Problem;
use super::query::parameter;
use super::request_id::RequestId;
use crate::app::WxLogin;
use crate::login::LoginRequest;
use crate::wechat::{JsCode, MiniProgram};

#[derive(Serialize)]
pub(super) struct LoginResponse {
    openid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unionid: Option<String>,
    token: String,
    /// Seconds.
    expires_in: u64,
}

pub(super) async fn on_login(
    State(wxlogin): State<WxLogin>,
    request: Request,
) -> Result<Json<LoginResponse>, Problem> {
    let login = login_request(wxlogin.login().mini_programs(), &request);
    // Frees the headers during the exchange.
    drop(request);
    let result = match login {
        Ok(login) => log_in(&wxlogin, &login).await,
        Err(problem) => Err(problem),
    };
    match &result {
        Ok(_) => wxlogin.metrics().logged_in(),
        Err(problem) => wxlogin
            .metrics()
            .not_logged_in(problem.code(), &problem.errcode_label()),
    }
    result
}

async fn log_in(wxlogin: &WxLogin, request: &LoginRequest) -> Result<Json<LoginResponse>, Problem> {
    let logged_in = wxlogin.login().log_in(request).await.map_err(|error| {
        let problem = Problem::from(error);
        if request.js_code.looks_like_a_phone_code() {
            problem.with_phone_code_hint()
        } else {
            problem
        }
    })?;
    let session = logged_in.session;
    Ok(Json(LoginResponse {
        expires_in: session.expires.saturating_sub(wxlogin.clock().now()),
        openid: session.user.openid,
        unionid: session.unionid,
        token: logged_in.token.to_text(),
    }))
}

fn login_request(
    mini_programs: &[Arc<MiniProgram>],
    request: &Request,
) -> Result<LoginRequest, Problem> {
    let query = request.uri().query().unwrap_or_default();
    let js_code = js_code(query)?;
    let referring = referring_appid(request.headers());
    let mini_program = mini_program(mini_programs, query, referring)?;
    Ok(LoginRequest {
        mini_program: mini_program.clone(),
        js_code,
        referring_appid: referring.map(str::to_owned),
        request_id: RequestId::of(request.headers()).as_str().to_owned(),
    })
}

/// Refuses all other methods. HEAD too: it would use the code up without returning the token.
pub(super) async fn only_get() -> ([(HeaderName, &'static str); 1], Problem) {
    ([(ALLOW, "GET")], Problem::MethodNotAllowed)
}

fn js_code(query: &str) -> Result<JsCode, Problem> {
    let code = parameter(query, "code").map_err(|_| Problem::MalformedCode)?;
    let code = code.filter(|code| !code.is_empty());
    Ok(JsCode::parse(&code.ok_or(Problem::MissingCode)?)?)
}

/// The Mini Program that the query names, else the one that the request comes from, else the first.
fn mini_program<'a>(
    all: &'a [Arc<MiniProgram>],
    query: &str,
    referring: Option<&str>,
) -> Result<&'a Arc<MiniProgram>, Problem> {
    let configured = |appid: &str| all.iter().find(|known| known.appid() == appid);
    match parameter(query, "appid") {
        Ok(Some(appid)) => configured(&appid).ok_or(Problem::UnknownApp),
        Ok(None) => referring
            .and_then(configured)
            .or(all.first())
            .ok_or(Problem::Internal("no Mini Program is configured")),
        Err(_) => Err(Problem::UnknownApp),
    }
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
