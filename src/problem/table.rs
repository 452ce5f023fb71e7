//! The table of failures: status, code, action and detail of each.
//!
//! A new code also needs a row in docs/openapi.yaml and in "Error codes" of docs/*/http-api.md; one of a login
//! also in `LOGIN_OUTCOMES`, and a new status in `STATUSES` (src/metrics/series.rs). Tests name what is missing.

use std::borrow::Cow;

use hyper::StatusCode;
use serde::Serialize;

use super::{Problem, Purpose};
use crate::wechat::{self, Meaning, QUOTA_PAUSE};

/// What the client does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Calls `wx.login` for a new code and tries once more, now.
    LoginAgain,
    /// Waits `Retry-After` seconds, then does the same again; a login with a new code.
    RetryLater,
    /// Lets the user press the phone number button again.
    AskAgain,
    /// Shows a message: trying again does not help.
    GiveUp,
    /// Has a bug or a wrong setting.
    FixRequest,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::LoginAgain,
        Self::RetryLater,
        Self::AskAgain,
        Self::GiveUp,
        Self::FixRequest,
    ];
}

/// What a client gets of a problem.
pub(crate) struct Row {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) action: Action,
    pub(crate) detail: Cow<'static, str>,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
}

const fn row(status: StatusCode, code: &'static str, action: Action, detail: &'static str) -> Row {
    Row {
        status,
        code,
        action,
        detail: Cow::Borrowed(detail),
        retry_after: None,
    }
}

impl Row {
    const fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same failure with another detail.
    fn with_detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            detail: detail.into(),
            ..self
        }
    }

    /// For a failure after which a code may be used up, or not: sets the action by `purpose`, and ends the
    /// detail with what the action is.
    fn for_purpose(self, purpose: Purpose) -> Self {
        let action = match purpose {
            Purpose::Login | Purpose::LoginWithPhoneCode => self.action,
            Purpose::PhoneCode => Action::AskAgain,
            Purpose::PassedCall if self.action == Action::LoginAgain => Action::GiveUp,
            Purpose::Call | Purpose::PassedCall => Action::RetryLater,
        };
        let advice = match action {
            Action::LoginAgain => ", and the code may be used up: log in again.",
            Action::AskAgain => {
                ", and the phone code may be used up: let the user press the phone number button again."
            }
            Action::GiveUp => ": it may have been done, or not.",
            _ => ": try again later.",
        };
        let detail = format!("{}{advice}", self.detail);
        Self {
            action,
            ..self.with_detail(detail)
        }
    }
}

impl Problem {
    #[rustfmt::skip] // a table
    pub(crate) fn row(&self) -> Row {
        use Action::{AskAgain, FixRequest, LoginAgain, RetryLater};
        use StatusCode as S;
        match self {
            Self::MissingCode => row(S::BAD_REQUEST, "missing_code", FixRequest,
                "The query has no code: send the code that wx.login gives, as /onLogin?code=CODE."),
            Self::MalformedCode => row(S::BAD_REQUEST, "malformed_code", FixRequest,
                "The code must be given once, as WeChat gave it: 1 to 256 visible ASCII characters without quotes, braces, angle brackets or backslashes, and not undefined or null."),
            Self::MockCode => row(S::BAD_REQUEST, "mock_code", FixRequest,
                "This is the mock code of WeChat DevTools: open the project with a real AppID."),
            Self::UnknownApp => row(S::BAD_REQUEST, "unknown_app", FixRequest,
                "The appid is not one that is configured on this server."),
            Self::UnknownAppInPath => row(S::NOT_FOUND, "unknown_app", FixRequest,
                "The appid in the path is not one that is configured on this server."),
            Self::MalformedOpenid => row(S::BAD_REQUEST, "malformed_openid", FixRequest,
                "The openid must be 1 to 128 visible ASCII characters, as in X-WX-OPENID."),
            Self::MalformedQuery(detail) => row(S::BAD_REQUEST, "malformed_query", FixRequest, detail),
            Self::MalformedBody(wrong) => row(S::BAD_REQUEST, "malformed_body", FixRequest, "")
                .with_detail(format!("The body must be the JSON object that this path takes, complete within 10 s: {wrong}.")),
            Self::Undecryptable(_) => row(S::UNPROCESSABLE_ENTITY, "undecryptable", LoginAgain,
                "The data cannot be decrypted for this user: log in again, then get the data from WeChat again."),
            Self::BadSignature => row(S::UNPROCESSABLE_ENTITY, "bad_signature", LoginAgain,
                "The signature is not WeChat's for this data and this user: log in again, then get the data from WeChat again."),
            Self::NoSessionKey => row(S::CONFLICT, "no_session_key", LoginAgain,
                "There is no session_key to sign with for this user: log in again."),
            Self::InvalidToken => row(S::UNAUTHORIZED, "invalid_token", LoginAgain,
                "There is no valid session for this token: log in again."),
            Self::InvalidInternalToken => row(S::UNAUTHORIZED, "invalid_internal_token", FixRequest,
                "The Authorization header must be Bearer and the INTERNAL_TOKEN of this server."),
            Self::NotFound(path) => row(S::NOT_FOUND, "not_found", FixRequest, "")
                .with_detail(format!("There is no path {path} here; a proxy in front may have changed it.")),
            Self::RouteOff(setting) => row(S::NOT_FOUND, "not_found", FixRequest, "")
                .with_detail(format!("This path is switched off on this server: {setting} switches it on.")),
            Self::PathNotAllowed => row(S::FORBIDDEN, "path_not_allowed", FixRequest,
                "This path of WeChat's API is not in INTERNAL_WECHAT_PATHS of this server, in this spelling."),
            Self::MethodNotAllowed => row(S::METHOD_NOT_ALLOWED, "method_not_allowed", FixRequest,
                "This path does not take this method: the Allow header names those it takes."),
            Self::BodyTooLarge => row(S::PAYLOAD_TOO_LARGE, "body_too_large", FixRequest,
                "The request body is larger than 64 KiB, or than 10 MB for a call that is passed through to WeChat."),
            Self::CodeUsed => refusal_row(Meaning::CodeUsed, Purpose::Login),
            Self::Wechat(error, Purpose::LoginWithPhoneCode) => wechat_row(error, Purpose::Login).with_detail(
                "This looks like the code of the phone number button, which is for getuserphonenumber: send the one that wx.login gives."),
            Self::Wechat(error, Purpose::PhoneCode) if !error.was_sent() => wechat_row(error, Purpose::Call),
            Self::Wechat(error, purpose) => wechat_row(error, *purpose),
            Self::AnotherUsersCode => row(S::BAD_REQUEST, "invalid_phone_code", AskAgain,
                "This phone code was sent for another user a moment ago: let this user press the phone number button."),
            Self::LoginStore(_) => row(S::SERVICE_UNAVAILABLE, "store_unavailable", LoginAgain,
                "The session could not be stored: log in again.").after(2),
            Self::Store(_) => row(S::SERVICE_UNAVAILABLE, "store_unavailable", RetryLater,
                "The session store does not answer: try again later.").after(2),
            Self::Internal(_) => row(S::INTERNAL_SERVER_ERROR, "internal", RetryLater,
                "A fault in the login service: try again later."),
        }
    }
}

