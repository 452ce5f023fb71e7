//! The parts of the page that are refreshed, each an element with an id: rules, notices, users and requests.

use std::time::Duration;

use super::super::state::Sandbox;
use super::html::button;
use super::texts::Texts;
use super::{controls, requests, users};

pub struct Live {
    pub rules: String,
    pub notices: String,
    pub users: String,
    pub requests: String,
}

pub async fn render(sandbox: &Sandbox, texts: &Texts) -> Live {
    let wxlogin = sandbox.wxlogin().await;
    let notices = notices(sandbox, texts).await;
    let users = users::render(sandbox.logged_in.users(&wxlogin).await, texts);
    let requests = requests::render(sandbox.requests.newest_first(), texts);
    Live {
        rules: controls::rules(&sandbox.wechat.rules(), texts),
        notices: format!(r#"<div id="notices" role="status">{notices}</div>"#),
        users: format!(r#"<div id="all-users">{users}</div>"#),
        requests: format!(r#"<div id="all-requests">{requests}</div>"#),
    }
}

/// What makes wxlogin behave otherwise than usual.
async fn notices(sandbox: &Sandbox, texts: &Texts) -> String {
    let ahead = Duration::from_secs(sandbox.clock().await.ahead());
    let mut notices = String::new();
    if let Some(rest) = sandbox.quota_pause().await {
        let text = texts.quota_pause.replace("{}", &rest.to_string());
        let end = button(texts.end_pause, "DELETE /sandbox/quota_pause", "");
        notices = format!(r#"{notices}<p id="quota-pause" class="banner">{text} {end}</p>"#);
    }
    if !ahead.is_zero() {
        let ahead = humantime::format_duration(ahead).to_string();
        let text = texts.clock_ahead.replace("{}", &ahead);
        notices = format!(r#"{notices}<p id="clock-ahead" class="notice">{text}</p>"#);
    }
    notices
}
