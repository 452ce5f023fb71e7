//! Deletes expired sessions, a few rows with each commit.
//!
//! A wall clock that is wrong for a moment must not delete a session. So rows are deleted some time after
//! they expire, and only while the wall clock has agreed with the monotonic clock for some minutes. A clock
//! that has been wrong since the start is only told in the log.

use std::time::Duration;

use rusqlite::{Connection, Result};

use super::connection::{execute, number};
use crate::clock::Clock;

/// How long sessions are kept after they have expired, in seconds.
const DELETE_AFTER: u64 = 3600;
/// How long the wall clock and the monotonic clock must have agreed.
const CLOCKS_AGREE_FOR: Duration = Duration::from_secs(300);
/// The difference between the clocks that counts as agreement, in seconds.
const TOLERANCE: u64 = 5;
/// Rows deleted with a commit, and up to eight times as many with many writes: two thousand doubled the p99 of logins.
const ROWS: usize = 128;
/// The pause when there was nothing to delete, or that failed.
const PAUSE: Duration = Duration::from_secs(10);
/// How often the whole table is looked through: `SESSION_TTL` may have been longer when the rows at the front were made.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

pub(super) struct Expiry {
    clock: Clock,
    /// Both clocks at the time when they began to agree.
    baseline: (u64, Duration),
    /// The row up to which the table has been looked through, and when that begins again, by the monotonic clock.
    looked: i64,
    next_look: Duration,
    /// When to go on, by the monotonic clock.
    next: Duration,
    /// Whether there may be more to delete.
    pub(super) is_unfinished: bool,
}

impl Expiry {
    pub(super) fn new(db: &Connection, clock: Clock) -> Result<Self> {
        let now = clock.now();
        let first = "SELECT coalesce((SELECT expires FROM session ORDER BY id LIMIT 1), 1 << 62)";
        let days = now.saturating_sub(number(db, first)?.unsigned_abs()) / 86_400;
        if days > 0 {
            tracing::warn!(
                days,
                "by this clock sessions expired days ago; they are deleted in five minutes"
            );
        }
        Ok(Self {
            baseline: (now, clock.monotonic()),
            looked: 0,
            next_look: Duration::ZERO,
            next: Duration::ZERO,
            is_unfinished: false,
            clock,
        })
    }

    /// Deletes a few rows or returns a few pages, in a transaction with `writes` others, if it is time and the clocks
    /// can be relied on. Returns the number of rows.
    pub(super) fn run(&mut self, db: &mut Connection, writes: usize) -> i64 {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let (wall, since) = self.baseline;
        let elapsed = monotonic.saturating_sub(since);
        self.is_unfinished = false;
        if now.abs_diff(wall + elapsed.as_secs()) > TOLERANCE {
            tracing::warn!("the clock was set: for five minutes no expired session is deleted");
            self.baseline = (now, monotonic);
        } else if elapsed >= CLOCKS_AGREE_FOR && monotonic >= self.next {
            let rows = (3 * writes).clamp(ROWS, 8 * ROWS);
            let deleted = self.delete(db, rows, (now, monotonic));
            if !self.is_unfinished {
                self.next = monotonic + PAUSE;
            }
            return deleted.unwrap_or_else(|error| {
                tracing::warn!(%error, "expired sessions cannot be deleted");
                0
            });
        }
        0
    }

    /// Deletes what has expired of the rows at the front, or of the next ones of a look through the table, or else
    /// returns free pages. Returns the number of rows.
    fn delete(&mut self, db: &mut Connection, rows: usize, at: (u64, Duration)) -> Result<i64> {
        let (before, now) = (at.0.saturating_sub(DELETE_AFTER), at.1);
        let savepoint = db.savepoint()?;
        let sql = "DELETE FROM session
            WHERE id IN (SELECT id FROM session WHERE id > ? ORDER BY id LIMIT ?) AND expires <= ?";
        let looked = self.looked;
        let deleted = execute(&savepoint, sql, (looked, rows, before))?;
        if deleted == 0 && now >= self.next_look {
            let last = "SELECT coalesce(max(id), 0)
                FROM (SELECT id FROM session WHERE id > ? ORDER BY id LIMIT ?)";
            self.looked = savepoint.query_row(last, (looked, rows), |row| row.get(0))?;
            if self.looked == 0 {
                self.next_look = now + LOOK_EVERY;
            }
        }
        let free = number(&savepoint, "PRAGMA freelist_count")?;
        // What is free is used by the next logins, unless it is much.
        let has_many = free >= 1024.max(number(&savepoint, "PRAGMA page_count")? / 4);
        if deleted == 0 && has_many {
            savepoint.execute_batch("PRAGMA incremental_vacuum(32)")?;
        }
        savepoint.commit()?;
        self.is_unfinished = deleted > 0 || has_many || looked.max(self.looked) > 0;
        Ok(deleted)
    }
}
