//! A phone code is exchanged once, as a login's code is: whoever repeats it within a minute for the same
//! user gets the same number. It is kept in the memory of this process only.

use std::sync::Arc;

use tokio::time::sleep;

use super::{Users, UsersError, user};
use crate::session::EXCHANGE_TTL;
use crate::single_flight::{Entered, Leader};
use crate::spawn_on_drop::SpawnOnDrop;
use crate::wechat::{CallError, JsCode, MiniProgram, PhoneNumber};

/// What became of a phone code.
#[derive(Clone)]
pub(super) struct PhoneAnswer {
    openid: Arc<str>,
    result: Result<PhoneNumber, UsersError>,
}

impl Users {
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
        let asked = if let Ok(_slot) = self.shared.slots.acquire().await {
            let wechat = &self.wechat;
            let number = wechat.phone_number(&mini_program, &openid, &phone_code);
            number.await
        } else {
            let result = Err(UsersError::Overloaded);
            let answer = PhoneAnswer { openid, result };
            leader.answer(&answer);
            return answer;
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
