//! The `access_token` of each Mini Program: fetched when it is needed, kept, renewed in the background,
//! and replaced when WeChat calls it invalid.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::{Instant, timeout_at};

use super::{ACCESS_TOKEN_REMEDY, AccessToken, Client, Error, MiniProgram, diagnosis};
use crate::clock::Clock;
use crate::single_flight::{Entered, Key, Leader, SingleFlight};

/// A token that is used when it is older is asked for again: it may have been invalidated elsewhere.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);
/// A token is not used for so long before its end, in seconds.
const MARGIN: u64 = 60;
/// For so long after a fetch that failed, or that replaced an invalid token, there is no other.
const PAUSE: Duration = Duration::from_secs(10);

type Answer = Result<AccessToken, Error>;

/// The tokens of all Mini Programs. All runtimes of a process share them.
pub struct TokenCache {
    fetches: Arc<SingleFlight<Answer>>,
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
    /// Without tokens.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            fetches: Arc::new(SingleFlight::new(clock.clone())),
            by_appid: Mutex::default(),
            clock,
        }
    }

    /// The token that can be used, and how long ago it was fetched.
    fn usable(&self, appid: &str) -> Option<(AccessToken, Duration)> {
        let by_appid = self.by_appid();
        let Fetched { token, at } = by_appid.get(appid)?;
        let age = self.clock.monotonic().saturating_sub(*at);
        let life = token.expires_in.saturating_sub(MARGIN).max(PAUSE.as_secs());
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
    /// Asks with `client`.
    #[must_use]
    pub fn new(client: Arc<Client>, cache: Arc<TokenCache>) -> Self {
        Self { client, cache }
    }

    /// The `access_token` of a Mini Program: at once if there is a usable one.
    ///
    /// # Errors
    /// [`Error`]. It stays the same for 10 s after a fetch has failed.
    pub async fn access_token(&self, mini_program: &Arc<MiniProgram>) -> Answer {
        self.get(mini_program, self.client.deadline()).await
    }

    pub(super) async fn get(&self, mini_program: &Arc<MiniProgram>, deadline: Instant) -> Answer {
        let Some((token, age)) = self.cache.usable(mini_program.appid()) else {
            return self.fetch(mini_program, None, deadline).await;
        };
        if age > MAX_AGE
            && let Entered::First(leader) = self.cache.fetches.enter(key(mini_program))
        {
            tokio::spawn(self.clone().lead(mini_program.clone(), None, leader));
        }
        Ok(token)
    }

    /// Another token than the one that WeChat has called invalid, if there is one.
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

    /// Joins the fetch in flight, or begins one, which goes on when its client hangs up.
    async fn fetch(
        &self,
        mini_program: &Arc<MiniProgram>,
        invalid: Option<&AccessToken>,
        deadline: Instant,
    ) -> Answer {
        let answer = match self.cache.fetches.enter(key(mini_program)) {
            Entered::Known(answer) => return answer,
            Entered::Running(answer) => timeout_at(deadline, answer).await.map(Result::ok),
            Entered::First(leader) => {
                let invalid = invalid.cloned();
                let lead = self.clone().lead(mini_program.clone(), invalid, leader);
                timeout_at(deadline, tokio::spawn(lead))
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

    async fn lead(
        self,
        mini_program: Arc<MiniProgram>,
        invalid: Option<AccessToken>,
        leader: Leader<Answer>,
    ) -> Answer {
        let appid = mini_program.appid();
        let answer = self.client.stable_token(&mini_program).await;
        match (&answer, invalid) {
            (Ok(token), None) => {
                self.cache.store(appid, token.clone());
                leader.answer(&answer);
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
                leader.remember(answer.clone(), PAUSE);
            }
            (Err(error), _) => {
                if !diagnosis::report(None, appid, error) {
                    tracing::warn!(appid, %error, "no access_token could be fetched");
                }
                leader.remember(answer.clone(), PAUSE);
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
