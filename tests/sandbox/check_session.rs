//! `GET /wxa/checksession`

use axum::http::Method;

use super::model::{Model, parameter};
use super::reply::{Refused, Reply, error, text};
use super::rules::SESSION_KEY;
use super::users::hmac_sign;

pub fn reply(model: &mut Model, method: &Method, query: &str) -> Reply {
    let usual = match check(model, method, query) {
        Err((errcode, errmsg)) => error(errcode, errmsg),
        Ok(()) => text(r#"{"errcode":0,"errmsg":"ok"}"#.into()),
    };
    model.rules.reply(SESSION_KEY, "{}", usual)
}

fn check(model: &mut Model, method: &Method, query: &str) -> Result<(), Refused> {
    if method != Method::GET {
        return Err((43001, "require GET method"));
    }
    let token = parameter(query, "access_token");
    model.check_token(token.as_deref())?;
    let openid = parameter(query, "openid").ok_or((40003, "invalid openid"))?;
    if parameter(query, "sig_method").as_deref() != Some("hmac_sha256") {
        return Err((87008, "invalid sig_method"));
    }
    let signature = parameter(query, "signature");
    let user = model.users.get(&openid).ok_or((40003, "invalid openid"))?;
    if signature == Some(hmac_sign(&user.key, "")) {
        Ok(())
    } else {
        Err((87009, "invalid signature"))
    }
}
