//! `GET /sns/jscode2session`

use std::time::Duration;

use axum::http::Method;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::model::{Model, User, parameter};
use super::real_code;
use super::reply::{Refused, Reply, error, invalid_code, text};
use super::rules::{ALL, LOGIN, Outcome};
use super::script::Script;
use super::users::{id, openid_in, session_key};

pub fn reply(model: &mut Model, method: &Method, query: &str) -> Reply {
    let (appid, code) = match read_query(model, method, query) {
        Ok(read) => read,
        Err((errcode, errmsg)) => return Reply::Now(error(errcode, errmsg)),
    };
    let seen = model.login_codes.see(&code);
    let requests = seen.requests;
    let developer = real_code::developer(&code);
    let script = match (Script::of_code(&code), &developer) {
        (Some(script), _) => script,
        (None, None) if model.scripted.contains_key(&code) => Script::User("scripted".to_owned()),
        (None, None) => Script::Error(40029),
        (None, Some(developer)) => match seen.ruled_by(&mut model.rules, LOGIN) {
            Some(Outcome::Answer(body)) => return Reply::Now(text(body)),
            Some(Outcome::Script(script)) => script,
            None => Script::User(developer.clone()),
        },
    };
    let mut delay = match script {
        Script::Slow(delay) => delay,
        _ => Duration::ZERO,
    };
    match model.rules.take(ALL) {
        None => {}
        Some(Outcome::Script(Script::Slow(further))) => delay += further,
        Some(outcome) => return outcome.instead_of(invalid_code(), "{}"),
    }
    if script.is_busy(requests) {
        return Reply::Now(error(-1, "system error"));
    }
    if let Some(reply) = script.failure() {
        return reply;
    }
    let developer = developer.unwrap_or_else(|| "slow".to_owned());
    Reply::After(delay, log_in(model, &appid, &code, &script, developer))
}

/// The appid and the code, if the request is exactly what WeChat documents; else WeChat's refusal.
fn read_query(
    model: &mut Model,
    method: &Method,
    query: &str,
) -> Result<(String, String), Refused> {
    if method != Method::GET {
        return Err((41002, "appid missing"));
    }
    let appid = parameter(query, "appid").ok_or((41002, "appid missing"))?;
    let secret = parameter(query, "secret").ok_or((41004, "appsecret missing"))?;
    let code = parameter(query, "js_code").ok_or((41008, "missing code"))?;
    model.check_secret(&appid, &secret)?;
    if parameter(query, "grant_type").as_deref() != Some("authorization_code") {
        return Err((40002, "invalid grant_type"));
    }
    Ok((appid, code))
}

/// Uses the code up. `developer` logs in where the script names nobody.
fn log_in(
    model: &mut Model,
    appid: &str,
    code: &str,
    script: &Script,
    developer: String,
) -> Response {
    let seen = model.login_codes.get_mut(code);
    if std::mem::replace(&mut seen.is_used, true) || *script == Script::BusyUsed {
        return error(40163, "code been used");
    }
    if let Some(body) = model.scripted.get(code) {
        return text(body.clone());
    }
    let (name, has_unionid) = match script {
        Script::User(name) => (name.clone(), true),
        Script::Guest(name) => (name.clone(), false),
        Script::NewUser => (model.users.new_name(), true),
        Script::Busy(_) => ("busy".to_owned(), true),
        Script::Slow(_) | Script::Incomplete => (developer, true),
        _ => return invalid_code(),
    };
    let openid = openid_in(appid, &name);
    let unionid = if has_unionid {
        format!(r#""unionid":"{}","#, id("unionid", &name))
    } else {
        String::new()
    };
    if *script == Script::Incomplete {
        return text(format!(r#"{{{unionid}"openid":"{openid}"}}"#));
    }
    seen.is_exchanged = true;
    let key = session_key(code);
    model.users.insert(
        &openid,
        User {
            name,
            has_unionid,
            key,
        },
    );
    // WeChat escapes slashes.
    let escaped = STANDARD.encode(key).replace('/', r"\/");
    text(format!(
        r#"{{"session_key":"{escaped}",{unionid}"openid":"{openid}"}}"#
    ))
}
