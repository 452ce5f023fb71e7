//! Calls of the backend that are passed through: this service adds the `access_token`, and the answer comes back as
//! it is, unless it holds the token.

use std::sync::Arc;

use futures_util::future::ready;
use futures_util::stream::{BoxStream, StreamExt, once};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper::http::request::Parts;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Response, StatusCode};
use secrecy::zeroize::Zeroizing;
use serde::de::IgnoredAny;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::client::{MAX_ANSWER, SLOT_TIMEOUT, is_encoded};
use super::request::Request;
use super::{AccessToken, Call, Client, Error, Invalid, Meaning, MiniProgram, Refusal, answer};

/// The beginnings of paths that give out credentials, reset quotas, or are calls of our own with their checks.
#[rustfmt::skip]
const FORBIDDEN: [&str; 14] = [
    "/cgi-bin/token", "/cgi-bin/stable_token", "/cgi-bin/component/", "/cgi-bin/ticket/getticket",
    "/cgi-bin/clear_quota", "/cgi-bin/openapi/quota/clear", "/cgi-bin/openapi/rid/get", "/sns/", "/tcb/",
    "/wxa/resetusersessionkey", "/wxa/getsnticket", "/wxa/checksession", "/wxa/business/getuserphonenumber",
    "/wxa/business/getuserencryptkey",
];
/// What the name of a parameter must not contain, in lower case: all kinds of tokens, and another app.
const RESERVED: [&str; 2] = ["access_token", "from_appid"];
/// The headers that are sent to WeChat, beside those that begin with `wechatmp-`.
const SENT_HEADERS: [&str; 1] = ["content-type"];
/// The same, of the answer.
#[rustfmt::skip]
const ANSWERED_HEADERS: [&str; 6] =
    ["content-type", "content-length", "content-disposition", "num-used", "logicret", "retkey"];
/// The largest body of an answer, in bytes.
const MAX_PASSED_ANSWER: usize = 10_000_000;

/// A call without the token.
pub(crate) struct PassedCall<'a> {
    /// One of the listed paths.
    pub(crate) path: &'a str,
    /// The request of the backend.
    pub(crate) head: &'a Parts,
    pub(crate) body: Bytes,
}

/// An answer of WeChat's.
pub(crate) struct PassedAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BoxStream<'static, Result<Bytes, Box<dyn std::error::Error + Send + Sync>>>,
    /// If the errcode is not 0.
    pub(crate) refusal: Option<Refusal>,
}

/// Why a path cannot be listed.
pub(crate) fn check_path(path: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(is_plain);
    let lower_case = path.to_ascii_lowercase();
    match path.strip_prefix('/') {
        _ if FORBIDDEN.iter().any(|it| lower_case.starts_with(it)) => {
            Err("hold no path that gives out credentials, resets quotas or has a route of its own")
        }
        Some(segments) if segments.split('/').all(is_segment) => Ok(()),
        _ => Err("be whole paths with commas between them, such as /wxa/msg_sec_check"),
    }
}

/// Whether a query names neither a token nor another app, however encoded, and stays as it is in a URL.
pub(crate) fn may_be_sent(query: &str) -> bool {
    let is_kept = |byte: u8| byte.is_ascii_graphic() && !b"\"#'<>".contains(&byte);
    query.bytes().all(is_kept) && !query.split(['&', ';']).any(is_reserved)
}

/// Also if the name is encoded several times.
fn is_reserved(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    let mut name = name.to_ascii_lowercase();
    loop {
        let decoded = percent_encoding::percent_decode_str(&name).decode_utf8_lossy();
        let decoded = decoded.to_ascii_lowercase();
        if decoded == name {
            return RESERVED.iter().any(|reserved| name.contains(reserved));
        }
        name = decoded;
    }
}

impl Client {
    /// Waits for a slot, which a call has from the first byte of its body to the last one of its answer.
    pub(crate) async fn passed_slot(&self) -> Result<OwnedSemaphorePermit, Error> {
        let slot = timeout(SLOT_TIMEOUT, self.passed_slots.clone().acquire_owned()).await;
        slot.ok().and_then(Result::ok).ok_or(Error::Overloaded)
    }

