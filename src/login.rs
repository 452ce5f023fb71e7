//! The login: a code is exchanged at WeChat once, and becomes a session.
//!
//! `jscode2session` is a GET with a side effect: a second exchange of a code is refused, and even a refused
//! one uses the code up. So concurrent requests for one code share one exchange (single-flight), which goes
//! on when its client closes the connection. Its outcome is remembered for a minute in this process and,
//! when good, in the session store.

mod diagnosis;
mod exchange;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::session::{
    EXCHANGE_TTL, Exchange, ExchangeHash, NewSession, Session, Store, Token, Unavailable, User,
    UserId,
};
use crate::single_flight::{self, Entered, SingleFlight};
use crate::slots::Slots;
use crate::spawn_on_drop::SpawnOnDrop;
use crate::wechat::{self, Client, CodeSession, Errcode, JsCode, MiniProgram};
use exchange::ExchangeEnd;
use outcome::{ExchangedUser, LoginAnswer, Outcome};

/// The exchanges in flight and of the last minute, by the hash of the code. If the session could not be
/// stored, the next request with the code stores it.
type ExchangeFlights = SingleFlight<LoginAnswer, CodeSession>;
type Leader = single_flight::Leader<LoginAnswer, CodeSession>;

/// Logs users in, in one runtime.
pub struct Login {
    wechat: Arc<Client>,
    sessions: Store,
    shared: Arc<SharedLogin>,
}

/// What the logins of all runtimes share.
pub struct SharedLogin {
    mini_programs: Vec<Arc<MiniProgram>>,
    ttl: Duration,
    metrics: Arc<Metrics>,
    clock: Clock,
    exchanges: Arc<ExchangeFlights>,
    slots: Slots,
}

/// A request to log in.
#[derive(Clone)]
pub struct LoginRequest {
    /// The Mini Program that the code is exchanged for.
    pub mini_program: Arc<MiniProgram>,
    /// What `wx.login` gave the Mini Program.
    pub js_code: JsCode,
    /// The appid in the `Referer` of the request, which a script can forge.
    pub referring_appid: Option<String>,
    /// The request id, for the log.
    pub request_id: String,
}

/// A new session and its token.
pub struct LoggedIn {
    /// For the client only.
    pub token: Token,
    /// The session of the token.
    pub session: Session,
}

