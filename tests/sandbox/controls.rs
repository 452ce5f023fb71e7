//! The controls of the page as an HTTP API with JSON, also for a team's own end-to-end tests.
//!
//! docs/en/sandbox.md describes them.

mod next;
mod users;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::detail;
use super::fake_wechat::{APPID, Script, name_in_code, openid};
use super::guard;
use super::settings::INTERNAL_TOKEN;
use super::state::Sandbox;

/// The longest name of a user, in characters.
const MAX_NAME: usize = 32;

type Given<T> = Result<Json<T>, JsonRejection>;

/// A login code by its script, such as `user-alice` or `error-40029`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    script: String,
}

/// A phone code of a user.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Phone {
    name: String,
    /// `phone-NAME` if it is absent.
    script: Option<String>,
}

pub fn router() -> Router<Sandbox> {
    Router::new()
        .route("/sandbox", get(state))
        .route("/sandbox/codes", post(code))
        .route("/sandbox/logins", post(log_in))
        .route("/sandbox/phone_codes", post(phone_code))
        .route("/sandbox/phone_numbers", post(phone_number))
        .route("/sandbox/next", put(next::set).delete(next::remove))
        .route("/sandbox/clock", post(next::forward))
        .route("/sandbox/quota_pause", delete(next::end_quota_pause))
        .route("/sandbox/users/{openid}/logins", post(users::log_in_again))
        .route(
            "/sandbox/users/{openid}/phone_numbers",
            post(users::phone_number),
        )
        .route(
            "/sandbox/users/{openid}/encrypted_data",
            post(users::encrypted_data),
        )
        .route("/sandbox/users/{openid}/sessions", delete(users::end_all))
        .route(
            "/sandbox/sessions/{id}",
            get(users::session).delete(users::end),
        )
        .route("/sandbox/sessions/{id}/expire", post(users::expire))
        .route("/sandbox/requests/{id}", get(detail::request))
        .route("/sandbox/reset", post(reset))
        .layer(DefaultBodyLimit::max(4096))
        .layer(from_fn(guard::own_page))
}

async fn state(State(sandbox): State<Sandbox>) -> Response {
    let wxlogin = sandbox.wxlogin().await;
    let [to_wxlogin, to_wechat] = sandbox.requests.newest_first();
    Json(json!({
        "users": sandbox.logged_in.users(&wxlogin).await,
        "requests_to_wxlogin": to_wxlogin,
        "requests_to_wechat": to_wechat,
        "next": sandbox.wechat.rules(),
        "clock_ahead": sandbox.clock().await.ahead(),
        "quota_pause": sandbox.quota_pause().await,
    }))
    .into_response()
}

async fn code(State(sandbox): State<Sandbox>, given: Given<Login>) -> Result<Response, Refused> {
    let code = fresh(&read(given)?.script)?;
    let curl = format!(
        "curl 'http://{}/onLogin?code={code}'",
        sandbox.addresses.public
    );
    Ok(Json(json!({"code": code, "curl": curl})).into_response())
}

async fn log_in(State(sandbox): State<Sandbox>, given: Given<Login>) -> Result<Response, Refused> {
    let code = fresh(&read(given)?.script)?;
    Ok(answer_to_login(&sandbox, &code).await)
}

async fn phone_code(
    State(sandbox): State<Sandbox>,
    given: Given<Phone>,
) -> Result<Response, Refused> {
    let (code, url) = phone(&sandbox, read(given)?)?;
    let curl = format!(
        "curl -H 'Authorization: Bearer {INTERNAL_TOKEN}' {url} -d '{{\"code\":\"{code}\"}}'"
    );
    Ok(Json(json!({"code": code, "curl": curl})).into_response())
}

async fn phone_number(
    State(sandbox): State<Sandbox>,
    given: Given<Phone>,
) -> Result<Response, Refused> {
    let (code, url) = phone(&sandbox, read(given)?)?;
    Ok(answer_to_phone_code(&sandbox, &url, &code).await)
}

async fn reset(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.reset().await;
    StatusCode::NO_CONTENT
}

/// A fresh phone code, and where the backend sends it.
fn phone(sandbox: &Sandbox, phone: Phone) -> Result<(String, String), Refused> {
    let script = phone.script;
    let script = script.unwrap_or_else(|| format!("phone-{}", phone.name));
    Ok((fresh(&script)?, phone_url(sandbox, &openid(&phone.name))))
}

fn phone_url(sandbox: &Sandbox, openid: &str) -> String {
    let internal = sandbox.addresses.internal;
    format!("http://{internal}/users/{APPID}/{openid}/phone")
}

/// An unused code with this script. Any name can be in it.
fn fresh(script: &str) -> Result<String, Refused> {
    let script = match script.split_once('-') {
        Some((kind @ ("user" | "guest" | "phone"), name)) => {
            is_name(name).then(|| format!("{kind}-{}", name_in_code(name)))
        }
        _ => Some(script.to_owned()),
    };
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_~".contains(&b);
    let is_script = |it: &String| Script::parse(it).is_some() && it.bytes().all(is_allowed);
    let Some(script) = script.filter(is_script) else {
        return Err(bad(
            "A script is user-NAME, guest-NAME, phone-NAME, error-40029, hang or another of the list; NAME has 1 to 32 characters.",
        ));
    };
    Ok(format!("{script}.{:08x}", fastrand::u32(..)))
}

fn is_name(name: &str) -> bool {
    !name.trim().is_empty()
        && name.chars().count() <= MAX_NAME
        && !name.chars().any(char::is_control)
}

async fn answer_to_login(sandbox: &Sandbox, code: &str) -> Response {
    let url = format!("http://{}/onLogin?code={code}", sandbox.addresses.public);
    wxlogins_answer(sandbox.http.request(Method::GET, url)).await
}

async fn answer_to_phone_code(sandbox: &Sandbox, url: &str, code: &str) -> Response {
    let request = sandbox.http.post(url).bearer_auth(INTERNAL_TOKEN);
    wxlogins_answer(request.json(&json!({"code": code}))).await
}

/// The response of wxlogin, headers included.
async fn wxlogins_answer(request: reqwest::RequestBuilder) -> Response {
    let Ok(answer) = request.send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    (status, headers, answer.bytes().await.unwrap_or_default()).into_response()
}

fn read<T: DeserializeOwned>(given: Given<T>) -> Result<T, Refused> {
    given
        .map(|Json(it)| it)
        .map_err(|error| Refused(error.status(), error.body_text()))
}

fn bad(detail: &str) -> Refused {
    Refused(StatusCode::BAD_REQUEST, detail.to_owned())
}

/// A status, and a sentence for the caller.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"detail": self.1}))).into_response()
    }
}