    /// Makes the call, and once more with another `access_token` if WeChat refuses the first one as invalid.
    pub(crate) async fn pass_through(
        self: &Arc<Self>,
        mini_program: &Arc<MiniProgram>,
        call: &PassedCall<'_>,
        slot: OwnedSemaphorePermit,
    ) -> Result<PassedAnswer, Error> {
        let mut result = self.pass_with_token(mini_program, call).await;
        let error = match &result {
            Ok(answer) => answer.refusal.clone().map(Error::Refused),
            Err(error) => Some(error.clone()),
        };
        (self.observer)(call.path, mini_program.appid(), error.as_ref());
        if let Ok(answer) = &mut result {
            let body = std::mem::replace(&mut answer.body, futures_util::stream::empty().boxed());
            let keep_slot = move |part| (part, &slot).0;
            answer.body = body.map(keep_slot).boxed();
        }
        result
    }

    async fn pass_with_token(
        self: &Arc<Self>,
        mini_program: &Arc<MiniProgram>,
        call: &PassedCall<'_>,
    ) -> Result<PassedAnswer, Error> {
        let deadline = Instant::now() + self.settings.call_timeout;
        let no_token = |error: Error| Error::NoAccessToken(error.into());
        let token = self.access_token_before(deadline, mini_program).await;
        let token = token.map_err(no_token)?;
        let answer = self.ask(call, &token, deadline).await?;
        let meaning = answer.refusal.as_ref().map(Refusal::meaning);
        if meaning != Some(Meaning::InvalidAccessToken) {
            return Ok(answer);
        }
        let other = self.fetch(mini_program, Some(&token), deadline).await;
        let other = other.map_err(no_token)?;
        if other.expose() == token.expose() {
            return Ok(answer);
        }
        self.ask(call, &other, deadline).await
    }

    async fn ask(
        &self,
        call: &PassedCall<'_>,
        token: &AccessToken,
        deadline: Instant,
    ) -> Result<PassedAnswer, Error> {
        let mut request = Request {
            method: call.head.method.clone(),
            query: Zeroizing::new(call.head.uri.query().unwrap_or_default().to_owned()),
            headers: passed(&call.head.headers, &SENT_HEADERS),
            deadline: Some(deadline),
            ..Request::get(call.path)
        };
        if request.method == Method::POST {
            // hyper sends none for an empty body.
            let length = HeaderValue::from(call.body.len());
            request.headers.insert(CONTENT_LENGTH, length);
            request.body = Some(call.body.clone());
        }
        let request = request.query("access_token", token.expose());
        let mut response = self.execute(&request).await?;
        check(&response)?;
        let (status, headers) = (
            response.status(),
            passed(response.headers(), &ANSWERED_HEADERS),
        );
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
        let refusal = match answer::parse::<IgnoredAny>(Call::PassedThrough, &held) {
            Err(Error::Refused(refusal)) if is_whole => Some(refusal),
            _ => None,
        };
        let max = MAX_PASSED_ANSWER.saturating_sub(held.len());
        let rest = Limited::new(Body::from(response), max).into_data_stream();
        Ok(PassedAnswer {
            status,
            headers,
            body: once(ready(Ok(held.into()))).chain(rest).boxed(),
            refusal,
        })
    }
}

/// Refuses what would not be WeChat's answer as it is, or would look like one of ours.
fn check(response: &Response) -> Result<(), Invalid> {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.map(|kind| kind.as_bytes().to_ascii_lowercase());
    if status.is_informational() || status.is_redirection() {
        Err(Invalid::Status(status.as_u16()))
    } else if is_encoded(response) {
        Err(Invalid::Encoded)
    } else if kind.is_some_and(|kind| contains(&kind, b"problem+json")) {
        Err(Invalid::ProblemDocument)
    } else if response.content_length() > Some(MAX_PASSED_ANSWER as u64) {
        Err(Invalid::TooLarge)
    } else {
        Ok(())
    }
}

fn passed(headers: &HeaderMap, names: &[&str]) -> HeaderMap {
    let is_passed = |name: &str| names.contains(&name) || name.starts_with("wechatmp-");
    let passed = headers.iter().filter(|(name, _)| is_passed(name.as_str()));
    passed
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
