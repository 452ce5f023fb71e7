//! What a handler may reach.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::login::Login;
use crate::{session, wechat};

/// The parts of a running service.
pub struct App {
    /// Exchanges codes for sessions.
    pub login: Arc<Login>,
    /// Knows the sessions.
    pub sessions: session::Store,
    /// Tells how much of a session is left.
    pub clock: Clock,
}

/// Why the parts could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// TLS cannot be set up.
    #[error("cannot set up the connection to WeChat: {0}")]
    Wechat(#[from] wechat::Error),
    /// The session store cannot be used.
    #[error(transparent)]
    Sessions(#[from] session::OpenError),
}

impl App {
    /// Opens the session store and sets up the connection to WeChat, without using it yet.
    ///
    /// # Errors
    /// [`StartError`], for the operator to read.
    pub fn open(config: Config, clock: Clock) -> Result<Self, StartError> {
        let wechat = wechat::Client::new(config.wechat)?;
        let store = session::Store::open(&config.sessions.place, clock.clone())?;
        Ok(Self {
            login: Login::new(
                wechat,
                config.mini_programs,
                config.max_in_flight,
                store.clone(),
                config.sessions.ttl,
                clock.clone(),
            ),
            sessions: store,
            clock,
        })
    }
}
