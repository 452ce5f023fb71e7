//! The name of a request, in its answer and in the log.

use aws_lc_rs::rand;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// 1 to 128 visible ASCII characters.
pub(super) struct RequestId(String);

impl RequestId {
    /// The caller's own id if it is a fit one, else a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers
            .get("x-request-id")
            .and_then(|value| value.to_str().ok());
        match given {
            Some(id) if is_fit(id) => Self(id.to_owned()),
            _ => Self::random(),
        }
    }

    fn random() -> Self {
        let mut bytes = [0; 12];
        // It only has to be rare: if there is no randomness, the token of this request will fail.
        let _ = rand::fill(&mut bytes);
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("-"))
    }
}

fn is_fit(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}
