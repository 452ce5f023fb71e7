//! A phone code is exchanged once, as a login's code is. Further requests with it for the same user get the same
//! number for a minute. It is kept in the memory of this process only.

use tokio::sync::OwnedMutexGuard;

use crate::app::WxLogin;
use crate::one_time_codes::OneTimeCode;
use crate::problem::{Problem, Purpose};
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
            let parts = &wxlogin.0;
            if let KnownPhone::Nothing = *known {
                let number = parts
                    .wechat
                    .phone_number(&mini_program, &openid, code.expose());
                let answer = number.await;
                if let Err(error) = &answer
                    && !error.was_sent()
                {
                    return Err(failed(error.clone()));
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
                } if *user == openid => answer.clone().map_err(failed),
                _ => Err(Problem::AnotherUsersCode),
            }
        };
        let panicked = Problem::Internal("the exchange of a phone code panicked");
        self.0
            .phone_codes
            .run(hash, work)
            .await
            .unwrap_or(Err(panicked))
    }
}
