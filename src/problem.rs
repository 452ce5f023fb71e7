//! Why a request failed, of a route and of a function of `WxLogin` alike.

mod table;

use std::borrow::Cow;
use std::fmt;

use hyper::StatusCode;

use crate::session::Unavailable;
use crate::wechat;
pub use table::Action;

/// A failure, with what a client is told of it: code, status, action, detail. As a response it is an
/// `application/problem+json` document (RFC 9457). The causes inside are for the log only.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Problem {
    /// `missing_code`: the query has no `code`, or an empty one.
    MissingCode,
    /// `malformed_code`: the text cannot be a code of `wx.login`.
    MalformedCode,
    /// `mock_code`: the code of WeChat DevTools without a real AppID.
    MockCode,
    /// `unknown_app`: `appid` names a Mini Program that is not configured.
    UnknownApp,
    /// `unknown_app`: the path names a Mini Program that is not configured.
    UnknownAppInPath,
    /// `malformed_openid`: the openid is not 1 to 128 visible ASCII characters.
    MalformedOpenid,
    /// `malformed_query`: a query parameter has no valid value. Holds the detail.
    MalformedQuery(&'static str),
    /// `malformed_body`: the body is not the JSON that the path takes. Holds what is wrong with it.
    MalformedBody(String),
    /// `invalid_token`: no valid session for this token.
    InvalidToken,
    /// `invalid_internal_token`: no `INTERNAL_TOKEN`, or a wrong one.
    InvalidInternalToken,
    /// `no_session_key`: the user has no `session_key` to sign with.
    NoSessionKey,
    /// `undecryptable`: `encryptedData` does not decrypt, whatever the reason, which this holds.
    Undecryptable(&'static str),
    /// `bad_signature`: `signature` does not match.
    BadSignature,
    /// `not_found`: no such path. Holds the redacted path.
    NotFound(String),
    /// `not_found`: a setting, which this holds, switches the route on.
    RouteOff(&'static str),
    /// `path_not_allowed`: this path of WeChat's API must not be called.
    PathNotAllowed,
    /// `method_not_allowed`.
    MethodNotAllowed,
    /// `body_too_large`: more than 64 KiB, or 10 MB of a call that is passed through.
    BodyTooLarge,
    /// `code_used`: the code gives no further session, or all sessions of its user were ended meanwhile.
    CodeUsed,
    /// A call to WeChat failed.
    Wechat(wechat::Error, Purpose),
    /// `invalid_phone_code`: the phone code was used for another user a moment ago.
    AnotherUsersCode,
    /// `store_unavailable`: a login needs the session store, which does not answer.
    LoginStore(Unavailable),
    /// `store_unavailable`: the session store does not answer.
    Store(Unavailable),
    /// `internal`: a fault of the service.
    Internal(&'static str),
}

/// The purpose of a call to WeChat, which decides what the client does when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The exchange of a login's code.
    Login,
    /// The same of a code that looks like one of the phone number button.
    LoginWithPhoneCode,
    /// The exchange of a phone code.
    PhoneCode,
    /// A call by which nothing is used up.
    Call,
    /// A call that is passed through: what is done twice may do harm.
    PassedCall,
}

impl Problem {
    /// WeChat's errcode, if it sent one.
    #[must_use]
    pub fn errcode(&self) -> Option<i64> {
        self.wechat().and_then(wechat::Error::errcode)
    }

    /// The failure of a login: after one of the session store, the client logs in again.
    pub(crate) fn of_login(self) -> Self {
        match self {
            Self::Store(error) => Self::LoginStore(error),
            other => other,
        }
    }

    pub(crate) fn wechat(&self) -> Option<&wechat::Error> {
        match self {
            Self::Wechat(error, _) => Some(error),
            _ => None,
        }
    }

    /// The `code` of the document.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    /// The HTTP status of the document.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.row().status
    }

    /// What the client does about it.
    #[must_use]
    pub fn action(&self) -> Action {
        self.row().action
    }

    /// What is wrong, and what helps, for a person who develops. Nothing secret.
    #[must_use]
    pub fn detail(&self) -> Cow<'static, str> {
        self.row().detail
    }

    /// The seconds of the document's `Retry-After`, if it has one.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.row().retry_after
    }

    /// The cause, for the log.
    pub(crate) fn cause(&self) -> Option<String> {
        match self {
            Self::LoginStore(error) | Self::Store(error) => Some(error.to_string()),
            Self::Internal(cause) | Self::Undecryptable(cause) => Some((*cause).to_owned()),
            _ => self.wechat().map(ToString::to_string),
        }
    }

    /// The redacted path that was not found.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Self::NotFound(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    /// The cause, for the log of a host, else the detail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause().map_or_else(|| self.detail(), Cow::Owned))
    }
}

impl std::error::Error for Problem {}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::Store(error)
    }
}
