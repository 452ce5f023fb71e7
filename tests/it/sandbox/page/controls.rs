//! The buttons of the page.

use std::fmt::Write;

use super::codes;
use super::html::{button, escape};
use super::texts::Texts;

/// The scripts that fail, each with a button.
const FAILURES: &[&str] = &[
    "error-40029",
    "error-40163",
    "error-40226",
    "error-45011",
    "error-45009",
    "error-40125",
    "error--1",
    "busy-2",
    "busy-used",
    "slow-3000",
    "hang",
    "garbage",
    "empty",
    "html-502",
];
/// The errcodes that the switch offers; any other can be typed.
const ERRCODES: &[i64] = &[-1, 40029, 40163, 40226, 45009, 45011, 40001, 40125, 40164];

/// The first button to try, with its result; and the rest.
pub fn render(texts: &Texts) -> [String; 2] {
    let Texts {
        log_in_title,
        name,
        log_in,
        code_alone,
        phone_number,
        phone_code,
        codes_hint,
        failures_title,
        failures_hint,
        as_login,
        as_code,
        as_phone,
        switch_title,
        switch_hint,
        probability,
        switch_on,
        switch_off,
        result_title,
        result_hint,
        ..
    } = texts;
    let user = r#"{"script":"user-{name}"}"#;
    let named = r#"{"name":"{name}"}"#;
    let buttons = [
        button(log_in, "POST /sandbox/logins", user),
        button(code_alone, "POST /sandbox/codes", user),
        button(phone_number, "POST /sandbox/phone_numbers", named),
        button(phone_code, "POST /sandbox/phone_codes", named),
    ]
    .concat();
    let failures = FAILURES.iter().fold(String::new(), |mut all, script| {
        let _ = write!(
            all,
            r#"<button type="button" data-script="{script}">{script}</button>"#
        );
        all
    });
    let errcodes = ERRCODES.iter().fold(String::new(), |mut all, errcode| {
        let _ = write!(all, r#"<option value="{errcode}">"#);
        all
    });
    let on = r#"{"errcode":{errcode},"probability":{probability}}"#;
    let switch = [
        button(switch_on, "PUT /sandbox/failures", on),
        button(switch_off, "DELETE /sandbox/failures", ""),
    ]
    .concat();
    let placeholder = escape(result_hint);
    let codes = codes::render(texts);
    let first = format!(
        r#"<section>
<h2>{log_in_title}</h2>
<label>{name} <input id="name" value="alice" maxlength="32" pattern="[A-Za-z0-9_\-]+" autocomplete="off" spellcheck="false"></label>
<div class="buttons first">{buttons}</div>
<p class="hint">{codes_hint}</p>
{codes}
</section>
<section>
<h2>{result_title}</h2>
<pre id="result" aria-live="polite" data-empty="{placeholder}"></pre>
</section>"#
    );
    let rest = format!(
        r#"<section>
<h2>{failures_title}</h2>
<label><span class="visually-hidden">{failures_title}</span><select id="as">
<option value="logins">{as_login}</option><option value="codes">{as_code}</option><option value="phone_numbers">{as_phone}</option>
</select></label>
<div class="buttons small">{failures}</div>
<p class="hint">{failures_hint}</p>
</section>
<section>
<h2>{switch_title}</h2>
<div class="row"><label>errcode <input id="errcode" list="errcodes" value="45011" inputmode="numeric"></label>
<datalist id="errcodes">{errcodes}</datalist>
<label>{probability} <select id="probability"><option value="1">100 %</option><option value="0.5">50 %</option><option value="0.1">10 %</option></select></label></div>
<div class="buttons">{switch}</div>
<p class="hint">{switch_hint}</p>
</section>"#
    );
    [first, rest]
}
