//! One at a time for each user, in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{Unavailable, UserId};

/// The longest wait for a turn.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The users of whom somebody has the turn or waits for it.
#[derive(Default)]
pub(super) struct Turns {
    users: Mutex<HashMap<UserId, Arc<AsyncMutex<()>>>>,
}

/// The turn of a user, until it is dropped.
pub(super) struct Turn {
    turns: Arc<Turns>,
    user: UserId,
    /// `None` before it comes and after it is given back.
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turn of this user.
    pub(super) async fn take(self: &Arc<Self>, user: &UserId) -> Result<Turn, Unavailable> {
        // First, so that it cleans up also after a wait that was broken off.
        let mut turn = Turn {
            turns: self.clone(),
            user: user.clone(),
            guard: None,
        };
        let users_turn = self.lock().entry(user.clone()).or_default().clone();
        let guard = tokio::time::timeout(TIMEOUT, users_turn.lock_owned()).await;
        let guard = guard.map_err(|_| Unavailable("too much waits for this user".into()))?;
        turn.guard = Some(guard);
        Ok(turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Arc<AsyncMutex<()>>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut users = self.turns.lock();
        self.guard = None;
        // Nobody waits, and nobody can begin to while we hold the lock of all.
        let is_last = |turn: &Arc<_>| Arc::strong_count(turn) == 1;
        if users.get(&self.user).is_some_and(is_last) {
            users.remove(&self.user);
        }
    }
}
