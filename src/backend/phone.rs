//! A phone code is exchanged once, as a login's code is. Further requests with it for the same user get the same
//! number for a minute. It is kept in the memory of this process only.

use super::BackendError;
use crate::app::WxLogin;
use crate::one_time_codes::OneTimeCode;
use crate::wechat::{self, PhoneNumber};

/// What is known of a phone code.
#[derive(Default)]
pub(crate) enum KnownPhone {
    /// WeChat has not received it.
    #[default]
    Nothing,
    /// WeChat gave the number of the user `openid`, refused, or gave no answer.
    Exchanged {
        openid: String,
        answer: Result<PhoneNumber, wechat::Error>,
    },
}

impl WxLogin {
    /// The phone number of a user, which WeChat gives once for a code of the phone number button. The same code for
    /// the same user gives the same number for 60 s, in this process.
    ///
    /// # Errors
    /// [`BackendError`].
    pub async fn phone_number(
        &self,
        appid: &str,
        openid: &str,
        phone_code: &str,
    ) -> Result<PhoneNumber, BackendError> {
        let (mini_program, _) = self.user(appid, openid)?;
        let code = OneTimeCode::parse(phone_code)?;
        let hash = code.hash(appid);
        let (wxlogin, mini_program, openid) =
            (self.clone(), mini_program.clone(), openid.to_owned());
        let work = async move |mut known: tokio::sync::OwnedMutexGuard<KnownPhone>| {
            let parts = &wxlogin.0;
            if let KnownPhone::Nothing = *known {
                let number = parts
                    .wechat
                    .phone_number(&mini_program, &openid, code.expose());
                let answer = number.await;
                if let Err(error) = &answer
                    && !error.was_sent()
                {
                    return Err(BackendError::PhoneCode(error.clone()));
                }
                *known = KnownPhone::Exchanged {
                    openid: openid.clone(),
                    answer,
                };
                parts.phone_codes.remember(hash);
                parts.phone_codes.forget_in_time();
            }
            match &*known {
                KnownPhone::Exchanged {
                    openid: user,
                    answer,
                } if *user == openid => answer.clone().map_err(BackendError::PhoneCode),
                _ => Err(BackendError::AnotherUsersCode),
            }
        };
        let panicked = BackendError::Internal("the exchange of a phone code panicked");
        self.0
            .phone_codes
            .run(hash, work)
            .await
            .unwrap_or(Err(panicked))
    }
}
