//! The `access_token` of each Mini Program: fetched when it is needed, kept, renewed in the background,
//! and replaced when WeChat refuses it as invalid.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::{Instant, timeout_at};

use super::{ACCESS_TOKEN_REMEDY, AccessToken, Client, Error, MiniProgram, diagnosis};
use crate::clock::Clock;
use crate::single_flight::{Entered, Key, Leader, SingleFlight};

/// A token older than this is fetched again in the background when it is used: another system may have
/// invalidated it.
const RENEWAL_AGE: Duration = Duration::from_secs(5 * 60);
/// A token is not used in its last seconds.
const EXPIRY_MARGIN: u64 = 60;
/// The least time between a fetch that failed, or that replaced an invalid token, and the next one.
const FETCH_PAUSE: Duration = Duration::from_secs(10);

type TokenResult = Result<AccessToken, Error>;

/// The tokens of all Mini Programs. All runtimes of a process share them.
pub struct TokenCache {
    fetches: Arc<SingleFlight<TokenResult>>,
    by_appid: Mutex<HashMap<String, Fetched>>,
    clock: Clock,
}

struct Fetched {
    token: AccessToken,
    /// By the monotonic clock.
    at: Duration,
}

/// Makes the calls that need an `access_token`, in one runtime.
#[derive(Clone)]
pub struct TokenClient {
    pub(super) client: Arc<Client>,
    cache: Arc<TokenCache>,
}

impl TokenCache {
    /// An empty cache.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            fetches: Arc::new(SingleFlight::new(clock.clone())),
            by_appid: Mutex::default(),
            clock,
        }
    }

    /// A cached token that has not expired, and its age.
    fn usable(&self, appid: &str) -> Option<(AccessToken, Duration)> {
        let by_appid = self.by_appid();
        let Fetched { token, at } = by_appid.get(appid)?;
        let age = self.clock.monotonic().saturating_sub(*at);
        let life = token
            .expires_in
            .saturating_sub(EXPIRY_MARGIN)
            .max(FETCH_PAUSE.as_secs());
        let left = AccessToken {
            expires_in: token.expires_in.saturating_sub(age.as_secs()),
            ..token.clone()
        };
        (age.as_secs() < life).then_some((left, age))
    }

    fn store(&self, appid: &str, token: AccessToken) {
        let at = self.clock.monotonic();
        let fetched = Fetched { token, at };
        self.by_appid().insert(appid.to_owned(), fetched);
    }

    fn by_appid(&self) -> MutexGuard<'_, HashMap<String, Fetched>> {
        self.by_appid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenClient {
    /// Makes its requests with `client`.
    #[must_use]
    pub fn new(client: Arc<Client>, cache: Arc<TokenCache>) -> Self {
        Self { client, cache }
    }

    /// The `access_token` of a Mini Program, from the cache if there is a usable one.
    ///
    /// # Errors
    /// [`Error`]. A failed fetch is remembered for 10 s.
    pub async fn access_token(&self, mini_program: &Arc<MiniProgram>) -> TokenResult {
        self.access_token_before(self.client.deadline(), mini_program)
            .await
    }

    pub(super) async fn access_token_before(
        &self,
        deadline: Instant,
        mini_program: &Arc<MiniProgram>,
    ) -> TokenResult {
        let Some((token, age)) = self.cache.usable(mini_program.appid()) else {
            return self.fetch(mini_program, None, deadline).await;
        };
        if age > RENEWAL_AGE
            && let Entered::Leader(leader) = self.cache.fetches.enter(key(mini_program))
        {
            tokio::spawn(
                self.clone()
                    .fetch_as_leader(mini_program.clone(), None, leader),
            );
        }
        Ok(token)
    }

    /// A token that differs from the one that WeChat refused as invalid, if there is one.
    pub(super) async fn replacement(
        &self,
        mini_program: &Arc<MiniProgram>,
        invalid: &AccessToken,
        deadline: Instant,
    ) -> Result<Option<AccessToken>, Error> {
        let is_other = |token: &AccessToken| token.expose() != invalid.expose();
        if let Some((token, _)) = self.cache.usable(mini_program.appid())
            && is_other(&token)
        {
            return Ok(Some(token));
        }
        let token = self.fetch(mini_program, Some(invalid), deadline).await?;
        Ok(Some(token).filter(is_other))
    }

    /// Waits for the fetch in flight, or starts one, which goes on if its request is cancelled.
    async fn fetch(
        &self,
        mini_program: &Arc<MiniProgram>,
        invalid: Option<&AccessToken>,
        deadline: Instant,
    ) -> TokenResult {
        let answer = match self.cache.fetches.enter(key(mini_program)) {
            Entered::Remembered(answer) => return answer,
            Entered::InFlight(answer) => timeout_at(deadline, answer).await.map(Result::ok),
            Entered::Leader(leader) => {
                let invalid = invalid.cloned();
                let fetch = self
                    .clone()
                    .fetch_as_leader(mini_program.clone(), invalid, leader);
                timeout_at(deadline, tokio::spawn(fetch))
                    .await
                    .map(Result::ok)
            }
        };
        match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(Error::Broken(
                "the fetch of an access_token broke off".into(),
            )),
            Err(_) => Err(Error::Timeout),
        }
    }

    async fn fetch_as_leader(
        self,
        mini_program: Arc<MiniProgram>,
        invalid: Option<AccessToken>,
        leader: Leader<TokenResult>,
    ) -> TokenResult {
        let appid = mini_program.appid();
        let answer = self.client.stable_token(&mini_program).await;
        match (&answer, invalid) {
            (Ok(token), None) => {
                self.cache.store(appid, token.clone());
                leader.answer_without_remembering(&answer);
            }
            (Ok(token), Some(invalid)) => {
                if token.expose() == invalid.expose() {
                    let remedy = ACCESS_TOKEN_REMEDY;
                    tracing::error!(
                        appid,
                        remedy,
                        "WeChat calls the access_token invalid that it gives out"
                    );
                }
                self.cache.store(appid, token.clone());
                leader.answer_and_remember(answer.clone(), FETCH_PAUSE);
            }
            (Err(error), _) => {
                if !diagnosis::log_refusal(None, appid, error) {
                    tracing::warn!(appid, %error, "no access_token could be fetched");
                }
                leader.answer_and_remember(answer.clone(), FETCH_PAUSE);
            }
        }
        answer
    }
}

fn key(mini_program: &MiniProgram) -> Key {
    let mut key = Key::default();
    let hash = digest(&SHA256, mini_program.appid().as_bytes());
    key.copy_from_slice(hash.as_ref());
    key
}
