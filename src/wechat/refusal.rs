//! A refusal by WeChat: the errcode, and the request id and IP address from errmsg. The rest of errmsg is
//! not kept: it holds addresses and links, and WeChat may change it.

use std::fmt;
use std::net::IpAddr;

use tracing::field::display;

use super::errcode::{IP_NOT_LISTED, QUOTA_REMEDY};
use super::{Call, Error, Meaning, MiniProgram};

/// WeChat's refusal of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The call that was refused.
    pub call: Call,
    /// The reason.
    pub errcode: i64,
    /// WeChat's id of the request, such as `66c69111-5ccc9dc8-0fd94c9e`. WeChat's console cannot look up those of
    /// `jscode2session`.
    pub rid: Option<String>,
    /// The address that the request came from, if it is not in the IP whitelist.
    pub ip: Option<IpAddr>,
}

impl Refusal {
    /// Parses `errmsg`.
    pub(super) fn new(call: Call, errcode: i64, errmsg: &str) -> Self {
        let ip = match errcode {
            IP_NOT_LISTED => ip_in(errmsg),
            _ => None,
        };
        Self {
            call,
            errcode,
            rid: rid_in(errmsg),
            ip,
        }
    }

    /// What the errcode means for the call.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        Meaning::of(self.call, self.errcode)
    }
}

impl Error {
    /// Logs a refusal that the operator can do something about. Returns whether it was logged.
    pub(super) fn log_refusal(&self, request_id: Option<&str>, program: &MiniProgram) -> bool {
        let Some(refusal) = self.refusal() else {
            return false;
        };
        let remedy = match refusal.meaning() {
            Meaning::Misconfigured(remedy) => program.remedy(remedy),
            Meaning::QuotaExhausted => QUOTA_REMEDY.to_owned(),
            _ => return false,
        };
        let (appid, call, errcode) = (program.appid(), refusal.call.name(), refusal.errcode);
        let (rid, ip) = (refusal.rid.as_ref().map(display), refusal.ip.map(display));
        tracing::error!(
            request_id,
            appid,
            call,
            errcode,
            rid,
            ip,
            remedy,
            "WeChat refuses this service"
        );
        true
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeChat answered errcode {}", self.errcode)?;
        match &self.rid {
            Some(rid) => write!(f, ", rid {rid}"),
            None => Ok(()),
        }
    }
}

/// Logs the refusal of a login's code that the operator can do something about. `referring_appid`: the Mini Program
/// in the `Referer` of the request.
pub(crate) fn log_refused_code(
    request_id: &str,
    mini_program: &MiniProgram,
    referring_appid: Option<&str>,
    error: &Error,
) {
    let appid = mini_program.appid();
    error.log_refusal(Some(request_id), mini_program);
    if let Some(refusal) = error.refusal()
        && refusal.meaning() == Meaning::InvalidCode
        && let Some(referring_appid) = referring_appid.filter(|other| *other != appid)
    {
        tracing::warn!(
            request_id,
            appid,
            referring_appid,
            errcode = refusal.errcode,
            rid = refusal.rid.as_ref().map(display),
            "WeChat does not know the code: it comes from a Mini Program with another \
             AppID than the one asked for; configure that one, or correct the AppID"
        );
    }
}

/// The text after the last `rid:`, if it has the form of a rid.
fn rid_in(errmsg: &str) -> Option<String> {
    let (_, text) = errmsg.rsplit_once("rid:")?;
    let text = text.trim();
    let is_hex = |group: &str| {
        (1..=8).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let fits = text.len() <= 64 && text.split('-').all(is_hex);
    fits.then(|| text.to_owned())
}

/// `invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist`: the first address there.
fn ip_in(errmsg: &str) -> Option<IpAddr> {
    let mut words = errmsg.split(|c: char| c.is_whitespace() || c == ',');
    words.find_map(|word| word.parse().ok())
}
