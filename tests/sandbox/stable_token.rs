//! `POST /cgi-bin/stable_token`

use std::time::Duration;

use serde_json::Value;

use super::model::Model;
use super::reply::{Refused, Reply, error, refusal, text};
use super::rules::ACCESS_TOKEN;

pub fn reply(model: &mut Model, body: &Value) -> Reply {
    model.tokens.asked += 1;
    let delay = Duration::from_millis(model.tokens.delay);
    let usual = match (read(model, body), model.tokens.refuses) {
        (Err((errcode, errmsg)), _) => error(errcode, errmsg),
        (Ok(_), Some(errcode)) => refusal(errcode),
        (Ok(appid), None) => {
            let token = model.tokens.current(&appid);
            model.tokens.given.insert(token.clone());
            text(format!(r#"{{"access_token":"{token}","expires_in":7200}}"#))
        }
    };
    let incomplete = r#"{"expires_in":7200}"#;
    match model.rules.reply(ACCESS_TOKEN, incomplete, usual) {
        Reply::Now(response) => Reply::After(delay, response),
        later => later,
    }
}

fn read(model: &mut Model, body: &Value) -> Result<String, Refused> {
    let text = |name: &str| body[name].as_str();
    let appid = text("appid").ok_or((41002, "appid missing"))?;
    let secret = text("secret").ok_or((41004, "appsecret missing"))?;
    if text("grant_type") != Some("client_credential") {
        return Err((40002, "invalid grant_type"));
    }
    // wxlogin never forces a new one, so that is refused here.
    if body["force_refresh"] == true {
        return Err((45009, "reach max api daily quota limit"));
    }
    model.check_secret(appid, secret)?;
    Ok(appid.to_owned())
}
