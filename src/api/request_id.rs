//! The request id, in `X-Request-Id` and in the log.

use aws_lc_rs::rand;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// 1 to 128 visible ASCII characters.
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's own id if it is valid, else a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(REQUEST_ID) {
            Some(id) if is_valid(id.as_bytes()) => Self(id.clone()),
            _ => Self::new(),
        }
    }

    /// A random UUID (version 4), in 32 characters. If there are no random bytes, it is a constant, and logins
    /// fail.
    fn new() -> Self {
        let mut bytes = [0; 16];
        let _ = rand::fill(&mut bytes);
        let mut text = Uuid::encode_buffer();
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        let text = id.simple().encode_lower(&mut text);
        Self(HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-")))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_valid(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}
