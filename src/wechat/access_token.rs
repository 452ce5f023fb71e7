//! The `access_token` of each Mini Program: fetched when it is needed, kept, renewed in the background, and replaced
//! when WeChat refuses it as invalid.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use super::client::slot;
use super::http::Request;
use super::{ACCESS_TOKEN_REMEDY, AccessToken, Call, Client, Error, Meaning, MiniProgram};
use crate::clock::Clock;

/// A token older than this is fetched again in the background when it is used: another system may have
/// invalidated it.
const RENEWAL_AGE: Duration = Duration::from_secs(5 * 60);
/// A token is not used in its last seconds.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);
/// The pause after a fetch that failed, that followed a failed one, or that replaced an invalid token.
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
    /// When it was fetched by the monotonic clock, which a suspended machine stops, and by the wall clock, which can
    /// be set: WeChat ends a token by its own.
    fetched: Option<(AccessToken, [Duration; 2])>,
    /// Until when, by the monotonic clock, no other token is fetched, and why there is none.
    pause: Option<(Duration, Option<Error>)>,
}

impl TokenSlot {
    /// A token that has not expired by either clock, and its age.
    fn usable(&self, clock: &Clock) -> Option<(AccessToken, Duration)> {
        let state = self.state.lock();
        let (token, at) = state.fetched.as_ref()?;
        let age = clock.monotonic().saturating_sub(at[0]);
        let age = clock.wall().saturating_sub(at[1]).max(age);
        let left = AccessToken {
            expires_in: token.expires_in.saturating_sub(age.as_secs()),
            ..token.clone()
        };
        let life = Duration::from_secs(token.expires_in);
        // One that lives for less than the margin is used to its end.
        let used_for = life.checked_sub(EXPIRY_MARGIN).unwrap_or(life);
        (age < used_for).then_some((left, age))
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
        deadline: Instant,
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
    pub(super) async fn with_token<T>(
        self: &Arc<Self>,
        call: Call,
        mini_program: &Arc<MiniProgram>,
        request: impl Fn(&AccessToken) -> Request<'static>,
        parse: impl Fn(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _slot = slot(&self.call_slots).await?;
        let deadline = self.deadline();
        let token = self.access_token(mini_program, deadline).await;
        let token = token.map_err(|error| Error::NoAccessToken(error.into()))?;
        let ask = || self.send(request(&token), &parse);
        let error = match self.retry(call, mini_program, deadline, ask).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let other = self.another_token(mini_program, token, error, deadline);
        let other = other.await?;
        let ask = || self.send(request(&other), &parse);
        let result = self.retry(call, mini_program, deadline, ask).await;
        if let Err(error) = &result {
            let error = error.clone();
            // Fetches no third one: the second is too new.
            let _ = self
                .another_token(mini_program, other, error, deadline)
                .await;
        }
        result
    }

    /// Another token, if a call failed because WeChat calls this one invalid; else the error.
    async fn another_token(
        self: &Arc<Self>,
        mini_program: &Arc<MiniProgram>,
        token: AccessToken,
        error: Error,
        deadline: Instant,
    ) -> Result<AccessToken, Error> {
        if error.meaning() != Some(Meaning::InvalidAccessToken) {
            error.log_refusal(None, mini_program);
            return Err(error);
        }
        let other = self.fetch(mini_program, Some((token, error)), deadline);
        // WeChat has not looked at the call.
        other
            .await
            .map_err(|error| Error::NoAccessToken(error.into()))
    }

    /// Fetches a token, or waits for the fetch in flight. It goes on if its request is cancelled. `refused`: a token
    /// that WeChat called invalid, and how.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        mini_program: &Arc<MiniProgram>,
        refused: Option<(AccessToken, Error)>,
        deadline: Instant,
    ) -> Result<AccessToken, Error> {
        let (client, mini_program) = (self.clone(), mini_program.clone());
        let fetch = async move {
            let lock = mini_program.token.fetch.clone().lock_owned().await;
            client.fetch_alone(mini_program, refused, lock).await
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
        refused: Option<(AccessToken, Error)>,
        _lock: OwnedMutexGuard<()>,
    ) -> Result<AccessToken, Error> {
        let (slot, appid) = (&mini_program.token, mini_program.appid());
        let now = self.clock.monotonic();
        if let Some((token, _)) = &refused {
            let mut state = slot.state.lock();
            let is_it = |(fetched, _): &mut (AccessToken, _)| fetched.expose() == token.expose();
            state.fetched.take_if(is_it);
        }
        // Another request may have fetched one meanwhile.
        let usable = slot.usable(&self.clock);
        let pause = slot.state.lock().pause.clone();
        let pause = pause.filter(|(end, _)| now < *end);
        let log_fault = |what| tracing::error!(appid, remedy = ACCESS_TOKEN_REMEDY, "{what}");
        match (usable, pause, &refused) {
            (Some((token, age)), _, _) if age <= RENEWAL_AGE => return Ok(token),
            (_, Some((_, Some(error))), _) => return Err(error),
            (Some((token, _)), Some((_, None)), _) => return Ok(token),
            // The one that replaced another a moment ago is refused too.
            (None, Some((end, None)), Some((_, error))) => {
                log_fault("WeChat refuses one access_token after the other");
                slot.state.lock().pause = Some((end, Some(error.clone())));
                return Err(error.clone());
            }
            _ => {}
        }
        let fetched = match (self.stable_token(&mini_program).await, &refused) {
            (Ok(token), Some((before, error))) if token.expose() == before.expose() => {
                log_fault("WeChat calls the access_token invalid that it gives out");
                Err(error.clone())
            }
            (fetched, _) => {
                if let Err(error) = &fetched
                    && !error.log_refusal(None, &mini_program)
                {
                    tracing::warn!(appid, %error, "no access_token could be fetched");
                }
                fetched
            }
        };
        let mut state = slot.state.lock();
        let at = [self.clock.monotonic(), self.clock.wall()];
        let has_failed = matches!(state.pause, Some((_, Some(_))));
        if fetched.is_err() || refused.is_some() || has_failed {
            state.pause = Some((at[0] + FETCH_PAUSE, fetched.as_ref().err().cloned()));
        }
        if let Ok(token) = &fetched {
            state.fetched = Some((token.clone(), at));
        }
        fetched
    }
}
