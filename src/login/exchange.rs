//! The exchange of a login's code, at WeChat or by another replica.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Known, Request, failed};
use crate::app::WxLogin;
use crate::metrics::Counted;
use crate::problem::Problem;
use crate::session::Session;
use crate::wechat::{self, Invalid, Meaning};

/// The longest wait for the session of another replica's exchange to appear in the store.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);
const REPLICA_POLL: Duration = Duration::from_millis(50);

impl WxLogin {
    /// Exchanges a code at WeChat, unless another replica has. An error means that WeChat has not received it.
    pub(super) async fn exchange(&self, request: &Request) -> Result<Known, Problem> {
        let (metrics, sessions) = (&self.0.metrics, &self.0.sessions);
        let endings = self.0.endings.count();
        if sessions.is_shared()
            && let Some(session) = sessions.exchanged(&request.hash).await?
        {
            metrics.login_repeats.inc();
            return Ok(Known::stored(session, endings));
        }
        let (wechat, mini_program) = (&self.0.wechat, &*request.mini_program);
        let slot = wechat.login_slot(mini_program).await.map_err(failed)?;
        let in_flight = Counted::new(&metrics.exchanges_in_flight);
        let timer = metrics.exchange_duration.start_timer();
        let answer = wechat.code_to_session(mini_program, request.code.expose());
        let error = match answer.await {
            Ok(user) => return Ok(Known::User(user, self.0.endings.count())),
            Err(error) => error,
        };
        drop((timer, in_flight, slot));
        let referring = request.referring_appid.as_deref();
        wechat::log_refused_code(&request.id, mini_program, referring, &error);
        if !error.was_sent() {
            return Err(failed(error));
        }
        let may_be_exchanged = error.meaning() == Some(Meaning::CodeUsed)
            || error == wechat::Error::Invalid(Invalid::BusyThenUsed);
        if may_be_exchanged
            && sessions.is_shared()
            && let Some(session) = self.exchanged_elsewhere(request).await
        {
            return Ok(Known::stored(session, endings));
        }
        Ok(Known::Refused(error))
    }

    /// Waits until another replica that exchanged the same code at the same time has stored its session.
    async fn exchanged_elsewhere(&self, request: &Request) -> Option<Session> {
        let found = async {
            loop {
                if let Ok(Some(session)) = self.0.sessions.exchanged(&request.hash).await {
                    return session;
                }
                sleep(REPLICA_POLL).await;
            }
        };
        timeout(REPLICA_TIMEOUT, found).await.ok()
    }
}
