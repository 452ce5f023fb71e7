//! The login: a code is exchanged at WeChat once, and becomes a session.
//!
//! `jscode2session` is a GET with a side effect: a second exchange of a code is refused, and even a refused one
//! uses the code up. So one request at a time is at work on a code, in a task that goes on when its client closes
//! the connection, and what is known of the code ([`Known`]) is remembered for a minute.

mod answer;
mod endings;
mod exchange;

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use crate::app::WxLogin;
use crate::one_time_codes::OneTimeCode;
use crate::session::{Exchange, Session, UserId};
use crate::wechat::{self, CodeSession, Meaning, MiniProgram};
pub use answer::{LoggedIn, LoginError, LoginOrigin};
pub(crate) use endings::Endings;

/// The most further sessions of one code, so that it cannot fill the store.
const MAX_FURTHER_SESSIONS: u32 = 100;

/// What is known of a code.
#[derive(Default)]
pub(crate) enum Known {
    /// WeChat has not received it.
    #[default]
    Nothing,
    /// WeChat refused it, or gave no answer and may have used it up.
    Refused(wechat::Error),
    /// WeChat named the user, when there had been so many [`Endings`]. The session is not stored yet.
    User(CodeSession, u64),
    /// The first session is stored, and so many further ones.
    Stored {
        first: Session,
        further: u32,
        endings: u64,
    },
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
    /// [`LoginError`]. Whether the code is used up depends on the error.
    pub async fn log_in(
        &self,
        code: &str,
        origin: LoginOrigin<'_>,
    ) -> Result<LoggedIn, LoginError> {
        let code = OneTimeCode::parse(code)?;
        let mini_program = self.mini_program_of(origin)?;
        let request = Request {
            hash: code.hash(mini_program.appid()),
            code,
            mini_program,
            referring_appid: origin.referring_appid.map(str::to_owned),
            id: origin.request_id.to_owned(),
        };
        let (hash, is_phone_code) = (request.hash, request.code.looks_like_a_phone_code());
        let wxlogin = self.clone();
        let work = async move |known| wxlogin.log_in_alone(&request, known).await;
        match self.0.login_codes.run(hash, work).await {
            Some(Err(LoginError::Wechat(error))) if is_phone_code && is_about_the_code(&error) => {
                Err(LoginError::PhoneCode(error))
            }
            Some(result) => result,
            None => Err(LoginError::Internal("a login panicked")),
        }
    }

    /// The Mini Program that the client names, else the one that the request comes from, else the first.
    fn mini_program_of(&self, origin: LoginOrigin<'_>) -> Result<Arc<MiniProgram>, LoginError> {
        let configured = |appid| self.mini_program(appid);
        let found = match origin.appid {
            Some(appid) => configured(appid),
            None => (origin.referring_appid.and_then(configured)).or(self.0.mini_programs.first()),
        };
        found.cloned().ok_or(LoginError::UnknownApp)
    }

    /// Does the next thing for a code, and what follows from it. Nobody else is at work on the code.
    async fn log_in_alone(
        &self,
        request: &Request,
        mut known: OwnedMutexGuard<Known>,
    ) -> Result<LoggedIn, LoginError> {
        if !matches!(*known, Known::Nothing) {
            self.0.metrics.login_repeats.inc();
        }
        loop {
            match &mut *known {
                Known::Nothing => {
                    *known = self.exchange(request).await?;
                    self.0.login_codes.remember(request.hash);
                }
                Known::Refused(error) => return Err(error.clone().into()),
                Known::User(user, endings) => {
                    let (appid, openid) = (request.mini_program.appid(), &*user.openid);
                    let session =
                        self.new_session(UserId { appid, openid }, user.unionid.as_deref());
                    let exchange = Exchange {
                        code: request.hash,
                        session_key: &user.session_key,
                    };
                    let endings = *endings;
                    let stored = self.store(session, Some(exchange), endings).await;
                    // The next request with the code stores it, within the minute, in which the key stays in memory.
                    let logged_in = stored.inspect_err(|_| self.0.login_codes.forget_in_time())?;
                    *known = Known::Stored {
                        first: logged_in.session.clone(),
                        further: 0,
                        endings,
                    };
                    return Ok(logged_in);
                }
                Known::Stored {
                    further: MAX_FURTHER_SESSIONS..,
                    ..
                } => return Err(LoginError::CodeUsed),
                Known::Stored {
                    first,
                    further,
                    endings,
                } => {
                    *further += 1;
                    let endings = *endings;
                    let session = self.new_session(first.user(), first.unionid.as_deref());
                    drop(known);
                    if self.has_ended_elsewhere(request).await? {
                        return Err(LoginError::CodeUsed);
                    }
                    let logged_in = self.store(session, None, endings).await?;
                    if self.has_ended_elsewhere(request).await? {
                        let (token, user) = (&logged_in.token, logged_in.session.user());
                        self.0.sessions.end_all(user, Some(token)).await?;
                        return Err(LoginError::CodeUsed);
                    }
                    return Ok(logged_in);
                }
            }
        }
    }

    /// Stores a session of a code that was exchanged when there had been so many endings.
    async fn store(
        &self,
        mut session: Session,
        exchange: Option<Exchange<'_>>,
        endings: u64,
    ) -> Result<LoggedIn, LoginError> {
        let has_ended = |session: &Session| self.0.endings.has_ended(session.user(), endings);
        if has_ended(&session) {
            return Err(LoginError::CodeUsed);
        }
        let token = self.0.sessions.create(&session, exchange).await?;
        // All sessions of the user were ended meanwhile: whether this one was among them is not known.
        if has_ended(&session) {
            self.0
                .sessions
                .end_all(session.user(), Some(&token))
                .await?;
            return Err(LoginError::CodeUsed);
        }
        session.id = token.id();
        Ok(LoggedIn { token, session })
    }

    /// Whether another replica may have ended all sessions of the user since the code was exchanged.
    async fn has_ended_elsewhere(&self, request: &Request) -> Result<bool, LoginError> {
        let sessions = &self.0.sessions;
        Ok(sessions.is_shared() && sessions.exchanged(&request.hash).await?.is_none())
    }

    fn new_session(&self, user: UserId<'_>, unionid: Option<&str>) -> Session {
        let (unionid, now) = (unionid.map(str::to_owned), self.0.clock.now());
        Session::new(user, unionid, now, self.0.session_ttl)
    }
}

fn is_about_the_code(error: &wechat::Error) -> bool {
    let meaning = error.meaning();
    matches!(meaning, Some(Meaning::InvalidCode | Meaning::CodeUsed))
}
