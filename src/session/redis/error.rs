//! Error messages for the operator: the cause, and nothing of what is stored.

use std::error::Error;

use redis::{ErrorKind, RedisError};

/// Redis' code and the first words after it, or what the system says of the connection. The rest of
/// the text can quote the command, and with it keys and values.
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
            // The library's own text is in front of its kind and the detail.
            let text = error.to_string();
            let own = text.split(" - ").next().unwrap_or_default();
            match error.detail() {
                Some(detail) => format!("{own}: {}", first_words(detail)),
                None => own.to_owned(),
            }
        }
    }
}

/// Up to a colon, after which Redis quotes, or something that is neither a plain word nor the name of
/// a command or a user in quotes.
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
