//! The users of codes that were exchanged in the minute before the store was opened. Later exchanges are
//! remembered by the process that makes them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, Result};

use super::lock;
use crate::clock::Clock;
use crate::session::{EXCHANGE_TTL, ExchangeHash, User};

/// The most exchanges that are remembered: a thousand a second.
const MAX_EXCHANGES: u32 = 1 << 16;

/// Times are of the monotonic clock.
#[derive(Default)]
pub(super) struct EarlierExchanges {
    /// Each with the time when it is forgotten.
    users: Mutex<HashMap<ExchangeHash, (User, Duration)>>,
    /// When all are forgotten.
    end: Duration,
}

impl EarlierExchanges {
    /// Reads the ages by the wall clock: the monotonic clock began with this process.
    pub(super) fn load(db: &Connection, clock: &Clock) -> Result<Self> {
        let (now, monotonic) = (clock.now(), clock.monotonic());
        let sql = "SELECT created, exchange, openid, unionid FROM session ORDER BY id DESC LIMIT ?";
        let mut statement = db.prepare(sql)?;
        let mut rows = statement.query([MAX_EXCHANGES])?;
        let mut users = HashMap::new();
        while let Some(row) = rows.next()? {
            let created = row.get::<_, i64>(0)?.cast_unsigned();
            let age = Duration::from_secs(now.saturating_sub(created));
            // Ids are nearly in the order of `created`.
            if age >= 2 * EXCHANGE_TTL {
                break;
            }
            if age < EXCHANGE_TTL
                && let Some(hash) = row.get(1)?
            {
                let user = User {
                    openid: row.get(2)?,
                    unionid: row.get(3)?,
                };
                let end = (monotonic + EXCHANGE_TTL).saturating_sub(age);
                users.entry(ExchangeHash(hash)).or_insert((user, end));
            }
        }
        Ok(Self {
            users: Mutex::new(users),
            end: monotonic + EXCHANGE_TTL,
        })
    }

    pub(super) fn user(&self, exchange: ExchangeHash, now: Duration) -> Option<User> {
        let mut users = lock(&self.users);
        if now >= self.end {
            *users = HashMap::new();
        }
        let known = users.get(&exchange).filter(|(_, end)| now < *end);
        known.map(|(user, _)| user.clone())
    }
}
