//! The `access_token` of each Mini Program: fetched when it is needed, kept, renewed in the background, and replaced
//! when WeChat refuses it as invalid.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use super::client::slot;
use super::{ACCESS_TOKEN_REMEDY, AccessToken, Client, Error, Meaning, MiniProgram, diagnosis};
use crate::clock::Clock;

/// A token older than this is fetched again in the background when it is used: another system may have
/// invalidated it.
const RENEWAL_AGE: Duration = Duration::from_secs(5 * 60);
/// A token is not used in its last seconds.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);
/// The least time between a fetch that failed, or that replaced an invalid token, and the next one.
const FETCH_PAUSE: Duration = Duration::from_secs(10);

/// What is known of the token of a Mini Program.
#[derive(Debug, Default)]
pub(super) struct TokenSlot {
    state: Mutex<State>,
    /// Locked by the one fetch in flight.
    fetch: Arc<AsyncMutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    fetched: Option<Fetched>,
    /// Until when, by the monotonic clock, no other token is fetched, and the error of the last fetch.
    pause: Option<(Duration, Option<Error>)>,
}

#[derive(Debug)]
struct Fetched {
    token: AccessToken,
    /// By the monotonic clock, which a suspended machine stops, and by the wall clock, which can be set: WeChat ends
    /// a token by its own.
    at: [Duration; 2],
}

