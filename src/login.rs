//! The use case: a code is exchanged at WeChat, and becomes a session of ours.

use std::time::Duration;

use crate::clock::Clock;
use crate::session::{NewSession, Session, Store, Token, Unavailable};
use crate::wechat::{self, Client, JsCode};

/// Logs users in.
pub struct Login {
    wechat: Client,
    sessions: Store,
    ttl: Duration,
    clock: Clock,
}

/// A fresh session and the token that stands for it.
pub struct LoggedIn {
    /// For the client, and nobody else.
    pub token: Token,
    /// What the token stands for.
    pub session: Session,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// WeChat did not exchange the code.
    #[error(transparent)]
    Wechat(#[from] wechat::Error),
    /// The session could not be stored.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// The system has no randomness for a token.
    #[error("no random bytes for a token")]
    Random,
}

impl Login {
    /// Exchanges codes with `wechat` for sessions in `sessions` that live for `ttl`.
    #[must_use]
    pub fn new(wechat: Client, sessions: Store, ttl: Duration, clock: Clock) -> Self {
        Self {
            wechat,
            sessions,
            ttl,
            clock,
        }
    }

    /// The Mini Program whose users are logged in.
    #[must_use]
    pub fn appid(&self) -> &str {
        self.wechat.appid()
    }

    /// Exchanges a code and stores the session; it is durable when this returns.
    ///
    /// # Errors
    /// [`LoginError`]. The code may be used up then.
    pub async fn log_in(&self, js_code: &JsCode) -> Result<LoggedIn, LoginError> {
        let user = self.wechat.code_to_session(js_code).await?;
        let token = Token::generate().map_err(|_| LoginError::Random)?;
        let created = self.clock.now();
        let session = Session {
            appid: self.appid().to_owned(),
            openid: user.openid,
            unionid: user.unionid,
            created,
            expires: created + self.ttl.as_secs(),
        };
        let new = NewSession {
            session: session.clone(),
            session_key: user.session_key,
        };
        self.sessions.create(token.hash(), new).await?;
        Ok(LoggedIn { token, session })
    }
}
