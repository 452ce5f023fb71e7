//! Reads a query strictly: a repeated name or bytes that are not UTF-8 are refused, not guessed at.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Why a parameter has no value that could be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The value of the parameter `name` in an `application/x-www-form-urlencoded` query, if it is there.
pub(super) fn parameter<'a>(
    query: &'a str,
    name: &str,
) -> Result<Option<Cow<'a, str>>, Unreadable> {
    let mut found = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(key).is_ok_and(|key| key == name) && found.replace(decode(value)?).is_some() {
            return Err(Unreadable);
        }
    }
    Ok(found)
}

fn decode(text: &str) -> Result<Cow<'_, str>, Unreadable> {
    if !text.contains('+') {
        return percent_decode_str(text)
            .decode_utf8()
            .map_err(|_| Unreadable);
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(|text| Cow::Owned(text.into_owned()))
        .map_err(|_| Unreadable)
}
