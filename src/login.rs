//! The login: a code is exchanged at WeChat once, and becomes a session; also when the same code comes twice.
//!
//! `jscode2session` is a GET with a side effect: a second exchange of a code is refused, and even a refused one
//! uses the code up. So one request at a time is at work on a code, in a task that goes on when its client closes
//! the connection, and what is known of the code ([`Known`]) is remembered for a minute.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{sleep, timeout};

use crate::app::WxLogin;
use crate::metrics::Counted;
use crate::one_time_codes::OneTimeCode;
use crate::problem::{Problem, Purpose};
use crate::session::{Exchange, Session, Token, UserId};
use crate::wechat::{self, CodeSession, Invalid, Meaning, MiniProgram};

/// The most further sessions of one code, so that it cannot fill the store.
const MAX_FURTHER_SESSIONS: u32 = 100;
/// The longest wait for the session of another replica's exchange to appear in the store.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);
const REPLICA_POLL: Duration = Duration::from_millis(50);

/// Where a login comes from.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoginOrigin<'a> {
    /// The Mini Program that the client names. It must be configured.
    pub appid: Option<&'a str>,
    /// The Mini Program in the `Referer` of the request, which a script can forge. It is taken if `appid` is not
    /// given and it is configured.
    pub referring_appid: Option<&'a str>,
    /// The request id, for the log.
    pub request_id: &'a str,
}

/// A new session.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoggedIn {
    /// For the client only.
    pub token: Token,
    /// The session of the token.
    pub session: Session,
}

/// What is known of a code.
#[derive(Default)]
pub(crate) enum Known {
    /// WeChat has not received it.
    #[default]
    Nothing,
    /// WeChat refused it, or gave no answer and may have used it up.
    Refused(wechat::Error),
    /// The user whom WeChat named, whose session is not stored yet; the count of [`Endings`] at that time.
    User(CodeSession, u64),
    /// The first session, which is stored; the count of [`Endings`] at the exchange; the number of further sessions.
    Stored(Session, u64, u32),
}

/// A login with the Mini Program that it is for.
struct Request {
    code: OneTimeCode,
    hash: [u8; 32],
    mini_program: Arc<MiniProgram>,
    referring_appid: Option<String>,
    id: String,
}

impl WxLogin {
    /// Exchanges a code for a new session, which is stored when this returns. Every request with the same code
    /// within a minute gets the same user and a token of its own.
    ///
    /// # Errors
    /// [`Problem`]. Whether the code is used up depends on the error.
    pub async fn log_in(&self, code: &str, origin: LoginOrigin<'_>) -> Result<LoggedIn, Problem> {
        let code = OneTimeCode::parse(code)?;
        let mini_program = self.mini_program_of(origin)?;
        let request = Request {
            hash: code.hash(mini_program.appid()),
            code,
            mini_program,
            referring_appid: origin.referring_appid.map(str::to_owned),
            id: origin.request_id.to_owned(),
        };
        let (hash, wxlogin) = (request.hash, self.clone());
        let work = async move |known| wxlogin.log_in_alone(&request, known).await;
        let logged_in = self.0.login_codes.run(hash, work).await;
        let logged_in = logged_in.unwrap_or(Err(Problem::Internal("a login panicked")));
        logged_in.map_err(Problem::of_login)
    }

    /// The Mini Program that the client names, else the one that the request comes from, else the first.
    fn mini_program_of(&self, origin: LoginOrigin<'_>) -> Result<Arc<MiniProgram>, Problem> {
        let configured = |appid| self.mini_program(appid);
        let found = match origin.appid {
            Some(appid) => configured(appid),
            None => (origin.referring_appid.and_then(configured)).or(self.0.mini_programs.first()),
        };
        found.cloned().ok_or(Problem::UnknownApp)
    }

    /// The Mini Program with this appid, if it is configured.
    pub(crate) fn mini_program(&self, appid: &str) -> Option<&Arc<MiniProgram>> {
        (self.0.mini_programs.iter()).find(|known| known.appid() == appid)
    }

