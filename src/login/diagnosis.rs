//! Tells the operator what WeChat's refusals mean, one line for each exchange.

use super::LoginRequest;
use crate::wechat::{Error, Meaning, Refusal, Rid};

/// Logs what the operator can do about it, if anything.
pub(super) fn report(request: &LoginRequest, error: &Error) {
    let Error::Refused(refusal) = error else {
        return;
    };
    let Refusal { errcode, rid, ip } = refusal;
    let (appid, errcode) = (request.mini_program.appid(), errcode.0);
    let request_id = &*request.request_id;
    let at = rid.as_ref().and_then(Rid::at);
    let (rid, at) = (rid.as_ref().map(tracing::field::display), at.as_deref());
    match refusal.errcode.meaning() {
        Meaning::Misconfigured(remedy) => {
            let ip = ip.map(tracing::field::display);
            tracing::error!(
                request_id,
                appid,
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
                errcode,
                rid,
                at,
                "the Mini Program's daily quota is used up"
            );
        }
        Meaning::InvalidCode => {
            if let Some(other) = request.referring_appid.as_deref().filter(|it| *it != appid) {
                tracing::warn!(
                    request_id,
                    appid,
                    referring_appid = other,
                    errcode,
                    rid,
                    at,
                    "WeChat does not know the code: it comes from a Mini Program with another \
                     AppID than the one asked for; configure that one, or correct the AppID"
                );
            }
        }
        _ => {}
    }
}
