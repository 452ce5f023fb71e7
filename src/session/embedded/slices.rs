//! Assigns ids in the order of arrival, in slices of [`SLICE_LEN`].
//!
//! The index by user is sorted within a slice, so that inserts touch the same few pages however large the
//! store is, and expired sessions are deleted slice by slice.

use rusqlite::{Connection, OptionalExtension, Result};

use super::tables::seconds;
use super::{SLICE_BITS, SLICE_LEN};

#[derive(Clone)]
pub(super) struct Slices {
    next: i64,
    /// When the first session of the slice was stored, in Unix seconds; `None` if there is none yet.
    begun: Option<u64>,
    /// When the last session of the slice expires, in Unix seconds.
    expires: u64,
    /// Seconds after which the next slice begins although this one is not full, so that rows are not kept
    /// for long after they expire where few users log in.
    max_age: u64,
}

impl Slices {
    pub(super) fn open(db: &Connection, max_age: u64) -> Result<Self> {
        let sql = "SELECT begun, expires, coalesce(
                (SELECT max(id) + 1 FROM session WHERE id >= slice.id << ?1 AND id < slice.id + 1 << ?1),
                max(slice.id << ?1, 1)
            ) FROM slice ORDER BY id DESC LIMIT 1";
        let newest = db.query_row(sql, [SLICE_BITS], |columns| {
            Ok(Self {
                next: columns.get(2)?,
                begun: Some(columns.get::<_, i64>(0)?.cast_unsigned()),
                expires: columns.get::<_, i64>(1)?.cast_unsigned(),
                max_age,
            })
        });
        Ok(newest.optional()?.unwrap_or(Self {
            next: 1,
            begun: None,
            expires: 0,
            max_age,
        }))
    }

    /// The id for a session that is stored now.
    pub(super) fn assign_id(&mut self, db: &Connection, now: u64, expires: u64) -> Result<i64> {
        if self
            .begun
            .is_some_and(|at| now.abs_diff(at) >= self.max_age)
        {
            self.close(self.current());
        }
        if self.next % SLICE_LEN == 0 {
            (self.begun, self.expires) = (None, 0);
        }
        let id = self.next;
        self.next += 1;
        if self.begun.is_none() || expires > self.expires {
            let begun = *self.begun.get_or_insert(now);
            self.expires = expires;
            let sql = "INSERT INTO slice VALUES (?, ?, ?)
                ON CONFLICT DO UPDATE SET expires = max(expires, excluded.expires)";
            let row = (id >> SLICE_BITS, seconds(begun), seconds(expires));
            db.prepare_cached(sql)?.execute(row)?;
        }
        Ok(id)
    }

    /// The next id.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Ends a slice: the next session begins another.
    pub(super) fn close(&mut self, slice: i64) {
        if self.current() == slice {
            self.next = (slice + 1) << SLICE_BITS;
            self.begun = None;
        }
    }

    /// The slice of the newest session.
    fn current(&self) -> i64 {
        (self.next - 1) >> SLICE_BITS
    }
}
