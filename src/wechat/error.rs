//! Errors of calls to WeChat.

use super::{Errcode, Meaning, Refusal};

/// Why a call to WeChat failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// WeChat answered with an errcode.
    #[error("{0}")]
    Refused(Refusal),
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
    /// The errcode, if WeChat refused.
    #[must_use]
    pub fn errcode(&self) -> Option<Errcode> {
        match self {
            Self::Refused(refusal) => Some(refusal.errcode),
            _ => None,
        }
    }

    /// What the errcode means, if there is one.
    #[must_use]
    pub fn meaning(&self) -> Option<Meaning> {
        match self {
            Self::Refused(refusal) => Some(refusal.meaning()),
            _ => None,
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

impl From<Errcode> for Error {
    fn from(errcode: Errcode) -> Self {
        Self::Refused(errcode.into())
    }
}

/// What is wrong with an answer. Holds no part of it.
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
    /// WeChat answered first that it was busy, and then that the code was used.
    #[error("busy first, then a used code")]
    BusyThenUsed,
    /// A field is missing, empty, or not valid.
    #[error("no valid {0}")]
    Field(&'static str),
}
