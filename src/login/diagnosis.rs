//! Tells the operator what WeChat's refusals mean, one line for each exchange.

use std::time::{Duration, UNIX_EPOCH};

use super::LoginRequest;
use crate::wechat::{Error, Meaning, Refusal};

/// Logs what the operator can do about it, if anything.
pub(super) fn report(request: &LoginRequest, error: &Error) {
    let Error::Refused(refusal) = error else {
        return;
    };
    let Refusal { errcode, rid, ip } = refusal;
    let (appid, errcode, at) = (request.mini_program.appid(), errcode.0, time_of(refusal));
    let (rid, at) = (rid.as_ref().map(tracing::field::display), at.as_deref());
    match refusal.errcode.meaning() {
        Meaning::Misconfigured(remedy) => {
            let ip = ip.map(tracing::field::display);
            tracing::error!(
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

/// When WeChat refused, by its own clock.
fn time_of(refusal: &Refusal) -> Option<String> {
    let seconds = Duration::from_secs(refusal.rid.as_ref()?.time()?);
    let at = humantime::format_rfc3339_seconds(UNIX_EPOCH + seconds);
    Some(at.to_string())
}
