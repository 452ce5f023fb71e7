//! The requests on the page: on both sides, and one of them opened.

use super::super::detail::Detail;
use super::super::requests::{Noted, To};
use super::html::{button_with, code, copy, escape, time};
use super::texts::Texts;

pub fn render([to_wxlogin, to_wechat]: [Vec<Noted>; 2], texts: &Texts) -> String {
    if to_wxlogin.is_empty() && to_wechat.is_empty() {
        return format!(r#"<p class="empty">{}</p>"#, texts.no_requests);
    }
    // A request to WeChat from another program has its own row.
    let is_shown = |id: u64| to_wxlogin.iter().any(|request| request.id == id);
    let alone = to_wechat
        .iter()
        .filter(|request| !request.for_request.is_some_and(is_shown));
    let mut rows: Vec<(u64, String)> = alone
        .map(|request| (request.id, row(request.id, "", &side(request, texts))))
        .collect();
    for request in &to_wxlogin {
        let asked = to_wechat.iter().rev();
        let asked = asked.filter(|asked| asked.for_request == Some(request.id));
        let asked: String = asked.map(|asked| side(asked, texts)).collect();
        rows.push((request.id, row(request.id, &side(request, texts), &asked)));
    }
    rows.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    let rows: String = rows.into_iter().map(|(_, row)| row).collect();
    format!(
        r#"<div class="sides" aria-hidden="true"><span>{}</span><span>{}</span></div><ol id="requests">{rows}</ol>"#,
        texts.to_wxlogin, texts.to_wechat
    )
}

/// What a request opens to goes into the part that is kept.
fn row(id: u64, to_wxlogin: &str, to_wechat: &str) -> String {
    format!(
        r#"<li id="request-{id}"><div class="phone">{to_wxlogin}</div><div class="wechat">{to_wechat}</div><div id="detail-{id}" class="detail" data-keep></div></li>"#
    )
}

fn side(request: &Noted, texts: &Texts) -> String {
    let login_code = request
        .login_code
        .as_deref()
        .map_or_else(String::new, |it| {
            format!(r#" <code class="argument">{}</code>"#, escape(it))
        });
    let listener = match request.to {
        To::InternalListener => {
            format!(
                r#" <span class="listener">{}</span>"#,
                texts.internal_listener
            )
        }
        _ => String::new(),
    };
    let id = request.id;
    let is_answered = request.answer.is_some();
    format!(
        r#"<div class="request" id="side-{id}"><p>{} <button type="button" class="open" data-open="{id}" data-answered="{is_answered}" aria-expanded="false">{}{login_code}</button>{listener}</p><p class="answer">{}</p></div>"#,
        time(request.at),
        code(&request.request),
        answer(request, texts)
    )
}

fn answer(request: &Noted, texts: &Texts) -> String {
    let Some(answer) = &request.answer else {
        return format!(r#"<b class="waiting">{}</b>"#, texts.waiting);
    };
    let errcode = answer.errcode.filter(|errcode| *errcode != 0);
    let errcode = errcode.map(|errcode| format!("errcode {errcode}"));
    let mut parts = match (answer.status, &answer.code) {
        (None, _) => vec![bad(texts.hung_up)],
        // wxlogin: the status says whether it is good.
        (Some(status), Some(code)) if status < 400 => vec![good(&format!("{status} {code}"))],
        (Some(status), Some(code)) => {
            let mut parts = vec![bad(&format!("{status} {code}"))];
            parts.extend(errcode);
            parts
        }
        // WeChat: nearly always 200, and an errcode.
        (Some(200), None) => vec![errcode.map_or_else(|| good("ok"), |errcode| bad(&errcode))],
        (Some(status), None) => vec![bad(&format!("HTTP {status}"))],
    };
    let action = answer.action.as_deref().map(escape);
    parts.extend(action.map(|action| format!("action <b>{action}</b>")));
    parts.push(format!("{} ms", answer.duration_ms));
    format!("<span>{}</span>", parts.join("</span> <span>"))
}

/// All of a request, with a switch for its secrets.
pub fn open(detail: &Detail, with_secrets: bool, texts: &Texts) -> String {
    let label = if with_secrets {
        texts.hide_secrets
    } else {
        texts.show_secrets
    };
    let id = detail.noted.id;
    let switch = button_with(
        label,
        &format!(r#"data-open="{id}" data-secrets="{}""#, !with_secrets),
    );
    let caused: String = detail.to_wechat.iter().map(|it| one(it, texts)).collect();
    let caused = if caused.is_empty() {
        String::new()
    } else {
        format!("<h3>{}</h3>{caused}", texts.detail_to_wechat)
    };
    format!(
        r#"<div class="buttons small">{switch}</div>{}{caused}"#,
        one(detail, texts)
    )
}

fn one(detail: &Detail, texts: &Texts) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: &str, what: &str| {
        if !value.is_empty() {
            rows = format!(
                "{rows}<dt>{name}</dt><dd>{} {}</dd>",
                code(value),
                copy(what, value, texts)
            );
        }
    };
    let answer = detail.noted.answer.as_ref();
    let user = answer.and_then(|answer| answer.user.as_deref());
    row(texts.detail_user, user.unwrap_or_default(), "openid");
    row(
        "request_id",
        detail.request_id.as_deref().unwrap_or_default(),
        "request_id",
    );
    row("curl", &detail.curl, "curl");
    let request = message(&detail.request_headers, &detail.request_body);
    let response = message(&detail.response_headers, &detail.response_body);
    let status = answer.and_then(|answer| answer.status);
    let status = status.map_or_else(|| texts.waiting.to_owned(), |status| status.to_string());
    format!(
        "<dl>{rows}</dl><h3>{}: {}</h3><pre>{request}</pre><h3>{}: {status}</h3><pre>{response}</pre>",
        texts.detail_request,
        escape(&detail.noted.request),
        texts.detail_response
    )
}

/// Headers and body.
fn message(headers: &[(String, String)], body: &str) -> String {
    let headers = headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let parts = [headers.join("\n"), body.to_owned()];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    escape(&parts.join("\n\n"))
}

fn good(text: &str) -> String {
    format!(r#"<b class="good">{}</b>"#, escape(text))
}

fn bad(text: &str) -> String {
    format!(r#"<b class="bad">{}</b>"#, escape(text))
}
