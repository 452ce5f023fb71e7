//! Every failure that a client can see, and the one table that says how it looks: status, code,
//! action and a sentence. Source: CONTRACT, "Failures"; the form is RFC 9457.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::request_id::RequestId;
use crate::login::LoginError;
use crate::session::Unavailable;
use crate::user_data::UserDataError;
use crate::wechat::{self, Errcode, Meaning};

/// A failure as a response: `application/problem+json` (RFC 9457), complete by itself. The causes inside
/// are for the log alone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Problem {
    /// `missing_code`: the query has no `code`, or an empty one.
    MissingCode,
    /// `malformed_code`: the code cannot be one of `wx.login`'s.
    MalformedCode,
    /// `mock_code`: the code of WeChat DevTools without a real AppID.
    MockCode,
    /// `unknown_app`: `appid` names a Mini Program that is not configured.
    UnknownApp,
    /// `malformed_query`: a query parameter has no valid value.
    MalformedQuery,
    /// `malformed_body`: the body is not the JSON that the path takes.
    MalformedBody,
    /// `invalid_token`: no living session for this token.
    InvalidToken,
    /// `undecryptable`: `encryptedData` does not decrypt, whatever the reason.
    Undecryptable,
    /// `bad_signature`: `signature` does not match.
    BadSignature,
    /// `not_found`: no such path. Holds the redacted path.
    NotFound(String),
    /// `method_not_allowed`.
    MethodNotAllowed,
    /// `body_too_large`: more than 64 KiB.
    BodyTooLarge,
    /// The exchange at WeChat failed.
    Wechat(wechat::Error),
    /// WeChat refused a code that looks like one of the phone number button.
    PhoneCode(wechat::Error),
    /// `store_unavailable`: the session could not be stored after the code was exchanged.
    LoginStore(Unavailable),
    /// `store_unavailable`: the session store does not answer.
    Store(Unavailable),
    /// `overloaded`: no free slot for an exchange in time.
    Overloaded,
    /// `internal`: a fault of the service.
    Internal(&'static str),
}

/// What the Mini Program is to do.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    LoginAgain,
    RetryLater,
    GiveUp,
    FixRequest,
}

/// How a problem looks from outside.
struct Row {
    status: StatusCode,
    code: &'static str,
    action: Action,
    detail: Cow<'static, str>,
    /// Seconds.
    retry_after: Option<u16>,
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
    const fn after(mut self, seconds: u16) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl Problem {
    #[rustfmt::skip] // a table
    fn row(&self) -> Row {
        use Action::{FixRequest, LoginAgain, RetryLater};
        use StatusCode as S;
        match self {
            Self::MissingCode => row(S::BAD_REQUEST, "missing_code", FixRequest,
                "The query has no code: send the code that wx.login gives, as /onLogin?code=CODE."),
            Self::MalformedCode => row(S::BAD_REQUEST, "malformed_code", FixRequest,
                "The code must be given once, as wx.login gave it: 1 to 256 visible ASCII characters without quotes, braces, angle brackets or backslashes, and not undefined or null."),
            Self::MockCode => row(S::BAD_REQUEST, "mock_code", FixRequest,
                "This is the mock code of WeChat DevTools: open the project with a real AppID."),
            Self::UnknownApp => row(S::BAD_REQUEST, "unknown_app", FixRequest,
                "The appid in the query is not one that is configured on this server."),
            Self::MalformedQuery => row(S::BAD_REQUEST, "malformed_query", FixRequest,
                "The parameter all must be given once, as true or false."),
            Self::MalformedBody => row(S::BAD_REQUEST, "malformed_body", FixRequest,
                "The body must be the JSON object that this path takes, complete within 10 s."),
            Self::Undecryptable => row(S::UNPROCESSABLE_ENTITY, "undecryptable", LoginAgain,
                "The data does not open for this user: log in again, then let WeChat make it anew."),
            Self::BadSignature => row(S::UNPROCESSABLE_ENTITY, "bad_signature", LoginAgain,
                "The signature is not WeChat's for this data and this user: log in again, then let WeChat make it anew."),
            Self::InvalidToken => row(S::UNAUTHORIZED, "invalid_token", LoginAgain,
                "There is no living session for this token: log in again."),
            Self::NotFound(path) => Row {
                detail: format!("There is no path {path} here; a proxy in front may have changed it.").into(),
                ..row(S::NOT_FOUND, "not_found", FixRequest, "") },
            Self::MethodNotAllowed => row(S::METHOD_NOT_ALLOWED, "method_not_allowed", FixRequest,
                "This path does not take this method: the Allow header names those it takes."),
            Self::BodyTooLarge => row(S::PAYLOAD_TOO_LARGE, "body_too_large", FixRequest,
                "The request body is larger than 64 KiB."),
            Self::Wechat(error) => wechat_row(error),
            Self::PhoneCode(error) => Row { detail:
                "This looks like the code of the phone number button, which is for getuserphonenumber: send the one that wx.login gives.".into(),
                ..wechat_row(error) },
            Self::LoginStore(_) => row(S::SERVICE_UNAVAILABLE, "store_unavailable", LoginAgain,
                "The session could not be stored: log in again.").after(2),
            Self::Store(_) => row(S::SERVICE_UNAVAILABLE, "store_unavailable", RetryLater,
                "The session store does not answer: try again later.").after(2),
            Self::Overloaded => row(S::SERVICE_UNAVAILABLE, "overloaded", RetryLater,
                "Too many logins at this moment: try again later.").after(1),
            Self::Internal(_) => row(S::INTERNAL_SERVER_ERROR, "internal", RetryLater,
                "A fault in the login service: try again later."),
        }
    }

    /// The same, if the code that failed looks like one from the phone number button.
    pub(super) fn of_a_phone_code(self) -> Self {
        let is_refused = |error: &wechat::Error| {
            let meaning = error.errcode().map(Errcode::meaning);
            matches!(meaning, Some(Meaning::InvalidCode | Meaning::CodeUsed))
        };
        match self {
            Self::Wechat(error) if is_refused(&error) => Self::PhoneCode(error),
            other => other,
        }
    }

    /// WeChat's own number, if it sent one.
    pub(super) fn errcode(&self) -> Option<i64> {
        match self {
            Self::Wechat(error) | Self::PhoneCode(error) => error.errcode().map(|code| code.0),
            _ => None,
        }
    }

    /// The `code` of the document.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    /// The same as a label of a metric, which must not have more values than there are meanings.
    pub(super) fn errcode_label(&self) -> String {
        let known = |errcode: &i64| Errcode(*errcode).meaning() != Meaning::Unknown;
        match self.errcode() {
            None => "none".into(),
            Some(errcode) if known(&errcode) => errcode.to_string(),
            Some(_) => "other".into(),
        }
    }

    /// Why, for the log.
    pub(super) fn cause(&self) -> Option<String> {
        match self {
            Self::Wechat(error) | Self::PhoneCode(error) => Some(error.to_string()),
            Self::LoginStore(error) | Self::Store(error) => Some(error.to_string()),
            Self::Internal(cause) => Some((*cause).to_owned()),
            _ => None,
        }
    }

    /// The path that was not found, as it may be logged.
    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Self::NotFound(path) => Some(path),
            _ => None,
        }
    }

    /// Replaces the body of `response` by this problem's document; other headers, such as `Allow`, stay.
    pub(super) fn document(&self, response: Response, request_id: Option<&RequestId>) -> Response {
        let row = self.row();
        let document = Document {
            title: row.status.canonical_reason().unwrap_or_default(),
            status: row.status.as_u16(),
            detail: &row.detail,
            code: row.code,
            action: row.action,
            errcode: self.errcode(),
            request_id: request_id.map(RequestId::as_str),
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let (mut parts, _) = response.into_parts();
        parts.status = row.status;
        let headers = &mut parts.headers;
        headers.remove(CONTENT_LENGTH);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = row.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if row.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Response::from_parts(parts, Body::from(body))
    }
}

