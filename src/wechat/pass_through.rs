//! Calls of the backend that are passed through: this service adds the `access_token`, and the answer comes back as
//! it is, unless it holds the token.

use std::sync::Arc;

use futures_util::future::ready;
use futures_util::stream::{BoxStream, StreamExt, once};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper::http::request::Parts;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Response, StatusCode};
use secrecy::zeroize::Zeroizing;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::http::{self, MAX_ANSWER, Request};
use super::{AccessToken, Call, Client, Error, Invalid, Meaning, MiniProgram};

/// The beginnings of paths that give out credentials, reset quotas, or are calls of our own with their checks.
#[rustfmt::skip]
#[cfg(feature = "server")]
const FORBIDDEN: [&str; 14] = [
    "/cgi-bin/token", "/cgi-bin/stable_token", "/cgi-bin/component/", "/cgi-bin/ticket/getticket",
    "/cgi-bin/clear_quota", "/cgi-bin/openapi/quota/clear", "/cgi-bin/openapi/rid/get", "/sns/", "/tcb/",
    "/wxa/resetusersessionkey", "/wxa/getsnticket", "/wxa/checksession", "/wxa/business/getuserphonenumber",
    "/wxa/business/getuserencryptkey",
];
/// What the name of a parameter must not contain, in lower case: all kinds of tokens, another app, and encoded bytes.
const RESERVED: [&str; 3] = ["access_token", "from_appid", "%"];
/// The headers that come back, beside those that begin with `wechatmp-`.
#[rustfmt::skip]
const ANSWERED_HEADERS: [&str; 6] =
    ["content-type", "content-length", "content-disposition", "num-used", "logicret", "retkey"];
/// The largest body of an answer, in bytes.
const MAX_PASSED_ANSWER: usize = 10_000_000;

/// An answer of WeChat's.
pub(crate) struct PassedAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BoxStream<'static, Result<Bytes, Box<dyn std::error::Error + Send + Sync>>>,
    /// If the errcode is not 0.
    pub(crate) refusal: Option<Error>,
}

impl PassedAnswer {
    /// WeChat's refusal of the `access_token`.
    fn invalid_token(&self) -> Option<Error> {
        let refusal = self.refusal.clone();
        refusal.filter(|error| error.meaning() == Some(Meaning::InvalidAccessToken))
    }
}

/// Reads a path for the list; the error is what the list must do.
#[cfg(feature = "server")]
pub(crate) fn parse_path(path: &str) -> Result<String, &'static str> {
    let path = path.trim();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(is_plain);
    let lower_case = path.to_ascii_lowercase();
    match path.strip_prefix('/') {
        _ if FORBIDDEN.iter().any(|it| lower_case.starts_with(it)) => {
            Err("hold no path that gives out credentials, resets quotas or has a route of its own")
        }
        Some(segments) if segments.split('/').all(is_segment) => Ok(path.to_owned()),
        _ => Err("be whole paths with commas between them, such as /wxa/msg_sec_check"),
    }
}

/// Whether a query names neither a token nor another app, and stays as it is in a URL. Names are not decoded, so one
/// that is encoded is refused.
pub(crate) fn may_be_sent(query: &str) -> bool {
    let is_kept = |byte: u8| byte.is_ascii_graphic() && !b"\"#'<>".contains(&byte);
    let is_plain = |parameter: &str| {
        let name = parameter.split('=').next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        !RESERVED.iter().any(|reserved| name.contains(reserved))
    };
    query.bytes().all(is_kept) && query.split(['&', ';']).all(is_plain)
}

impl Client {
    /// Makes the call, and once more with another `access_token` if WeChat refuses the first one as invalid.
    pub(crate) async fn pass_through(
        self: &Arc<Self>,
        mini_program: &Arc<MiniProgram>,
        path: &str,
        head: &Parts,
        body: Bytes,
    ) -> Result<PassedAnswer, Error> {
        let deadline = Instant::now() + self.settings.call_timeout;
        let mut request = Request {
            method: head.method.clone(),
            query: Zeroizing::new(head.uri.query().unwrap_or_default().to_owned()),
            headers: passed(&head.headers, &["content-type"]),
            deadline: Some(deadline),
            ..Request::get(path)
        };
        if request.method == Method::POST {
            // hyper sends none for an empty body.
            let length = HeaderValue::from(body.len());
            request.headers.insert(CONTENT_LENGTH, length);
            request.body = Some(body);
        }
        let no_token = |error: Error| Error::NoAccessToken(error.into());
        let token = self.access_token(mini_program, deadline).await;
        let token = token.map_err(no_token)?;
        let answer = self.pass(request.clone(), &token).await?;
        let Some(error) = answer.invalid_token() else {
            return Ok(answer);
        };
        let other = self.fetch(mini_program, Some((token, error)), deadline);
        let other = match other.await {
            Err(error) if error.meaning() == Some(Meaning::InvalidAccessToken) => {
                return Ok(answer);
            }
            other => other.map_err(no_token)?,
        };
        let answer = self.pass(request, &other).await?;
        if let Some(error) = answer.invalid_token() {
            let refused = Some((other, error));
            let _ = self.fetch(mini_program, refused, deadline).await;
        }
        Ok(answer)
    }

    async fn pass(&self, request: Request<'_>, token: &AccessToken) -> Result<PassedAnswer, Error> {
        let request = request.query("access_token", token.expose());
        let mut response = self.execute(&request).await?;
        check(&response)?;
        let status = response.status();
        let headers = passed(response.headers(), &ANSWERED_HEADERS);
        let (mut held, mut is_whole) = (Vec::new(), false);
        while !is_whole && held.len() < MAX_ANSWER {
            match response.chunk().await? {
                Some(chunk) => held.extend_from_slice(&chunk),
                None => is_whole = true,
            }
        }
        let holds_token = |text: &[u8]| contains(text, token.expose().as_bytes());
        if holds_token(&held) || headers.values().any(|value| holds_token(value.as_bytes())) {
            return Err(Invalid::HoldsToken.into());
        }
        let answer = http::parse_answer::<IgnoredAny>(Call::PassedThrough, &held);
        let is_refusal = |error: &Error| is_whole && error.refusal().is_some();
        let max = MAX_PASSED_ANSWER.saturating_sub(held.len());
        let rest = Limited::new(Body::from(response), max).into_data_stream();
        Ok(PassedAnswer {
            status,
            headers,
            body: once(ready(Ok(held.into()))).chain(rest).boxed(),
            refusal: answer.err().filter(is_refusal),
        })
    }
}

/// Refuses what would not be WeChat's answer as it is, or would look like one of ours.
fn check(response: &Response) -> Result<(), Invalid> {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.map(|kind| kind.as_bytes().to_ascii_lowercase());
    let encoding = response.headers().get(CONTENT_ENCODING);
    if status.is_informational() || status.is_redirection() {
        Err(Invalid::Status(status.as_u16()))
    } else if encoding.is_some_and(|encoding| encoding != "identity") {
        Err(Invalid::Encoded)
    } else if kind.is_some_and(|kind| contains(&kind, b"problem+json")) {
        Err(Invalid::Field("Content-Type"))
    } else if response.content_length() > Some(MAX_PASSED_ANSWER as u64) {
        Err(Invalid::TooLarge)
    } else {
        Ok(())
    }
}

fn passed(headers: &HeaderMap, names: &[&str]) -> HeaderMap {
    let is_passed = |name: &str| names.contains(&name) || name.starts_with("wechatmp-");
    let all = headers.iter();
    let all = all.map(|(name, value)| (name.clone(), value.clone()));
    all.filter(|(name, _)| is_passed(name.as_str())).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
