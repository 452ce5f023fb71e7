//! Transactions: several writes are committed together.

use rusqlite::{Connection, Result};

use super::connection::BUCKET_LEN;
use super::expiry::Expiry;
use super::rows::{self, NewRow};
use super::search::buckets;
use crate::clock::Clock;

/// How far an id may be behind the one before: 10 s. More means that the clock was set back.
const MAX_LAG: i64 = (10 * 256) << 24;

/// Rows are named by their ids.
pub(super) enum Write {
    Create(Box<NewRow>),
    /// With the row's `token`.
    End(i64, [u8; 32]),
    CountFailure(i64),
    /// Deletes and overwrites.
    Erase(Vec<i64>),
    /// Checks that a session could be stored.
    Check,
}

/// Owns the only writing connection.
pub(super) struct Database {
    db: Connection,
    counts: Counts,
    expiry: Expiry,
}

/// Counts logins off into buckets.
#[derive(Clone, Copy, Default)]
struct Counts {
    newest_bucket: i64,
    /// Sessions in the newest bucket.
    len: i64,
    /// The id of the last login.
    last: i64,
    /// Sessions in all buckets. At a start those between the oldest and the newest are taken for full.
    sessions: i64,
}

impl Database {
    pub(super) fn new(db: Connection, clock: Clock) -> Result<Self> {
        Ok(Self {
            counts: Counts::read(&db)?,
            expiry: Expiry::new(&db, clock)?,
            db,
        })
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    pub(super) fn into_db(self) -> Connection {
        self.db
    }

    /// How many sessions there are, expired ones included until they are deleted.
    pub(super) fn sessions(&self) -> i64 {
        self.counts.sessions
    }

    /// Commits all writes or none; they are durable when this returns. Returns `false` for a session whose id is
    /// taken. Deletes also a few expired rows.
    pub(super) fn commit(&mut self, writes: &[Write]) -> Result<Vec<bool>> {
        let counts = self.counts;
        execute(&self.db, "BEGIN IMMEDIATE")?;
        let done = self.write_and_commit(writes);
        if done.is_err() {
            self.counts = counts;
            // Some errors have already rolled it back.
            if !self.db.is_autocommit() {
                execute(&self.db, "ROLLBACK")?;
            }
        }
        done
    }

    fn write_and_commit(&mut self, writes: &[Write]) -> Result<Vec<bool>> {
        let done = writes.iter().map(|write| self.apply(write));
        let done: Vec<bool> = done.collect::<Result<_>>()?;
        if self.expiry.is_due() {
            let deleted = self.expiry.run(&mut self.db, done.len());
            self.counts.remove(deleted);
        }
        execute(&self.db, "COMMIT")?;
        Ok(done)
    }

    fn apply(&mut self, write: &Write) -> Result<bool> {
        let db = &self.db;
        match write {
            Write::Create(row) => {
                let mut counts = self.counts;
                counts.add(row.id);
                let is_new = rows::insert(db, row, counts.newest_bucket)?;
                if is_new {
                    self.counts = counts;
                }
                return Ok(is_new);
            }
            Write::End(id, seal) => rows::end(db, *id, *seal)?,
            Write::CountFailure(id) => rows::count_failure(db, *id)?,
            Write::Erase(ids) => self.counts.remove(rows::erase(db, ids)?),
            Write::Check => rows::insert_and_delete(db, self.counts.newest_bucket)?,
        }
        Ok(true)
    }
}

impl Counts {
    fn read(db: &Connection) -> Result<Self> {
        let Some((oldest, newest_bucket)) = buckets(db)? else {
            return Ok(Self::default());
        };
        let sql = "SELECT count(*), max(id) FROM session WHERE bucket = ?";
        let mut statement = db.prepare(sql)?;
        let mut count = |bucket: i64| {
            statement.query_row([bucket], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
        };
        let (len, last) = count(newest_bucket)?;
        let mut sessions = len;
        if oldest < newest_bucket {
            let between = newest_bucket.saturating_sub(oldest) - 1;
            sessions += count(oldest)?.0 + between.saturating_mul(BUCKET_LEN);
        }
        Ok(Self {
            newest_bucket,
            len,
            last,
            sessions,
        })
    }

    /// Counts a login. After a clock was set back its id is smaller than that of an earlier one: in another bucket
    /// it is still found to be newer.
    fn add(&mut self, id: i64) {
        if self.len >= BUCKET_LEN || id < self.last.saturating_sub(MAX_LAG) {
            self.newest_bucket = self.newest_bucket.saturating_add(1);
            self.len = 0;
        }
        self.len += 1;
        self.last = id;
        self.sessions += 1;
    }

    fn remove(&mut self, sessions: usize) {
        let sessions = i64::try_from(sessions).unwrap_or(i64::MAX);
        self.sessions = self.sessions.saturating_sub(sessions).max(0);
    }
}

/// Executes a cached statement: rusqlite's own transactions parse theirs each time.
fn execute(db: &Connection, sql: &str) -> Result<()> {
    db.prepare_cached(sql)?.execute([]).map(drop)
}
