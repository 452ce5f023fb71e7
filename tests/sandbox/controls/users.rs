//! What can be done with a user who has logged in, and with a session.

use std::fmt::Write;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::super::fake_wechat::{APPID, User, encrypt, name_in_code, sign, user_info};
use super::super::logged_in::KnownSession;
use super::super::settings::INTERNAL_TOKEN;
use super::super::state::Sandbox;
use super::next::moved;
use super::{Refused, answer_to_login, answer_to_phone_code, phone_url, wxlogins_answer};

/// With a unionid if the user had one at the last login.
pub async fn log_in_again(
    State(sandbox): State<Sandbox>,
    Path(openid): Path<String>,
) -> Result<Response, Refused> {
    let User {
        name, has_unionid, ..
    } = known(&sandbox, &openid)?;
    let kind = if has_unionid { "user" } else { "guest" };
    let random = fastrand::u32(..);
    let code = format!("{kind}-{}.{random:08x}", name_in_code(&name));
    Ok(answer_to_login(&sandbox, &code).await)
}

/// With a code as the phone number button gives it: 64 hex digits.
pub async fn phone_number(
    State(sandbox): State<Sandbox>,
    Path(openid): Path<String>,
) -> Result<Response, Refused> {
    known(&sandbox, &openid)?;
    let code = (0..4).fold(String::new(), |mut code, _| {
        let _ = write!(code, "{:016x}", fastrand::u64(..));
        code
    });
    Ok(answer_to_phone_code(&sandbox, &phone_url(&sandbox, &openid), &code).await)
}

/// As WeChat makes it now, with the user's newest `session_key`: for `/session/decrypt` and `/session/verify`.
pub async fn encrypted_data(
    State(sandbox): State<Sandbox>,
    Path(openid): Path<String>,
) -> Result<Response, Refused> {
    let user = known(&sandbox, &openid)?;
    let now = sandbox.clock().await.now();
    let (data, iv) = encrypt(&user.key, user_info(APPID, &openid, now));
    let raw_data = json!({"nickName": user.name}).to_string();
    let signature = sign(&user.key, &raw_data);
    Ok(Json(json!({
        "encryptedData": data, "iv": iv, "rawData": raw_data, "signature": signature,
    }))
    .into_response())
}

/// As the backend does it.
pub async fn end_all(
    State(sandbox): State<Sandbox>,
    Path(openid): Path<String>,
) -> Result<Response, Refused> {
    known(&sandbox, &openid)?;
    let internal = sandbox.addresses.internal;
    let url = format!("http://{internal}/users/{APPID}/{openid}/sessions");
    let request = sandbox.http.delete(url).bearer_auth(INTERNAL_TOKEN);
    Ok(wxlogins_answer(request).await)
}

/// With its token, to be copied.
pub async fn session(
    State(sandbox): State<Sandbox>,
    Path(id): Path<u64>,
) -> Result<Response, Refused> {
    let session = known_session(&sandbox, id)?;
    let (token, expires_at) = (session.token, session.expires_at);
    Ok(Json(json!({"token": token, "expires_at": expires_at})).into_response())
}

/// As the Mini Program does it when it logs out.
pub async fn end(State(sandbox): State<Sandbox>, Path(id): Path<u64>) -> Result<Response, Refused> {
    let session = known_session(&sandbox, id)?;
    let url = format!("http://{}/session", sandbox.addresses.public);
    let request = sandbox.http.request(Method::DELETE, url);
    Ok(wxlogins_answer(request.bearer_auth(session.token)).await)
}

/// Sets wxlogin's clock to the end of this session. Older sessions expire with it.
pub async fn expire(
    State(sandbox): State<Sandbox>,
    Path(id): Path<u64>,
) -> Result<Response, Refused> {
    let session = known_session(&sandbox, id)?;
    let now = sandbox.clock().await.now();
    Ok(moved(&sandbox, session.expires_at.saturating_sub(now)).await)
}

fn known(sandbox: &Sandbox, openid: &str) -> Result<User, Refused> {
    let user = sandbox.wechat.user(openid);
    user.ok_or_else(|| unknown("Nobody with this openid has logged in."))
}

fn known_session(sandbox: &Sandbox, id: u64) -> Result<KnownSession, Refused> {
    let session = sandbox.logged_in.session(id);
    session.ok_or_else(|| unknown("There is no such session among the last ones."))
}

fn unknown(detail: &str) -> Refused {
    Refused(StatusCode::NOT_FOUND, detail.to_owned())
}
