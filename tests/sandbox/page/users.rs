//! The users on the page, with their sessions.

use std::fmt::Write;

use super::super::logged_in::{Session, User};
use super::html::{button, code, copy, escape, time};
use super::texts::Texts;

/// The newest user first. Further logins move nobody: what has the focus stays where it is.
pub fn render(mut users: Vec<User>, texts: &Texts) -> String {
    if users.is_empty() {
        return format!(r#"<p class="empty">{}</p>"#, texts.no_users);
    }
    users.sort_by_key(|user| std::cmp::Reverse(user.number));
    let rows: String = users.iter().map(|user| row(user, texts)).collect();
    format!(r#"<ul id="users">{rows}</ul>"#)
}

fn row(user: &User, texts: &Texts) -> String {
    let User { openid, number, .. } = user;
    let unionid = match &user.unionid {
        Some(unionid) => code(unionid) + " " + &copy("unionid", unionid, texts),
        None => texts.none.to_owned(),
    };
    let sessions = user.sessions.iter().fold(String::new(), |mut all, it| {
        let is_newest = it.session_key == user.newest_session_key;
        let _ = write!(all, "{}", session(it, is_newest, texts));
        all
    });
    let count = user.sessions.len().to_string();
    let count = texts.sessions.replace("{}", &count);
    let newest = user.newest_session_key.to_string();
    let newest = texts.newest_key.replace("{}", &newest);
    let path = format!("/sandbox/users/{openid}");
    let buttons = [
        button(texts.log_in_again, &format!("POST {path}/logins"), ""),
        button(
            texts.phone_number,
            &format!("POST {path}/phone_numbers"),
            "",
        ),
        button(
            texts.encrypted_data,
            &format!("POST {path}/encrypted_data"),
            "",
        ),
        button(texts.end_all, &format!("DELETE {path}/sessions"), ""),
    ]
    .concat();
    format!(
        r#"<li id="user-{number}" data-of="{name}"><div><h3>{name}</h3><dl><dt>openid</dt><dd>{} {}</dd><dt>unionid</dt><dd>{unionid}</dd><dt>session_key</dt><dd>{newest} {}</dd></dl></div>
<div><h4>{count}</h4><ul class="sessions">{sessions}</ul><div class="buttons small">{buttons}</div></div></li>"#,
        code(openid),
        copy("openid", openid, texts),
        time(user.newest_session_key_at),
        name = escape(&user.name),
    )
}

fn session(session: &Session, is_newest: bool, texts: &Texts) -> String {
    let Session {
        id, session_key, ..
    } = session;
    let mark = if is_newest { texts.newest } else { "" };
    let path = format!("/sandbox/sessions/{id}");
    let end = button(texts.end, &format!("DELETE {path}"), "");
    let expire = button(texts.expire, &format!("POST {path}/expire"), "");
    let token = format!(
        r#"<button type="button" class="copy" data-copy-from="{path}" aria-label="{label}" title="{label}"></button>"#,
        label = texts.copy_token
    );
    format!(
        r#"<li id="session-{id}"><span>{} · session_key {session_key}{mark} {token}</span> <span class="buttons small">{end}{expire}</span></li>"#,
        time(session.since)
    )
}
