//! The failures that a client can get, as problem documents (RFC 9457).

mod of_errors;
mod table;

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::layer::RequestId;
use crate::session::Unavailable;
use crate::wechat::{self, Meaning};
pub use table::Action;

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
    /// `undecryptable`: `encryptedData` does not decrypt, whatever the reason.
    Undecryptable,
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
    /// `body_too_large`: more than 64 KiB.
    BodyTooLarge,
    /// `code_used`: the code gives no further session. WeChat was not asked.
    CodeUsed,
    /// The exchange of a login's code at WeChat failed.
    Wechat(wechat::Error),
    /// WeChat refused a login's code that looks like one of the phone number button.
    PhoneCodeAtLogin(wechat::Error),
    /// The exchange of a phone code at WeChat failed.
    PhoneCode(wechat::Error),
    /// Another call to WeChat failed, and nothing is used up.
    WechatCall(wechat::Error),
    /// A call of the backend could not be passed through.
    PassedCall(wechat::Error),
    /// `invalid_phone_code`: the phone code was used for another user a moment ago.
    AnotherUsersCode,
    /// `store_unavailable`: the session could not be stored after the code was exchanged.
    LoginStore(Unavailable),
    /// `store_unavailable`: the session store does not answer.
    Store(Unavailable),
    /// `internal`: a fault of the service.
    Internal(&'static str),
}

impl Problem {
    /// WeChat's errcode, if it sent one.
    #[must_use]
    pub fn errcode(&self) -> Option<i64> {
        self.wechat().and_then(wechat::Error::errcode)
    }

    fn wechat(&self) -> Option<&wechat::Error> {
        match self {
            Self::Wechat(error)
            | Self::PhoneCodeAtLogin(error)
            | Self::PhoneCode(error)
            | Self::WechatCall(error)
            | Self::PassedCall(error) => Some(error),
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

    /// The errcode as a metric's label: `other` for those without a meaning here, so that the number of series
    /// is bounded.
    pub(super) fn errcode_label(&self) -> String {
        let errcode = self.errcode().map(|errcode| errcode.to_string());
        match self.wechat().and_then(wechat::Error::meaning) {
            Some(Meaning::Unknown) => "other".into(),
            _ => errcode.unwrap_or_else(|| "none".into()),
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

impl IntoResponse for Problem {
    /// The document, without `request_id`, which the layer on wxlogin's own routes adds.
    fn into_response(self) -> Response {
        let mut response = self.document(Response::default(), None);
        response.extensions_mut().insert(self);
        response
    }
}
