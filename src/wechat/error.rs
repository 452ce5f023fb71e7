//! Errors of calls to WeChat.

use super::errcode::QUOTA_EXHAUSTED;
use super::{Meaning, Refusal};

/// Why a call to WeChat failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// WeChat answered with an errcode.
    #[error("{0}")]
    Refused(Refusal),
    /// Too many calls are in flight: the request was not sent.
    #[error("too many calls to WeChat are in flight")]
    Overloaded,
    /// WeChat said within the last seconds that the daily quota is used up: the request was not sent.
    #[error("the daily quota of calls to WeChat was used up a moment ago")]
    QuotaPause,
    /// There is no `access_token` for the call, which was not sent.
    #[error(transparent)]
    NoAccessToken(Box<Self>),
    /// The connection could not be made (DNS, connect, TLS): the request was not sent.
    #[error("WeChat was not reached: {0}")]
    Unreachable(String),
    /// The connection broke when the request may have been sent: a code may be used up.
    #[error("the connection to WeChat broke: {0}")]
    Broken(String),
    /// No complete answer in time: a code may be used up.
    #[error("no complete answer from WeChat in time")]
    Timeout,
    /// The answer is not one that WeChat documents.
    #[error("WeChat's answer is not usable: {0}")]
    Invalid(#[from] Invalid),
}

impl Error {
    /// The refusal, if WeChat refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::NoAccessToken(error) => error.refusal(),
            _ => None,
        }
    }

    /// The errcode, if WeChat refused.
    #[must_use]
    pub fn errcode(&self) -> Option<i64> {
        match self {
            Self::QuotaPause => Some(QUOTA_EXHAUSTED),
            _ => self.refusal().map(|refusal| refusal.errcode),
        }
    }

    /// What the errcode means, if there is one.
    #[must_use]
    pub fn meaning(&self) -> Option<Meaning> {
        self.refusal().map(Refusal::meaning)
    }

    /// The errcode as a metric's label: `other` for those without a meaning here, so that the number of series
    /// is bounded.
    pub(crate) fn errcode_label(&self) -> Option<String> {
        match self.meaning() {
            Some(Meaning::Unknown) => Some("other".into()),
            _ => self.errcode().map(|errcode| errcode.to_string()),
        }
    }

    /// Whether WeChat refused a code, so that it has accepted the AppSecret.
    pub(super) fn is_about_the_code(&self) -> bool {
        use Meaning::{CodeUsed, InvalidCode, UserBlocked};
        matches!(self.meaning(), Some(InvalidCode | CodeUsed | UserBlocked))
    }

    /// Whether the call was sent, or may have been: then a code may be used up.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Broken(_) | Self::Timeout | Self::Invalid(_) => true,
            Self::Overloaded | Self::QuotaPause | Self::NoAccessToken(_) | Self::Unreachable(_) => {
                false
            }
        }
    }

    /// The error of a later attempt when an earlier one was sent: WeChat may have processed that one, so
    /// "not reached" must not mean "not sent".
    pub(super) fn unreachable_as_broken(self) -> Self {
        match self {
            Self::Unreachable(cause) => Self::Broken(cause),
            other => other,
        }
    }
}

/// What is wrong with an answer. Holds no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// Another status than 200, redirects included.
    #[error("HTTP status {0}")]
    Status(u16),
    /// Not HTTP at all.
    #[error("not HTTP")]
    NotHttp,
    /// More than 64 KiB, or 10 MB of a call that is passed through.
    #[error("too large")]
    TooLarge,
    /// It holds the `access_token` of the request.
    #[error("it holds the access_token")]
    HoldsToken,
    /// Not a JSON object with fields of the documented types.
    #[error("not the JSON object that WeChat documents")]
    NotJson,
    /// Compressed, although `identity` was asked for.
    #[error("compressed, although it was asked not to be")]
    Encoded,
    /// WeChat answered first that it was busy, and then that the code was used.
    #[error("busy first, then a used code")]
    BusyThenUsed,
    /// A field is missing, empty, or not valid.
    #[error("no valid {0}")]
    Field(&'static str),
}
