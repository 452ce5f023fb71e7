//! `WECHAT_APPS`, or `WECHAT_APPID` and `WECHAT_SECRET`; secrets also from files.

use secrecy::{ExposeSecret, SecretString};

use super::reader::{Reader, Reported};
use crate::wechat::MiniProgram;

/// The Mini Programs, at least one.
pub(super) fn read(reader: &mut Reader) -> Result<Vec<MiniProgram>, Reported> {
    let apps = reader.secret_or_file("WECHAT_APPS", "WECHAT_APPS_FILE");
    let appid = reader.get("WECHAT_APPID");
    let secret = reader.secret_or_file("WECHAT_SECRET", "WECHAT_SECRET_FILE");
    match (apps?, appid) {
        (Some(_), appid) if appid.is_some() || !matches!(secret, Ok(None)) => Err(reader.problem(
            "WECHAT_APPS stands instead of WECHAT_APPID and WECHAT_SECRET: set it, or those two",
        )),
        (Some(apps), _) => several(reader, apps.expose_secret()),
        (None, appid) => one(reader, appid, secret),
    }
}

fn one(
    reader: &mut Reader,
    appid: Option<&str>,
    secret: Result<Option<SecretString>, Reported>,
) -> Result<Vec<MiniProgram>, Reported> {
    let appid = required(reader, "WECHAT_APPID", "the Mini Program's AppID", appid);
    let secret = secret.and_then(|secret| {
        let text = secret.as_ref().map(ExposeSecret::expose_secret);
        let what = "the Mini Program's AppSecret";
        required(reader, "WECHAT_SECRET", what, text).map(SecretString::from)
    });
    Ok(vec![MiniProgram::new(appid?, vec![secret?])])
}

fn required(
    reader: &mut Reader,
    name: &str,
    what: &str,
    value: Option<&str>,
) -> Result<String, Reported> {
    match value {
        None => Err(reader.problem(format!("{name} is not set: {what}"))),
        Some(value) if !is_fit(value) => Err(reader.problem(format!(
            "{name} must be {what}: at most 128 characters, visible ASCII without spaces"
        ))),
        Some(value) => Ok(value.to_owned()),
    }
}

/// `appid:secret` pairs after commas or on lines of their own. Secrets of one appid are kept in
/// their order.
fn several(reader: &mut Reader, text: &str) -> Result<Vec<MiniProgram>, Reported> {
    let mut apps: Vec<(&str, Vec<SecretString>)> = Vec::new();
    let pairs = text.split([',', '\n']).map(str::trim);
    for (number, pair) in pairs.filter(|pair| !pair.is_empty()).enumerate() {
        let pair = pair
            .split_once(':')
            .map(|(appid, secret)| (appid.trim(), secret.trim()));
        let Some((appid, secret)) = pair.filter(|(appid, secret)| is_fit(appid) && is_fit(secret))
        else {
            return Err(reader.problem(format!(
                "WECHAT_APPS must be appid:secret pairs after commas; number {} is none",
                number + 1
            )));
        };
        match apps.iter_mut().find(|(known, _)| *known == appid) {
            Some((_, secrets)) => secrets.push(secret.into()),
            None => apps.push((appid, vec![secret.into()])),
        }
    }
    if apps.is_empty() {
        return Err(reader.problem("WECHAT_APPS must name at least one Mini Program"));
    }
    let programs = apps
        .into_iter()
        .map(|(appid, secrets)| MiniProgram::new(appid.into(), secrets));
    Ok(programs.collect())
}

fn is_fit(value: &str) -> bool {
    (1..=128).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic())
}
