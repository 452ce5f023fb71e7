//! Deletes expired sessions, a few rows with each commit.
//!
//! A wall clock that is wrong for a moment must not delete a session. So rows are deleted some time after
//! they expire, and only while the wall clock has agreed with the monotonic clock for some minutes. A clock
//! that has been wrong since the start is only told in the log.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Result};

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
/// How often it is looked for more, when there was nothing.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a deletion failed. Logins go on.
const RETRY_AFTER: Duration = Duration::from_secs(60);

pub(super) struct Expiry {
    clock: Clock,
    /// Both clocks at the time when they began to agree.
    baseline: (u64, Duration),
    /// When to look again, by the monotonic clock.
    next: Duration,
}

impl Expiry {
    pub(super) fn new(db: &Connection, clock: Clock) -> Result<Self> {
        let now = clock.now();
        let sql = "SELECT expires FROM session ORDER BY id DESC LIMIT 1";
        let newest: Option<i64> = db.query_row(sql, [], |row| row.get(0)).optional()?;
        if newest.is_some_and(|expires| is_old(expires, now)) {
            tracing::warn!(
                now,
                "all sessions have expired, and will be deleted in five minutes, if this machine's clock is right"
            );
        }
        Ok(Self {
            baseline: (now, clock.monotonic()),
            clock,
            next: Duration::ZERO,
        })
    }

    /// Whether it is time to look, and the clocks can be relied on.
    pub(super) fn is_due(&mut self) -> bool {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let (wall, since) = self.baseline;
        let elapsed = monotonic.saturating_sub(since);
        if now.abs_diff(wall.saturating_add(elapsed.as_secs())) > TOLERANCE {
            tracing::warn!("the clock was set: for five minutes nothing is deleted");
            self.baseline = (now, monotonic);
            return false;
        }
        elapsed >= CLOCKS_AGREE_FOR && monotonic >= self.next
    }

    /// Deletes a few rows or returns a few pages, in a transaction with `writes` others. Returns the number of rows.
    pub(super) fn run(&mut self, db: &mut Connection, writes: usize) -> usize {
        let (rows, now) = (MIN_ROWS.max(3 * writes), self.clock.now());
        let done = db.savepoint().and_then(|savepoint| {
            let deleted = delete(&savepoint, rows, now)?;
            let more = deleted == rows || deleted == 0 && vacuum(&savepoint)?;
            savepoint.commit()?;
            Ok((deleted, if more { Duration::ZERO } else { INTERVAL }))
        });
        let (deleted, pause) = done.unwrap_or_else(|error| {
            tracing::warn!(%error, "expired sessions cannot be deleted");
            (0, RETRY_AFTER)
        });
        self.next = self.clock.monotonic() + pause;
        deleted
    }
}

fn is_old(expires: i64, now: u64) -> bool {
    expires.cast_unsigned().saturating_add(DELETE_AFTER) <= now
}

/// Deletes the rows at the front that have expired. One that has not is followed by younger ones.
fn delete(db: &Connection, most: usize, now: u64) -> Result<usize> {
    let sql = "SELECT id, expires FROM session ORDER BY id LIMIT ?";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut last = None;
    while let Some(row) = rows.next()?
        && is_old(row.get(1)?, now)
    {
        last = Some(row.get::<_, i64>(0)?);
    }
    drop(rows);
    match last {
        Some(last) => db
            .prepare_cached("DELETE FROM session WHERE id <= ?")?
            .execute([last]),
        None => Ok(0),
    }
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
