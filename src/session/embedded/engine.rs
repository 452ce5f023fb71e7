//! Transactions: several writes are committed together.

use rusqlite::{Connection, Result};

use super::expiry::Expiry;
use super::slices::Slices;
use super::tables::{self, Change, NewRow};
use crate::clock::Clock;

pub(super) enum Write {
    Create(Box<NewRow>),
    /// The same change to several rows.
    Change(Change, Vec<i64>),
    /// Checks that a session could be stored.
    Check,
}

/// Owns the only writing connection.
pub(super) struct Engine {
    db: Connection,
    clock: Clock,
    slices: Slices,
    expiry: Expiry,
}

impl Engine {
    /// `max_age` is that of a slice, in seconds.
    pub(super) fn new(db: Connection, max_age: u64, clock: Clock) -> Result<Self> {
        Ok(Self {
            slices: Slices::open(&db, max_age)?,
            db,
            expiry: Expiry::new(clock.clone()),
            clock,
        })
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    pub(super) fn into_db(self) -> Connection {
        self.db
    }

    /// Commits all writes or none; they are durable when this returns. Returns the id of each session that was
    /// created, and 0 for other writes.
    pub(super) fn commit(&mut self, writes: &[Write]) -> Result<Vec<i64>> {
        let slices = self.slices.clone();
        let done = self.transaction(writes);
        if done.is_err() {
            self.slices = slices;
        }
        done
    }

    fn transaction(&mut self, writes: &[Write]) -> Result<Vec<i64>> {
        let now = self.clock.now();
        let is_due = self.expiry.is_due(&self.db, &mut self.slices);
        execute(&self.db, "BEGIN IMMEDIATE")?;
        let rows = writes
            .iter()
            .map(|write| apply(&self.db, write, &mut self.slices, now));
        let done = rows.collect::<Result<Vec<_>>>().and_then(|rows| {
            if is_due {
                self.expiry.run(&mut self.db, rows.len());
            }
            execute(&self.db, "COMMIT")?;
            Ok(rows)
        });
        // Some errors have already rolled it back.
        if done.is_err() && !self.db.is_autocommit() {
            execute(&self.db, "ROLLBACK")?;
        }
        done
    }

    /// Deletes a few expired rows in a transaction of their own. Returns whether there may be more.
    pub(super) fn delete_expired(&mut self) -> Result<bool> {
        let is_due = self.expiry.is_due(&self.db, &mut self.slices);
        if is_due {
            self.commit(&[])?;
        }
        Ok(is_due)
    }
}

/// Executes a cached statement: rusqlite's own transactions parse theirs each time.
fn execute(db: &Connection, sql: &str) -> Result<()> {
    db.prepare_cached(sql)?.execute([]).map(drop)
}

fn apply(db: &Connection, write: &Write, slices: &mut Slices, now: u64) -> Result<i64> {
    match write {
        Write::Create(row) => {
            let id = slices.assign_id(db, now, row.session.expires)?;
            tables::insert(db, id, row)?;
            Ok(id)
        }
        Write::Change(change, rows) => {
            for row in rows {
                tables::change(db, *row, *change)?;
            }
            Ok(0)
        }
        Write::Check => {
            tables::insert_and_delete(db, slices.next())?;
            Ok(0)
        }
    }
}
