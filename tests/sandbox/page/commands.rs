//! The `curl` lines, each of which works as it stands after the one for the login.

use super::super::fake_wechat::{APPID, openid};
use super::super::settings::INTERNAL_TOKEN;
use super::super::state::Addresses;
use super::html::{copy, escape};
use super::texts::Texts;

pub fn render(addresses: Addresses, texts: &Texts) -> String {
    let public = format!("http://{}", addresses.public);
    let internal = format!("http://{}", addresses.internal);
    let page = format!("http://{}", addresses.page);
    let alice = openid("alice");
    let token = "-H 'Authorization: Bearer TOKEN'";
    let backend = format!("-H 'Authorization: Bearer {INTERNAL_TOKEN}'");
    let user = format!("{internal}/users/{APPID}/{alice}");
    let of_phone = [
        format!("curl '{public}/onLogin?code=user-alice'"),
        format!("curl {token} {public}/session"),
        format!(
            "curl -s -X POST {page}/sandbox/users/{alice}/encrypted_data | curl {token} {public}/session/decrypt -d @-"
        ),
        format!("curl -X DELETE {token} {public}/session"),
    ];
    let of_backend = [
        format!("curl {backend} {user}/phone -d '{{\"code\":\"phone-alice\"}}'"),
        format!("curl {backend} {user}/sign -d '{{\"data\":\"{{}}\"}}'"),
        format!("curl {backend} {user}/session_key"),
        format!("curl {backend} {internal}/access_token/{APPID}"),
        format!("curl -X DELETE {backend} {user}/sessions"),
    ];
    format!(
        "<details><summary>{}</summary>{}</details>\n<details><summary>{}</summary>{}</details>",
        texts.curl_of_phone,
        list(&of_phone, texts),
        texts.curl_of_backend,
        list(&of_backend, texts)
    )
}

fn list(commands: &[String], texts: &Texts) -> String {
    let commands = commands.iter().map(|command| {
        let copy = copy("curl", command, texts);
        format!(
            r#"<div class="copied"><pre>{}</pre>{copy}</div>"#,
            escape(command)
        )
    });
    commands.collect()
}
