//! The exchanges of the last minute, each with the row of the session that it began.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::session::{EXCHANGE_TTL, ExchangeHash};

/// Exchanges that are remembered: a thousand a second.
pub(super) const MAX_EXCHANGES: usize = 1 << 16;

/// By the monotonic clock: a wall clock that is set does not change for how long a code is known.
#[derive(Default)]
pub(super) struct Exchanges(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    /// By the beginning of their hashes; of two that are alike, the later.
    by_key: HashMap<u64, i64>,
    /// When they were stored, their keys and rows, in this order.
    order: VecDeque<(Duration, u64, i64)>,
}

impl Exchanges {
    /// Remembers exchanges that were stored at `time`, with their rows, and forgets old ones.
    pub(super) fn remember(
        &self,
        stored: impl IntoIterator<Item = (ExchangeHash, i64)>,
        time: Duration,
    ) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (hash, row) in stored {
            recent.by_key.insert(key(hash), row);
            recent.order.push_back((time, key(hash), row));
        }
        while let Some(&(stored, key, row)) = recent.order.front()
            && (recent.order.len() > MAX_EXCHANGES || time >= stored + EXCHANGE_TTL)
        {
            recent.order.pop_front();
            if recent.by_key.get(&key) == Some(&row) {
                recent.by_key.remove(&key);
            }
        }
    }

    /// The row that an exchange of the last minute may have begun.
    pub(super) fn row(&self, exchange: ExchangeHash, now: Duration) -> Option<i64> {
        self.remember([], now);
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.by_key.get(&key(exchange)).copied()
    }
}

fn key(exchange: ExchangeHash) -> u64 {
    let mut key = [0; 8];
    key.copy_from_slice(&exchange.0[..8]);
    u64::from_le_bytes(key)
}
