//! Values of settings as messages show them.

use std::time::Duration;

/// So many letters and digits in a row can be a secret.
const SECRET_LEN: usize = 20;

/// The value of a setting that is not secret, unless it could be a secret that stands in the wrong place.
pub(super) fn value(value: &str) -> String {
    let is_long = |word: &str| word.len() >= SECRET_LEN;
    if value
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(is_long)
    {
        return String::new();
    }
    format!("; it is {value:?}")
}

/// The first character that looks like another or like nothing: of full width, or invisible.
pub(super) fn odd_character(value: &str) -> Option<String> {
    let what = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' | '\u{3000}'..='\u{303f}' | '\u{2018}'..='\u{201d}' => Some(
            format!("the full-width character {c} (U+{:04X})", u32::from(c)),
        ),
        '\u{a0}'
        | '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}'
        | '\u{2060}'
        | '\u{feff}' => Some(format!("the invisible character U+{:04X}", u32::from(c))),
        _ => None,
    };
    value.chars().find_map(what)
}

/// A duration in one unit, as in the documentation.
pub(super) fn duration(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match (duration.as_secs(), duration.subsec_millis()) {
        (seconds @ 1.., 0) if seconds.is_multiple_of(DAY) => format!("{}d", seconds / DAY),
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}
