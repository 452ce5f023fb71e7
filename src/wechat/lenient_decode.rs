//! Lenient decoding of base64 and hex that a client, a proxy or a template has changed: percent-encoding and JSON
//! escapes (each once), quotes, line breaks, spaces for `+`, the URL-safe alphabet, missing padding. The text itself
//! can hold none of these.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use percent_encoding::percent_decode_str;

/// Decodes base64. A space was a `+`, or was added: the first reading whose number of bytes `is_length` accepts.
pub(super) fn base64(text: &str, is_length: impl Fn(usize) -> bool) -> Option<Vec<u8>> {
    let text = without_wrapping(text)?;
    let (inner, outer) = (text.trim_matches(' '), &*text);
    let readings = [
        outer.replace(' ', "+"),
        inner.replace(' ', "+"),
        inner.replace(' ', ""),
    ];
    readings
        .iter()
        .filter_map(|text| STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok())
        .find(|bytes| is_length(bytes.len()))
}

/// The lower-case hex digits in a text.
pub(super) fn hex(text: &str) -> String {
    let text = without_wrapping(text).unwrap_or_default();
    text.trim_matches(' ').to_ascii_lowercase()
}

/// Removes the encodings around base64 or hex and maps the URL-safe alphabet to the standard one. Spaces stay.
fn without_wrapping(text: &str) -> Option<String> {
    let mut text = percent_decode_str(text).decode_utf8().ok()?.into_owned();
    if text.contains('\\') {
        text = text.trim().replace(char::is_control, "");
        if !text.starts_with('"') {
            text = format!("\"{text}\"");
        }
        text = serde_json::from_str(&text).ok()?;
    }
    let is_kept =
        |c: &char| *c == ' ' || !(c.is_whitespace() || matches!(c, '"' | '\'' | '\u{feff}'));
    let standard = |c| match c {
        '-' => '+',
        '_' => '/',
        other => other,
    };
    Some(text.chars().filter(is_kept).map(standard).collect())
}
