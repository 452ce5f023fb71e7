//! Error messages for the operator, without stored data.

use std::error::Error;

use redis::{ErrorKind, RedisError};

/// Redis' error code and the words after it, or the system's error. The rest of Redis' text can quote the
/// command, and so keys and values.
pub(super) fn describe(error: &RedisError) -> String {
    let server_errors = error.clone().into_server_errors();
    if let Some((_, error)) = server_errors.as_deref().and_then(<[_]>::first) {
        let words = first_words(error.details().unwrap_or_default());
        return format!("Redis answered {} {words}", first_words(error.code()));
    }
    match (error.kind(), error.source()) {
        (ErrorKind::Io, Some(cause)) => cause.to_string(),
        (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => error.category().to_owned(),
        (_, _) => {
            // The library's message comes before the error kind and the detail.
            let text = error.to_string();
            let own = text.split(" - ").next().unwrap_or_default();
            match error.detail() {
                Some(detail) => format!("{own}: {}", first_words(detail)),
                None => own.to_owned(),
            }
        }
    }
}

/// The text up to a colon, or up to what is neither a plain word nor a quoted command or user name: Redis
/// quotes values after these.
fn first_words(text: &str) -> String {
    let mut words = Vec::new();
    for word in text.split_ascii_whitespace().take(20) {
        let inner = word.trim_matches(['\'', ',', '.', ':', ';', '(', ')']);
        let is_plain = inner.len() <= 24
            && inner.starts_with(|c: char| c.is_ascii_alphabetic())
            && inner
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_'|".contains(&b));
        if !is_plain {
            break;
        }
        words.push(word);
        if word.ends_with(':') {
            break;
        }
    }
    words.join(" ")
}