impl TokenSlot {
    /// A token that has not expired by either clock, and its age.
    fn usable(&self, clock: &Clock) -> Option<(AccessToken, Duration)> {
        let state = self.state();
        let Fetched { token, at } = state.fetched.as_ref()?;
        let now = [clock.monotonic(), clock.wall()];
        let ages = [0, 1].map(|clock| now[clock].saturating_sub(at[clock]));
        let age = ages[0].max(ages[1]);
        let left = AccessToken {
            expires_in: token.expires_in.saturating_sub(age.as_secs()),
            ..token.clone()
        };
        let life = Duration::from_secs(token.expires_in);
        // One that lives for less than the margin is used to its end.
        let used_for = life.checked_sub(EXPIRY_MARGIN).unwrap_or(life);
        (age < used_for).then_some((left, age))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// The `access_token` of a Mini Program, from the cache if there is a usable one.
    ///
    /// # Errors
    /// [`Error`]. A failed fetch is remembered for 10 s.
    pub async fn access_token(
        self: &Arc<Self>,
        mini_program: &Arc<MiniProgram>,
    ) -> Result<AccessToken, Error> {
        self.access_token_before(self.deadline(), mini_program)
            .await
    }

    async fn access_token_before(
        self: &Arc<Self>,
        deadline: Instant,
        mini_program: &Arc<MiniProgram>,
    ) -> Result<AccessToken, Error> {
        let slot = &mini_program.token;
        let Some((token, age)) = slot.usable(&self.clock) else {
            return self.fetch(mini_program, None, deadline).await;
        };
        if age > RENEWAL_AGE
            && let Ok(lock) = slot.fetch.clone().try_lock_owned()
        {
            let fetch = self.clone().fetch_alone(mini_program.clone(), None, lock);
            tokio::spawn(fetch);
        }
        Ok(token)
    }

    /// Makes a call with the `access_token`, and once more with another one if WeChat refuses the first as invalid.
    pub(super) async fn with_token<T, F: Future<Output = Result<T, Error>>>(
        self: &Arc<Self>,
        mini_program: &Arc<MiniProgram>,
        ask: impl Fn(AccessToken, Instant) -> F,
    ) -> Result<T, Error> {
        let _slot = slot(&self.call_slots).await?;
        let deadline = self.deadline();
        let token = self.access_token_before(deadline, mini_program).await;
        let token = token.map_err(|error| Error::NoAccessToken(error.into()))?;
        let error = match ask(token.clone(), deadline).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if error.meaning() != Some(Meaning::InvalidAccessToken) {
            diagnosis::log_refusal(None, mini_program.appid(), &error);
            return Err(error);
        }
        let other = self.fetch(mini_program, Some(&token), deadline).await;
        // Whatever is wrong with the first token is logged by the fetch.
        let result = match other {
            Ok(other) if other.expose() != token.expose() => {
                let result = ask(other, deadline).await;
                result.inspect_err(|error| log_second_refusal(mini_program.appid(), error))
            }
            Ok(_) => Err(error),
            Err(error) => Err(error),
        };
        result.map_err(Error::unreachable_as_broken)
    }

    /// Fetches a token, or waits for the fetch in flight. It goes on if its request is cancelled. `invalid`: a token
    /// that WeChat has refused.
    async fn fetch(
        self: &Arc<Self>,
        mini_program: &Arc<MiniProgram>,
        invalid: Option<&AccessToken>,
        deadline: Instant,
    ) -> Result<AccessToken, Error> {
        let (client, mini_program) = (self.clone(), mini_program.clone());
        let invalid = invalid.cloned();
        let fetch = async move {
            let lock = mini_program.token.fetch.clone().lock_owned().await;
            client.fetch_alone(mini_program, invalid, lock).await
        };
        match timeout_at(deadline, tokio::spawn(fetch)).await {
            Ok(Ok(token)) => token,
            Ok(Err(_)) => Err(Error::Broken(
                "the fetch of an access_token broke off".into(),
            )),
            Err(_) => Err(Error::Timeout),
        }
    }

    async fn fetch_alone(
        self: Arc<Self>,
        mini_program: Arc<MiniProgram>,
        invalid: Option<AccessToken>,
        _lock: OwnedMutexGuard<()>,
    ) -> Result<AccessToken, Error> {
        let (slot, appid) = (&mini_program.token, mini_program.appid());
        let now = self.clock.monotonic();
        let is_invalid = |token: &AccessToken| {
            let invalid = invalid.as_ref().map(AccessToken::expose);
            invalid == Some(token.expose())
        };
        // Another request may have fetched one meanwhile.
        let usable = slot.usable(&self.clock);
        let pause = slot.state().pause.clone().filter(|(end, _)| now < *end);
        match (usable, pause) {
            (Some((token, age)), _) if !is_invalid(&token) && age <= RENEWAL_AGE => {
                return Ok(token);
            }
            (_, Some((_, Some(error)))) => return Err(error),
            (Some((token, _)), Some((_, None))) => return Ok(token),
            _ => {}
        }
        let fetched = self.stable_token(&mini_program).await;
        let is_the_same = fetched.as_ref().is_ok_and(&is_invalid);
        match &fetched {
            Ok(_) if is_the_same => tracing::error!(
                appid,
                remedy = ACCESS_TOKEN_REMEDY,
                "WeChat gives out an access_token and calls it invalid"
            ),
            Ok(_) => {}
            Err(error) if diagnosis::log_refusal(None, appid, error) => {}
            Err(error) => tracing::warn!(appid, %error, "no access_token could be fetched"),
        }
        let mut state = slot.state();
        let pause_end = self.clock.monotonic() + FETCH_PAUSE;
        if fetched.is_err() || invalid.is_some() {
            state.pause = Some((pause_end, fetched.as_ref().err().cloned()));
        }
        if let Ok(token) = &fetched {
            let at = [self.clock.monotonic(), self.clock.wall()];
            let token = token.clone();
            state.fetched = Some(Fetched { token, at });
        }
        fetched
    }
}

fn log_second_refusal(appid: &str, error: &Error) {
    if error.meaning() == Some(Meaning::InvalidAccessToken) {
        let remedy = ACCESS_TOKEN_REMEDY;
        tracing::error!(
            appid,
            remedy,
            "WeChat refuses each access_token that it gives out"
        );
    } else {
        diagnosis::log_refusal(None, appid, error);
    }
}
