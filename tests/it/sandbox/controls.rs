//! The controls of the page as an HTTP API with JSON, also for a team's own end-to-end tests.
//!
//! docs/en/mini-program.md describes them.

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::fake_wechat::{APPID, openid};
use super::guard;
use super::service::INTERNAL_TOKEN;
use super::state::Sandbox;
use super::to_wechat::Failures;

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
        .route("/sandbox/failures", put(fail).delete(fail_no_more))
        .route("/sandbox/reset", post(reset))
        .layer(DefaultBodyLimit::max(4096))
        .layer(from_fn(guard::own_page))
}

async fn state(State(sandbox): State<Sandbox>) -> Response {
    let wxlogin = sandbox.service.read().await.wxlogin.clone();
    let [to_wxlogin, to_wechat] = sandbox.requests.newest_first();
    Json(json!({
        "users": sandbox.logged_in.users(&wxlogin).await,
        "requests_to_wxlogin": to_wxlogin,
        "requests_to_wechat": to_wechat,
        "failures": sandbox.failures(),
    }))
    .into_response()
}

async fn code(State(sandbox): State<Sandbox>, given: Given<Login>) -> Result<Response, Refused> {
    let Login { script } = read(given)?;
    let code = fresh(&script)?;
    let curl = format!(
        "curl 'http://{}/onLogin?code={code}'",
        sandbox.addresses.public
    );
    Ok(Json(json!({"code": code, "curl": curl})).into_response())
}

async fn log_in(State(sandbox): State<Sandbox>, given: Given<Login>) -> Result<Response, Refused> {
    let Login { script } = read(given)?;
    let url = format!(
        "http://{}/onLogin?code={}",
        sandbox.addresses.public,
        fresh(&script)?
    );
    let request = sandbox.http.request(Method::GET, url);
    Ok(wxlogins_answer(request).await)
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
    let request = sandbox.http.post(url).bearer_auth(INTERNAL_TOKEN);
    Ok(wxlogins_answer(request.json(&json!({"code": code}))).await)
}

async fn fail(
    State(sandbox): State<Sandbox>,
    given: Given<Failures>,
) -> Result<StatusCode, Refused> {
    let failures = read(given)?;
    if !(0.0..=1.0).contains(&failures.probability) || failures.errcode == 0 {
        return Err(bad("probability must be from 0 to 1, and errcode not 0."));
    }
    sandbox.set_failures(Some(failures));
    Ok(StatusCode::NO_CONTENT)
}

async fn fail_no_more(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.set_failures(None);
    StatusCode::NO_CONTENT
}

async fn reset(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.reset().await;
    StatusCode::NO_CONTENT
}

/// A fresh phone code, and where the backend sends it.
fn phone(sandbox: &Sandbox, phone: Phone) -> Result<(String, String), Refused> {
    let script = phone
        .script
        .unwrap_or_else(|| format!("phone-{}", phone.name));
    let openid = openid(&phone.name);
    let internal = sandbox.addresses.internal;
    let url = format!("http://{internal}/users/{APPID}/{openid}/phone");
    Ok((fresh(&script)?, url))
}

/// An unused code with this script.
fn fresh(script: &str) -> Result<String, Refused> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if script.is_empty() || script.len() > 64 || !script.bytes().all(is_allowed) {
        return Err(bad(
            "A script is 1 to 64 letters, digits, - and _, such as user-alice.",
        ));
    }
    Ok(format!("{script}.{:08x}", fastrand::u32(..)))
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
