//! Sends the requests of all calls to WeChat: hosts, AppSecrets, retries, limits of time, number and size.

use std::time::Duration;

use aws_lc_rs::rand;
use reqwest::{Response, StatusCode, Url};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use thread_local::ThreadLocal;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::errcode::WRONG_SECRET;
use super::http::{self, Request};
use super::{Call, Error, Invalid, Meaning, MiniProgram, Proxies};
use crate::clock::Clock;

/// The largest answer that is read, in bytes. WeChat's are a few hundred bytes.
pub(super) const MAX_ANSWER: usize = 64 * 1024;
/// Initial capacity for an answer: a buffer that grows leaves a copy of a `session_key` in freed memory.
const ANSWER_CAPACITY: usize = 1024;
/// The pauses before the retries when WeChat is busy. Jitter makes each up to twice as long.
const BUSY_PAUSES: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(400)];

/// How long a call waits for a slot.
pub(crate) const SLOT_TIMEOUT: Duration = Duration::from_millis(500);

/// How requests are sent to WeChat.
#[derive(Debug)]
pub struct Settings {
    /// Base URLs of WeChat's API, at least one; the path of a call is appended. The next one is tried only
    /// if the request certainly was not sent.
    pub api_bases: Vec<Url>,
    /// For a whole call, retries included.
    pub timeout: Duration,
    /// `WECHAT_CALL_TIMEOUT`: for a call that is passed through, to the last byte of its answer.
    pub call_timeout: Duration,
    /// `WECHAT_MAX_IN_FLIGHT`: exchanges of login codes at a time, and so many other calls.
    pub max_in_flight: u32,
    /// Used for hosts that are not on this machine.
    pub proxies: Proxies,
}

/// The HTTP client for WeChat. TLS certificates are verified.
pub struct Client {
    /// With a connection pool for each thread, so that a request stays in its thread. A thread that inherits the
    /// pool of one that has ended makes new connections.
    http: ThreadLocal<reqwest::Client>,
    /// For exchanges of login codes.
    pub(super) login_slots: Semaphore,
    /// For other calls.
    pub(super) call_slots: Semaphore,
    pub(super) clock: Clock,
    pub(super) settings: Settings,
    observer: Observer,
}

/// Is told how each call has ended, by the `AppID`; `None` is a good answer.
pub type Observer = Box<dyn Fn(Call, &str, Option<&Error>) + Send + Sync>;

impl Client {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if TLS or a proxy cannot be set up.
    pub fn new(settings: Settings, clock: Clock, observer: Observer) -> Result<Self, Error> {
        let slots = settings.max_in_flight as usize;
        let client = Self {
            http: ThreadLocal::new(),
            login_slots: Semaphore::new(slots),
            call_slots: Semaphore::new(slots),
            clock,
            settings,
            observer,
        };
        client.http().map(drop)?;
        Ok(client)
    }

    fn http(&self) -> Result<&reqwest::Client, Error> {
        self.http.get_or_try(|| http::client(&self.settings))
    }

    /// The deadline of a call that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.timeout
    }

    /// Makes a call within the deadline, repeats it at most twice while WeChat says that it is busy, and tells the
    /// observer.
    pub(super) async fn retry<T, F: Future<Output = Result<T, Error>>>(
        &self,
        call: Call,
        mini_program: &MiniProgram,
        deadline: Instant,
        ask: impl Fn() -> F,
    ) -> Result<T, Error> {
        let ask = || async {
            let answer = timeout_at(deadline, ask()).await;
            answer.unwrap_or(Err(Error::Timeout))
        };
        let mut pauses = BUSY_PAUSES.into_iter();
        let mut result = ask().await;
        while let Err(error) = &result
            && error.meaning() == Some(Meaning::Busy)
            && let Some(pause) = pauses.next().map(with_jitter)
            && Instant::now() + pause < deadline
        {
            sleep(pause).await;
            result = match ask().await {
                // The request that WeChat answered with "busy" has used the code up.
                Err(error) if error.meaning() == Some(Meaning::CodeUsed) => {
                    Err(Invalid::BusyThenUsed.into())
                }
                // It stays "busy", which WeChat has answered: the error must not say that nothing was sent.
                Err(Error::Unreachable(_)) => break,
                other => other,
            };
        }
        (self.observer)(call, mini_program.appid(), result.as_ref().err());
        result
    }

    /// Makes a call with each AppSecret in turn, until WeChat does not refuse it as wrong, and repeats it while WeChat
    /// is busy.
    pub(super) async fn with_secrets<T>(
        &self,
        call: Call,
        mini_program: &MiniProgram,
        request: impl Fn(&SecretString) -> Request<'static>,
        parse: fn(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let ask = || async {
            let mut result = Err(Error::Unreachable(String::new())); // there is at least one
            let mut was_sent = false;
            for (place, secret) in mini_program.secrets_to_try() {
                result = self.send(request(secret), parse).await;
                let error = result.as_ref().err();
                if error.and_then(Error::errcode) != Some(WRONG_SECRET) {
                    if error.is_none_or(Error::is_about_the_code) {
                        mini_program.record_accepted(place);
                    }
                    break;
                }
                was_sent = true;
            }
            if was_sent {
                result = result.map_err(Error::unreachable_as_broken);
            }
            result
        };
        self.retry(call, mini_program, self.deadline(), ask).await
    }

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
            let response = self.http()?.execute(request.to(api_base)).await;
            match response.map_err(Error::from) {
                Err(unreachable @ Error::Unreachable(_)) => error = unreachable,
                result => return result,
            }
        }
        Err(error)
    }
}

/// Waits for a slot. Dropping the permit frees it.
pub(super) async fn slot(slots: &Semaphore) -> Result<SemaphorePermit<'_>, Error> {
    // Without a timer if a slot is free.
    if let Ok(slot) = slots.try_acquire() {
        return Ok(slot);
    }
    match timeout(SLOT_TIMEOUT, slots.acquire()).await {
        Ok(Ok(slot)) => Ok(slot),
        _ => Err(Error::Overloaded),
    }
}

/// Makes a pause up to twice as long.
fn with_jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // If there are no random bytes, there is no jitter.
    let _ = rand::fill(&mut byte);
    pause + pause * u32::from(byte[0]) / 255
}
