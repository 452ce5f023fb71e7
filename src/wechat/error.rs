//! Errors of calls to WeChat, by what can be done about them, and the table of errcodes.

use super::Refusal;

/// Why a code was not exchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// WeChat answered with an errcode.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection could not be made (DNS, connect, TLS): WeChat has not seen the code.
    #[error("WeChat was not reached: {0}")]
    Unreachable(String),
    /// The connection broke after the request may have been sent: the code may be used up.
    #[error("the connection to WeChat broke: {0}")]
    Broken(String),
    /// No complete answer in time: the code may be used up.
    #[error("no complete answer from WeChat in time")]
    Timeout,
    /// Not the answer that WeChat documents.
    #[error("WeChat's answer is not usable: {0}")]
    Invalid(#[from] Invalid),
}

impl Error {
    /// Why WeChat refused, if it did.
    #[must_use]
    pub fn errcode(&self) -> Option<Errcode> {
        match self {
            Self::Refused(refusal) => Some(refusal.errcode),
            _ => None,
        }
    }
}

impl From<Errcode> for Error {
    fn from(errcode: Errcode) -> Self {
        Self::Refused(errcode.into())
    }
}

/// What is wrong with an answer. Never contains a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Another status than 200, redirects included.
    #[error("HTTP status {0}")]
    Status(u16),
    /// Not HTTP at all.
    #[error("not HTTP")]
    NotHttp,
    /// More than 64 KiB.
    #[error("more than 64 KiB")]
    TooLarge,
    /// Not a JSON object with fields of the documented types.
    #[error("not the JSON object that WeChat documents")]
    NotJson,
    /// Compressed, although `identity` was asked for.
    #[error("compressed, although it was asked not to be")]
    Encoded,
    /// WeChat was busy at first, and when asked again said that the code was used.
    #[error("busy first, then a used code")]
    BusyThenUsed,
    /// A field is missing, empty, or not what its name says.
    #[error("no valid {0}")]
    Field(&'static str),
}

/// WeChat's own error number; any number can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errcode(pub i64);

/// What an [`Errcode`] of `jscode2session` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// WeChat does not know the code (any more), or it belongs to another Mini Program.
    InvalidCode,
    /// The code was exchanged before.
    CodeUsed,
    /// WeChat blocks this user as high-risk.
    UserBlocked,
    /// Too many calls in this minute.
    RateLimited,
    /// The daily quota of calls is used up.
    QuotaExhausted,
    /// WeChat is busy.
    Busy,
    /// Only the operator can fix it; the text says how.
    Misconfigured(&'static str),
    /// Not known here.
    Unknown,
}

impl Errcode {
    /// WeChat is busy.
    pub const BUSY: Self = Self(-1);
    /// The code was exchanged before.
    pub const CODE_USED: Self = Self(40163);
    /// The request came from an address that is not in the IP whitelist.
    pub const IP_NOT_LISTED: Self = Self(40164);
    /// The AppSecret is not the Mini Program's.
    pub const WRONG_SECRET: Self = Self(40125);
    /// The daily quota of calls is used up.
    pub const QUOTA_EXHAUSTED: Self = Self(45009);

    /// Its meaning. Source: WeChat's documentation of `jscode2session`, and the field.
    #[must_use]
    pub fn meaning(self) -> Meaning {
        match self.0 {
            -1 => Meaning::Busy,
            40029 | 41029 => Meaning::InvalidCode,
            40163 => Meaning::CodeUsed,
            40226 => Meaning::UserBlocked,
            45009 => Meaning::QuotaExhausted,
            45011 => Meaning::RateLimited,
            40013 => Meaning::Misconfigured(
                "WeChat does not know this AppID: compare WECHAT_APPID with the one in the WeChat admin console",
            ),
            40001 | 40125 => Meaning::Misconfigured(
                "the AppSecret is wrong: it was reset or mistyped; set the one from the WeChat admin console as WECHAT_SECRET",
            ),
            40164 => Meaning::Misconfigured(
                "this server's IP address is not in the IP whitelist of the WeChat admin console: add it there",
            ),
            40243 => Meaning::Misconfigured(
                "the AppSecret is frozen: unfreeze it in the WeChat admin console",
            ),
            48001 | 50002 => Meaning::Misconfigured(
                "the account is not verified or is limited: see the WeChat admin console",
            ),
            61003 => Meaning::Misconfigured(
                "the Mini Program has not authorised this third-party platform",
            ),
            40002 | 40066 | 41002 | 41004 | 41008 => Meaning::Misconfigured(
                "WeChat did not get the request as it was sent: check WECHAT_API_BASE and any proxy on the way",
            ),
            _ => Meaning::Unknown,
        }
    }
}
