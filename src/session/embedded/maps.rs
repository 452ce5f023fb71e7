//! Sessions in memory, in plain maps: a login with SQLite in memory uses a third more CPU.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::engine::Write;
use super::search::{Search, UserRow};
use super::tables::{Change, NewRow, Row};
use crate::session::UserId;

/// The most expired sessions that a login removes: more than it adds, and few enough not to delay it.
const MAX_REMOVED: usize = 4;

#[derive(Default)]
pub(super) struct Maps {
    /// By id, in the order of arrival.
    sessions: BTreeMap<i64, Entry>,
    by_user: BTreeSet<(UserId, i64)>,
    next: i64,
}

struct Entry {
    row: NewRow,
    failures: u8,
    is_ended: bool,
    /// When it is removed, by the monotonic clock: a wall clock that is wrong must not delete a session.
    end: Duration,
}

impl Maps {
    pub(super) fn row(&self, id: i64, monotonic: Duration) -> Option<Row> {
        let entry = self.get(id, monotonic)?;
        Some(Row {
            token: entry.row.token,
            session: entry.row.session.clone(),
            is_ended: entry.is_ended,
        })
    }

    /// Searches the sessions of a user that have not expired by either clock.
    pub(super) fn search<T: Search>(&self, user: &UserId, now: u64, monotonic: Duration) -> T {
        let [first, last] = [i64::MIN, i64::MAX].map(|id| (user.clone(), id));
        let ids = self.by_user.range(first..=last).rev().map(|(_, id)| *id);
        let entries = ids.filter_map(|id| Some((id, self.get(id, monotonic)?)));
        let living = entries.filter(|(_, entry)| now < entry.row.session.expires);
        let mut rows = living.map(|(id, entry)| UserRow {
            id,
            key: entry.row.key,
            failures: entry.failures,
            is_ended: entry.is_ended,
        });
        let mut found = T::default();
        rows.all(|row| found.add(row));
        found
    }

    /// Returns the id of a session that was created, else 0.
    pub(super) fn write(&mut self, write: Write, monotonic: Duration) -> i64 {
        match write {
            Write::Create(row) => return self.create(*row, monotonic),
            Write::Change(change, ids) => {
                for id in ids {
                    if let Some(entry) = self.sessions.get_mut(&id) {
                        entry.change(change);
                    }
                }
            }
            Write::Check => {}
        }
        0
    }

    /// The number of sessions that have not expired, including those that were ended early.
    pub(super) fn len(&self, monotonic: Duration) -> i64 {
        // A binary search: ids have no gaps, and sessions expire in the order of their ids.
        let (first, mut last) = (self.sessions.first_key_value(), self.next);
        let mut first = first.map_or(self.next, |(id, _)| *id);
        while first < last {
            let middle = i64::midpoint(first, last);
            match self.get(middle, monotonic) {
                Some(_) => last = middle,
                None => first = middle + 1,
            }
        }
        self.next - first
    }

    fn get(&self, id: i64, monotonic: Duration) -> Option<&Entry> {
        let entry = self.sessions.get(&id)?;
        (monotonic < entry.end).then_some(entry)
    }

    fn create(&mut self, mut row: NewRow, monotonic: Duration) -> i64 {
        for _ in 0..MAX_REMOVED {
            let first = self.sessions.first_entry();
            let Some(first) = first.filter(|it| it.get().end <= monotonic) else {
                break;
            };
            let (id, entry) = first.remove_entry();
            self.by_user.remove(&(entry.row.session.user, id));
        }
        let id = self.next;
        self.next += 1;
        let life = row.session.expires.saturating_sub(row.session.created);
        let end = monotonic.saturating_add(Duration::from_secs(life));
        row.exchange = None; // for the next process, and there is none
        self.by_user.insert((row.session.user.clone(), id));
        let (failures, is_ended) = (0, false);
        let entry = Entry {
            row,
            failures,
            is_ended,
            end,
        };
        self.sessions.insert(id, entry);
        id
    }
}

impl Entry {
    fn change(&mut self, change: Change) {
        match change {
            Change::End => self.is_ended = true,
            Change::EndAndDropKey => (self.is_ended, self.row.key) = (true, None),
            Change::CountFailure => self.failures = self.failures.saturating_add(1),
            Change::TakeFailureBack => self.failures = self.failures.saturating_sub(1),
        }
    }
}
