//! `WECHAT_APPS`, or `WECHAT_APPID` and `WECHAT_SECRET`; secrets also from files.

use secrecy::{ExposeSecret, SecretString};

use super::reader::Reader;
use crate::wechat::MiniProgram;

/// The Mini Programs, at least one.
pub(super) fn read(reader: &mut Reader) -> Vec<MiniProgram> {
    let mut is_set = |names: &[&'static str]| names.iter().any(|name| reader.get(name).is_some());
    let has_several = is_set(&["WECHAT_APPS", "WECHAT_APPS_FILE"]);
    let has_one = is_set(&["WECHAT_APPID", "WECHAT_SECRET", "WECHAT_SECRET_FILE"]);
    if has_several && has_one {
        let problem = "WECHAT_APPS replaces WECHAT_APPID and WECHAT_SECRET: set it, or those two";
        reader.problem(problem);
        Vec::new()
    } else if has_several {
        several(reader)
    } else {
        one(reader)
    }
}

fn one(reader: &mut Reader) -> Vec<MiniProgram> {
    let must = |what: &str| {
        format!(
            "be {what}, which has letters and digits only: no quotes, spaces or other characters"
        )
    };
    let what = "the Mini Program's AppID";
    let appid = reader.get("WECHAT_APPID");
    match appid {
        None => reader.missing("WECHAT_APPID", what),
        Some(appid) if !is_fit(appid) => reader.invalid("WECHAT_APPID", &must(what)),
        Some(_) => {}
    }
    let what = "the Mini Program's AppSecret";
    let (setting, secret) = reader.secret_or_file("WECHAT_SECRET", "WECHAT_SECRET_FILE");
    let secret = secret.as_ref().map(|text| text.expose_secret().trim());
    match secret {
        None if setting == "WECHAT_SECRET_FILE" => {} // a problem with the file
        None => reader.missing("WECHAT_SECRET", what),
        Some(secret) if !is_fit(secret) => reader.invalid_secret(setting, secret, &must(what)),
        Some(_) => {}
    }
    match (appid, secret) {
        (Some(appid), Some(secret)) if is_fit(appid) && is_fit(secret) => {
            let names = ["WECHAT_APPID", "WECHAT_SECRET"].map(String::from);
            check_usual_forms(reader, names, appid, secret);
            let secrets = vec![secret.into()];
            vec![MiniProgram::new(appid.to_owned(), secrets, setting)]
        }
        _ => Vec::new(),
    }
}

/// Reads `appid:secret` pairs, separated by commas or newlines. Secrets of one appid keep their order.
fn several(reader: &mut Reader) -> Vec<MiniProgram> {
    let (name, Some(text)) = reader.secret_or_file("WECHAT_APPS", "WECHAT_APPS_FILE") else {
        return Vec::new();
    };
    let file = reader.get("WECHAT_APPS_FILE");
    let mut apps: Vec<(&str, Vec<SecretString>)> = Vec::new();
    let lines = (1..)
        .zip(text.expose_secret().lines())
        .filter(|(_, line)| !line.trim().is_empty());
    let pairs = lines.flat_map(|(line, text)| text.split(',').map(move |pair| (line, pair)));
    for (number, (line, text)) in (1..).zip(pairs) {
        let at = match file {
            Some(file) => format!("{file}, line {line}"),
            None => format!("number {number}"),
        };
        let pair = text
            .split_once(':')
            .map(|(appid, secret)| (appid.trim(), secret.trim()));
        let Some((appid, secret)) = pair.filter(|(appid, secret)| is_fit(appid) && is_fit(secret))
        else {
            reader.invalid_secret(name, text, &format!(
                "be appid:secret pairs after commas or on lines, with letters and digits only; {at} is none"
            ));
            break;
        };
        let names = ["AppID", "AppSecret"].map(|what| format!("{name}, {at}, the {what}"));
        check_usual_forms(reader, names, appid, secret);
        match apps.iter_mut().find(|(known, _)| *known == appid) {
            Some((_, secrets)) => {
                if secrets.iter().any(|known| known.expose_secret() == secret) {
                    let must = format!("not have the same pair twice; {at} is one");
                    reader.invalid_secret(name, text, &must);
                }
                secrets.push(secret.into());
            }
            None => apps.push((appid, vec![secret.into()])),
        }
    }
    let program = |(appid, secrets): (&str, _)| MiniProgram::new(appid.into(), secrets, name);
    apps.into_iter().map(program).collect()
}

/// Whether a value can be an AppID or an AppSecret, a real one or one of a test.
fn is_fit(value: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=128).contains(&value.len()) && value.bytes().all(is_allowed)
}

/// Warns of unusual forms. Refuses an AppID that looks like an AppSecret, because AppIDs are logged.
fn check_usual_forms(reader: &mut Reader, names: [String; 2], appid: &str, secret: &str) {
    let [appid_name, secret_name] = names;
    let swapped = format!("{appid_name} and {secret_name} look swapped");
    if appid == secret {
        reader.problem(format!(
            "{appid_name} and {secret_name} have the same value: the AppID begins with wx, the AppSecret is what the WeChat admin console shows once"
        ));
    } else if is_usual_secret(appid) {
        reader.problem(swapped);
    } else if is_usual_appid(secret) {
        reader.warn(swapped);
    } else {
        if !is_usual_appid(appid) {
            reader.warn(format!(
                "{appid_name} does not look like one: wx and 16 digits or letters from a to f"
            ));
        }
        if !is_usual_secret(secret) {
            reader.warn(format!(
                "{secret_name} does not look like one: 32 letters and digits"
            ));
        }
    }
}

fn is_usual_appid(value: &str) -> bool {
    value.strip_prefix("wx").is_some_and(|rest| {
        rest.len() == 16 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_usual_secret(value: &str) -> bool {
    value.len() == 32 && value.bytes().all(|b| b.is_ascii_alphanumeric())
}
