//! The `curl` lines, each of which works as it stands after the one for the login.

use super::super::fake_wechat::{APPID, encrypt, openid, session_key, user_info};
use super::super::service::INTERNAL_TOKEN;
use super::super::state::Addresses;
use super::html::escape;
use super::texts::Texts;

pub fn render(addresses: Addresses, texts: &Texts) -> String {
    let public = format!("http://{}", addresses.public);
    let internal = format!("http://{}", addresses.internal);
    let token = "-H 'Authorization: Bearer TOKEN'";
    let backend = format!("-H 'Authorization: Bearer {INTERNAL_TOKEN}'");
    let user = format!("{internal}/users/{APPID}/{}", openid("alice"));
    let (data, iv) = encrypt(
        &session_key("user-alice"),
        user_info(APPID, &openid("alice"), 1_479_716_640),
    );
    let of_phone = [
        format!("curl '{public}/onLogin?code=user-alice'"),
        format!("curl {token} {public}/session"),
        format!(
            "curl {token} {public}/session/decrypt -d '{{\"encryptedData\":\"{data}\",\"iv\":\"{iv}\"}}'"
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
        list(&of_phone),
        texts.curl_of_backend,
        list(&of_backend)
    )
}

fn list(commands: &[String]) -> String {
    let commands = commands.iter().map(|command| escape(command));
    let commands = commands.collect::<Vec<_>>().join("</pre><pre>");
    format!("<pre>{commands}</pre>")
}
