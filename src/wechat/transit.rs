//! Undoes what happens to base64 and hex between WeChat and here: percent-encoding and JSON escapes,
//! quotes, line breaks, spaces for `+`, the URL alphabet, lost padding. None of it can be part of the
//! text itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use percent_encoding::percent_decode_str;

/// How often a text is decoded that was encoded more than once.
const MAX_ROUNDS: usize = 3;

/// The bytes in base64. A space was a `+`, or was added: `is_fit` tells by the number of bytes.
pub(super) fn base64(text: &str, is_fit: impl Fn(usize) -> bool) -> Option<Vec<u8>> {
    let text = unwrapped(text)?;
    let (inner, outer) = (text.trim_matches(' '), &*text);
    let readings = [
        outer.replace(' ', "+"),
        inner.replace(' ', "+"),
        inner.replace(' ', ""),
    ];
    readings
        .iter()
        .filter_map(|text| STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok())
        .find(|bytes| is_fit(bytes.len()))
}

/// The lower-case hex digits in a text.
pub(super) fn hex(text: &str) -> String {
    let text = unwrapped(text).unwrap_or_default();
    text.trim_matches(' ').to_ascii_lowercase()
}

/// Without encodings around it, in the standard alphabet, with spaces.
fn unwrapped(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    for _ in 0..MAX_ROUNDS {
        if text.contains('%') {
            text = percent_decode_str(&text).decode_utf8().ok()?.into_owned();
        }
        if text.contains('\\') {
            text = text.trim().replace(char::is_control, "");
            if !text.starts_with('"') {
                text = format!("\"{text}\"");
            }
            text = serde_json::from_str(&text).ok()?;
        }
    }
    let is_wrapping =
        |c: char| matches!(c, '"' | '\'' | '\u{feff}') || (c != ' ' && c.is_whitespace());
    let standard = |c| match c {
        '-' => '+',
        '_' => '/',
        other => other,
    };
    Some(
        text.chars()
            .filter(|c| !is_wrapping(*c))
            .map(standard)
            .collect(),
    )
}
