//! A phone code is exchanged once, as a login's code is. Further requests with it for the same user get the
//! same number for a minute. It is kept in the memory of this process only.

use std::sync::Arc;

use tokio::time::sleep;

use super::{Users, UsersError, user_id};
use crate::session::EXCHANGE_TTL;
use crate::single_flight::{Entered, Leader};
use crate::spawn_on_drop::SpawnOnDrop;
use crate::wechat::{CallError, JsCode, MiniProgram, PhoneNumber};

/// The outcome of the exchange of a phone code.
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
        let user = user_id(appid, openid)?;
        let phone_code = JsCode::parse(phone_code)?;
        let answer = match self.shared.phone_codes.enter(phone_code.hash(appid)) {
            Entered::Remembered(answer) => answer,
            Entered::InFlight(answer) => {
                let panicked = UsersError::Internal("the exchange of a phone code panicked");
                answer.await.map_err(|_| panicked)?
            }
            Entered::Leader(leader) => {
                let openid = openid.into();
                let exchange = self
                    .clone()
                    .run_as_leader(mini_program, openid, phone_code, leader);
                SpawnOnDrop::new(exchange).await
            }
        };
        answer.for_user(&user.openid)
    }

    /// Exchanges a phone code, and publishes the answer to concurrent and later requests.
    async fn run_as_leader(
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
            leader.answer_without_remembering(&answer);
            return answer;
        };
        let (result, was_sent) = match asked {
            Ok(number) => (Ok(number), true),
            Err(CallError::Sent(error)) => (Err(UsersError::PhoneCode(error)), true),
            Err(CallError::NotSent(error)) => (Err(UsersError::Wechat(error)), false),
        };
        let answer = PhoneAnswer { openid, result };
        if was_sent {
            leader.answer_and_remember(answer.clone(), EXCHANGE_TTL);
            // The number is removed from memory after a minute, also without another phone code.
            tokio::spawn(async move {
                sleep(EXCHANGE_TTL).await;
                self.shared.phone_codes.evict_expired();
            });
        } else {
            leader.answer_without_remembering(&answer);
        }
        answer
    }
}

impl PhoneAnswer {
    /// The answer to a request with the same code for the user `openid`.
    fn for_user(self, openid: &str) -> Result<PhoneNumber, UsersError> {
        match self.result {
            Ok(_) | Err(UsersError::PhoneCode(_)) if *self.openid != *openid => {
                Err(UsersError::AnotherUsersCode)
            }
            result => result,
        }
    }
}
