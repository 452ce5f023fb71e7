//! A call of WeChat's API: its request, sent to the first host that can be reached, and its answer.

use std::error::Error as _;

use hyper::body::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::http_client::http_client;
use super::{Client, Error, Invalid, Refusal};

/// The largest answer that is read, in bytes. WeChat's are a few hundred bytes.
pub(super) const MAX_ANSWER: usize = 64 * 1024;
/// Initial capacity for an answer: a buffer that grows leaves a copy of a `session_key` in freed memory.
const ANSWER_CAPACITY: usize = 1024;
/// Initial capacity for a query, so that it does not leave copies of secrets in freed memory as it grows. That of
/// an exchange has some 160 bytes.
const QUERY_CAPACITY: usize = 256;

/// A call of WeChat's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// `GET /sns/jscode2session`: a login.
    CodeToSession,
    /// `POST /cgi-bin/stable_token`.
    StableToken,
    /// `POST /wxa/business/getuserphonenumber`.
    PhoneNumber,
    /// `GET /wxa/checksession`.
    CheckSession,
    /// A call of the backend that is passed through.
    PassedThrough,
}

impl Call {
    /// All calls of our own.
    pub const ALL: [Self; 4] = [
        Self::CodeToSession,
        Self::StableToken,
        Self::PhoneNumber,
        Self::CheckSession,
    ];

    /// The last part of its path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CodeToSession => "jscode2session",
            Self::StableToken => "stable_token",
            Self::PhoneNumber => "getuserphonenumber",
            Self::CheckSession => "checksession",
            Self::PassedThrough => "passed_through",
        }
    }
}

/// A request, for any host. It holds secrets.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: Zeroizing<String>,
    pub(super) headers: HeaderMap,
    /// Sent with its `Content-Length`: WeChat refuses chunks.
    pub(super) body: Option<Bytes>,
    /// For the last byte of the answer, where the caller has no time limit of its own.
    pub(super) deadline: Option<Instant>,
}

impl<'a> Request<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Zeroizing::new(String::with_capacity(QUERY_CAPACITY)),
            headers: HeaderMap::new(),
            body: None,
            deadline: None,
        }
    }

    pub(super) fn post(path: &'a str, json: &serde_json::Value) -> Self {
        let content_type = HeaderValue::from_static("application/json");
        Self {
            method: Method::POST,
            headers: [(CONTENT_TYPE, content_type)].into_iter().collect(),
            body: Some(json.to_string().into()),
            ..Self::get(path)
        }
    }

    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        let mut query = form_urlencoded::Serializer::new(std::mem::take(&mut *self.query));
        query.append_pair(name, value);
        *self.query = query.finish();
        self
    }

    pub(super) fn to(&self, api_base: &Url) -> reqwest::Request {
        let mut url = api_base.clone();
        let path = format!("{}{}", api_base.path().trim_end_matches('/'), self.path);
        url.set_path(&path);
        url.set_query(Some(self.query.as_str()).filter(|query| !query.is_empty()));
        let mut request = reqwest::Request::new(self.method.clone(), url);
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().clone_from(&self.headers);
        request.headers_mut().insert(ACCEPT_ENCODING, identity);
        *request.body_mut() = self.body.clone().map(Into::into);
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        *request.timeout_mut() = self.deadline.map(left);
        request
    }
}

impl Client {
    /// Sends a request to the first host that can be reached, and parses the answer if its status is 200.
    pub(super) async fn send<T>(
        &self,
        request: Request<'_>,
        parse: impl Fn(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut response = self.execute(&request).await?;
        if response.status() != StatusCode::OK {
            return Err(Invalid::Status(response.status().as_u16()).into());
        }
        let mut body = Zeroizing::new(Vec::with_capacity(ANSWER_CAPACITY));
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Invalid::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        parse(&body)
    }

    /// Sends a request to the first host that can be reached. The body of the answer is not read.
    pub(super) async fn execute(&self, request: &Request<'_>) -> Result<Response, Error> {
        let mut error = Error::Unreachable(String::new()); // there is at least one host
        for api_base in &self.settings.api_bases {
            let client = self.http.get_or_try(|| http_client(&self.settings))?;
            let response = client.execute(request.to(api_base)).await;
            match response.map_err(Error::from) {
                Err(unreachable @ Error::Unreachable(_)) => error = unreachable,
                result => return result,
            }
        }
        Err(error)
    }
}

#[derive(Deserialize)]
struct ErrcodeAndErrmsg {
    errcode: Option<Number>,
    errmsg: Option<String>,
}

/// A number, which some of WeChat's samples write as a string.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    Number(i64),
    Text(String),
}

/// Parses the body of an answer with HTTP status 200, a JSON object. Other fields than those of `T` are ignored.
///
/// [`Error::Refused`] if it has an errcode other than 0.
pub(super) fn parse_answer<T: DeserializeOwned>(call: Call, body: &[u8]) -> Result<T, Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body); // a gateway's byte order mark
    let status: ErrcodeAndErrmsg = object(body)?;
    let errcode = match status.errcode {
        None => 0,
        Some(Number::Number(errcode)) => errcode,
        Some(Number::Text(text)) => (text.trim().parse()).map_err(|_| Invalid::Field("errcode"))?,
    };
    if errcode == 0 {
        return Ok(object(body)?);
    }
    let errmsg = status.errmsg.unwrap_or_default();
    Err(Error::Refused(Refusal::new(call, errcode, &errmsg)))
}

/// A struct's fields can also be read from an array, which WeChat does not send.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Invalid> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Invalid::NotJson);
    }
    serde_json::from_slice(body).map_err(|_| Invalid::NotJson)
}

/// Checks that a text is visible ASCII: ids and tokens are sent on in JSON, headers and URLs.
pub(super) fn check_visible(
    field: &'static str,
    text: &str,
    max_len: usize,
) -> Result<(), Invalid> {
    let fits = (1..=max_len).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(()).ok_or(Invalid::Field(field))
}

impl From<reqwest::Error> for Error {
    /// Keeps the causes, and drops the URL, which holds the AppSecret and the code.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut not_http = false;
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            not_http |= cause
                .downcast_ref::<hyper::Error>()
                .is_some_and(hyper::Error::is_parse);
            source = cause.source();
        }
        if not_http {
            Invalid::NotHttp.into()
        } else if error.is_connect() || error.is_builder() {
            Self::Unreachable(text)
        } else if error.is_timeout() {
            Self::Timeout
        } else {
            Self::Broken(text)
        }
    }
}
