//! A lock for each user, in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{Unavailable, UserId};

/// The longest wait for a lock.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The locks that are held or waited for.
#[derive(Default)]
pub(super) struct UserLocks {
    by_user: Mutex<HashMap<UserId, Arc<AsyncMutex<()>>>>,
}

/// A user's lock, held until this is dropped.
pub(super) struct UserLock {
    locks: Arc<UserLocks>,
    user: UserId,
    /// `None` before the lock is acquired and after it is released.
    guard: Option<OwnedMutexGuard<()>>,
}

impl UserLocks {
    /// Waits for the lock of this user.
    pub(super) async fn lock(self: &Arc<Self>, user: &UserId) -> Result<UserLock, Unavailable> {
        // Made before the wait: its drop removes the map entry also if the wait is cancelled.
        let mut lock = UserLock {
            locks: self.clone(),
            user: user.clone(),
            guard: None,
        };
        let mutex = self.by_user().entry(user.clone()).or_default().clone();
        let guard = tokio::time::timeout(TIMEOUT, mutex.lock_owned()).await;
        let guard = guard.map_err(|_| Unavailable("too many requests of one user".into()))?;
        lock.guard = Some(guard);
        Ok(lock)
    }

    fn by_user(&self) -> MutexGuard<'_, HashMap<UserId, Arc<AsyncMutex<()>>>> {
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UserLock {
    fn drop(&mut self) {
        let mut by_user = self.locks.by_user();
        self.guard = None;
        // There is no other holder or waiter, and while the map is locked there can be no new one.
        let is_last = |mutex: &Arc<_>| Arc::strong_count(mutex) == 1;
        if by_user.get(&self.user).is_some_and(is_last) {
            by_user.remove(&self.user);
        }
    }
}
