//! Sessions in plain maps, lost when the process ends. Nothing fails here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use hashlink::{LinkedHashMap, linked_hash_map};
use parking_lot::Mutex;
use prometheus::IntGauge;

use super::logins::{Login, Logins, newest_with_key};
use super::{EncryptedKey, Row, Sealed, Session, Token, UserId};
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
    /// In the order of logins, which is also that of their ends.
    sessions: LinkedHashMap<i64, Stored>,
    /// The ids of a user's sessions, in the order of logins, by a hash of the user: the session tells whose it
    /// is.
    by_user: HashMap<u64, Vec<i64>>,
    size: IntGauge,
}

struct Stored {
    seal: [u8; 32],
    session: Session,
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
                sessions: LinkedHashMap::new(),
                by_user: HashMap::new(),
                size: metrics.shown(&metrics.sessions),
            }),
            clock,
        }
    }

    /// `false` if the id of the token is taken.
    pub(super) fn create(&self, token: &Token, row: Row) -> bool {
        let now = self.clock.monotonic();
        let id = token.id();
        let session = Session { id, ..row.session };
        let life = session.expires.saturating_sub(session.created);
        let stored = Stored {
            seal: row.seal,
            session,
            key: row.exchange.map(|exchange| exchange.key),
            failures: 0,
            is_ended: false,
            end: now.saturating_add(Duration::from_secs(life)),
        };
        let maps = &mut *self.maps.lock();
        maps.remove_expired(now);
        let linked_hash_map::Entry::Vacant(free) = maps.sessions.entry(id) else {
            return false;
        };
        let user = hash(stored.session.user());
        free.insert(stored);
        maps.by_user.entry(user).or_default().push(id);
        maps.size.inc();
        true
    }

    pub(super) fn find(&self, token: &Token) -> Option<Sealed> {
        let maps = self.maps.lock();
        let stored = maps.sessions.get(&token.id())?;
        let is_valid = !stored.is_ended && self.clock.monotonic() < stored.end;
        is_valid.then(|| (stored.seal, stored.session.clone()))
    }

    /// Reads the user's logins that expire after `now`, and have not by the monotonic clock.
    pub(super) fn search<T>(
        &self,
        user: UserId<'_>,
        now: u64,
        read: impl FnOnce(Logins<'_, '_>) -> T,
    ) -> T {
        let monotonic = self.clock.monotonic();
        let maps = self.maps.lock();
        let ids = maps.by_user.get(&hash(user)).into_iter().flatten().rev();
        let stored = ids.filter_map(|id| maps.sessions.get(id));
        let is_valid =
            |it: &&Stored| it.is_of(user) && monotonic < it.end && now < it.session.expires;
        read(&mut stored.filter(is_valid).map(|it| Login {
            session: Cow::Borrowed(&it.session),
            key: it.key,
            failures: it.failures,
            is_ended: it.is_ended,
        }))
    }

    pub(super) fn count_failure(&self, user: UserId<'_>) {
        let login = self.search(user, 0, newest_with_key);
        let mut maps = self.maps.lock();
        if let Some(stored) = login.and_then(|id| maps.sessions.get_mut(&id)) {
            stored.failures = stored.failures.saturating_add(1);
        }
    }

    pub(super) fn end(&self, token: &Token, _: &Session) {
        if let Some(stored) = self.maps.lock().sessions.get_mut(&token.id()) {
            stored.is_ended = true;
        }
    }

    /// Removes the user's sessions and keys.
    pub(super) fn end_all(&self, user: UserId<'_>, _: Option<&Token>) {
        let maps = &mut *self.maps.lock();
        let ids = maps.by_user.remove(&hash(user)).unwrap_or_default();
        let is_of_user = |id: &i64| maps.sessions.get(id).is_some_and(|it| it.is_of(user));
        let (ended, others): (Vec<_>, Vec<_>) = ids.into_iter().partition(is_of_user);
        for id in ended {
            maps.sessions.remove(&id);
            maps.size.dec();
        }
        if !others.is_empty() {
            maps.by_user.insert(hash(user), others);
        }
    }

    #[expect(clippy::unused_self, reason = "the interface of all stores")]
    pub(super) fn check(&self) {}
}

impl Stored {
    fn is_of(&self, user: UserId<'_>) -> bool {
        self.session.user() == user
    }
}

impl Maps {
    fn remove_expired(&mut self, now: Duration) {
        for _ in 0..MAX_REMOVED {
            let oldest = self.sessions.front_entry();
            let Some(expired) = oldest.filter(|it| it.get().end <= now) else {
                return;
            };
            let (id, expired) = expired.remove_entry();
            self.size.dec();
            if let Entry::Occupied(mut ids) = self.by_user.entry(hash(expired.session.user())) {
                ids.get_mut().retain(|other| *other != id);
                if ids.get().is_empty() {
                    ids.remove();
                }
            }
        }
    }
}

fn hash(user: UserId<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    user.hash(&mut hasher);
    hasher.finish()
}
