//! `POST /wxa/business/getuserphonenumber`

use axum::response::Response;
use serde_json::Value;

use super::model::{Model, parameter};
use super::real_code::DEVELOPER;
use super::reply::{Refused, Reply, error, invalid_code, text};
use super::rules::{ALL, Outcome, PHONE_NUMBER};
use super::script::Script;
use super::users::{openid_in, phone_number};

pub fn reply(model: &mut Model, query: &str, body: &Value) -> Reply {
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    let requests = model.phone_codes.see(&code).requests;
    let (appid, openid) = match read(model, query, body) {
        Ok(read) => read,
        Err((errcode, errmsg)) => return Reply::Now(error(errcode, errmsg)),
    };
    let is_login_code = model.login_codes.get(&code).is_some();
    let seen = model.phone_codes.get_mut(&code);
    let ruled = match Script::of_code(&code) {
        Some(script) => Some(Outcome::Script(script)),
        None if is_login_code => return Reply::Now(invalid_code()),
        None => seen.ruled_by(&mut model.rules, PHONE_NUMBER),
    };
    let ruled = model.rules.take(ALL).or(ruled);
    let script = match &ruled {
        Some(Outcome::Script(script)) => Some(script),
        _ => None,
    };
    if script.is_some_and(|script| script.is_busy(requests)) {
        return Reply::Now(error(-1, "system error"));
    }
    if let Some(reply) = script.and_then(Script::failure) {
        return reply;
    }
    if std::mem::replace(&mut seen.is_used, true) {
        return Reply::Now(invalid_code());
    }
    if let Some(body) = model.scripted.get(&code) {
        return Reply::Now(text(body.clone()));
    }
    let of_script = match script {
        Some(Script::Phone(name)) => Some(openid_in(&appid, name)),
        Some(Script::User(_) | Script::Guest(_) | Script::NewUser) => {
            return Reply::Now(invalid_code()); // a login code
        }
        _ => None,
    };
    let usual = match (of_script, openid) {
        (Some(of_script), Some(openid)) if of_script != openid => invalid_code(),
        (of_script, openid) => {
            let developer = || openid_in(&appid, DEVELOPER);
            success(&appid, &of_script.or(openid).unwrap_or_else(developer))
        }
    };
    match ruled {
        Some(outcome) => outcome.instead_of(usual, r#"{"errcode":0,"errmsg":"ok"}"#),
        None => Reply::Now(usual),
    }
}

/// The appid of the token, and the openid, which is checked against the code if it is there.
fn read(model: &mut Model, query: &str, body: &Value) -> Result<(String, Option<String>), Refused> {
    let token = parameter(query, "access_token");
    let appid = model.check_token(token.as_deref())?;
    let openid = match body.get("openid") {
        None => None,
        Some(openid) => Some(openid.as_str().ok_or((40003, "invalid openid"))?),
    };
    if body["code"].as_str().is_none_or(str::is_empty) {
        return Err((41008, "missing code"));
    }
    Ok((appid, openid.map(str::to_owned)))
}

/// The country code is a number here, as in WeChat's sample.
fn success(appid: &str, openid: &str) -> Response {
    let number = phone_number(openid);
    text(format!(
        r#"{{"errcode":0,"errmsg":"ok","phone_info":{{"phoneNumber":"{number}","purePhoneNumber":"{number}","countryCode":86,"watermark":{{"timestamp":1637744274,"appid":"{appid}"}}}}}}"#
    ))
}
