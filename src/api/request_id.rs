//! The name of a request, in its answer and in the log.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// 1 to 128 visible ASCII characters.
pub(super) struct RequestId(HeaderValue);

/// Where this process' own ids begin. They only have to be rare, so they are counted from a random
/// start, of which 96 bits take part: without randomness, tokens fail anyway.
static NEXT: LazyLock<(u32, AtomicU64)> = LazyLock::new(|| {
    let (mut process, mut first) = ([0; 4], [0; 8]);
    let _ = rand::fill(&mut process);
    let _ = rand::fill(&mut first);
    let first = AtomicU64::new(u64::from_ne_bytes(first));
    (u32::from_ne_bytes(process), first)
});

impl RequestId {
    /// The caller's own id if it is a fit one, else a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(REQUEST_ID) {
            Some(id) if is_fit(id.as_bytes()) => Self(id.clone()),
            _ => Self::new(),
        }
    }

    fn new() -> Self {
        let (process, next) = &*NEXT;
        let number = next.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&process.to_be_bytes());
        bytes[4..].copy_from_slice(&number.to_be_bytes());
        let mut text = [b'-'; 16];
        // Twelve bytes are sixteen characters.
        let _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        Self(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-")))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_fit(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}
