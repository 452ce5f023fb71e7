//! The names of keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Token, UserId};

pub(super) fn session_name(token: &Token) -> String {
    format!("session:{}", encode(&token.hash()))
}

pub(super) fn exchange_name(code: &[u8; 32]) -> String {
    format!("exchange:{}", encode(code))
}

/// The key of this name.
pub(super) fn at(name: &str) -> String {
    format!("wxlogin2:{name}")
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn keys_at(user: UserId<'_>) -> String {
    at(&format!("keys:{{{}:{}}}", user.appid, user.openid))
}

/// The hash tag in braces: both keys of a script must be in the same cluster slot.
pub(super) fn owned_at(user: UserId<'_>) -> String {
    at(&format!("owned:{{{}:{}}}", user.appid, user.openid))
}
