//! The exchanges of the last minute, each with where the session is that it came with.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ExchangeHash;
use super::position::Position;
use super::slot::{self, Slot};
use crate::session::EXCHANGE_TTL;

/// Exchanges that are remembered: a thousand a second.
pub(super) const MAX_EXCHANGES: usize = 1 << 16;

#[derive(Default)]
pub(super) struct Exchanges(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    /// By their hashes, in short; of two that are alike, the later.
    by_key: HashMap<u64, Position>,
    /// In the order in which they were stored, which is nearly that of their times.
    order: VecDeque<Exchanged>,
}

struct Exchanged {
    /// Its hash, in short.
    key: u64,
    at: Position,
    /// Unix seconds.
    created: u64,
}

impl Exchanges {
    /// Remembers the exchange that came with a session, if one did, and forgets old ones.
    pub(super) fn remember(&self, slot: &Slot, at: Position, now: u64) {
        let mut recent = self.lock();
        if let Some(key) = slot.exchange_key() {
            let created = slot.created();
            recent.by_key.insert(key, at);
            recent.order.push_back(Exchanged { key, at, created });
        }
        recent.forget(now);
    }

    /// Where the session is that may have come with this exchange.
    pub(super) fn position(&self, exchange: ExchangeHash) -> Option<Position> {
        let key = slot::exchange_key(exchange);
        self.lock().by_key.get(&key).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// Drops what is too old or too much.
    fn forget(&mut self, now: u64) {
        while let Some(&Exchanged { key, at, created }) = self.order.front()
            && (self.order.len() > MAX_EXCHANGES || !is_recent(created, now))
        {
            self.order.pop_front();
            if self.by_key.get(&key) == Some(&at) {
                self.by_key.remove(&key);
            }
        }
    }
}

/// Whether an exchange is still remembered.
pub(super) fn is_recent(created: u64, now: u64) -> bool {
    now < created.saturating_add(EXCHANGE_TTL.as_secs())
}
