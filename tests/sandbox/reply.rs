//! The responses of the stand-in, and their delays.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// A request that is not as WeChat documents it.
pub type Refused = (i64, &'static str);

pub enum Reply {
    Now(Response),
    After(Duration, Response),
    Never,
}

impl Reply {
    pub async fn send(self) -> Response {
        match self {
            Self::Now(response) => response,
            Self::After(delay, response) => {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                response
            }
            Self::Never => std::future::pending().await,
        }
    }
}

pub fn invalid_code() -> Response {
    error(40029, "invalid code")
}

pub fn refusal(errcode: i64) -> Response {
    match errcode {
        40164 => {
            let errmsg = "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist";
            error(errcode, errmsg)
        }
        _ => error(errcode, "scripted"),
    }
}

pub fn error(errcode: i64, errmsg: &str) -> Response {
    let rid = "66c69111-5ccc9dc8-0fd94c9e";
    text(format!(
        r#"{{"errcode":{errcode},"errmsg":"{errmsg}, rid: {rid}"}}"#
    ))
}

/// WeChat says `text/plain`, whatever it sends.
pub fn text(body: String) -> Response {
    ([(CONTENT_TYPE, "text/plain")], body).into_response()
}

pub fn html_502() -> Response {
    let page = "<html><head><title>502 Bad Gateway</title></head></html>";
    (StatusCode::BAD_GATEWAY, [(CONTENT_TYPE, "text/html")], page).into_response()
}
