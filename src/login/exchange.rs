//! One exchange of a code: asks the store whether it was exchanged before, then WeChat, and stores the
//! user's session.

use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::{sleep, timeout};

use super::{LoggedIn, Login, LoginError, LoginRequest, diagnosis};
use crate::session::{Exchange, ExchangeHash, User};
use crate::wechat::{self, CodeSession, Errcode, Invalid, Meaning, MiniProgram};

/// How an exchange ended.
pub(super) enum ExchangeEnd {
    /// WeChat named a user, whose first session is stored.
    Stored(User, LoggedIn),
    /// The code was exchanged before, by another replica or before a restart.
    Known(User),
    /// WeChat refused, or gave no answer and may have used the code up.
    Refused(wechat::Error),
    NotStored(CodeSession, LoginError),
    /// WeChat has not seen the code: the next request may exchange it.
    CodeUnused(LoginError),
}

/// The longest time between another replica's exchange and its session in the store.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);
const REPLICA_POLL: Duration = Duration::from_millis(50);

impl Login {
    /// Exchanges a code.
    pub(super) async fn exchange(&self, request: &LoginRequest, hash: ExchangeHash) -> ExchangeEnd {
        let mini_program = &*request.mini_program;
        // Another replica may have exchanged it, or this one before it was restarted.
        match self.sessions.exchanged(hash).await {
            Ok(None) => {}
            Ok(Some(user)) => {
                self.shared.metrics.repeat();
                return ExchangeEnd::Known(user);
            }
            Err(error) => return ExchangeEnd::CodeUnused(error.into()),
        }
        let slot = match self.slot(mini_program).await {
            Ok(slot) => slot,
            Err(error) => return ExchangeEnd::CodeUnused(error),
        };
        let running = self.shared.metrics.exchange();
        let answer = self.wechat.code_to_session(mini_program, &request.js_code);
        let answer = answer.await;
        drop(running);
        match answer {
            Ok(user) => self.store(request, hash, user).await,
            Err(error) => {
                drop(slot);
                diagnosis::report(request, &error);
                self.refused(mini_program, hash, error).await
            }
        }
    }

    /// Waits for a slot to exchange a code.
    async fn slot(&self, mini_program: &MiniProgram) -> Result<SemaphorePermit<'_>, LoginError> {
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

    /// Stores what WeChat answered, together with the first session.
    pub(super) async fn store(
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

    /// What a failed exchange means for this code and for others.
    async fn refused(
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
                    return ExchangeEnd::Known(user);
                }
            }
            _ => {}
        }
        ExchangeEnd::Refused(error)
    }

    /// Waits for the outcome of another replica that has exchanged the same code at the same time.
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
