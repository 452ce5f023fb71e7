//! The outcome of an exchange, which all requests with the same code share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::LoginError;
use crate::session::User;
use crate::wechat;

/// The most further sessions of one exchange in this process, so that one code cannot fill the store.
const MAX_FURTHER_SESSIONS: u32 = 100;

/// The answer to concurrent requests with one code. An error means that the code was not exchanged, or that
/// the session could not be stored.
pub(super) type LoginAnswer = Result<Outcome, LoginError>;

#[derive(Clone)]
pub(super) enum Outcome {
    Exchanged(Arc<ExchangedUser>),
    /// WeChat refused, or gave no answer and may have used the code up.
    Refused(wechat::Error),
}

/// The user whom WeChat named for a code. The first session is stored.
pub(super) struct ExchangedUser {
    user: User,
    further_sessions: AtomicU32,
}

impl ExchangedUser {
    pub(super) fn new(user: User) -> Self {
        Self {
            user,
            further_sessions: AtomicU32::new(0),
        }
    }

    pub(super) fn user(&self) -> &User {
        &self.user
    }

    /// Counts one more session; `false` if there have been too many.
    pub(super) fn count_further_session(&self) -> bool {
        self.further_sessions.fetch_add(1, Ordering::Relaxed) < MAX_FURTHER_SESSIONS
    }
}
