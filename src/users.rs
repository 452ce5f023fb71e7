//! The use cases of the team's own backend: a user's phone number, signatures with a user's
//! `session_key`, the end of all sessions of a user, and the `access_token`.
//!
//! A phone code is exchanged once, as a login's code is: whoever repeats it within a minute for the same
//! user gets the same number. It is kept in the memory of this process only.

use std::sync::Arc;

use secrecy::ExposeSecret;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::session::{EXCHANGE_TTL, Store, Unavailable, UserId};
use crate::single_flight::{Entered, Leader, SingleFlight};
use crate::slots::Slots;
use crate::spawn_on_drop::SpawnOnDrop;
use crate::wechat::{
    self, AccessToken, CallError, JsCode, JsCodeError, MiniProgram, PhoneNumber, TokenClient,
    hmac_signature,
};

/// The longest openid, in bytes.
const MAX_OPENID_LEN: usize = 128;

/// Answers the backend, in one runtime.
pub struct Users {
    wechat: TokenClient,
    sessions: Store,
    shared: Arc<Shared>,
}

/// What all runtimes share.
pub struct Shared {
    mini_programs: Vec<Arc<MiniProgram>>,
    phone_codes: Arc<SingleFlight<PhoneAnswer>>,
    slots: Arc<Slots>,
}

