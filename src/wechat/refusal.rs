//! A refusal by WeChat: the errcode, and the request id and IP address from errmsg. The rest of errmsg is
//! not kept: it holds addresses and links, and WeChat may change it.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use super::{Call, Errcode, Meaning};

/// WeChat's refusal of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The call that was refused.
    pub call: Call,
    /// The reason.
    pub errcode: Errcode,
    /// WeChat's id of the request.
    pub rid: Option<Rid>,
    /// The address that the request came from, if it is not in the IP whitelist.
    pub ip: Option<IpAddr>,
}

/// WeChat's id of a request, such as `66c69111-5ccc9dc8-0fd94c9e`. WeChat's console cannot look up those of
/// `jscode2session`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rid(String);

impl Refusal {
    /// Parses `errmsg`.
    pub(super) fn new(call: Call, errcode: Errcode, errmsg: &str) -> Self {
        let ip = match errcode {
            Errcode::IP_NOT_LISTED => ip_in(errmsg),
            _ => None,
        };
        Self {
            call,
            errcode,
            rid: Rid::in_errmsg(errmsg),
            ip,
        }
    }

    /// What the errcode means for the call.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        self.errcode.meaning(self.call)
    }
}

impl From<Errcode> for Refusal {
    /// A refusal of a login that is made here, not by WeChat, with the errcode only.
    fn from(errcode: Errcode) -> Self {
        Self::new(Call::CodeToSession, errcode, "")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeChat answered errcode {}", self.errcode.0)?;
        match &self.rid {
            Some(rid) => write!(f, ", rid {rid}"),
            None => Ok(()),
        }
    }
}

impl Rid {
    /// The text after the last `rid:`, if it has the form of a rid.
    fn in_errmsg(errmsg: &str) -> Option<Self> {
        let (_, text) = errmsg.rsplit_once("rid:")?;
        let text = text.trim();
        let is_hex = |group: &str| {
            (1..=8).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_hexdigit())
        };
        let fits = text.len() <= 64 && text.split('-').all(is_hex);
        fits.then(|| Self(text.to_owned()))
    }

    /// When WeChat received the request, by WeChat's clock, such as `2024-08-22T01:14:57Z`: the first group of
    /// the rid.
    #[must_use]
    pub fn at(&self) -> Option<String> {
        let first = self.0.split('-').next()?;
        let seconds = Duration::from_secs(u64::from_str_radix(first, 16).ok()?);
        Some(humantime::format_rfc3339_seconds(UNIX_EPOCH + seconds).to_string())
    }
}

impl fmt::Display for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist`: the first address there.
fn ip_in(errmsg: &str) -> Option<IpAddr> {
    let mut words = errmsg.split(|c: char| c.is_whitespace() || c == ',');
    words.find_map(|word| word.parse().ok())
}