/// A failed call to WeChat. The action of a row `for_purpose` depends on the purpose.
#[rustfmt::skip] // a table
fn wechat_row(error: &wechat::Error, purpose: Purpose) -> Row {
    use Action::{LoginAgain, RetryLater};
    use StatusCode as S;
    match error {
        wechat::Error::NoAccessToken(error) => wechat_row(error, Purpose::Call),
        wechat::Error::Overloaded => row(S::SERVICE_UNAVAILABLE, "overloaded", RetryLater,
            "Too many calls to WeChat at this moment: try again later.").after(1),
        wechat::Error::QuotaPause => refusal_row(Meaning::QuotaExhausted, purpose),
        wechat::Error::Unreachable(_) => row(S::BAD_GATEWAY, "upstream_unreachable", RetryLater,
            "WeChat was not reached").for_purpose(purpose),
        wechat::Error::Broken(_) => row(S::BAD_GATEWAY, "upstream_unreachable", LoginAgain,
            "The connection to WeChat broke").for_purpose(purpose),
        wechat::Error::Timeout => row(S::GATEWAY_TIMEOUT, "upstream_timeout", LoginAgain,
            "WeChat did not answer in time").for_purpose(purpose),
        wechat::Error::Invalid(_) => row(S::BAD_GATEWAY, "upstream_invalid", LoginAgain,
            "WeChat's answer was not usable").for_purpose(purpose),
        wechat::Error::Refused(refusal) => refusal_row(refusal.meaning(), purpose),
    }
}

/// A call that WeChat answered with an errcode.
#[rustfmt::skip] // a table
fn refusal_row(meaning: Meaning, purpose: Purpose) -> Row {
    use Action::{AskAgain, GiveUp, LoginAgain, RetryLater};
    use StatusCode as S;
    match (meaning, purpose) {
        (Meaning::InvalidCode, Purpose::PhoneCode) => row(S::BAD_REQUEST, "invalid_phone_code", AskAgain,
            "WeChat does not accept this phone code: it is too old, was used, or is not of this user and Mini Program."),
        (Meaning::InvalidCode, _) => row(S::BAD_REQUEST, "invalid_code", LoginAgain,
            "WeChat does not accept this code: it is too old, or of another Mini Program than the one configured here."),
        (Meaning::CodeUsed, _) => row(S::BAD_REQUEST, "code_used", LoginAgain,
            "This code was exchanged before: each code from wx.login works once."),
        (Meaning::UserBlocked, _) => row(S::FORBIDDEN, "user_blocked", GiveUp,
            "WeChat blocks this user as high-risk."),
        (Meaning::InvalidAccessToken | Meaning::Misconfigured(_), _) => row(S::INTERNAL_SERVER_ERROR, "misconfigured", GiveUp,
            "WeChat refuses this server's settings: its log tells the operator what to do."),
        (Meaning::RateLimited, _) => row(S::TOO_MANY_REQUESTS, "rate_limited", RetryLater,
            "WeChat's limit of calls per minute is reached").after(60).for_purpose(purpose),
        (Meaning::QuotaExhausted, _) => row(S::SERVICE_UNAVAILABLE, "quota_exhausted", RetryLater,
            "The Mini Program's daily quota of calls to WeChat is used up").after(QUOTA_PAUSE).for_purpose(purpose),
        (Meaning::Busy, _) => row(S::SERVICE_UNAVAILABLE, "upstream_busy", RetryLater,
            "WeChat is busy").after(2).for_purpose(purpose),
        (Meaning::StaleSessionKey | Meaning::Unknown, _) => row(S::BAD_GATEWAY, "upstream_error", RetryLater,
            "WeChat answered with an errcode that has no meaning here").for_purpose(purpose),
    }
}
