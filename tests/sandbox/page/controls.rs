//! The controls of the page.

use std::fmt::Write;

use super::super::fake_wechat::{Rule, name_of};
use super::codes;
use super::html::{button, code, escape};
use super::texts::Texts;

/// The scripts with a button of their own; any other can be typed.
const SCRIPTS: &[&str] = &[
    "user-bob",
    "guest-carol",
    "new-user",
    "hang",
    "slow-3000",
    "error-40029",
    "error-40163",
    "error-40226",
    "error-45011",
    "error-45009",
    "error-40125",
    "error--1",
    "incomplete",
    "garbage",
    "empty",
    "html-502",
];

/// The first button to try.
pub fn log_in(texts: &Texts) -> String {
    let Texts {
        log_in_title, name, ..
    } = texts;
    let user = r#"{"script":"user-{name}"}"#;
    let named = r#"{"name":"{name}"}"#;
    let buttons = [
        button(texts.log_in, "POST /sandbox/logins", user),
        button(texts.code_alone, "POST /sandbox/codes", user),
        button(texts.phone_number, "POST /sandbox/phone_numbers", named),
        button(texts.phone_code, "POST /sandbox/phone_codes", named),
    ]
    .concat();
    format!(
        r#"<section aria-labelledby="log-in-title">
<h2 id="log-in-title">{log_in_title}</h2>
<label>{name} <input id="name" value="alice" maxlength="32" required autocomplete="off" spellcheck="false"></label>
<div class="buttons first">{buttons}</div>
</section>"#
    )
}

/// What WeChat does with the next requests. `rules`: as [`rules`] renders them.
pub fn next(rules: &str, texts: &Texts) -> String {
    let Texts {
        next_title,
        next_for,
        next_script,
        next_set,
        next_hint,
        ..
    } = texts;
    let choices = texts.next_choices.iter();
    let choices = choices.fold(String::new(), |mut all, (value, label)| {
        let _ = write!(all, r#"<option value="{value}">{label}</option>"#);
        all
    });
    let scripts = SCRIPTS.iter().fold(String::new(), |mut all, script| {
        let _ = write!(
            all,
            r#"<button type="button" data-script="{script}" aria-pressed="false">{script}</button>"#
        );
        all
    });
    let codes = codes::render(texts);
    format!(
        r#"<section aria-labelledby="next-title">
<h2 id="next-title">{next_title}</h2>
<div class="wide"><label for="as">{next_for}</label> <select id="as">{choices}</select></div>
<div class="buttons small" role="group" aria-labelledby="next-title">{scripts}</div>
<div class="row"><label>{next_script} <input id="script" value="slow-8000" maxlength="64" required autocomplete="off" spellcheck="false"></label>
<button type="button" data-script-of="script">{next_set}</button></div>
{rules}
<p class="hint">{next_hint}</p>
{codes}
</section>"#
    )
}

/// The rules in force, each with a button that removes it. The script reads `data-rules`.
pub fn rules(rules: &[Rule], texts: &Texts) -> String {
    let json = serde_json::to_string(rules).unwrap();
    let list: String = rules.iter().map(|rule| row(rule, texts)).collect();
    let list = if list.is_empty() {
        format!(r#"<li class="empty">{}</li>"#, texts.no_rules)
    } else {
        list
    };
    format!(
        r#"<div id="rules" role="status" data-rules="{}"><ul>{list}</ul></div>"#,
        escape(&json)
    )
}

fn row(rule: &Rule, texts: &Texts) -> String {
    let label = texts.calls.iter().find(|(call, _)| *call == rule.call);
    let label = label.map_or_else(|| escape(&rule.call), |(_, label)| (*label).to_owned());
    let script = rule.script.as_deref().map(|script| {
        let (kind, name) = script.split_once('-').unwrap_or((script, ""));
        [kind, &name_of(name)].join(if name.is_empty() { "" } else { "-" })
    });
    let outcome = script.unwrap_or_else(|| "JSON".to_owned());
    let times = match rule.times {
        None => texts.rule_always.to_owned(),
        Some(1) => texts.rule_once.to_owned(),
        Some(times) => texts.rule_times.replace("{}", &times.to_string()),
    };
    let percent = rule.probability * 100.0;
    let percent = if percent < 100.0 {
        format!(", {percent:.0} %")
    } else {
        String::new()
    };
    let call = escape(&rule.call);
    let remove = button(
        texts.remove,
        &format!("DELETE /sandbox/next?call={call}"),
        "",
    );
    format!(
        r#"<li id="rule-{call}"><span>{label}: {} ({times}{percent})</span> {remove}</li>"#,
        code(&outcome)
    )
}
