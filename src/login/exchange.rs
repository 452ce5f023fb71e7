//! One exchange of a code: looks into the store whether the code was exchanged before, exchanges it at
//! WeChat, and stores the first session.

use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::{sleep, timeout};

use super::{LoggedIn, Login, LoginError, LoginRequest, diagnosis};
use crate::session::{Exchange, ExchangeHash, User};
use crate::wechat::{self, CodeSession, Errcode, Invalid, Meaning, MiniProgram};

/// How an exchange ended.
pub(super) enum ExchangeEnd {
    /// WeChat named the user, and the first session is stored.
    Stored(User, LoggedIn),
    /// The code was exchanged before, by another replica or before a restart.
    ExchangedBefore(User),
    /// WeChat refused, or gave no answer and may have used the code up.
    Refused(wechat::Error),
    /// WeChat named the user, and the session could not be stored.
    NotStored(CodeSession, LoginError),
    /// WeChat has not received the code: the next request may exchange it.
    CodeUnused(LoginError),
}

/// The longest wait for the session of another replica's exchange to appear in the store.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);
const REPLICA_POLL: Duration = Duration::from_millis(50);

impl Login {
    /// Exchanges a code, unless the store knows that it was exchanged before.
    pub(super) async fn exchange(&self, request: &LoginRequest, hash: ExchangeHash) -> ExchangeEnd {
        let mini_program = &*request.mini_program;
        // By another replica, or by this one before a restart.
        match self.sessions.exchanged(hash).await {
            Ok(None) => {}
            Ok(Some(user)) => {
                self.shared.metrics.repeat();
                return ExchangeEnd::ExchangedBefore(user);
            }
            Err(error) => return ExchangeEnd::CodeUnused(error.into()),
        }
        let slot = match self.acquire_slot(mini_program).await {
            Ok(slot) => slot,
            Err(error) => return ExchangeEnd::CodeUnused(error),
        };
        let in_flight = self.shared.metrics.exchange();
        let answer = self.wechat.code_to_session(mini_program, &request.js_code);
        let answer = answer.await;
        drop(in_flight);
        match answer {
            Ok(user) => self.store_first_session(request, hash, user).await,
            Err(error) => {
                drop(slot);
                diagnosis::log_refused_code(request, &error);
                self.exchange_failed(mini_program, hash, error).await
            }
        }
    }

    /// Waits for a slot. Fails if the daily quota is used up.
    async fn acquire_slot(
        &self,
        mini_program: &MiniProgram,
    ) -> Result<SemaphorePermit<'_>, LoginError> {
        self.check_quota(mini_program)?;
        let slot = self.shared.slots.acquire().await;
        let slot = slot.map_err(|_| LoginError::Overloaded)?;
        self.check_quota(mini_program).map(|()| slot)
    }

    fn check_quota(&self, mini_program: &MiniProgram) -> Result<(), LoginError> {
        if mini_program.has_exhausted_quota(self.shared.clock.now()) {
            return Err(wechat::Error::from(Errcode::QUOTA_EXHAUSTED).into());
        }
        Ok(())
    }

    /// Stores the first session together with the exchange and its `session_key`.
    pub(super) async fn store_first_session(
        &self,
        request: &LoginRequest,
        hash: ExchangeHash,
        user: CodeSession,
    ) -> ExchangeEnd {
        let identity = User {
            openid: user.openid.clone(),
            unionid: user.unionid.clone(),
        };
        let exchange = Exchange {
            hash,
            session_key: user.session_key.clone(),
        };
        let appid = request.mini_program.appid();
        match self.open_session(appid, &identity, Some(exchange)).await {
            Ok(session) => ExchangeEnd::Stored(identity, session),
            Err(error) => ExchangeEnd::NotStored(user, error),
        }
    }

    /// Decides from an error whether the code is used up, and whether the quota is.
    async fn exchange_failed(
        &self,
        mini_program: &MiniProgram,
        hash: ExchangeHash,
        error: wechat::Error,
    ) -> ExchangeEnd {
        let meaning = match &error {
            wechat::Error::Unreachable(_) => return ExchangeEnd::CodeUnused(error.into()),
            wechat::Error::Refused(refusal) => Some(refusal.meaning()),
            wechat::Error::Invalid(Invalid::BusyThenUsed) => Some(Meaning::CodeUsed),
            _ => None,
        };
        match meaning {
            Some(Meaning::QuotaExhausted) => mini_program.exhaust_quota(self.shared.clock.now()),
            Some(Meaning::CodeUsed) if self.sessions.is_shared() => {
                if let Some(user) = self.exchanged_elsewhere(hash).await {
                    return ExchangeEnd::ExchangedBefore(user);
                }
            }
            _ => {}
        }
        ExchangeEnd::Refused(error)
    }

    /// Waits until another replica that exchanged the same code at the same time has stored its session.
    async fn exchanged_elsewhere(&self, hash: ExchangeHash) -> Option<User> {
        let found = async {
            loop {
                if let Ok(Some(user)) = self.sessions.exchanged(hash).await {
                    return user;
                }
                sleep(REPLICA_POLL).await;
            }
        };
        timeout(REPLICA_TIMEOUT, found).await.ok()
    }
}
