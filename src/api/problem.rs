//! The failures that a client can get, as problem documents (RFC 9457).

mod table;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::request_id::RequestId;
use crate::login::LoginError;
use crate::session::Unavailable;
use crate::user_data::UserDataError;
use crate::users::UsersError;
use crate::wechat::{self, JsCodeError, Meaning};
use table::Action;

/// A failure as a response: an `application/problem+json` document (RFC 9457). The causes inside are for the
/// log only.
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
    /// `malformed_openid`: the openid is not 1 to 128 visible ASCII characters.
    MalformedOpenid,
    /// `malformed_query`: a query parameter has no valid value.
    MalformedQuery,
    /// `malformed_body`: the body is not the JSON that the path takes.
    MalformedBody,
    /// `invalid_token`: no living session for this token.
    InvalidToken,
    /// `invalid_internal_token`: no `INTERNAL_TOKEN`, or a wrong one.
    InvalidInternalToken,
    /// `no_session_key`: the user has no `session_key` to sign with.
    NoSessionKey,
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
    /// The exchange of a login's code at WeChat failed.
    Wechat(wechat::Error),
    /// WeChat refused a login's code that looks like one of the phone number button.
    PhoneCodeAtLogin(wechat::Error),
    /// The exchange of a phone code at WeChat failed, and may have used it up.
    PhoneCode(wechat::Error),
    /// Another call to WeChat failed, and nothing is used up.
    WechatCall(wechat::Error),
    /// `invalid_phone_code`: the phone code was used for another user a moment ago.
    AnotherUsersCode,
    /// `store_unavailable`: the session could not be stored after the code was exchanged.
    LoginStore(Unavailable),
    /// `store_unavailable`: the session store does not answer.
    Store(Unavailable),
    /// `overloaded`: no free slot for an exchange in time.
    Overloaded,
    /// `internal`: a fault of the service.
    Internal(&'static str),
}

impl Problem {
    /// The problem of a login whose code looks like one of the phone number button: the detail says so if
    /// WeChat refused the code.
    pub(super) fn with_phone_code_hint(self) -> Self {
        let is_refused = |error: &wechat::Error| {
            matches!(
                error.meaning(),
                Some(Meaning::InvalidCode | Meaning::CodeUsed)
            )
        };
        match self {
            Self::Wechat(error) if is_refused(&error) => Self::PhoneCodeAtLogin(error),
            other => other,
        }
    }

    /// WeChat's errcode, if it sent one.
    pub(super) fn errcode(&self) -> Option<i64> {
        self.wechat()
            .and_then(wechat::Error::errcode)
            .map(|errcode| errcode.0)
    }

    fn wechat(&self) -> Option<&wechat::Error> {
        match self {
            Self::Wechat(error)
            | Self::PhoneCodeAtLogin(error)
            | Self::PhoneCode(error)
            | Self::WechatCall(error) => Some(error),
            _ => None,
        }
    }

    /// The `code` of the document.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    /// The errcode as a metric's label: `other` for those without a meaning here, so that the number of series
    /// is bounded.
    pub(super) fn errcode_label(&self) -> String {
        match self.wechat() {
            Some(wechat::Error::Refused(refusal)) if refusal.meaning() != Meaning::Unknown => {
                refusal.errcode.0.to_string()
            }
            Some(wechat::Error::Refused(_)) => "other".into(),
            _ => "none".into(),
        }
    }

    /// The cause, for the log.
    pub(super) fn cause(&self) -> Option<String> {
        match self {
            Self::LoginStore(error) | Self::Store(error) => Some(error.to_string()),
            Self::Internal(cause) => Some((*cause).to_owned()),
            _ => self.wechat().map(ToString::to_string),
        }
    }

    /// The redacted path that was not found.
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

impl From<UsersError> for Problem {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::UnknownApp => Self::UnknownApp,
            UsersError::MalformedOpenid => Self::MalformedOpenid,
            UsersError::MalformedCode(error) => error.into(),
            UsersError::AnotherUsersCode => Self::AnotherUsersCode,
            UsersError::NoSessionKey => Self::NoSessionKey,
            UsersError::PhoneCode(error) => Self::PhoneCode(error),
            UsersError::Wechat(error) => Self::WechatCall(error),
            UsersError::Store(error) => Self::Store(error),
            UsersError::Overloaded => Self::Overloaded,
            UsersError::Internal(cause) => Self::Internal(cause),
        }
    }
}

impl From<JsCodeError> for Problem {
    fn from(error: JsCodeError) -> Self {
        match error {
            JsCodeError::Malformed => Self::MalformedCode,
            JsCodeError::Mock => Self::MockCode,
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
    /// The document, without `request_id`, which the layer on wxlogin's own routes adds.
    fn into_response(self) -> Response {
        let mut response = self.document(Response::default(), None);
        response.extensions_mut().insert(self);
        response
    }
}
