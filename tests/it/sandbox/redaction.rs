//! Redacts requests for the page: no secrets, and no codes of a real WeChat.

use super::fake_wechat::parameter;

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
    "phone",
    "sign",
    "session_key",
    "sessions",
    "access_token",
    "sns",
    "jscode2session",
    "cgi-bin",
    "token",
    "stable_token",
    "wxa",
    "business",
    "getuserphonenumber",
    "checksession",
];
/// The prefixes of the stand-in's own codes.
const SCRIPTS: &[&str] = &[
    "user-", "guest-", "phone-", "error-", "busy-", "slow-", "hang", "garbage", "empty", "html-502",
];
/// The longest code that is shown, in characters.
const MAX_CODE: usize = 40;

/// The path with `…` for segments that could be an openid or a token.
pub fn path(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        if SEGMENTS.contains(&segment) {
            segment
        } else {
            "…"
        }
    });
    segments.take(8).collect::<Vec<_>>().join("/")
}

/// The code, or `…` if it is not one of the stand-in's own.
pub fn code(code: &str) -> String {
    if SCRIPTS.iter().any(|script| code.starts_with(script)) {
        code.chars().take(MAX_CODE).collect()
    } else {
        "…".to_owned()
    }
}

/// The code in a query, under one of these names.
pub fn code_in_query(query: &str, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| parameter(query, name))
}