/// Why a login failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoginError {
    /// WeChat did not exchange the code.
    #[error(transparent)]
    Wechat(#[from] wechat::Error),
    /// The session store did not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// No slot for an exchange was free in time.
    #[error("too many exchanges are in flight")]
    Overloaded,
    /// A fault of ours.
    #[error("{0}")]
    Internal(&'static str),
}

impl SharedLogin {
    /// `mini_programs`: the first is the default. Each exchange takes one of the `slots`. Sessions live for
    /// `ttl`.
    #[must_use]
    pub(crate) fn new(
        mini_programs: Vec<Arc<MiniProgram>>,
        slots: Slots,
        ttl: Duration,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        Self {
            mini_programs,
            ttl,
            metrics,
            exchanges: Arc::new(SingleFlight::new(clock.clone())),
            clock,
            slots,
        }
    }
}

impl Login {
    /// Exchanges codes with `wechat` for sessions in `sessions`.
    #[must_use]
    pub fn new(wechat: Arc<Client>, sessions: Store, shared: Arc<SharedLogin>) -> Arc<Self> {
        Arc::new(Self {
            wechat,
            sessions,
            shared,
        })
    }

    /// The Mini Programs whose users are logged in.
    #[must_use]
    pub fn mini_programs(&self) -> &[Arc<MiniProgram>] {
        &self.shared.mini_programs
    }

    /// Exchanges a code for a new session, which is stored when this returns. Every request with the same
    /// code within a minute gets the same user and a token of its own.
    ///
    /// # Errors
    /// [`LoginError`]. Whether the code is used up depends on the error.
    pub async fn log_in(self: &Arc<Self>, request: &LoginRequest) -> Result<LoggedIn, LoginError> {
        let hash = ExchangeHash(request.js_code.hash(request.mini_program.appid()));
        let outcome = match self.shared.exchanges.enter(hash.0) {
            Entered::Leader(leader) => {
                return self.exchange_once(request.clone(), hash, leader).await;
            }
            Entered::InFlight(answer) => match answer.await {
                Ok(answer) => answer?,
                Err(_) => return Err(LoginError::Internal("an exchange panicked")),
            },
            Entered::Remembered(answer) => answer?,
        };
        self.shared.metrics.repeat();
        match outcome {
            Outcome::Refused(error) => Err(error.into()),
            Outcome::Exchanged(user) => Box::pin(self.open_further_session(request, &user)).await,
        }
    }

    /// Opens a further session from an earlier exchange.
    async fn open_further_session(
        &self,
        request: &LoginRequest,
        exchanged: &ExchangedUser,
    ) -> Result<LoggedIn, LoginError> {
        if !exchanged.count_further_session() {
            return Err(wechat::Error::from(Errcode::CODE_USED).into());
        }
        let appid = request.mini_program.appid();
        self.open_session(appid, exchanged.user(), None).await
    }

    /// Runs the exchange to its end, also if the client closes the connection. Not an `async fn`: its future
    /// would be as large as the one that is boxed inside.
    fn exchange_once(
        self: &Arc<Self>,
        request: LoginRequest,
        hash: ExchangeHash,
        leader: Leader,
    ) -> SpawnOnDrop<impl Future<Output = Result<LoggedIn, LoginError>> + Send + use<>> {
        SpawnOnDrop::new(self.clone().run_as_leader(request, hash, leader))
    }

    /// Exchanges a code, and publishes the outcome to concurrent and later requests.
    async fn run_as_leader(
        self: Arc<Self>,
        request: LoginRequest,
        hash: ExchangeHash,
        mut leader: Leader,
    ) -> Result<LoggedIn, LoginError> {
        let end = match leader.take_unfinished() {
            Some(user) => self.store_first_session(&request, hash, user).await,
            None => self.exchange(&request, hash).await,
        };
        match end {
            ExchangeEnd::Stored(user, session) => {
                let exchanged = Arc::new(ExchangedUser::new(user));
                leader.answer_and_remember(Ok(Outcome::Exchanged(exchanged)), EXCHANGE_TTL);
                Ok(session)
            }
            ExchangeEnd::ExchangedBefore(user) => {
                let exchanged = Arc::new(ExchangedUser::new(user));
                leader.answer_and_remember(Ok(Outcome::Exchanged(exchanged.clone())), EXCHANGE_TTL);
                Box::pin(self.open_further_session(&request, &exchanged)).await
            }
            ExchangeEnd::Refused(error) => {
                leader.answer_and_remember(Ok(Outcome::Refused(error.clone())), EXCHANGE_TTL);
                Err(error.into())
            }
            ExchangeEnd::NotStored(user, error) => {
                leader.leave_unfinished(user, &Err(error.clone()), EXCHANGE_TTL);
                // The user's session_key is removed from memory after a minute, also without another login.
                tokio::spawn(async move {
                    sleep(EXCHANGE_TTL).await;
                    self.shared.exchanges.evict_expired();
                });
                Err(error)
            }
            ExchangeEnd::CodeUnused(error) => {
                leader.answer_without_remembering(&Err(error.clone()));
                Err(error)
            }
        }
    }

    /// Waits until no exchange is in flight, also for clients that have closed their connections.
    pub async fn drain(&self) {
        self.shared.exchanges.drain().await;
    }

    /// Stores a new session for `user`; the first one with its exchange.
    async fn open_session(
        &self,
        appid: &str,
        user: &User,
        exchange: Option<Exchange>,
    ) -> Result<LoggedIn, LoginError> {
        let token =
            Token::generate().map_err(|_| LoginError::Internal("no random bytes for a token"))?;
        let created = self.shared.clock.now();
        let session = Session {
            user: UserId {
                appid: appid.to_owned(),
                openid: user.openid.clone(),
            },
            unionid: user.unionid.clone(),
            created,
            expires: created + self.shared.ttl.as_secs(),
        };
        let new = NewSession { session, exchange };
        let token = self.sessions.create(token, &new).await?;
        let session = new.session;
        Ok(LoggedIn { token, session })
    }
}
