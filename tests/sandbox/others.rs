//! WeChat's other calls with an `access_token`: three as they are documented, any other as a rule says.

use std::collections::VecDeque;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::model::{Model, parameter};
use super::reply::{Refused, Reply};

/// The most requests that are kept for tests.
const KEPT: usize = 50;
/// The longest text that is checked, in characters.
const MAX_TEXT: usize = 2500;
/// The longest `scene` of a QR code.
const MAX_SCENE: usize = 32;
const QR_CODE: &[u8] = include_bytes!("qr_code.png");

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The newest requests, the last one at the end.
#[derive(Default)]
pub struct Inbox(VecDeque<Received>);

impl Inbox {
    pub fn push(&mut self, request: Received) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(request);
    }

    pub fn of(&self, path: &str) -> Vec<Received> {
        let requests = self.0.iter().filter(|request| request.path == path);
        requests.cloned().collect()
    }
}

pub fn reply(model: &mut Model, request: Received) -> Reply {
    let usual = read(model, &request)
        .unwrap_or_else(|(errcode, errmsg)| json(&json!({"errcode": errcode, "errmsg": errmsg})));
    let reply = model.rules.reply(&request.path, "{}", usual);
    model.inbox.push(request);
    reply
}

fn read(model: &mut Model, request: &Received) -> Result<Response, Refused> {
    let token = parameter(&request.query, "access_token");
    model.check_token(token.as_deref())?;
    let call = match &*request.path {
        "/cgi-bin/message/subscribe/send" => subscribe_message,
        "/wxa/msg_sec_check" => check_text,
        "/wxa/getwxacodeunlimit" => qr_code,
        _ => return Err((40066, "invalid url")),
    };
    if request.method != Method::POST {
        return Err((43002, "require POST method"));
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    // In the URL only.
    if !body.is_object() || body.get("access_token").is_some() {
        return Err((47001, "data format error"));
    }
    call(model, &body)
}

/// The `msgid` does not fit a JavaScript number.
fn subscribe_message(_: &mut Model, body: &Value) -> Result<Response, Refused> {
    text(body, "touser").ok_or((40003, "invalid openid"))?;
    text(body, "template_id").ok_or((40037, "invalid template_id"))?;
    let state = body["miniprogram_state"].as_str().unwrap_or("formal");
    if !body["data"].is_object() || !["developer", "trial", "formal"].contains(&state) {
        return Err((47003, "argument invalid"));
    }
    let msgid = 1_988_810_812_324_364_291_u64;
    Ok(json(&json!({"errcode": 0, "errmsg": "ok", "msgid": msgid})))
}

/// A text with the word `risky` or `违规` is risky.
fn check_text(model: &mut Model, body: &Value) -> Result<Response, Refused> {
    let content = text(body, "content").ok_or((44002, "empty content"))?;
    let openid = text(body, "openid").ok_or((40003, "invalid openid"))?;
    let scene = body["scene"].as_u64().unwrap_or_default();
    if content.chars().count() > MAX_TEXT || body["version"] != 2 || !(1..=4).contains(&scene) {
        return Err((40129, "invalid scene, version or content"));
    }
    // WeChat wants a user who was active in the last two hours.
    model.users.get(openid).ok_or((61010, "code is expired"))?;
    let is_risky = ["risky", "违规"].iter().any(|word| content.contains(word));
    let (suggest, label) = if is_risky {
        ("risky", 20001)
    } else {
        ("pass", 100)
    };
    Ok(json(&json!({
        "errcode": 0,
        "errmsg": "ok",
        "result": {"suggest": suggest, "label": label},
        "detail": [{"strategy": "content_model", "errcode": 0, "suggest": suggest, "label": label}],
        "trace_id": "60ae120f-371d5872-7941a05b",
    })))
}

/// The same image for every scene.
fn qr_code(_: &mut Model, body: &Value) -> Result<Response, Refused> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$&'()*+,/:;=?@-._~".contains(&b);
    let scene = text(body, "scene").filter(|scene| scene.len() <= MAX_SCENE);
    if !scene.is_some_and(|scene| scene.bytes().all(is_allowed)) {
        return Err((
            40169,
            "invalid length for scene, or the data is not json string",
        ));
    }
    Ok(([(CONTENT_TYPE, "image/png")], QR_CODE).into_response())
}

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body[name].as_str().filter(|text| !text.is_empty())
}

/// With the `Content-Type` of these calls.
fn json(body: &Value) -> Response {
    let content_type = "application/json; encoding=utf-8";
    ([(CONTENT_TYPE, content_type)], body.to_string()).into_response()
}