#[rustfmt::skip] // a table
fn wechat_row(error: &wechat::Error) -> Row {
    use Action::{GiveUp, LoginAgain, RetryLater};
    use StatusCode as S;
    match error {
        wechat::Error::Unreachable(_) => row(S::BAD_GATEWAY, "upstream_unreachable", RetryLater,
            "WeChat was not reached, and has not seen the code: try again later."),
        wechat::Error::Broken(_) => row(S::BAD_GATEWAY, "upstream_unreachable", LoginAgain,
            "The connection to WeChat broke, and the code may be used up: log in again."),
        wechat::Error::Timeout => row(S::GATEWAY_TIMEOUT, "upstream_timeout", LoginAgain,
            "WeChat did not answer in time, and the code may be used up: log in again."),
        wechat::Error::Invalid(_) => row(S::BAD_GATEWAY, "upstream_invalid", LoginAgain,
            "WeChat's answer was not usable, and the code may be used up: log in again."),
        wechat::Error::Refused(refusal) => match refusal.errcode.meaning() {
            Meaning::InvalidCode => row(S::BAD_REQUEST, "invalid_code", LoginAgain,
                "WeChat does not accept this code: it is too old, or of another Mini Program than the one configured here."),
            Meaning::CodeUsed => row(S::BAD_REQUEST, "code_used", LoginAgain,
                "This code was exchanged before: each code from wx.login works once."),
            Meaning::UserBlocked => row(S::FORBIDDEN, "user_blocked", GiveUp,
                "WeChat blocks this user as high-risk."),
            Meaning::RateLimited => row(S::TOO_MANY_REQUESTS, "rate_limited", RetryLater,
                "WeChat's limit of calls per minute is reached: try again later.").after(60),
            Meaning::QuotaExhausted => row(S::SERVICE_UNAVAILABLE, "quota_exhausted", RetryLater,
                "The Mini Program's daily quota of calls to WeChat is used up.").after(60),
            Meaning::Busy => row(S::SERVICE_UNAVAILABLE, "upstream_busy", RetryLater,
                "WeChat is busy: try again later.").after(2),
            Meaning::Misconfigured(_) => row(S::INTERNAL_SERVER_ERROR, "misconfigured", GiveUp,
                "WeChat refuses this server's settings: its log tells the operator what to mend."),
            Meaning::Unknown => row(S::BAD_GATEWAY, "upstream_error", RetryLater,
                "WeChat answered with an errcode that has no meaning here: try again later."),
        },
    }
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    errcode: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Wechat(error) => Self::Wechat(error),
            LoginError::Store(error) => Self::LoginStore(error),
            LoginError::Overloaded => Self::Overloaded,
            LoginError::Internal(cause) => Self::Internal(cause),
        }
    }
}

impl From<UserDataError> for Problem {
    fn from(error: UserDataError) -> Self {
        match error {
            UserDataError::Undecryptable => Self::Undecryptable,
            UserDataError::BadSignature => Self::BadSignature,
            UserDataError::Store(error) => Self::Store(error),
        }
    }
}

impl IntoResponse for Problem {
    /// The document, without `request_id`: the layer adds it.
    fn into_response(self) -> Response {
        let mut response = self.document(Response::default(), None);
        response.extensions_mut().insert(self);
        response
    }
}
