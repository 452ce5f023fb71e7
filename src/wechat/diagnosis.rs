//! Logs for the operator what a refusal of WeChat's means, one line for each call.

use super::{Error, Meaning, Refusal, Rid};

/// Logs an error if the operator can do something about it. Returns whether it was logged.
pub(crate) fn log_refusal(request_id: Option<&str>, appid: &str, error: &Error) -> bool {
    let Error::Refused(refusal) = error else {
        return false;
    };
    let Refusal {
        call,
        errcode,
        rid,
        ip,
    } = refusal;
    let (call, errcode) = (call.name(), errcode.0);
    let at = rid.as_ref().and_then(Rid::at);
    let (rid, at) = (rid.as_ref().map(tracing::field::display), at.as_deref());
    match refusal.meaning() {
        Meaning::Misconfigured(remedy) => {
            let ip = ip.map(tracing::field::display);
            tracing::error!(
                request_id,
                appid,
                call,
                errcode,
                rid,
                at,
                ip,
                remedy,
                "WeChat refuses this service"
            );
        }
        Meaning::QuotaExhausted => {
            tracing::warn!(
                request_id,
                appid,
                call,
                errcode,
                rid,
                at,
                "the Mini Program's daily quota is used up"
            );
        }
        _ => return false,
    }
    true
}

/// The same for a code of `wx.login`. `referring_appid`: the Mini Program in the `Referer` of the request.
pub(crate) fn log_refused_code(
    request_id: &str,
    appid: &str,
    referring_appid: Option<&str>,
    error: &Error,
) {
    log_refusal(Some(request_id), appid, error);
    let (Error::Refused(refusal), Some(referring_appid)) = (error, referring_appid) else {
        return;
    };
    if refusal.meaning() == Meaning::InvalidCode && referring_appid != appid {
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
