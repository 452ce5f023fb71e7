//! Problems as documents (RFC 9457).

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::layer::RequestId;
use crate::problem::{Action, Problem};

impl Problem {
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
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, kind);
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
