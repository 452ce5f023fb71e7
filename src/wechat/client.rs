//! The one call to WeChat. Only this file sees the AppSecret in a request.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{StatusCode, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};

use super::{CodeSession, Error, Invalid, JsCode};

/// An answer of WeChat's is a few hundred bytes; a larger one is none.
const MAX_ANSWER: usize = 64 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Shorter than any gateway keeps an idle connection, so that we rarely write into a closed one.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The Mini Program, and how WeChat is asked.
#[derive(Debug)]
pub struct Settings {
    /// The Mini Program's AppID.
    pub appid: String,
    /// Its AppSecret.
    pub secret: SecretString,
    /// Where WeChat's API begins; `/sns/jscode2session` is appended.
    pub api_base: Url,
    /// For a whole exchange.
    pub timeout: Duration,
}

/// Asks WeChat. Connections are kept and shared; TLS certificates are verified.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    appid: String,
    secret: SecretString,
    timeout: Duration,
}

impl Client {
    /// A client with a pool of its own. Proxies named by the environment are honoured.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if TLS cannot be set up.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout))
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build()?;
        let mut endpoint = settings.api_base;
        let path = format!(
            "{}/sns/jscode2session",
            endpoint.path().trim_end_matches('/')
        );
        endpoint.set_path(&path);
        Ok(Self {
            http,
            endpoint,
            appid: settings.appid,
            secret: settings.secret,
            timeout: settings.timeout,
        })
    }

    /// The Mini Program that this client speaks for.
    #[must_use]
    pub fn appid(&self) -> &str {
        &self.appid
    }

    /// Exchanges a code for the user's identity, within the timeout of the settings, also when the
    /// answer drips in byte by byte. Every call is sent at most once, since even a refused
    /// exchange uses the code up.
    ///
    /// Source: WeChat's documentation of `auth.code2Session`.
    ///
    /// # Errors
    /// [`Error`], by what can be done about it.
    pub async fn code_to_session(&self, js_code: &JsCode) -> Result<CodeSession, Error> {
        tokio::time::timeout(self.timeout, self.exchange(js_code))
            .await
            .unwrap_or(Err(Error::Timeout))
    }

    async fn exchange(&self, js_code: &JsCode) -> Result<CodeSession, Error> {
        let mut response = self.http.get(self.url(js_code)).send().await?;
        if response.status() != StatusCode::OK {
            return Err(Invalid::Status(response.status().as_u16()).into());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Invalid::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        CodeSession::from_json(&body)
    }

    fn url(&self, js_code: &JsCode) -> Url {
        let mut url = self.endpoint.clone();
        url.query_pairs_mut()
            .append_pair("appid", &self.appid)
            .append_pair("secret", self.secret.expose_secret())
            .append_pair("js_code", js_code.expose())
            .append_pair("grant_type", "authorization_code");
        url
    }
}

impl From<reqwest::Error> for Error {
    /// Keeps the causes and drops the URL, which holds the AppSecret and the code.
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
        } else {
            Self::Broken(text)
        }
    }
}
