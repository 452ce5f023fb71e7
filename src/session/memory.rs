//! Sessions in plain maps, lost when the process ends. Nothing fails here.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;

use super::records::{EncryptedExchange, Row};
use super::store::MAX_STORED_KEYS;
use super::{EncryptedKey, MAX_FAILURES, Session, Token, UserId};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// The most expired sessions that a login removes: more than it adds, and few enough not to delay it.
const MAX_REMOVED: usize = 4;

/// The store in memory.
pub(super) struct MemoryStore {
    maps: Mutex<Maps>,
    clock: Clock,
}

struct Maps {
    sessions: HashMap<i64, Stored>,
    /// The ids of a user's sessions, in the order of logins, by a hash of the user: the session tells whose it
    /// is.
    by_user: HashMap<u64, Vec<i64>>,
    /// In the order of logins, which is also that of their ends.
    order: VecDeque<i64>,
    size: IntGauge,
}

struct Stored {
    row: Row,
    /// The key that this login brought.
    key: Option<EncryptedKey>,
    /// Failed decryptions since this login.
    failures: u8,
    is_ended: bool,
    /// When it is removed, by the monotonic clock: a wall clock that is wrong must not delete a session.
    end: Duration,
}

impl MemoryStore {
    pub(super) fn new(metrics: &Metrics, clock: Clock) -> Self {
        Self {
            maps: Mutex::new(Maps {
                sessions: HashMap::new(),
                by_user: HashMap::new(),
                order: VecDeque::new(),
                size: metrics.shown(&metrics.sessions),
            }),
            clock,
        }
    }

    /// `false` if the id of the token is taken.
    pub(super) fn create(
        &self,
        token: &Token,
        row: Row,
        exchange: Option<EncryptedExchange>,
    ) -> bool {
        let now = self.clock.monotonic();
        let life = row.session.expires.saturating_sub(row.session.created);
        let stored = Stored {
            key: exchange.and_then(|exchange| exchange.keys.first().copied()),
            row,
            failures: 0,
            is_ended: false,
            end: now.saturating_add(Duration::from_secs(life)),
        };
        self.maps().insert(token.id(), stored, now)
    }

    pub(super) fn find(&self, token: &Token) -> Option<Row> {
        let maps = self.maps();
        let stored = maps.sessions.get(&token.id())?;
        let is_valid = !stored.is_ended && self.clock.monotonic() < stored.end;
        is_valid.then(|| stored.row.clone())
    }

    /// No other process exchanges codes for this store.
    #[expect(clippy::unused_self, reason = "the interface of all stores")]
    pub(super) fn exchanged(&self, _: &[u8; 32]) -> Option<Session> {
        None
    }

    pub(super) fn keys(&self, user: UserId<'_>) -> Vec<EncryptedKey> {
        let maps = self.maps();
        let mut keys = Vec::new();
        for login in self.sessions_of(&maps, user) {
            let Some(key) = login.key else { continue };
            if login.failures >= MAX_FAILURES || keys.len() >= MAX_STORED_KEYS {
                break;
            }
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    pub(super) fn newest_key(&self, user: UserId<'_>) -> Option<EncryptedKey> {
        let maps = self.maps();
        if self
            .sessions_of(&maps, user)
            .all(|session| session.is_ended)
        {
            return None;
        }
        let newest = self.sessions_of(&maps, user).find(|it| it.key.is_some())?;
        newest.key.filter(|_| newest.failures < MAX_FAILURES)
    }

    pub(super) fn list(&self, user: UserId<'_>) -> Vec<Session> {
        let maps = self.maps();
        let living = self.sessions_of(&maps, user).filter(|it| !it.is_ended);
        living.map(|it| it.row.session.clone()).collect()
    }

    pub(super) fn count_failure(&self, user: UserId<'_>) {
        let mut maps = self.maps();
        let has_key = |id: &&i64| maps.sessions.get(*id).is_some_and(|it| it.key.is_some());
        let newest = maps.ids_of(user).rev().find(has_key).copied();
        if let Some(login) = newest.and_then(|id| maps.sessions.get_mut(&id)) {
            login.failures = login.failures.saturating_add(1);
        }
    }

    pub(super) fn end(&self, token: &Token, _: &Session) {
        if let Some(stored) = self.maps().sessions.get_mut(&token.id()) {
            stored.is_ended = true;
        }
    }

    /// Removes the user's sessions and keys.
    pub(super) fn end_all(&self, user: UserId<'_>, _: Option<&Token>) {
        let mut maps = self.maps();
        let ids: Vec<_> = maps.ids_of(user).copied().collect();
        for id in &ids {
            maps.sessions.remove(id);
            maps.size.dec();
        }
        if let Entry::Occupied(mut known) = maps.by_user.entry(hash(user)) {
            // What is left are users with the same hash.
            let ended: HashSet<_> = ids.into_iter().collect();
            known.get_mut().retain(|id| !ended.contains(id));
            if known.get().is_empty() {
                known.remove();
            }
        }
    }

    #[expect(clippy::unused_self, reason = "the interface of all stores")]
    pub(super) fn check(&self) {}

    /// The user's sessions that have not expired by either clock, the newest first.
    fn sessions_of<'a>(
        &self,
        maps: &'a Maps,
        user: UserId<'a>,
    ) -> impl Iterator<Item = &'a Stored> + use<'a> {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let stored = maps
            .ids_of(user)
            .rev()
            .filter_map(|id| maps.sessions.get(id));
        stored.filter(move |it| monotonic < it.end && now < it.row.session.expires)
    }

    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maps {
    fn insert(&mut self, id: i64, stored: Stored, now: Duration) -> bool {
        self.remove_expired(now);
        let user = hash(stored.row.session.user());
        let Entry::Vacant(free) = self.sessions.entry(id) else {
            return false;
        };
        free.insert(stored);
        self.by_user.entry(user).or_default().push(id);
        self.order.push_back(id);
        self.size.inc();
        true
    }

    fn remove_expired(&mut self, now: Duration) {
        for _ in 0..MAX_REMOVED {
            let Some(id) = self.order.front().copied() else {
                return;
            };
            if self.sessions.get(&id).is_some_and(|it| now < it.end) {
                return;
            }
            self.order.pop_front();
            self.remove(id);
        }
    }

    /// Removes a session, unless it has been removed.
    fn remove(&mut self, id: i64) {
        let Some(stored) = self.sessions.remove(&id) else {
            return;
        };
        self.size.dec();
        if let Entry::Occupied(mut ids) = self.by_user.entry(hash(stored.row.session.user())) {
            ids.get_mut().retain(|other| *other != id);
            if ids.get().is_empty() {
                ids.remove();
            }
        }
    }

    /// The ids of the user's sessions, in the order of logins.
    fn ids_of<'a>(
        &'a self,
        user: UserId<'a>,
    ) -> impl DoubleEndedIterator<Item = &'a i64> + use<'a> {
        let is_of_user = move |id: &&i64| {
            (self.sessions.get(*id)).is_some_and(|it| it.row.session.user() == user)
        };
        let ids = self.by_user.get(&hash(user)).into_iter().flatten();
        ids.filter(is_of_user)
    }
}

fn hash(user: UserId<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    user.hash(&mut hasher);
    hasher.finish()
}
