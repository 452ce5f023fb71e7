//! The functions of the internal door, for an app that embeds wxlogin.

use super::WxLogin;
use crate::users::UsersError;
use crate::wechat::{AccessToken, PhoneNumber};

impl WxLogin {
    /// Ends all sessions of a user of a Mini Program, as for a ban, and drops the user's keys.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn end_all(&self, appid: &str, openid: &str) -> Result<(), UsersError> {
        self.users().end_all(appid, openid).await
    }

    /// The phone number of a user, which WeChat gives once for a code of the phone number button. The same
    /// code for the same user gives the same number for 60 s, in this process.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn phone_number(
        &self,
        appid: &str,
        openid: &str,
        phone_code: &str,
    ) -> Result<PhoneNumber, UsersError> {
        let users = self.users();
        users.phone_number(appid, openid, phone_code).await
    }

    /// Signs the bytes of `data` with the user's newest `session_key`: lower-case hex HMAC-SHA256, as
    /// `wx.requestVirtualPayment` and `/xpay/…` want it.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn sign(&self, appid: &str, openid: &str, data: &str) -> Result<String, UsersError> {
        self.users().sign(appid, openid, data).await
    }

    /// Whether the user's newest `session_key` is valid at WeChat; `false` if there is none.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn check_session(&self, appid: &str, openid: &str) -> Result<bool, UsersError> {
        self.users().check_session(appid, openid).await
    }

    /// WeChat's `access_token` of a Mini Program, for calls that wxlogin does not make. It is cached and
    /// renewed here: call this whenever you need it.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn access_token(&self, appid: &str) -> Result<AccessToken, UsersError> {
        self.users().access_token(appid).await
    }
}
