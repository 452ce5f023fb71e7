//! `GET /cgi-bin/token`: the older way to an `access_token`, which other SDKs use. wxlogin does not.

use axum::http::Method;

use super::model::{Model, parameter};
use super::reply::{Refused, Reply, error, text};
use super::rules::ACCESS_TOKEN;

pub fn reply(model: &mut Model, method: &Method, query: &str) -> Reply {
    let usual = match read(model, method, query) {
        Err((errcode, errmsg)) => return Reply::Now(error(errcode, errmsg)),
        Ok(appid) => {
            let token = model.tokens.older(&appid);
            text(format!(r#"{{"access_token":"{token}","expires_in":7200}}"#))
        }
    };
    model
        .rules
        .reply(ACCESS_TOKEN, r#"{"expires_in":7200}"#, usual)
}

fn read(model: &mut Model, method: &Method, query: &str) -> Result<String, Refused> {
    if method != Method::GET {
        return Err((43001, "require GET method"));
    }
    if parameter(query, "grant_type").as_deref() != Some("client_credential") {
        return Err((40002, "invalid grant_type"));
    }
    let appid = parameter(query, "appid").ok_or((41002, "appid missing"))?;
    let secret = parameter(query, "secret").ok_or((41004, "appsecret missing"))?;
    model.check_secret(&appid, &secret)?;
    Ok(appid)
}
