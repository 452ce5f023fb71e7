//! The parts of the page that are refreshed: users, and requests on both sides.

use std::fmt::Write;

use super::super::logged_in::User;
use super::super::requests::{Noted, To};
use super::super::state::Sandbox;
use super::html::{button, code, escape, time};
use super::texts::Texts;

pub async fn render(sandbox: &Sandbox, texts: &Texts) -> String {
    let wxlogin = sandbox.service.read().await.wxlogin.clone();
    let users = sandbox.logged_in.users(&wxlogin).await;
    let requests = sandbox.requests.newest_first();
    let switch = sandbox.failures().map_or_else(String::new, |failures| {
        let percent = failures.probability * 100.0;
        let errcode = failures.errcode;
        format!(
            r#"<p id="switch" class="banner">{} errcode {errcode}, {percent:.0} %</p>"#,
            texts.switch_is_on
        )
    });
    format!(
        "{switch}<section><h2>{}</h2>{}</section><section><h2>{}</h2>{}</section>",
        texts.users_title,
        users_table(&users, texts),
        texts.requests_title,
        requests_table(requests, texts)
    )
}

fn users_table(users: &[User], texts: &Texts) -> String {
    if users.is_empty() {
        return format!(r#"<p class="empty">{}</p>"#, texts.no_users);
    }
    let rows: String = users.iter().map(|user| row_of_user(user, texts)).collect();
    format!(r#"<ul id="users">{rows}</ul>"#)
}

fn row_of_user(user: &User, texts: &Texts) -> String {
    let number = user.newest_session_key;
    let unionid = match &user.unionid {
        Some(unionid) => code(unionid),
        None => texts.none.to_owned(),
    };
    let sessions = user.sessions.iter();
    let sessions = sessions.fold(String::new(), |mut all, session| {
        let is_newest = session.session_key == number;
        let mark = if is_newest { texts.newest } else { "" };
        let (since, key) = (time(session.since), session.session_key);
        let _ = write!(all, "<li>{since} · session_key {key}{mark}</li>");
        all
    });
    let count = texts
        .sessions
        .replace("{}", &user.sessions.len().to_string());
    let newest = texts.newest_key.replace("{}", &number.to_string());
    let again = format!(r#"{{"script":"user-{}"}}"#, user.name);
    let buttons = [
        button(texts.open_further_session, "POST /sandbox/logins", &again),
        button(
            texts.phone_number,
            "POST /sandbox/phone_numbers",
            &format!(r#"{{"name":"{}"}}"#, user.name),
        ),
    ]
    .concat();
    format!(
        r#"<li><div><h3>{}</h3><dl><dt>openid</dt><dd>{}</dd><dt>unionid</dt><dd>{unionid}</dd><dt>session_key</dt><dd>{newest} {}</dd></dl></div>
<div><h4>{count}</h4><ul class="sessions">{sessions}</ul><div class="buttons small">{buttons}</div></div></li>"#,
        escape(&user.name),
        code(&user.openid),
        time(user.newest_session_key_at)
    )
}

fn requests_table([to_wxlogin, to_wechat]: [Vec<Noted>; 2], texts: &Texts) -> String {
    if to_wxlogin.is_empty() && to_wechat.is_empty() {
        return format!(r#"<p class="empty">{}</p>"#, texts.no_requests);
    }
    // A request to WeChat from another program has its own row.
    let is_shown = |id: u64| to_wxlogin.iter().any(|request| request.id == id);
    let alone = to_wechat
        .iter()
        .filter(|request| !request.for_request.is_some_and(is_shown));
    let mut rows: Vec<(u64, String)> = alone
        .map(|request| (request.id, row("", &side(request, texts))))
        .collect();
    for request in &to_wxlogin {
        let asked = to_wechat.iter().rev();
        let asked = asked.filter(|asked| asked.for_request == Some(request.id));
        let asked: String = asked.map(|asked| side(asked, texts)).collect();
        rows.push((request.id, row(&side(request, texts), &asked)));
    }
    rows.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    let rows: String = rows.into_iter().map(|(_, row)| row).collect();
    format!(
        r#"<div class="sides" aria-hidden="true"><span>{}</span><span>{}</span></div><ol id="requests">{rows}</ol>"#,
        texts.to_wxlogin, texts.to_wechat
    )
}

fn row(to_wxlogin: &str, to_wechat: &str) -> String {
    format!(
        r#"<li><div class="phone">{to_wxlogin}</div><div class="wechat">{to_wechat}</div></li>"#
    )
}

fn side(request: &Noted, texts: &Texts) -> String {
    let login_code = request
        .login_code
        .as_deref()
        .map_or_else(String::new, |it| {
            format!(r#" <code class="argument">{}</code>"#, escape(it))
        });
    let door = match request.to {
        To::InternalDoor => format!(r#" <span class="door">{}</span>"#, texts.internal_door),
        _ => String::new(),
    };
    format!(
        r#"<div class="request"><p>{} {}{login_code}{door}</p><p class="answer">{}</p></div>"#,
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

fn good(text: &str) -> String {
    format!(r#"<b class="good">{}</b>"#, escape(text))
}

fn bad(text: &str) -> String {
    format!(r#"<b class="bad">{}</b>"#, escape(text))
}
