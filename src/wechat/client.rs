//! The one call to WeChat. Only this file sees the AppSecret in a request.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use reqwest::{Method, Request, StatusCode, Url, redirect, retry};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep, timeout_at};

use super::{CodeSession, Errcode, Error, Invalid, JsCode, Meaning, MiniProgram};

/// An answer of WeChat's is a few hundred bytes; a larger one is none.
const MAX_ANSWER: usize = 64 * 1024;
/// Room enough for an answer with a `session_key`, so that no copy of it is left behind by growing.
const USUAL_ANSWER: usize = 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Shorter than any gateway keeps an idle connection, so that we rarely write into a closed one.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The least time before each further try when WeChat is busy; up to twice as long, by chance, so
/// that clients which were refused together do not come back together.
const BUSY_PAUSES: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(400)];

/// How WeChat is asked.
#[derive(Debug)]
pub struct Settings {
    /// Where WeChat's API begins, at least one; `/sns/jscode2session` is appended. The next is
    /// asked only when WeChat certainly has not got the request.
    pub api_bases: Vec<Url>,
    /// For a whole exchange, further tries included.
    pub timeout: Duration,
}

/// Asks WeChat. Connections are kept and shared; TLS certificates are verified.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    settings: Arc<Settings>,
    endpoints: Vec<Url>,
}

impl Client {
    /// A client with a pool of its own. Proxies named by the environment are honoured,
    /// but not towards this machine.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if TLS cannot be set up.
    pub fn new(settings: Arc<Settings>) -> Result<Self, Error> {
        // However many hosts are dead, there is time to connect to the last one and ask it.
        let share = u32::try_from(settings.api_bases.len() + 1).unwrap_or(u32::MAX);
        let mut builder = reqwest::Client::builder();
        if settings.api_bases.iter().all(is_loopback) {
            // A stand-in on this machine is not behind the proxy that the environment names.
            builder = builder.no_proxy();
        }
        let http = builder
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout / share))
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            endpoints: settings.api_bases.iter().cloned().map(endpoint).collect(),
            settings,
        })
    }

    /// Exchanges a code for the user's identity, within the timeout of the settings, also when the
    /// answer drips in byte by byte.
    ///
    /// Even a refused exchange uses the code up, so a request is repeated in two cases only: at the
    /// next host if it certainly was not sent, and at most twice when WeChat says that it is busy.
    /// And with the Mini Program's next AppSecret, if it has one, when WeChat calls one wrong.
    ///
    /// Source: WeChat's documentation of `auth.code2Session`.
    ///
    /// # Errors
    /// [`Error`], by what can be done about it.
    pub async fn code_to_session(
        &self,
        mini_program: &MiniProgram,
        js_code: &JsCode,
    ) -> Result<CodeSession, Error> {
        let deadline = Instant::now() + self.settings.timeout;
        let mut pauses = BUSY_PAUSES.into_iter();
        let mut was_busy = false;
        loop {
            let result = timeout_at(deadline, self.ask_as(mini_program, js_code))
                .await
                .unwrap_or(Err(Error::Timeout));
            let meaning = match &result {
                Err(Error::Refused(refusal)) => refusal.errcode.meaning(),
                // WeChat has seen the code, when it was busy.
                Err(Error::Unreachable(_)) if was_busy => {
                    return Err(Errcode::BUSY.into());
                }
                _ => return result,
            };
            match meaning {
                Meaning::Busy => {}
                // The try that WeChat was too busy for has used the code up after all.
                Meaning::CodeUsed if was_busy => return Err(Invalid::BusyThenUsed.into()),
                _ => return result,
            }
            was_busy = true;
            let Some(pause) = pauses.next().map(with_jitter) else {
                return result;
            };
            if Instant::now() + pause >= deadline {
                return result;
            }
            sleep(pause).await;
        }
    }

    /// Asks with the first AppSecret that is not wrong.
    async fn ask_as(
        &self,
        mini_program: &MiniProgram,
        js_code: &JsCode,
    ) -> Result<CodeSession, Error> {
        let mut result: Result<CodeSession, Error> = Err(Errcode::WRONG_SECRET.into());
        let mut was_seen = false;
        for (place, secret) in mini_program.secrets_to_try() {
            let question = Question {
                appid: mini_program.appid(),
                secret,
                js_code,
            };
            result = self.ask_hosts(&question).await;
            match &result {
                Err(error) if error.errcode() == Some(Errcode::WRONG_SECRET) => was_seen = true,
                Err(Error::Unreachable(cause)) if was_seen => {
                    return Err(Error::Broken(cause.clone()));
                }
                other => {
                    if is_about_the_code(other) {
                        mini_program.accepted(place);
                    }
                    break;
                }
            }
        }
        result
    }

    /// Asks the first host that can be reached.
    async fn ask_hosts(&self, question: &Question<'_>) -> Result<CodeSession, Error> {
        let mut result = Err(Error::Unreachable("no host is configured".into()));
        for endpoint in &self.endpoints {
            result = self.ask(endpoint, question).await;
            if !matches!(result, Err(Error::Unreachable(_))) {
                break;
            }
        }
        result
    }

    async fn ask(&self, endpoint: &Url, question: &Question<'_>) -> Result<CodeSession, Error> {
        let request = Request::new(Method::GET, question.url(endpoint));
        let mut response = self.http.execute(request).await?;
        if response.status() != StatusCode::OK {
            return Err(Invalid::Status(response.status().as_u16()).into());
        }
        let mut body = Zeroizing::new(Vec::with_capacity(USUAL_ANSWER));
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Invalid::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        CodeSession::from_json(&body)
    }
}

/// Whether WeChat has come to look at the code, and so found nothing wrong with the AppSecret.
fn is_about_the_code(result: &Result<CodeSession, Error>) -> bool {
    let meaning = match result {
        Ok(_) => return true,
        Err(error) => error.errcode().map(Errcode::meaning),
    };
    matches!(
        meaning,
        Some(Meaning::InvalidCode | Meaning::CodeUsed | Meaning::UserBlocked)
    )
}

/// What WeChat is asked.
struct Question<'a> {
    appid: &'a str,
    secret: &'a SecretString,
    js_code: &'a JsCode,
}

impl Question<'_> {
    fn url(&self, endpoint: &Url) -> Url {
        let mut url = endpoint.clone();
        url.query_pairs_mut()
            .append_pair("appid", self.appid)
            .append_pair("secret", self.secret.expose_secret())
            .append_pair("js_code", self.js_code.expose())
            .append_pair("grant_type", "authorization_code");
        url
    }
}

/// Whether a URL leads to this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn endpoint(mut api_base: Url) -> Url {
    let path = format!(
        "{}/sns/jscode2session",
        api_base.path().trim_end_matches('/')
    );
    api_base.set_path(&path);
    api_base
}

/// The pause, up to twice as long.
fn with_jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness it is merely no jitter.
    let _ = rand::fill(&mut byte);
    pause + pause * u32::from(byte[0]) / 255
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
