//! The exchanges of the last minute, each with the row of the session that it began.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Result};

use crate::clock::Clock;
use crate::session::{EXCHANGE_TTL, ExchangeHash};

/// Exchanges that are remembered: a thousand a second.
const MAX_EXCHANGES: u32 = 1 << 16;

/// By the monotonic clock: a wall clock that is set does not change for how long a code is known.
#[derive(Default)]
pub(super) struct Exchanges(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    /// Rows by the beginning of their hashes, each with its end. Of two that are alike, the later.
    by_key: HashMap<u64, (i64, Duration)>,
    /// Keys, nearly in the order of their ends.
    order: VecDeque<(u64, i64)>,
}

impl Exchanges {
    /// Those that a store holds which is opened now: by the wall clock, as there is no other for what
    /// was before.
    pub(super) fn load(db: &Connection, clock: &Clock) -> Result<Self> {
        let (now, monotonic) = (clock.now(), clock.monotonic());
        let mut statement =
            db.prepare("SELECT exchange, id, created FROM session ORDER BY id DESC LIMIT ?")?;
        let mut rows = statement.query([MAX_EXCHANGES])?;
        let mut recent = Vec::new();
        while let Some(row) = rows.next()? {
            let created = row.get::<_, i64>(2)?.cast_unsigned();
            let age = Duration::from_secs(now.saturating_sub(created));
            // They are nearly in the order of their times.
            if age >= 2 * EXCHANGE_TTL {
                break;
            }
            if let Some(hash) = row.get(0)? {
                let left = EXCHANGE_TTL.saturating_sub(age);
                recent.push((ExchangeHash(hash), row.get(1)?, monotonic + left));
            }
        }
        let exchanges = Self::default();
        for (hash, row, end) in recent.into_iter().rev() {
            exchanges.remember([(hash, row)], end, monotonic);
        }
        Ok(exchanges)
    }

    /// Remembers exchanges, with their rows, until `end`, and forgets old ones.
    pub(super) fn remember(
        &self,
        stored: impl IntoIterator<Item = (ExchangeHash, i64)>,
        end: Duration,
        now: Duration,
    ) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (hash, row) in stored {
            recent.by_key.insert(key(hash), (row, end));
            recent.order.push_back((key(hash), row));
        }
        while let Some(&(key, row)) = recent.order.front() {
            let known = recent.by_key.get(&key).filter(|known| known.0 == row);
            let is_old = known.is_none_or(|known| known.1 <= now);
            if !is_old && recent.order.len() <= MAX_EXCHANGES as usize {
                break;
            }
            if known.is_some() {
                recent.by_key.remove(&key);
            }
            recent.order.pop_front();
        }
    }

    /// The row that an exchange of the last minute may have begun.
    pub(super) fn row(&self, exchange: ExchangeHash, now: Duration) -> Option<i64> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = recent.by_key.get(&key(exchange));
        known.filter(|known| now < known.1).map(|known| known.0)
    }
}

fn key(exchange: ExchangeHash) -> u64 {
    let mut key = [0; 8];
    key.copy_from_slice(&exchange.0[..8]);
    u64::from_le_bytes(key)
}
