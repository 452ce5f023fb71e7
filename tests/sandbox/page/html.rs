//! HTML helpers.

use std::time::SystemTime;

use super::texts::Texts;

/// Text as it may stand in an element or in an attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A time of day: in UTC, which the script makes local.
pub fn time(at: SystemTime) -> String {
    let utc = humantime::format_rfc3339_seconds(at).to_string();
    let time_of_day = utc.get(11..19).unwrap_or_default();
    format!(r#"<time datetime="{utc}">{time_of_day}</time>"#)
}

pub fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// A button that sends this request, in which the script replaces `{name}`.
pub fn button(label: &str, request: &str, body: &str) -> String {
    let body = escape(body);
    format!(r#"<button type="button" data-request="{request}" data-body="{body}">{label}</button>"#)
}

/// A button with these attributes.
pub fn button_with(label: &str, attributes: &str) -> String {
    format!(r#"<button type="button" {attributes}>{label}</button>"#)
}

/// A button that copies a text.
pub fn copy(what: &str, text: &str, texts: &Texts) -> String {
    let label = escape(&texts.copy.replace("{}", what));
    let text = escape(text);
    format!(
        r#"<button type="button" class="copy" data-copy="{text}" aria-label="{label}" title="{label}"></button>"#
    )
}
