//! Reads query parameters. A repeated one is refused.

use std::borrow::Cow;

/// The parameter is repeated.
#[derive(Debug)]
pub(super) struct Repeated;

/// The value of the parameter `name` in an `application/x-www-form-urlencoded` query, if present.
///
/// Bytes that are not UTF-8 become U+FFFD, which no parameter of ours may have.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, Repeated> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut values = pairs.filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value);
    values.next().map_or(Ok(value), |_| Err(Repeated))
}
