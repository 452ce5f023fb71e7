//! What became of a code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::LoginError;
use crate::session::User;
use crate::wechat;

/// Sessions that one exchange may begin in this process, so that nobody fills the store with one
/// code.
const MAX_SESSIONS: u32 = 100;

/// For all who present the code. An error here means that the code was not exchanged, or that the user
/// could not be stored.
pub(super) type Answer = Result<Outcome, LoginError>;

#[derive(Clone)]
pub(super) enum Outcome {
    Good(Arc<Exchanged>),
    /// WeChat refused, or gave no answer and may have used the code up.
    Refused(wechat::Error),
}

/// A user whom WeChat named for a code, and who is stored.
pub(super) struct Exchanged {
    user: User,
    /// Sessions that it began, beside the first.
    others: AtomicU32,
}

impl Exchanged {
    pub(super) fn new(user: User) -> Self {
        Self {
            user,
            others: AtomicU32::new(0),
        }
    }

    pub(super) fn user(&self) -> &User {
        &self.user
    }

    /// Whether there may be one more session; counts it.
    pub(super) fn may_open_another(&self) -> bool {
        self.others.fetch_add(1, Ordering::Relaxed) < MAX_SESSIONS
    }
}
