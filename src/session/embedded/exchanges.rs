//! The exchanges of the last minute, each with where the session is that it came with.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ExchangeHash;
use super::position::Position;
use super::slot::{self, Slot};
use crate::session::EXCHANGE_TTL;

/// Exchanges that are remembered: a thousand a second.
pub(super) const MAX_EXCHANGES: usize = 1 << 16;

/// In the order in which they were stored, which is nearly that of their times.
#[derive(Default)]
pub(super) struct Exchanges(Mutex<VecDeque<Exchanged>>);

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
        let mut exchanges = self.lock();
        if let Some(key) = slot.exchange_key() {
            let created = slot.created();
            exchanges.push_back(Exchanged { key, at, created });
        }
        while let Some(first) = exchanges.front()
            && (exchanges.len() > MAX_EXCHANGES || !is_recent(first.created, now))
        {
            exchanges.pop_front();
        }
    }

    /// Where sessions are that may have come with this exchange, the newest first.
    pub(super) fn positions(&self, exchange: ExchangeHash, now: u64) -> Vec<Position> {
        let key = slot::exchange_key(exchange);
        let exchanges = self.lock();
        let ours = exchanges
            .iter()
            .rev()
            .filter(|it| it.key == key && is_recent(it.created, now));
        ours.map(|it| it.at).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Exchanged>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an exchange is still remembered.
pub(super) fn is_recent(created: u64, now: u64) -> bool {
    now < created.saturating_add(EXCHANGE_TTL.as_secs())
}
