//! `GET /wxa/checksession`

use axum::http::Method;

use super::model::{Model, parameter};
use super::reply::{Refused, Reply, error, refusal, text};
use super::users::hmac_sign;

pub fn reply(model: &mut Model, method: &Method, query: &str) -> Reply {
    Reply::Now(match check(model, method, query) {
        Err((errcode, errmsg)) => error(errcode, errmsg),
        Ok(()) => match model.refuses {
            Some(errcode) => refusal(errcode),
            None => text(r#"{"errcode":0,"errmsg":"ok"}"#.into()),
        },
    })
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
    let key = model.keys.get(&openid).ok_or((40003, "invalid openid"))?;
    if signature == Some(hmac_sign(key, "")) {
        Ok(())
    } else {
        Err((87009, "invalid signature"))
    }
}
