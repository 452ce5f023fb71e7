//! A request to WeChat, its answer, and the HTTP client.

use std::error::Error as _;
use std::net::IpAddr;
use std::time::Duration;

use hyper::body::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, NoProxy, Proxy, Url, redirect, retry};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Call, Error, Invalid, Refusal, Settings};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// The hosts that [`is_on_this_machine`] finds, as `NO_PROXY` has them: a proxy between wxlogin and a relay on this
/// machine could log the AppSecret.
const THIS_MACHINE: &str =
    "localhost,localhost.,127.0.0.0/8,0.0.0.0,::1,::,::ffff:127.0.0.0/104,::ffff:0.0.0.0";
/// Shorter than the idle timeout of any gateway, so that a request is rarely sent on a closed connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Initial capacity for a query, so that it does not leave copies of secrets in freed memory as it grows. That of
/// an exchange has some 160 bytes.
const QUERY_CAPACITY: usize = 256;

/// A request, for any host. It holds secrets.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: Zeroizing<String>,
    pub(super) headers: HeaderMap,
    /// Sent with its `Content-Length`: WeChat refuses chunks.
    pub(super) body: Option<Bytes>,
    /// For the last byte of the answer, if whoever reads it has none.
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

/// The proxies for hosts that are not on this machine. Their URLs can hold passwords.
#[derive(Debug, Default)]
pub struct Proxies {
    /// For `http://`: the URL of a proxy.
    pub http: Option<SecretString>,
    /// For `https://`, by `CONNECT`: the URL of a proxy.
    pub https: Option<SecretString>,
    /// Hosts, domains and networks without a proxy, as `NO_PROXY` has them.
    pub no_proxy: String,
}

/// The HTTP client of a thread, with the proxies of the settings for hosts that are not on this machine.
pub(super) fn client(settings: &Settings) -> Result<Client, Error> {
    // If all hosts but the last are down, there is time left for a request to the last one.
    let share = u32::try_from(settings.api_bases.len() + 1).unwrap_or(u32::MAX);
    let mut builder = Client::builder()
        .no_proxy() // not those of the environment
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout / share))
        .pool_idle_timeout(POOL_IDLE_TIMEOUT);
    let proxies = &settings.proxies;
    let direct = NoProxy::from_string(&format!("{THIS_MACHINE},{}", proxies.no_proxy));
    if let Some(url) = &proxies.http {
        builder = builder.proxy(Proxy::http(url.expose_secret())?.no_proxy(direct.clone()));
    }
    if let Some(url) = &proxies.https {
        builder = builder.proxy(Proxy::https(url.expose_secret())?.no_proxy(direct));
    }
    Ok(builder.build()?)
}

/// Whether the host of a URL is this machine, in any notation of its address.
pub(crate) fn is_on_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let name = host.trim_end_matches('.');
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok_and(|address| {
        let address = address.to_canonical();
        address.is_loopback() || address.is_unspecified()
    })
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
