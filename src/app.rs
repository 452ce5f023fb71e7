//! What a handler may reach.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::login::Login;
use crate::metrics::Metrics;
use crate::user_data::UserData;
use crate::{session, wechat};

/// The parts of a running service.
pub struct App {
    /// Exchanges codes for sessions.
    pub login: Arc<Login>,
    /// Opens user data.
    pub user_data: UserData,
    /// Counts.
    pub metrics: Arc<Metrics>,
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
    /// The metrics contradict each other.
    #[error("cannot set up the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// No keys can be made from the AppSecrets.
    #[error("cannot make keys from the AppSecrets")]
    Encryption,
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
        let metrics = Arc::new(Metrics::new()?);
        let wechat = wechat::Client::new(config.wechat)?;
        let apps = config.mini_programs.iter();
        let encryption = session::Encryption::new(apps.map(|app| (app.appid(), app.secrets())))
            .map_err(|_| StartError::Encryption)?;
        let store =
            session::Store::open(&config.sessions, encryption, metrics.clone(), clock.clone())?;
        Ok(Self {
            login: Login::new(
                wechat,
                config.mini_programs,
                config.max_in_flight,
                store.clone(),
                config.sessions.ttl,
                metrics.clone(),
                clock.clone(),
            ),
            user_data: UserData::new(store.clone(), config.userdata_max_age, clock.clone()),
            metrics,
            sessions: store,
            clock,
        })
    }

    /// The same app for another runtime: what is counted, remembered and stored is shared,
    /// connections are not, since each lives in the runtime that made it.
    ///
    /// # Errors
    /// [`StartError`], for the operator to read.
    pub fn sibling(&self) -> Result<Self, StartError> {
        let store = self.sessions.sibling()?;
        let wechat = self.login.wechat().sibling()?;
        Ok(Self {
            login: self.login.sibling(wechat, store.clone()),
            user_data: self.user_data.sibling(store.clone()),
            metrics: self.metrics.clone(),
            sessions: store,
            clock: self.clock.clone(),
        })
    }
}
