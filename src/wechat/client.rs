//! Calls to WeChat for a Mini Program: its AppSecrets and quota, retries, limits of time and number.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use secrecy::SecretString;
use thread_local::ThreadLocal;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::access_token::TokenSlot;
use super::errcode::WRONG_SECRET;
use super::http::Request;
use super::http_client::http_client;
use super::{Call, Error, Invalid, Meaning, Settings};
use crate::clock::Clock;

/// The pauses before the retries when WeChat is busy. Jitter makes each up to twice as long.
const BUSY_PAUSES: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(400)];

/// How long a call waits for a slot.
pub(crate) const SLOT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long no requests are sent after WeChat has answered that the quota is used up, in seconds.
pub(crate) const QUOTA_PAUSE: u64 = 10;

/// Makes calls of WeChat's API. TLS certificates are verified.
pub struct Client {
    /// With a connection pool for each thread, so that a request stays in its thread. A thread that inherits the
    /// pool of one that has ended makes new connections.
    pub(super) http: ThreadLocal<reqwest::Client>,
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
        let http = ThreadLocal::new();
        http.get_or_try(|| http_client(&settings))?;
        Ok(Self {
            http,
            login_slots: Semaphore::new(slots),
            call_slots: Semaphore::new(slots),
            clock,
            settings,
            observer,
        })
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
}

/// A Mini Program: its AppID and its AppSecret, or several while the AppSecret is being changed.
#[derive(Debug)]
pub struct MiniProgram {
    appid: String,
    secrets: Vec<SecretString>,
    /// The name of the setting that has its AppSecrets.
    setting: &'static str,
    /// The index of the secret that WeChat accepted last.
    accepted: AtomicUsize,
    /// The end of the pause after WeChat's answer that the quota is used up, in seconds by the monotonic clock.
    quota_pause_end: AtomicU64,
    /// Its `access_token`.
    pub(super) token: TokenSlot,
}

impl MiniProgram {
    /// `secrets` are tried in this order: the next one when WeChat refuses one as wrong. `setting` has them.
    #[must_use]
    pub fn new(appid: String, secrets: Vec<SecretString>, setting: &'static str) -> Self {
        Self {
            appid,
            secrets,
            setting,
            accepted: AtomicUsize::new(0),
            quota_pause_end: AtomicU64::new(0),
            token: TokenSlot::default(),
        }
    }

    /// The same with other AppSecrets.
    #[must_use]
    pub fn with_other_secrets(&self, secrets: Vec<SecretString>) -> Self {
        Self::new(self.appid.clone(), secrets, self.setting)
    }

    /// A remedy, with the names of the settings that this Mini Program comes from.
    pub(crate) fn remedy(&self, remedy: &str) -> String {
        let is_of_several = self.setting.starts_with("WECHAT_APPS");
        let appid_setting = ["WECHAT_APPID", self.setting][usize::from(is_of_several)];
        let remedy = remedy.replace("WECHAT_APPID", appid_setting);
        remedy.replace("WECHAT_SECRET", self.setting)
    }

    /// The AppID.
    #[must_use]
    pub fn appid(&self) -> &str {
        &self.appid
    }

    /// All AppSecrets, in the order of the settings.
    #[must_use]
    pub fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// WeChat answered at `now`, by the monotonic clock, that the quota is used up.
    pub(super) fn begin_quota_pause(&self, now: Duration) {
        let end = now.as_secs() + QUOTA_PAUSE;
        self.quota_pause_end.store(end, Ordering::Relaxed);
    }

    /// [`Error::QuotaPause`] if WeChat said within the last ten seconds that the quota is used up.
    pub(super) fn check_quota(&self, now: Duration) -> Result<(), Error> {
        if now.as_secs() < self.quota_pause_end.load(Ordering::Relaxed) {
            return Err(Error::QuotaPause);
        }
        Ok(())
    }

    /// The AppSecrets, each with its index in the settings. The one that WeChat accepted last comes first.
    fn secrets_to_try(&self) -> impl Iterator<Item = (usize, &SecretString)> {
        let accepted = self.accepted.load(Ordering::Relaxed);
        let (before, from) = self.secrets.split_at(accepted);
        (accepted..).zip(from).chain((0..).zip(before))
    }

    /// Records that WeChat accepted the secret at this index.
    fn record_accepted(&self, place: usize) {
        let before = self.accepted.swap(place, Ordering::Relaxed);
        if before != place {
            tracing::info!(
                appid = self.appid,
                "WeChat now accepts AppSecret {} of {}, and not the one that it accepted before",
                place + 1,
                self.secrets.len(),
            );
        }
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