/// Why the backend does not get what it asks for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// The Mini Program is not configured.
    #[error("the appid is not one that is configured")]
    UnknownApp,
    /// Not 1 to 128 visible ASCII characters.
    #[error("the openid is not 1 to 128 visible ASCII characters")]
    MalformedOpenid,
    /// This cannot be a phone code. WeChat was not asked.
    #[error(transparent)]
    MalformedCode(#[from] JsCodeError),
    /// The phone code was another user's a moment ago. WeChat was not asked.
    #[error("the phone code is another user's")]
    AnotherUsersCode,
    /// The user has no living session, or there is no key that belongs to it.
    #[error("there is no session_key to sign with")]
    NoSessionKey,
    /// The exchange of a phone code failed, and may have used the code up.
    #[error(transparent)]
    PhoneCode(wechat::Error),
    /// A call to WeChat failed, and nothing is used up.
    #[error(transparent)]
    Wechat(wechat::Error),
    /// The session store does not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// Too many calls to WeChat are in flight.
    #[error("too many calls to WeChat are in flight")]
    Overloaded,
    /// A fault of ours.
    #[error("{0}")]
    Internal(&'static str),
}

/// What became of a phone code.
#[derive(Clone)]
struct PhoneAnswer {
    openid: Arc<str>,
    result: Result<PhoneNumber, UsersError>,
}

impl Shared {
    /// For the users of `mini_programs`.
    #[must_use]
    pub(crate) fn new(
        mini_programs: Vec<Arc<MiniProgram>>,
        slots: Arc<Slots>,
        clock: Clock,
    ) -> Self {
        Self {
            mini_programs,
            phone_codes: Arc::new(SingleFlight::new(clock)),
            slots,
        }
    }
}

impl Users {
    /// Asks `wechat`, about users with sessions in `sessions`.
    #[must_use]
    pub fn new(wechat: TokenClient, sessions: Store, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            wechat,
            sessions,
            shared,
        })
    }

    /// The user's phone number, for a code of the phone number button.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn phone_number(
        self: &Arc<Self>,
        appid: &str,
        openid: &str,
        phone_code: &str,
    ) -> Result<PhoneNumber, UsersError> {
        let mini_program = self.mini_program(appid)?.clone();
        let user = user(appid, openid)?;
        let phone_code = JsCode::parse(phone_code)?;
        let answer = match self.shared.phone_codes.enter(phone_code.hash(appid)) {
            Entered::Known(answer) => answer,
            Entered::Running(answer) => {
                let panicked = UsersError::Internal("the exchange of a phone code panicked");
                answer.await.map_err(|_| panicked)?
            }
            Entered::First(leader) => {
                let openid = openid.into();
                let exchange = self
                    .clone()
                    .exchange(mini_program, openid, phone_code, leader);
                SpawnOnDrop::new(exchange).await
            }
        };
        answer.for_user(&user.openid)
    }

    /// Exchanges a phone code, and publishes the answer to concurrent and later requests.
    async fn exchange(
        self: Arc<Self>,
        mini_program: Arc<MiniProgram>,
        openid: Arc<str>,
        phone_code: JsCode,
        leader: Leader<PhoneAnswer>,
    ) -> PhoneAnswer {
        let asked = match self.shared.slots.acquire().await {
            Ok(_slot) => {
                let number = self
                    .wechat
                    .phone_number(&mini_program, &openid, &phone_code);
                number.await
            }
            Err(_) => {
                let result = Err(UsersError::Overloaded);
                let answer = PhoneAnswer { openid, result };
                leader.answer(&answer);
                return answer;
            }
        };
        let (result, was_sent) = match asked {
            Ok(number) => (Ok(number), true),
            Err(CallError::Sent(error)) => (Err(UsersError::PhoneCode(error)), true),
            Err(CallError::NotSent(error)) => (Err(UsersError::Wechat(error)), false),
        };
        let answer = PhoneAnswer { openid, result };
        if was_sent {
            leader.remember(answer.clone(), EXCHANGE_TTL);
            // The number is wiped after a minute without another phone code, too.
            tokio::spawn(async move {
                sleep(EXCHANGE_TTL).await;
                self.shared.phone_codes.forget();
            });
        } else {
            leader.answer(&answer);
        }
        answer
    }

    /// What WeChat wants where it asks for a signature with the user's `session_key`: lower-case hex
    /// HMAC-SHA256 over the bytes of `data`.
    ///
    /// # Errors
    /// [`UsersError::NoSessionKey`], or a failure of the store.
    pub async fn sign(&self, appid: &str, openid: &str, data: &str) -> Result<String, UsersError> {
        self.mini_program(appid)?;
        let key = self.sessions.newest_key(&user(appid, openid)?).await?;
        let key = key.ok_or(UsersError::NoSessionKey)?;
        Ok(hmac_signature(data, key.expose_secret()))
    }

    /// Whether WeChat calls the user's newest `session_key` valid; not if there is none.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn check_session(&self, appid: &str, openid: &str) -> Result<bool, UsersError> {
        let mini_program = self.mini_program(appid)?;
        let key = self.sessions.newest_key(&user(appid, openid)?).await?;
        let Some(key) = key else { return Ok(false) };
        let slot = self.shared.slots.acquire().await;
        let _slot = slot.map_err(|_| UsersError::Overloaded)?;
        let key = key.expose_secret();
        let checked = self.wechat.check_session(mini_program, openid, key).await;
        checked.map_err(|error| UsersError::Wechat(error.into()))
    }

    /// Ends all sessions of a user, and drops the user's keys.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn end_all(&self, appid: &str, openid: &str) -> Result<(), UsersError> {
        self.mini_program(appid)?;
        let user = user(appid, openid)?;
        Ok(self.sessions.end_all(&user, None).await?)
    }

    /// The `access_token` of a Mini Program.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn access_token(&self, appid: &str) -> Result<AccessToken, UsersError> {
        let mini_program = self.mini_program(appid)?;
        let token = self.wechat.access_token(mini_program).await;
        token.map_err(UsersError::Wechat)
    }

    /// Waits until no phone code is being exchanged, also for clients that have closed their connections.
    pub async fn drain(&self) {
        self.shared.phone_codes.drain().await;
    }

    fn mini_program(&self, appid: &str) -> Result<&Arc<MiniProgram>, UsersError> {
        let mut all = self.shared.mini_programs.iter();
        let found = all.find(|known| known.appid() == appid);
        found.ok_or(UsersError::UnknownApp)
    }
}

fn user(appid: &str, openid: &str) -> Result<UserId, UsersError> {
    let is_visible = openid.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible || !(1..=MAX_OPENID_LEN).contains(&openid.len()) {
        return Err(UsersError::MalformedOpenid);
    }
    Ok(UserId {
        appid: appid.to_owned(),
        openid: openid.to_owned(),
    })
}

impl PhoneAnswer {
    /// For whoever presents the same code for this user.
    fn for_user(self, openid: &str) -> Result<PhoneNumber, UsersError> {
        match self.result {
            Ok(_) | Err(UsersError::PhoneCode(_)) if *self.openid != *openid => {
                Err(UsersError::AnotherUsersCode)
            }
            result => result,
        }
    }
}
