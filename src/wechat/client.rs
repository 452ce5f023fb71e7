//! The call to WeChat: hosts, retries, AppSecrets. Only this file puts an AppSecret into a request.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};
use reqwest::{Method, Request, StatusCode, Url};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep, timeout_at};

use super::http::Http;
use super::{CodeSession, Errcode, Error, Invalid, JsCode, Meaning, MiniProgram, Proxies};

/// The largest answer that is read; WeChat's are a few hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Capacity for an answer with a `session_key`: a buffer that grows leaves a copy of it behind.
const USUAL_ANSWER: usize = 1024;
/// The least pause before each retry when WeChat is busy; with jitter, up to twice as long.
const BUSY_PAUSES: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(400)];

/// How WeChat is asked.
#[derive(Debug)]
pub struct Settings {
    /// Where WeChat's API begins, at least one; `/sns/jscode2session` is appended. The next is
    /// asked only when WeChat certainly has not got the request.
    pub api_bases: Vec<Url>,
    /// For a whole exchange, retries included.
    pub timeout: Duration,
    /// For hosts that are not on this machine.
    pub proxies: Proxies,
}

/// Asks WeChat. Connections are kept and shared; TLS certificates are verified.
#[derive(Debug)]
pub struct Client {
    http: Http,
    settings: Arc<Settings>,
    endpoints: Vec<Url>,
}

impl Client {
    /// A client with a connection pool of its own.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if TLS or a proxy cannot be set up.
    pub fn new(settings: Arc<Settings>) -> Result<Self, Error> {
        let http = Http::new(&settings)?;
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
                // WeChat got the code when it was busy.
                Err(Error::Unreachable(_)) if was_busy => {
                    return Err(Errcode::BUSY.into());
                }
                _ => return result,
            };
            match meaning {
                Meaning::Busy => {}
                // The request that was answered "busy" has used the code up after all.
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
        let mut request = Request::new(Method::GET, question.url(endpoint));
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().insert(ACCEPT_ENCODING, identity);
        let mut response = self.http.client_for(endpoint).execute(request).await?;
        if response.status() != StatusCode::OK {
            return Err(Invalid::Status(response.status().as_u16()).into());
        }
        let encoding = response.headers().get(CONTENT_ENCODING);
        let is_encoded = encoding.is_some_and(|encoding| encoding != "identity");
        let mut body = Zeroizing::new(Vec::with_capacity(USUAL_ANSWER));
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Invalid::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        match CodeSession::from_json(&body) {
            Err(Error::Invalid(Invalid::NotJson)) if is_encoded => Err(Invalid::Encoded.into()),
            result => result,
        }
    }
}

/// Whether WeChat has looked at the code, and so accepted the AppSecret.
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

/// The parameters of a request.
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
    // Without randomness there is no jitter.
    let _ = rand::fill(&mut byte);
    pause + pause * u32::from(byte[0]) / 255
}
