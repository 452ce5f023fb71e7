//! Logs for the operator what a refused code means, one line for each exchange.

use super::LoginRequest;
use crate::wechat::{self, Error, Meaning, Rid};

/// Logs an error if the operator can do something about it.
pub(super) fn log_refused_code(request: &LoginRequest, error: &Error) {
    let (appid, request_id) = (request.mini_program.appid(), &*request.request_id);
    wechat::log_refusal(Some(request_id), appid, error);
    let Error::Refused(refusal) = error else {
        return;
    };
    let referring = request.referring_appid.as_deref();
    let Some(referring_appid) = referring.filter(|other| *other != appid) else {
        return;
    };
    if refusal.meaning() == Meaning::InvalidCode {
        let rid = refusal.rid.as_ref();
        let at = rid.and_then(Rid::at);
        tracing::warn!(
            request_id,
            appid,
            referring_appid,
            errcode = refusal.errcode.0,
            rid = rid.map(tracing::field::display),
            at,
            "WeChat does not know the code: it comes from a Mini Program with another \
             AppID than the one asked for; configure that one, or correct the AppID"
        );
    }
}
