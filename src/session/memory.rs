//! The store in the memory of this process: maps, without writer or file.
//!
//! Maps are split, so that one that grows holds up few. What expired is removed by the logins that
//! come later.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::keyring::Keyring;
use super::{EXCHANGE_TTL, ExchangeHash, Record, Session, TokenHash, User, UserId};
use crate::clock::Clock;

const SHARDS: usize = 64;
/// Expired records that a login removes at most: more than it makes.
const MAX_REMOVED: usize = 4;

/// The store in memory.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    sessions: Sharded<TokenHash, Held>,
    exchanges: Sharded<ExchangeHash, Exchanged>,
    users: Sharded<UserId, Account>,
    clock: Clock,
}

struct Held {
    session: Session,
    generation: u64,
    is_ended: bool,
}

struct Exchanged {
    user: User,
    /// Unix seconds.
    expires: u64,
}

#[derive(Default)]
struct Account {
    keys: Keyring,
    /// Of sessions that live: those of earlier ones were ended together.
    generation: u64,
    /// Of the user's last session, in Unix seconds.
    last_expiry: u64,
}

impl Store {
    pub(super) fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            sessions: Sharded::new(),
            exchanges: Sharded::new(),
            users: Sharded::new(),
            clock,
        }))
    }

    pub(super) fn create(&self, new: Record) {
        let Inner {
            sessions,
            exchanges,
            users,
            clock,
        } = &*self.0;
        let (now, session) = (clock.now(), new.session);
        let generation = {
            let mut users = users.of(&session.user);
            let account = users.map.entry(session.user.clone()).or_default();
            account.last_expiry = account.last_expiry.max(session.expires);
            if let Some(exchange) = &new.exchange {
                account.keys.put(&exchange.seals);
            }
            account.generation
        };
        if let Some(exchange) = new.exchange {
            let exchanged = Exchanged {
                user: User {
                    openid: session.user.openid.clone(),
                    unionid: session.unionid.clone(),
                },
                expires: now + EXCHANGE_TTL.as_secs(),
            };
            let mut shard = exchanges.of(&exchange.hash);
            shard.insert(exchange.hash, exchanged.expires, exchanged);
            shard.remove_due(now);
        }
        let expires = session.expires;
        let held = Held {
            session,
            generation,
            is_ended: false,
        };
        let removed = {
            let mut shard = sessions.of(&new.token);
            shard.insert(new.token, expires, held);
            shard.remove_due(now)
        };
        for Held { session, .. } in removed {
            let mut users = users.of(&session.user);
            let account = users.map.get(&session.user);
            if account.is_some_and(|account| account.last_expiry <= now) {
                users.map.remove(&session.user);
            }
        }
    }

    pub(super) fn find(&self, token: TokenHash) -> Option<Session> {
        let (session, generation) = {
            let sessions = self.0.sessions.of(&token);
            let held = sessions.map.get(&token).filter(|held| !held.is_ended)?;
            (held.session.clone(), held.generation)
        };
        let users = self.0.users.of(&session.user);
        let is_current = users
            .map
            .get(&session.user)
            .is_none_or(|account| account.generation <= generation);
        (is_current && self.0.clock.now() < session.expires).then_some(session)
    }

    pub(super) fn exchanged(&self, exchange: ExchangeHash) -> Option<User> {
        let shard = self.0.exchanges.of(&exchange);
        let Exchanged { user, expires } = shard.map.get(&exchange)?;
        (self.0.clock.now() < *expires).then(|| user.clone())
    }

    pub(super) fn keys(&self, user: &UserId) -> Vec<Vec<u8>> {
        let users = self.0.users.of(user);
        let account = users.map.get(user);
        account.map_or_else(Vec::new, |account| account.keys.keys())
    }

    /// The keys, if one more attempt may fail.
    pub(super) fn begin_attempt(&self, user: &UserId) -> Vec<Vec<u8>> {
        let mut users = self.0.users.of(user);
        let Some(account) = users.map.get_mut(user) else {
            return Vec::new();
        };
        let keys = account.keys.keys();
        if !keys.is_empty() {
            account.keys.begin_attempt();
        }
        keys
    }

    pub(super) fn end_attempt(&self, user: &UserId, failed: bool) {
        if let Some(account) = self.0.users.of(user).map.get_mut(user) {
            account.keys.end_attempt(failed);
        }
    }

    /// The session stays until its time comes, because that is when its user may go too.
    pub(super) fn end(&self, token: TokenHash) {
        if let Some(held) = self.0.sessions.of(&token).map.get_mut(&token) {
            held.is_ended = true;
        }
    }

    pub(super) fn end_all(&self, user: &UserId) {
        if let Some(account) = self.0.users.of(user).map.get_mut(user) {
            account.generation += 1;
        }
    }
}

/// A map in pieces, each under a lock of its own.
struct Sharded<K, V> {
    shards: [Mutex<Shard<K, V>>; SHARDS],
    hasher: RandomState,
}

struct Shard<K, V> {
    map: HashMap<K, V>,
    /// When an entry is to be removed, in Unix seconds; the first on top.
    due: BinaryHeap<Reverse<(u64, K)>>,
}

impl<K: Clone + Eq + Hash + Ord, V> Sharded<K, V> {
    fn new() -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                map: HashMap::new(),
                due: BinaryHeap::new(),
            })
        };
        Self {
            shards: std::array::from_fn(shard),
            hasher: RandomState::new(),
        }
    }

    /// The piece that this key belongs to.
    fn of(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let shard = self.hasher.hash_one(key) % SHARDS as u64;
        let shard = &self.shards[usize::try_from(shard).unwrap_or(0)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash + Ord, V> Shard<K, V> {
    fn insert(&mut self, key: K, expires: u64, value: V) {
        self.due.push(Reverse((expires, key.clone())));
        self.map.insert(key, value);
    }

    /// Removes some of what expired; returns it.
    fn remove_due(&mut self, now: u64) -> Vec<V> {
        let mut removed = Vec::new();
        for _ in 0..MAX_REMOVED {
            let due = self.due.peek();
            if due.is_none_or(|Reverse((expires, _))| *expires > now) {
                break;
            }
            if let Some(Reverse((_, key))) = self.due.pop() {
                removed.extend(self.map.remove(&key));
            }
        }
        removed
    }
}