    /// Does the next thing for a code, and what follows from it. Nobody else is at work on the code.
    async fn log_in_alone(
        &self,
        request: &Request,
        mut known: OwnedMutexGuard<Known>,
    ) -> Result<LoggedIn, Problem> {
        if !matches!(*known, Known::Nothing) {
            self.0.metrics.login_repeats.inc();
        }
        loop {
            match &mut *known {
                Known::Nothing => {
                    *known = self.exchange(request).await?;
                    self.0.login_codes.remember(request.hash);
                }
                Known::Refused(error) => return Err(request.failed(error.clone())),
                Known::User(user, endings) => {
                    let (appid, openid) = (request.mini_program.appid(), &*user.openid);
                    let session = self.new_session(UserId { appid, openid }, user.unionid.clone());
                    let exchange = Exchange {
                        code: request.hash,
                        session_key: &user.session_key,
                    };
                    let stored = self.store(request, session, Some(exchange), *endings);
                    // The next request with the code stores it, within the minute, in which the key stays in memory.
                    let failed = |_: &_| self.0.login_codes.forget_in_time();
                    let logged_in = stored.await.inspect_err(failed)?;
                    *known = Known::Stored(logged_in.session.clone(), *endings, 0);
                    return Ok(logged_in);
                }
                Known::Stored(.., MAX_FURTHER_SESSIONS..) => return Err(Problem::CodeUsed),
                Known::Stored(first, endings, further) => {
                    *further += 1;
                    let session = self.new_session(first.user(), first.unionid.clone());
                    let stored = self.store(request, session, None, *endings);
                    drop(known);
                    return stored.await;
                }
            }
        }
    }

    /// Exchanges a code at WeChat, unless another replica has. An error means that WeChat has not received it.
    async fn exchange(&self, request: &Request) -> Result<Known, Problem> {
        let (metrics, sessions) = (&self.0.metrics, &self.0.sessions);
        let endings = self.0.endings.count();
        if let Some(session) = sessions.exchanged(&request.hash).await? {
            metrics.login_repeats.inc();
            return Ok(Known::Stored(session, endings, 0));
        }
        let (wechat, mini_program) = (&self.0.wechat, &*request.mini_program);
        let slot = wechat.login_slot(mini_program).await;
        let slot = slot.map_err(|error| request.failed(error))?;
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
            return Err(request.failed(error));
        }
        let may_be_exchanged = error.meaning() == Some(Meaning::CodeUsed)
            || error == wechat::Error::Invalid(Invalid::BusyThenUsed);
        if may_be_exchanged
            && sessions.is_shared()
            && let Some(session) = self.exchanged_elsewhere(request).await
        {
            return Ok(Known::Stored(session, endings, 0));
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

    /// Stores a session, the first one with its exchange, unless all of the user ended since the count was `endings`.
    async fn store(
        &self,
        request: &Request,
        mut session: Session,
        exchange: Option<Exchange<'_>>,
        endings: u64,
    ) -> Result<LoggedIn, Problem> {
        let sessions = &self.0.sessions;
        // Another replica that ends all sessions removes the exchange.
        let needs_exchange = exchange.is_none() && sessions.is_shared();
        let has_ended = async |session: &Session| {
            let has_ended = self.0.endings.has_ended(session.user(), endings)
                || needs_exchange && sessions.exchanged(&request.hash).await?.is_none();
            Ok::<_, Problem>(has_ended)
        };
        if has_ended(&session).await? {
            return Err(Problem::CodeUsed);
        }
        let token = sessions.create(&session, exchange).await?;
        // Meanwhile: whether this session was among them is not known.
        if has_ended(&session).await? {
            if needs_exchange {
                // Perhaps the minute of the code has passed. The user's other sessions stay.
                sessions.end(&token, &session).await?;
            } else {
                sessions.end_all(session.user(), Some(&token)).await?;
            }
            return Err(Problem::CodeUsed);
        }
        session.id = token.id();
        Ok(LoggedIn { token, session })
    }

    fn new_session(&self, user: UserId<'_>, unionid: Option<String>) -> Session {
        Session::new(user, unionid, self.0.clock.now(), self.0.session_ttl)
    }
}

impl Request {
    /// Another code than that of `wx.login` has its own detail.
    fn failed(&self, error: wechat::Error) -> Problem {
        let is_phone_code = self.code.looks_like_a_phone_code();
        let purpose = match error.meaning() {
            Some(Meaning::InvalidCode | Meaning::CodeUsed) if is_phone_code => {
                Purpose::LoginWithPhoneCode
            }
            _ => Purpose::Login,
        };
        Problem::Wechat(error, purpose)
    }
}
