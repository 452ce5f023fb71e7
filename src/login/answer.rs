//! What a login is told, and what it answers.

use crate::one_time_codes::CodeError;
use crate::session::{Session, Token, Unavailable};
use crate::wechat;

/// Where a login comes from.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoginOrigin<'a> {
    /// The Mini Program that the client names. It must be configured.
    pub appid: Option<&'a str>,
    /// The Mini Program in the `Referer` of the request, which a script can forge. It is taken if `appid` is not
    /// given and it is configured.
    pub referring_appid: Option<&'a str>,
    /// The request id, for the log.
    pub request_id: &'a str,
}

/// A new session.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoggedIn {
    /// For the client only.
    pub token: Token,
    /// The session of the token.
    pub session: Session,
}

/// Why a login failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// This is no code.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The Mini Program is not configured.
    #[error("the appid is not one that is configured")]
    UnknownApp,
    /// The code has given as many sessions as one may, or its user's sessions were all ended since. WeChat was not
    /// asked.
    #[error("the code was used")]
    CodeUsed,
    /// WeChat did not exchange the code.
    #[error(transparent)]
    Wechat(#[from] wechat::Error),
    /// WeChat refused a code that looks like one of the phone number button.
    #[error(transparent)]
    PhoneCode(wechat::Error),
    /// The session store did not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// A fault of ours.
    #[error("{0}")]
    Internal(&'static str),
}
