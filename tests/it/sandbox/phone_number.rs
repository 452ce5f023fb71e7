//! `POST /wxa/business/getuserphonenumber`

use std::time::Duration;

use axum::response::Response;
use serde_json::Value;

use super::model::{Model, is_busy, parameter, script};
use super::reply::{Refused, Reply, error, invalid_code, refusal, text};
use super::users::{openid_in, phone_number};

pub fn reply(model: &mut Model, query: &str, body: &Value) -> Reply {
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    model.phone_asked.push(code.clone());
    let (appid, openid) = match read(model, query, body) {
        Ok(read) => read,
        Err((errcode, errmsg)) => return Reply::Now(error(errcode, errmsg)),
    };
    if let Some(errcode) = model.refuses {
        return Reply::Now(refusal(errcode));
    }
    if is_busy(&code, &model.phone_asked) {
        return Reply::Now(error(-1, "system error"));
    }
    let script = script(&code);
    if let Some(reply) = Reply::scripted(script) {
        return reply;
    }
    if !model.used.insert(format!("phone {code}")) {
        return Reply::Now(invalid_code());
    }
    if let Some(body) = model.scripted.get(&code) {
        return Reply::Now(text(body.clone()));
    }
    match script.split_once('-').unwrap_or((script, "")) {
        ("phone", name) => {
            let of_name = openid_in(&appid, name);
            if openid.is_none_or(|openid| openid == of_name) {
                Reply::Now(success(&appid, &of_name))
            } else {
                Reply::Now(invalid_code())
            }
        }
        ("busy", _) => Reply::Now(success(&appid, &openid.unwrap_or_default())),
        ("slow", millis) => match millis.parse() {
            Ok(millis) => Reply::After(
                Duration::from_millis(millis),
                success(&appid, &openid.unwrap_or_default()),
            ),
            Err(_) => Reply::Now(invalid_code()),
        },
        _ => Reply::Now(invalid_code()),
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
