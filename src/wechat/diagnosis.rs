//! Tells the operator what WeChat's refusals mean, one line for each call.

use super::{Error, Meaning, Refusal, Rid};

/// Logs what the operator can do about it, if anything. Returns whether it did.
pub(crate) fn report(request_id: Option<&str>, appid: &str, error: &Error) -> bool {
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
