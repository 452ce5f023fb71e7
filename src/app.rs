//! `WxLogin`: the parts of a running service.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::KnownPhone;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::login::Known;
use crate::metrics::Metrics;
use crate::one_time_codes::{Endings, OneTimeCodes};
use crate::problem::Problem;
use crate::session::{self, Session, Store, Token};
use crate::wechat::{self, Call, Client, MiniProgram};

/// The login service. Cheap to clone, and usable in any runtime and thread.
#[derive(Clone)]
pub struct WxLogin(pub(crate) Arc<Parts>);

/// The parts of the service. The use cases are methods of [`WxLogin`] in files of their own.
pub(crate) struct Parts {
    /// At least one; the first is the default.
    pub(crate) mini_programs: Vec<Arc<MiniProgram>>,
    pub(crate) wechat: Arc<Client>,
    pub(crate) sessions: Store,
    pub(crate) login_codes: Arc<OneTimeCodes<Known>>,
    pub(crate) endings: Endings,
    pub(crate) phone_codes: Arc<OneTimeCodes<KnownPhone>>,
    pub(crate) session_ttl: Duration,
    pub(crate) userdata_max_age: Option<Duration>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
}

/// Why the service could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Settings are wrong: one line for each.
    #[error(transparent)]
    Settings(#[from] config::Problems),
    /// TLS cannot be set up.
    #[error("cannot set up the connection to WeChat: {0}")]
    Wechat(#[from] wechat::Error),
    /// The session store cannot be opened.
    #[error(transparent)]
    Sessions(#[from] session::OpenError),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl WxLogin {
    /// Reads the settings from the environment and, below it, from `.env` in the working directory, and
    /// opens the session store. Connects to nothing on the network yet. Names that are no setting of
    /// wxlogin are ignored: they may be the host's.
    ///
    /// # Errors
    /// [`StartError`], for the operator to read.
    pub fn from_env() -> Result<Self, StartError> {
        Self::new(Config::load(Path::new("."))?)
    }

    /// Opens the session store. Connects to nothing on the network yet.
    ///
    /// # Errors
    /// [`StartError`], for the operator to read.
    pub fn new(config: Config) -> Result<Self, StartError> {
        Self::with_clock(config, Clock::system())
    }

    /// The same with another clock, for tests of this crate.
    ///
    /// # Errors
    /// [`StartError`].
    #[doc(hidden)]
    pub fn with_clock(config: Config, clock: Clock) -> Result<Self, StartError> {
        let metrics = Metrics::new().map_err(|error| StartError::Internal(error.to_string()))?;
        let metrics = Arc::new(metrics);
        for mini_program in &config.mini_programs {
            metrics.add_calls(mini_program.appid(), Call::ALL.map(Call::name));
        }
        let wechat = Client::new(config.wechat, clock.clone(), metrics.observer())?;
        let apps = config.mini_programs.iter();
        let encryption = session::Encryption::new(apps.map(|app| (app.appid(), app.secrets())));
        let encryption = encryption.map_err(|_| {
            StartError::Internal("cannot derive encryption keys from the AppSecrets".into())
        })?;
        let (sessions, recent) =
            Store::open(&config.sessions, encryption, metrics.clone(), clock.clone())?;
        let login_codes = OneTimeCodes::new(clock.clone());
        // The oldest first: they are forgotten in this order.
        for (code, first) in recent.into_iter().rev() {
            let age = Duration::from_secs(clock.now().saturating_sub(first.created));
            login_codes.insert(code, Known::Stored(first, 0, 0), age);
        }
        Ok(Self(Arc::new(Parts {
            mini_programs: config.mini_programs.into_iter().map(Arc::new).collect(),
            wechat: Arc::new(wechat),
            sessions,
            login_codes: Arc::new(login_codes),
            endings: Endings::new(clock.clone()),
            phone_codes: Arc::new(OneTimeCodes::new(clock.clone())),
            session_ttl: config.sessions.ttl,
            userdata_max_age: config.userdata_max_age,
            metrics,
            clock,
        })))
    }

    /// Makes sure that a login could be stored.
    ///
    /// # Errors
    /// [`Problem::Store`] if not.
    pub async fn ready(&self) -> Result<(), Problem> {
        Ok(self.0.sessions.check().await?)
    }

    /// Problems of the session store that do not fail requests yet, such as a Redis that evicts keys: a
    /// sentence each.
    pub async fn store_warnings(&self) -> Vec<String> {
        self.0.sessions.warnings().await
    }

    /// The metrics in Prometheus' text format 0.0.4, for an app that serves them itself.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        self.0.metrics.text()
    }

    /// The valid session that has this token (`wxs_…`), if there is one.
    ///
    /// # Errors
    /// [`Problem::Store`] if the session store does not answer.
    pub async fn session(&self, token: &str) -> Result<Option<Session>, Problem> {
        match Token::parse(token) {
            Some(token) => Ok(self.0.sessions.find(&token).await?),
            None => Ok(None),
        }
    }

    /// Ends the session of a token. A token without a session is no error.
    ///
    /// # Errors
    /// [`Problem::Store`] if the session store does not answer.
    pub async fn end(&self, token: &str) -> Result<(), Problem> {
        if let Some(token) = Token::parse(token)
            && let Some(session) = self.0.sessions.find(&token).await?
        {
            self.0.sessions.end(&token, &session).await?;
        }
        Ok(())
    }

    /// Waits for exchanges in flight, also of clients that have closed their connections, and closes the
    /// session store.
    pub async fn close(&self) {
        self.drain().await;
        self.0.sessions.close().await;
    }

    /// Waits until no code is being exchanged.
    pub(crate) async fn drain(&self) {
        self.0.login_codes.drain().await;
        self.0.phone_codes.drain().await;
    }
}
