//! `WxLogin`: assembles the parts of a running service.

mod backend;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::login::{Login, SharedLogin};
use crate::metrics::Metrics;
use crate::session::{self, Database, Session, Store, Token, Unavailable};
use crate::slots::Slots;
use crate::user_data::UserData;
use crate::users::{SharedUsers, Users};
use crate::wechat::{self, TokenCache, TokenClient};

/// The login service. Cheap to clone.
///
/// Its connections to WeChat and to the session store live in the tokio runtime that uses them first, so all
/// clones belong to one runtime. For another one use [`WxLogin::for_another_runtime`].
#[derive(Clone)]
pub struct WxLogin(Arc<RuntimeParts>);

/// The parts of one runtime, with connections of its own. What runtimes share is in [`SharedParts`].
struct RuntimeParts {
    login: Arc<Login>,
    user_data: UserData,
    users: Arc<Users>,
    sessions: Store,
    shared: Arc<SharedParts>,
}

/// What all runtimes of a process share: settings, the session store's database, exchanges in flight,
/// `access_token`s, metrics.
struct SharedParts {
    wechat: Arc<wechat::Settings>,
    database: Database,
    login: Arc<SharedLogin>,
    users: Arc<SharedUsers>,
    access_tokens: Arc<TokenCache>,
    userdata_max_age: Option<Duration>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// A user of a Mini Program who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The Mini Program, `wx` and 16 hex digits.
    pub appid: String,
    /// The user in this Mini Program: 1 to 128 visible ASCII characters, case-sensitive.
    pub openid: String,
    /// The user in all apps of one WeChat Open Platform account, if WeChat sent it at the login.
    pub unionid: Option<String>,
}

impl From<Session> for User {
    fn from(session: Session) -> Self {
        Self {
            appid: session.user.appid,
            openid: session.user.openid,
            unionid: session.unionid,
        }
    }
}

/// Why the service could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings are wrong: one line for each.
    #[error(transparent)]
    Settings(#[from] config::Problems),
    /// A metric cannot be registered.
    #[error("cannot set up the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// TLS cannot be set up.
    #[error("cannot set up the connection to WeChat: {0}")]
    Wechat(#[from] wechat::Error),
    /// No encryption keys can be derived from the AppSecrets.
    #[error("cannot derive encryption keys from the AppSecrets")]
    Encryption,
    /// The session store cannot be opened.
    #[error(transparent)]
    Sessions(#[from] session::OpenError),
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

    /// The same with another clock, for tests.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn with_clock(config: Config, clock: Clock) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new()?);
        let apps = config.mini_programs.iter();
        let encryption = session::Encryption::new(apps.map(|app| (app.appid(), app.secrets())))
            .map_err(|_| StartError::Encryption)?;
        let database =
            Database::open(&config.sessions, encryption, metrics.clone(), clock.clone())?;
        let mini_programs: Vec<_> = config.mini_programs.into_iter().map(Arc::new).collect();
        let slots = || Slots::new(config.max_in_flight);
        let users = SharedUsers::new(mini_programs.clone(), slots(), clock.clone());
        let login = SharedLogin::new(
            mini_programs,
            slots(),
            config.sessions.ttl,
            metrics.clone(),
            clock.clone(),
        );
        let shared = SharedParts {
            wechat: Arc::new(config.wechat),
            database,
            login: Arc::new(login),
            users: Arc::new(users),
            access_tokens: Arc::new(TokenCache::new(clock.clone())),
            userdata_max_age: config.userdata_max_age,
            metrics,
            clock,
        };
        Self::connect(Arc::new(shared), true)
    }

    /// The same service for another runtime of this process, with connections of its own.
    ///
    /// # Errors
    /// [`StartError`], for the operator to read.
    pub fn for_another_runtime(&self) -> Result<Self, StartError> {
        Self::connect(self.0.shared.clone(), true)
    }

    /// The same for a runtime that must not block on a hanging disk: files are read in other threads.
    #[cfg(feature = "server")]
    pub(crate) fn for_nonblocking_runtime(&self) -> Result<Self, StartError> {
        Self::connect(self.0.shared.clone(), false)
    }

    /// Makes the parts of one runtime. `may_block`: whether its thread may read files.
    fn connect(shared: Arc<SharedParts>, may_block: bool) -> Result<Self, StartError> {
        let wechat = Arc::new(wechat::Client::new(shared.wechat.clone())?);
        let with_token = TokenClient::new(wechat.clone(), shared.access_tokens.clone());
        let sessions = shared.database.connect(may_block)?;
        Ok(Self(Arc::new(RuntimeParts {
            login: Login::new(wechat, sessions.clone(), shared.login.clone()),
            user_data: UserData::new(
                sessions.clone(),
                shared.userdata_max_age,
                shared.clock.clone(),
            ),
            users: Users::new(with_token, sessions.clone(), shared.users.clone()),
            sessions,
            shared,
        })))
    }

    /// Makes sure that a login could be stored.
    ///
    /// # Errors
    /// [`Unavailable`] if not.
    pub async fn ready(&self) -> Result<(), Unavailable> {
        self.sessions().check().await
    }

    /// Problems of the session store that do not fail requests yet, such as a Redis that evicts keys: a
    /// sentence each.
    pub async fn store_warnings(&self) -> Vec<String> {
        self.sessions().warnings().await
    }

    /// The metrics in Prometheus' text format 0.0.4, for an app that serves them itself.
    ///
    /// # Errors
    /// If the format cannot express a metric.
    pub fn metrics_text(&self) -> Result<String, prometheus::Error> {
        self.metrics().text()
    }

    /// The user whose living session has this token (`wxs_…`), if there is one.
    ///
    /// # Errors
    /// [`Unavailable`] if the session store does not answer.
    pub async fn session(&self, token: &str) -> Result<Option<User>, Unavailable> {
        let Some(token) = Token::parse(token) else {
            return Ok(None);
        };
        let session = self.sessions().find(token.id()).await?;
        Ok(session.map(User::from))
    }

    /// Waits for exchanges in flight, also of clients that have closed their connections, and closes the
    /// session store.
    pub async fn close(&self) {
        self.drain().await;
        self.sessions().close().await;
    }

    /// Waits until no code is being exchanged.
    pub(crate) async fn drain(&self) {
        self.login().drain().await;
        self.users().drain().await;
    }

    pub(crate) fn login(&self) -> &Arc<Login> {
        &self.0.login
    }

    pub(crate) fn user_data(&self) -> &UserData {
        &self.0.user_data
    }

    pub(crate) fn users(&self) -> &Arc<Users> {
        &self.0.users
    }

    pub(crate) fn sessions(&self) -> &Store {
        &self.0.sessions
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.shared.metrics
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.shared.clock
    }
}
