//! Redacts requests for the page: no secrets, and no codes of a real WeChat.

use axum::http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};

use super::fake_wechat::{Script, name_of, parameter};

/// Path segments that are shown: those of wxlogin and of the stand-in.
const SEGMENTS: &[&str] = &[
    "",
    "onLogin",
    "session",
    "decrypt",
    "verify",
    "healthz",
    "readyz",
    "metrics",
    "users",
    "wechat",
    "phone",
    "sign",
    "session_key",
    "sessions",
    "access_token",
    "wechat",
    "sns",
    "jscode2session",
    "cgi-bin",
    "token",
    "stable_token",
    "wxa",
    "business",
    "getuserphonenumber",
    "checksession",
    "message",
    "subscribe",
    "send",
    "msg_sec_check",
    "getwxacodeunlimit",
];
/// Query parameters whose values are shown.
const PARAMETERS: &[&str] = &["appid", "openid", "all", "grant_type", "sig_method"];
/// Members of JSON objects whose values are shown.
const MEMBERS: &[&str] = &[
    "title",
    "status",
    "detail",
    "action",
    "errcode",
    "errmsg",
    "request_id",
    "expires_in",
    "appid",
    "openid",
    "unionid",
    "valid",
    "created_at",
    "expires_at",
    "countryCode",
    "timestamp",
    "grant_type",
    "touser",
    "template_id",
    "msgid",
    "scene",
    "version",
    "suggest",
    "label",
];
const SECRET_HEADERS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
];
/// The longest code that is shown, in characters.
const MAX_CODE: usize = 40;
/// What stands for a secret.
const REDACTED: &str = "…";

/// The path with `…` for segments that could be an openid or a token.
pub fn path(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment {
        segment if SEGMENTS.contains(&segment) => segment,
        _ => REDACTED,
    });
    segments.take(8).collect::<Vec<_>>().join("/")
}

/// The code, or `…` if it is not one of the stand-in's own; with the developer whose address it came in at.
pub fn code(code: &str) -> String {
    if is_script(code) {
        let (script, suffix) = code.split_once('.').unwrap_or((code, ""));
        let (kind, name) = script.split_once('-').unwrap_or((script, ""));
        let shown = [kind, &name_of(name)].join(if name.is_empty() { "" } else { "-" });
        let shown = [&*shown, suffix].join(if suffix.is_empty() { "" } else { "." });
        return shown.chars().take(MAX_CODE).collect();
    }
    let developer = code.split_once('@').map(|(_, name)| name_of(name));
    developer.map_or(REDACTED.to_owned(), |name| format!("{REDACTED}@{name}"))
}

/// The query with the values of those parameters that are no secrets.
pub fn query(query: &str) -> String {
    let shown = query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_shown = PARAMETERS.contains(&name) || name.ends_with("code") && is_script(value);
        let value = if is_shown { value } else { REDACTED };
        format!("{name}={value}")
    });
    shown.collect::<Vec<_>>().join("&")
}

/// The headers, by name.
pub fn headers(headers: &HeaderMap, with_secrets: bool) -> Vec<(String, String)> {
    let shown = |name: &HeaderName, value: &str| match name.as_str() {
        name if with_secrets || !SECRET_HEADERS.contains(&name) => value.to_owned(),
        "authorization" if value.starts_with("Bearer ") => format!("Bearer {REDACTED}"),
        _ => REDACTED.to_owned(),
    };
    let headers = headers.iter();
    headers
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.to_string(), shown(name, &value))
        })
        .collect()
}

/// A body as text: JSON with those values that are no secrets.
pub fn body(body: &[u8], with_secrets: bool) -> String {
    let text = match std::str::from_utf8(body) {
        Ok(text) if with_secrets => return text.to_owned(),
        Ok(text) => text,
        Err(_) => return format!("{} bytes", body.len()),
    };
    match serde_json::from_str::<Value>(text) {
        Ok(json) => without_secrets(json).to_string(),
        Err(_) if text.is_empty() => String::new(),
        Err(_) => format!("{REDACTED} ({} bytes)", body.len()),
    }
}

/// The code in a query, under one of these names.
pub fn code_in_query(query: &str, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| parameter(query, name))
}

fn without_secrets(json: Value) -> Value {
    match json {
        Value::Object(members) => {
            // The `code` of a problem document is no secret.
            let is_problem = members.contains_key("action");
            let members = members.into_iter().map(|(name, value)| {
                let is_shown = match &*name {
                    "code" => is_problem || value.as_str().is_some_and(is_script),
                    name => MEMBERS.contains(&name) || value.is_object() || value.is_array(),
                };
                let value = if is_shown {
                    without_secrets_inside(value)
                } else {
                    REDACTED.into()
                };
                (name, value)
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
        _ => REDACTED.into(),
    }
}

/// Of a value that is shown: what is inside an object or an array is looked at again.
fn without_secrets_inside(value: Value) -> Value {
    match value {
        Value::Object(_) => without_secrets(value),
        Value::Array(items) => items.into_iter().map(without_secrets).collect(),
        value => value,
    }
}

fn is_script(code: &str) -> bool {
    Script::of_code(code).is_some()
}
