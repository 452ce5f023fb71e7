//! `WECHAT_APPS`, or `WECHAT_APPID` and `WECHAT_SECRET`; secrets also from files.

use secrecy::{ExposeSecret, SecretString};

use super::reader::{InvalidSetting, Reader};
use crate::wechat::MiniProgram;

/// The Mini Programs, at least one.
pub(super) fn read(reader: &mut Reader) -> Result<Vec<MiniProgram>, InvalidSetting> {
    let apps = reader.secret_or_file("WECHAT_APPS", "WECHAT_APPS_FILE");
    let appid = reader.get("WECHAT_APPID");
    let secret = reader.secret_or_file("WECHAT_SECRET", "WECHAT_SECRET_FILE");
    match (apps?, appid) {
        (Some(_), appid) if appid.is_some() || !matches!(secret, Ok(None)) => Err(reader
            .problem("WECHAT_APPS replaces WECHAT_APPID and WECHAT_SECRET: set it, or those two")),
        (Some(apps), _) => {
            let file = reader.get("WECHAT_APPS_FILE");
            several(reader, file, apps.expose_secret())
        }
        (None, appid) => one(reader, appid, secret),
    }
}

fn one(
    reader: &mut Reader,
    appid: Option<&str>,
    secret: Result<Option<SecretString>, InvalidSetting>,
) -> Result<Vec<MiniProgram>, InvalidSetting> {
    let appid = required(reader, "WECHAT_APPID", "the Mini Program's AppID", appid);
    let secret = secret.and_then(|secret| {
        let text = secret.as_ref().map(|secret| secret.expose_secret().trim());
        let what = "the Mini Program's AppSecret";
        required(reader, "WECHAT_SECRET", what, text).map(SecretString::from)
    });
    let (appid, secret) = (appid?, secret?);
    check_usual_forms(reader, "WECHAT_APPID", "WECHAT_SECRET", &appid, &secret)?;
    Ok(vec![MiniProgram::new(appid, vec![secret])])
}

fn required(
    reader: &mut Reader,
    name: &'static str,
    what: &str,
    value: Option<&str>,
) -> Result<String, InvalidSetting> {
    match value {
        None => {
            let missing = reader.missing_dotenv();
            Err(reader.problem(format!("{name} is not set: {what}{missing}")))
        }
        Some(value) if !is_fit(value) => {
            let must = format!(
                "be {what}, which has letters and digits only: no quotes, spaces or other characters"
            );
            Err(if name == "WECHAT_APPID" {
                reader.invalid(name, &must)
            } else {
                reader.invalid_secret(name, &format!("{name} must {must}"))
            })
        }
        Some(value) => Ok(value.to_owned()),
    }
}

/// Reads `appid:secret` pairs, separated by commas or newlines. Secrets of one appid keep their order.
fn several(
    reader: &mut Reader,
    file: Option<&str>,
    text: &str,
) -> Result<Vec<MiniProgram>, InvalidSetting> {
    let name = file.map_or("WECHAT_APPS", |_| "WECHAT_APPS_FILE");
    let mut apps: Vec<(&str, Vec<SecretString>)> = Vec::new();
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    let pairs = lines.flat_map(|(line, text)| text.split(',').map(move |pair| (line, pair)));
    for (number, (line, pair)) in (1..).zip(pairs) {
        let at = match file {
            Some(file) => format!("{file}, line {line}"),
            None => format!("number {number}"),
        };
        let pair = pair
            .split_once(':')
            .map(|(appid, secret)| (appid.trim(), secret.trim()));
        let Some((appid, secret)) = pair.filter(|(appid, secret)| is_fit(appid) && is_fit(secret))
        else {
            return Err(reader.problem(format!(
                "{name} must be appid:secret pairs after commas or on lines, with letters and digits only; {at} is none"
            )));
        };
        let secret = SecretString::from(secret);
        let [appid_name, secret_name] =
            ["AppID", "AppSecret"].map(|what| format!("{name}, {at}, the {what}"));
        check_usual_forms(reader, &appid_name, &secret_name, appid, &secret)?;
        let is_known = |known: &SecretString| known.expose_secret() == secret.expose_secret();
        match apps.iter_mut().find(|(known, _)| *known == appid) {
            Some((_, secrets)) if secrets.iter().any(is_known) => {
                let problem = format!("{name} must not have the same pair twice; {at} is one");
                return Err(reader.problem(problem));
            }
            Some((_, secrets)) => secrets.push(secret),
            None => apps.push((appid, vec![secret])),
        }
    }
    if apps.is_empty() {
        return Err(reader.problem(format!("{name} must name at least one Mini Program")));
    }
    let programs = apps
        .into_iter()
        .map(|(appid, secrets)| MiniProgram::new(appid.into(), secrets));
    Ok(programs.collect())
}

/// Whether a value can be an AppID or an AppSecret, a real one or one of a test.
fn is_fit(value: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=128).contains(&value.len()) && value.bytes().all(is_allowed)
}

/// Warns of unusual forms. Refuses an AppID that looks like an AppSecret, because AppIDs are logged.
fn check_usual_forms(
    reader: &mut Reader,
    appid_name: &str,
    secret_name: &str,
    appid: &str,
    secret: &SecretString,
) -> Result<(), InvalidSetting> {
    let secret = secret.expose_secret();
    if appid == secret {
        return Err(reader.problem(format!(
            "{appid_name} and {secret_name} have the same value: the AppID begins with wx, the AppSecret is what the WeChat admin console shows once"
        )));
    }
    let swapped = format!("{appid_name} and {secret_name} look swapped");
    if is_usual_secret(appid) {
        return Err(reader.problem(swapped));
    }
    if is_usual_appid(secret) {
        reader.warning(swapped);
        return Ok(());
    }
    if !is_usual_appid(appid) {
        reader.warning(format!(
            "{appid_name} does not look like one: wx and 16 digits or letters from a to f"
        ));
    }
    if !is_usual_secret(secret) {
        reader.warning(format!(
            "{secret_name} does not look like one: 32 letters and digits"
        ));
    }
    Ok(())
}

fn is_usual_appid(value: &str) -> bool {
    value.strip_prefix("wx").is_some_and(|rest| {
        rest.len() == 16 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_usual_secret(value: &str) -> bool {
    value.len() == 32 && value.bytes().all(|b| b.is_ascii_alphanumeric())
}
