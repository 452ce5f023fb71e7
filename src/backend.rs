//! What a team's own backend asks: a user's phone number, signatures with a user's `session_key`, the end of all
//! sessions of a user, and the `access_token`.

use std::sync::Arc;

use secrecy::ExposeSecret;
use tokio::sync::OwnedMutexGuard;

use crate::app::WxLogin;
use crate::one_time_codes::OneTimeCode;
use crate::problem::{Problem, Purpose};
use crate::session::{Session, Token, UserId};
use crate::wechat::{self, AccessToken, MiniProgram, PhoneNumber, hmac_signature};

/// The longest openid, in bytes.
const MAX_OPENID_LEN: usize = 128;

/// The user of a phone code and WeChat's answer, which is kept in the memory of this process only; `None` if WeChat
/// has not received the code.
pub(crate) type KnownPhone = Option<(String, Result<PhoneNumber, wechat::Error>)>;

impl WxLogin {
    /// The phone number of a user, which WeChat gives once for a code of the phone number button. The same code for
    /// the same user gives the same number for 60 s, in this process.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn phone_number(
        &self,
        appid: &str,
        openid: &str,
        phone_code: &str,
    ) -> Result<PhoneNumber, Problem> {
        let (mini_program, _) = self.user(appid, openid)?;
        let code = match OneTimeCode::parse(phone_code) {
            Err(Problem::MissingCode) => return Err(Problem::MalformedCode),
            code => code?,
        };
        let hash = code.hash(appid);
        let (wxlogin, mini_program, openid) =
            (self.clone(), mini_program.clone(), openid.to_owned());
        let failed = |error| Problem::Wechat(error, Purpose::PhoneCode);
        let work = async move |mut known: OwnedMutexGuard<KnownPhone>| {
            let (wechat, codes) = (&wxlogin.0.wechat, &wxlogin.0.phone_codes);
            if known.is_none() {
                let number = wechat.phone_number(&mini_program, &openid, code.expose());
                match number.await {
                    Err(error) if !error.was_sent() => return Err(failed(error)),
                    answer => *known = Some((openid.clone(), answer)),
                }
                codes.remember(hash);
                codes.forget_in_time();
            }
            match &*known {
                Some((user, answer)) if *user == openid => answer.clone().map_err(failed),
                _ => Err(Problem::AnotherUsersCode),
            }
        };
        let number = self.0.phone_codes.run(hash, work).await;
        number.unwrap_or(Err(Problem::Internal(
            "the exchange of a phone code panicked",
        )))
    }

    /// Signs the bytes of `data` with the user's newest `session_key`: lower-case hex HMAC-SHA256, as
    /// `wx.requestVirtualPayment` and `/xpay/…` require it.
    ///
    /// # Errors
    /// [`Problem::NoSessionKey`] and others.
    pub async fn sign(&self, appid: &str, openid: &str, data: &str) -> Result<String, Problem> {
        let (_, user) = self.user(appid, openid)?;
        let key = self.0.sessions.newest_key(user).await?;
        let key = key.ok_or(Problem::NoSessionKey)?;
        Ok(hmac_signature(data, key.expose_secret()))
    }

    /// Whether the user's newest `session_key` is valid at WeChat; `false` if there is none.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn check_session(&self, appid: &str, openid: &str) -> Result<bool, Problem> {
        let (mini_program, user) = self.user(appid, openid)?;
        let Some(key) = self.0.sessions.newest_key(user).await? else {
            return Ok(false);
        };
        let key = key.expose_secret();
        let wechat = &self.0.wechat;
        let is_valid = wechat.check_session(mini_program, openid, key).await;
        is_valid.map_err(|error| Problem::Wechat(error, Purpose::Call))
    }

    /// The user's valid sessions, the newest first.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn sessions(&self, appid: &str, openid: &str) -> Result<Vec<Session>, Problem> {
        let (_, user) = self.user(appid, openid)?;
        Ok(self.0.sessions.list(user).await?)
    }

    /// Ends all sessions of a user of a Mini Program, as for a ban, and removes the user's rows and keys from the
    /// store. A code that is still remembered gives the user no further session.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn end_all(&self, appid: &str, openid: &str) -> Result<(), Problem> {
        let (_, user) = self.user(appid, openid)?;
        self.end_all_of(user, None).await
    }

    /// Ends all sessions of a user, and that of `token`.
    pub(crate) async fn end_all_of(
        &self,
        user: UserId<'_>,
        token: Option<&Token>,
    ) -> Result<(), Problem> {
        self.0.endings.add(user);
        Ok(self.0.sessions.end_all(user, token).await?)
    }

    /// WeChat's `access_token` of a Mini Program, for calls that wxlogin does not make. It is cached and renewed
    /// here: call this whenever you need it.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn access_token(&self, appid: &str) -> Result<AccessToken, Problem> {
        let mini_program = self.mini_program(appid).ok_or(Problem::UnknownAppInPath)?;
        let wechat = &self.0.wechat;
        let token = wechat.access_token(mini_program, wechat.deadline()).await;
        token.map_err(|error| Problem::Wechat(error, Purpose::Call))
    }

    /// The configured Mini Program and the user in it.
    fn user<'a>(
        &self,
        appid: &'a str,
        openid: &'a str,
    ) -> Result<(&Arc<MiniProgram>, UserId<'a>), Problem> {
        let mini_program = self.mini_program(appid).ok_or(Problem::UnknownAppInPath)?;
        let is_visible = openid.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible || !(1..=MAX_OPENID_LEN).contains(&openid.len()) {
            return Err(Problem::MalformedOpenid);
        }
        Ok((mini_program, UserId { appid, openid }))
    }
}
