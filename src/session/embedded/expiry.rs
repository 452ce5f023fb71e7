//! Deletes expired sessions, a few rows with each commit.
//!
//! A wall clock that is wrong for a moment must not delete a session. So rows are deleted some time after
//! they expire, and only while the wall clock has agreed with the monotonic clock for some minutes. A clock
//! that has been wrong since the start is not noticed.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Result};

use super::slices::Slices;
use super::tables::seconds;
use super::{SLICE_BITS, USER_BITS};
use crate::clock::Clock;

/// How long sessions are kept after they have expired, in seconds.
const DELETE_AFTER: u64 = 3600;
/// How long the wall clock and the monotonic clock must have agreed.
const CLOCKS_AGREE_FOR: Duration = Duration::from_secs(300);
/// The difference between the clocks that counts as agreement, in seconds.
const TOLERANCE: u64 = 5;
/// Rows deleted with a commit, at least, and three for each write in it: two thousand doubled the p99 of logins.
const MIN_ROWS: usize = 128;
/// Free pages returned to the file system with a commit.
const PAGES: usize = 32;
/// The pause after a deletion failed. Logins go on.
const RETRY_AFTER: Duration = Duration::from_secs(60);

pub(super) struct Expiry {
    clock: Clock,
    /// Both clocks at the time when they began to agree.
    baseline: (u64, Duration),
    /// When expired slices were searched for last, in Unix seconds.
    searched: u64,
    /// The slice that is being deleted.
    slice: Option<i64>,
    /// Whether there may be too many free pages.
    vacuum: bool,
    /// The end of the pause after a failure, by the monotonic clock.
    resume: Duration,
}

impl Expiry {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            baseline: (clock.now(), clock.monotonic()),
            clock,
            searched: 0,
            slice: None,
            vacuum: true,
            resume: Duration::ZERO,
        }
    }

    /// Whether rows are to be deleted or pages to be returned now. A slice that is being deleted takes no more
    /// sessions.
    pub(super) fn is_due(&mut self, db: &Connection, slices: &mut Slices) -> bool {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let (wall, since) = self.baseline;
        let elapsed = monotonic.saturating_sub(since);
        if now.abs_diff(wall.saturating_add(elapsed.as_secs())) > TOLERANCE {
            if self.searched > 0 {
                tracing::warn!("the clock was set: for some minutes nothing is deleted");
            }
            self.baseline = (now, monotonic);
            self.slice = None;
            return false;
        }
        if elapsed < CLOCKS_AGREE_FOR || monotonic < self.resume {
            return false;
        }
        if self.slice.is_none() && self.searched != now {
            self.searched = now;
            self.slice = expired(db, now.saturating_sub(DELETE_AFTER)).unwrap_or_default();
        }
        if let Some(slice) = self.slice {
            slices.close(slice);
        }
        self.slice.is_some() || self.vacuum
    }

    /// Deletes a few rows or returns a few pages, in a transaction with `stored` writes.
    pub(super) fn run(&mut self, db: &mut Connection, stored: usize) {
        let done = db.savepoint().and_then(|savepoint| {
            match self.slice {
                Some(slice) => {
                    if delete(&savepoint, slice, MIN_ROWS.max(3 * stored))? == 0 {
                        (self.slice, self.searched, self.vacuum) = (None, 0, true);
                    }
                }
                None => self.vacuum = vacuum(&savepoint)?,
            }
            savepoint.commit()
        });
        if let Err(error) = done {
            tracing::warn!(%error, "expired sessions cannot be deleted");
            self.resume = self.clock.monotonic() + RETRY_AFTER;
        }
    }
}

/// A slice whose sessions have all expired. Not always the oldest: `SESSION_TTL` may have been changed.
fn expired(db: &Connection, before: u64) -> Result<Option<i64>> {
    let sql = "SELECT id FROM slice WHERE expires <= ? LIMIT 1";
    let mut statement = db.prepare_cached(sql)?;
    statement
        .query_row([seconds(before)], |row| row.get(0))
        .optional()
}

/// Deletes at most `rows` rows, those of the index first. Returns 0 when the slice is deleted.
fn delete(db: &Connection, slice: i64, rows: usize) -> Result<usize> {
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    for (sql, bits) in [
        (
            "DELETE FROM user_session WHERE key IN
                (SELECT key FROM user_session WHERE key >= ? AND key < ? LIMIT ?)",
            SLICE_BITS + USER_BITS,
        ),
        (
            "DELETE FROM session WHERE id IN
                (SELECT id FROM session WHERE id >= ? AND id < ? LIMIT ?)",
            SLICE_BITS,
        ),
    ] {
        let bounds = (slice << bits, (slice + 1) << bits, rows);
        let deleted = db.prepare_cached(sql)?.execute(bounds)?;
        if deleted > 0 {
            return Ok(deleted);
        }
    }
    db.execute("DELETE FROM slice WHERE id = ?", [slice])?;
    Ok(0)
}

/// Returns free pages to the file system, unless they are few enough for the next logins to use. Returns
/// whether there are more.
fn vacuum(db: &Connection) -> Result<bool> {
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (free, pages) = (pragma("freelist_count")?, pragma("page_count")?);
    if free < 1024 || free < pages / 4 {
        return Ok(false);
    }
    let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(true)
}
