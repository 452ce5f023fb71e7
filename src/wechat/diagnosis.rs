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
