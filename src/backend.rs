//! What a team's own backend asks: a user's phone number, signatures with a user's `session_key`, the end of all
//! sessions of a user, and the `access_token`.

mod phone;

use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::app::WxLogin;
use crate::one_time_codes::CodeError;
use crate::session::{Session, Unavailable, UserId};
use crate::wechat::{self, AccessToken, MiniProgram, hmac_signature};
pub(crate) use phone::KnownPhone;

/// The longest openid, in bytes.
const MAX_OPENID_LEN: usize = 128;

/// Why a request of the backend failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The Mini Program is not configured.
    #[error("the appid is not one that is configured")]
    UnknownApp,
    /// Not 1 to 128 visible ASCII characters.
    #[error("the openid is not 1 to 128 visible ASCII characters")]
    MalformedOpenid,
    /// This cannot be a phone code. WeChat was not asked.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The phone code was another user's a moment ago. WeChat was not asked.
    #[error("the phone code is another user's")]
    AnotherUsersCode,
    /// The user has no valid session, or no `session_key` that can be decrypted.
    #[error("there is no session_key to sign with")]
    NoSessionKey,
    /// The exchange of a phone code failed.
    #[error(transparent)]
    PhoneCode(wechat::Error),
    /// Another call to WeChat failed, and nothing is used up.
    #[error(transparent)]
    Wechat(#[from] wechat::Error),
    /// The session store does not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// A fault of ours.
    #[error("{0}")]
    Internal(&'static str),
}

impl WxLogin {
    /// Signs the bytes of `data` with the user's newest `session_key`: lower-case hex HMAC-SHA256, as
    /// `wx.requestVirtualPayment` and `/xpay/…` require it.
    ///
    /// # Errors
    /// [`BackendError::NoSessionKey`], or a failure of the store.
    pub async fn sign(
        &self,
        appid: &str,
        openid: &str,
        data: &str,
    ) -> Result<String, BackendError> {
        let (_, user) = self.user(appid, openid)?;
        let key = self.0.sessions.newest_key(user).await?;
        let key = key.ok_or(BackendError::NoSessionKey)?;
        Ok(hmac_signature(data, key.expose_secret()))
    }

    /// Whether the user's newest `session_key` is valid at WeChat; `false` if there is none.
    ///
    /// # Errors
    /// [`BackendError`].
    pub async fn check_session(&self, appid: &str, openid: &str) -> Result<bool, BackendError> {
        let (mini_program, user) = self.user(appid, openid)?;
        let Some(key) = self.0.sessions.newest_key(user).await? else {
            return Ok(false);
        };
        let key = key.expose_secret();
        let wechat = &self.0.wechat;
        Ok(wechat.check_session(mini_program, openid, key).await?)
    }

    /// The user's valid sessions, the newest first.
    ///
    /// # Errors
    /// [`BackendError`].
    pub async fn sessions(&self, appid: &str, openid: &str) -> Result<Vec<Session>, BackendError> {
        let (_, user) = self.user(appid, openid)?;
        Ok(self.0.sessions.list(user).await?)
    }

    /// Ends all sessions of a user of a Mini Program, as for a ban, and removes the user's rows and keys from the
    /// store. A code that is still remembered gives the user no further session.
    ///
    /// # Errors
    /// [`BackendError`].
    pub async fn end_all(&self, appid: &str, openid: &str) -> Result<(), BackendError> {
        let (_, user) = self.user(appid, openid)?;
        self.0.endings.add(user);
        Ok(self.0.sessions.end_all(user, None).await?)
    }

    /// WeChat's `access_token` of a Mini Program, for calls that wxlogin does not make. It is cached and renewed
    /// here: call this whenever you need it.
    ///
    /// # Errors
    /// [`BackendError`].
    pub async fn access_token(&self, appid: &str) -> Result<AccessToken, BackendError> {
        let mini_program = self.mini_program(appid).ok_or(BackendError::UnknownApp)?;
        let wechat = &self.0.wechat;
        Ok(wechat.access_token(mini_program, wechat.deadline()).await?)
    }

    /// The configured Mini Program and the user in it.
    fn user<'a>(
        &self,
        appid: &'a str,
        openid: &'a str,
    ) -> Result<(&Arc<MiniProgram>, UserId<'a>), BackendError> {
        let mini_program = self.mini_program(appid).ok_or(BackendError::UnknownApp)?;
        let is_visible = openid.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible || !(1..=MAX_OPENID_LEN).contains(&openid.len()) {
            return Err(BackendError::MalformedOpenid);
        }
        Ok((mini_program, UserId { appid, openid }))
    }
}
