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
use outcome::{Answer, Exchanged, Outcome};

/// Codes in flight and of the last minute. A user who could not be stored is kept for the next request.
type Flights = SingleFlight<Answer, CodeSession>;
type Leader = single_flight::Leader<Answer, CodeSession>;

/// Logs users in, in one runtime.
pub struct Login {
    wechat: Arc<Client>,
    sessions: Store,
    shared: Arc<Shared>,
}

/// What the logins of all runtimes share.
pub struct Shared {
    mini_programs: Vec<Arc<MiniProgram>>,
    ttl: Duration,
    metrics: Arc<Metrics>,
    clock: Clock,
    flights: Arc<Flights>,
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

impl Shared {
    /// For the users of `mini_programs`, the first of which is meant where none is named. Each exchange
    /// takes one of the `slots`; sessions live for `ttl`.
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
            flights: Arc::new(SingleFlight::new(clock.clone())),
            clock,
            slots,
        }
    }
}

impl Login {
    /// Exchanges codes with `wechat` for sessions in `sessions`.
    #[must_use]
    pub fn new(wechat: Arc<Client>, sessions: Store, shared: Arc<Shared>) -> Arc<Self> {
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
        let outcome = match self.shared.flights.enter(hash.0) {
            Entered::First(leader) => {
                return self.begin(request.clone(), hash, leader).await;
            }
            Entered::Running(answer) => match answer.await {
                Ok(answer) => answer?,
                Err(_) => return Err(LoginError::Internal("an exchange panicked")),
            },
            Entered::Known(answer) => answer?,
        };
        self.shared.metrics.repeat();
        match outcome {
            Outcome::Refused(error) => Err(error.into()),
            Outcome::Good(exchanged) => Box::pin(self.repeat(request, &exchanged)).await,
        }
    }

    /// Another session from an exchange that is over.
    async fn repeat(
        &self,
        request: &LoginRequest,
        exchanged: &Exchanged,
    ) -> Result<LoggedIn, LoginError> {
        if !exchanged.may_open_another() {
            return Err(wechat::Error::from(Errcode::CODE_USED).into());
        }
        let appid = request.mini_program.appid();
        self.open_session(appid, exchanged.user(), None).await
    }

    /// Not an `async fn`: its future would be as large as the one that is boxed inside.
    fn begin(
        self: &Arc<Self>,
        request: LoginRequest,
        hash: ExchangeHash,
        leader: Leader,
    ) -> SpawnOnDrop<impl Future<Output = Result<LoggedIn, LoginError>> + Send + use<>> {
        SpawnOnDrop::new(self.clone().lead(request, hash, leader))
    }

    /// Exchanges a code, and publishes the outcome to concurrent and later requests.
    async fn lead(
        self: Arc<Self>,
        request: LoginRequest,
        hash: ExchangeHash,
        mut leader: Leader,
    ) -> Result<LoggedIn, LoginError> {
        let finished = match leader.take_kept() {
            Some(user) => self.store(&request, hash, user).await,
            None => self.exchange(&request, hash).await,
        };
        match finished {
            ExchangeEnd::Stored(user, session) => {
                let exchanged = Arc::new(Exchanged::new(user));
                leader.remember(Ok(Outcome::Good(exchanged)), EXCHANGE_TTL);
                Ok(session)
            }
            ExchangeEnd::Known(user) => {
                let exchanged = Arc::new(Exchanged::new(user));
                leader.remember(Ok(Outcome::Good(exchanged.clone())), EXCHANGE_TTL);
                Box::pin(self.repeat(&request, &exchanged)).await
            }
            ExchangeEnd::Refused(error) => {
                leader.remember(Ok(Outcome::Refused(error.clone())), EXCHANGE_TTL);
                Err(error.into())
            }
            ExchangeEnd::NotStored(user, error) => {
                leader.keep(user, &Err(error.clone()), EXCHANGE_TTL);
                // The outcome holds a session_key: it is dropped after a minute without a login, too.
                tokio::spawn(async move {
                    sleep(EXCHANGE_TTL).await;
                    self.shared.flights.forget();
                });
                Err(error)
            }
            ExchangeEnd::CodeUnused(error) => {
                leader.answer(&Err(error.clone()));
                Err(error)
            }
        }
    }

    /// Waits until no exchange is in flight, also of clients that have closed their connections.
    pub async fn drain(&self) {
        self.shared.flights.drain().await;
    }

    /// Stores a new session for `user`, with its exchange unless that is stored already.
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
