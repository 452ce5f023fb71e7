//! `GET /sns/jscode2session`

use std::time::Duration;

use axum::http::Method;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::model::{Model, is_busy, parameter, script};
use super::reply::{Refused, Reply, error, invalid_code, refusal, text};
use super::users::{id, openid_in, session_key};

pub fn reply(model: &mut Model, method: &Method, query: &str) -> Reply {
    let (appid, code) = match read_query(model, method, query) {
        Ok(read) => read,
        Err((errcode, errmsg)) => return Reply::Now(error(errcode, errmsg)),
    };
    model.asked.push(code.clone());
    if let Some(errcode) = model.refuses {
        return Reply::Now(refusal(errcode));
    }
    if is_busy(&code, &model.asked) {
        return Reply::Now(error(-1, "system error"));
    }
    let script = script(&code);
    if let Some(reply) = Reply::scripted(script) {
        return reply;
    }
    if !model.used.insert(code.clone()) || script == "busy-used" {
        return Reply::Now(error(40163, "code been used"));
    }
    if let Some(body) = model.scripted.get(&code) {
        return Reply::Now(text(body.clone()));
    }
    match script.split_once('-').unwrap_or((script, "")) {
        ("user", name) if !name.is_empty() => Reply::Now(success(model, &appid, &code, name, true)),
        ("guest", name) if !name.is_empty() => {
            Reply::Now(success(model, &appid, &code, name, false))
        }
        ("busy", _) => Reply::Now(success(model, &appid, &code, "busy", true)),
        ("slow", millis) => match millis.parse() {
            Ok(millis) => Reply::After(
                Duration::from_millis(millis),
                success(model, &appid, &code, "slow", true),
            ),
            Err(_) => Reply::Now(invalid_code()),
        },
        // DevTools sends this for a project with a real AppID: the user is always the developer.
        _ if is_like_wechats(&code) => Reply::Now(success(model, &appid, &code, "devtools", true)),
        _ => Reply::Now(invalid_code()),
    }
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

fn success(model: &mut Model, appid: &str, code: &str, name: &str, with_unionid: bool) -> Response {
    let key = STANDARD.encode(session_key(code));
    let openid = openid_in(appid, name);
    let unionid = if with_unionid {
        format!(r#""unionid":"{}","#, id("unionid", name))
    } else {
        String::new()
    };
    // WeChat escapes slashes.
    let escaped = key.replace('/', r"\/");
    model.exchanged.push(code.to_owned());
    model.keys.insert(openid.clone(), session_key(code));
    text(format!(
        r#"{{"session_key":"{escaped}",{unionid}"openid":"{openid}"}}"#
    ))
}

fn is_like_wechats(code: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    code.len() == 32 && code.bytes().all(allowed)
}
