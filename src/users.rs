//! The use cases of the team's own backend: a user's phone number, signatures with a user's
//! `session_key`, the end of all sessions of a user, and the `access_token`.

mod phone;

use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::clock::Clock;
use crate::session::{Store, Unavailable, UserId};
use crate::single_flight::SingleFlight;
use crate::slots::Slots;
use crate::wechat::{self, AccessToken, JsCodeError, MiniProgram, TokenClient, hmac_signature};
use phone::PhoneAnswer;

/// The longest openid, in bytes.
const MAX_OPENID_LEN: usize = 128;

/// The use cases of the backend, in one runtime.
pub struct Users {
    wechat: TokenClient,
    sessions: Store,
    shared: Arc<SharedUsers>,
}

/// What the backend's use cases share in all runtimes.
pub struct SharedUsers {
    mini_programs: Vec<Arc<MiniProgram>>,
    phone_codes: Arc<SingleFlight<PhoneAnswer>>,
    slots: Slots,
}

/// Why a request of the backend failed.
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
    /// The user has no living session, or no `session_key` that can be decrypted.
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

impl SharedUsers {
    /// For the users of `mini_programs`.
    #[must_use]
    pub(crate) fn new(mini_programs: Vec<Arc<MiniProgram>>, slots: Slots, clock: Clock) -> Self {
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
    pub fn new(wechat: TokenClient, sessions: Store, shared: Arc<SharedUsers>) -> Arc<Self> {
        Arc::new(Self {
            wechat,
            sessions,
            shared,
        })
    }

    /// Signs the bytes of `data` with the user's newest `session_key`: HMAC-SHA256 in lower-case hex.
    ///
    /// # Errors
    /// [`UsersError::NoSessionKey`], or a failure of the store.
    pub async fn sign(&self, appid: &str, openid: &str, data: &str) -> Result<String, UsersError> {
        self.mini_program(appid)?;
        let key = self.sessions.newest_key(&user_id(appid, openid)?).await?;
        let key = key.ok_or(UsersError::NoSessionKey)?;
        Ok(hmac_signature(data, key.expose_secret()))
    }

    /// Whether the user's newest `session_key` is valid at WeChat; `false` if there is none.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn check_session(&self, appid: &str, openid: &str) -> Result<bool, UsersError> {
        let mini_program = self.mini_program(appid)?;
        let key = self.sessions.newest_key(&user_id(appid, openid)?).await?;
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
        let user = user_id(appid, openid)?;
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

fn user_id(appid: &str, openid: &str) -> Result<UserId, UsersError> {
    let is_visible = openid.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible || !(1..=MAX_OPENID_LEN).contains(&openid.len()) {
        return Err(UsersError::MalformedOpenid);
    }
    Ok(UserId {
        appid: appid.to_owned(),
        openid: openid.to_owned(),
    })
}
