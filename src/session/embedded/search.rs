//! Searches of a user's sessions in all slices.

use rusqlite::{Connection, Result, params};

use super::tables::{index_key, seconds};
use super::{SLICE_BITS, SLICE_LEN, USER_BITS};
use crate::session::encryption::EncryptedKey;
use crate::session::{MAX_FAILURES, UserId};

/// The most different keys of a user: two, each encrypted with up to two AppSecrets.
const MAX_KEYS: usize = 4;

/// A session of the user, with the columns that searches need.
pub(super) struct UserRow {
    pub(super) id: i64,
    pub(super) key: Option<EncryptedKey>,
    /// Failed decryptions of user data since this login.
    pub(super) failures: u8,
    pub(super) is_ended: bool,
}

/// The result of a search, built session by session.
pub(super) trait Search: Default + Send + 'static {
    /// Adds a session; the newest comes first. Returns whether older ones are needed too.
    fn add(&mut self, row: UserRow) -> bool;
}

/// The ids of all sessions, including ended ones, as that may not be durable yet.
#[derive(Default)]
pub(super) struct Sessions(pub(super) Vec<i64>);

/// The newest keys, up to a login after which decryption failed too often.
#[derive(Default)]
pub(super) struct Keys {
    /// The newest first.
    pub(super) encrypted: Vec<EncryptedKey>,
    /// The row of the login that brought the newest, where failures are counted.
    pub(super) failure_row: Option<i64>,
}

/// The newest key of a user who has a session that was not ended.
#[derive(Default)]
pub(super) struct NewestKey {
    is_living: bool,
    is_found: bool,
    /// `None` if decryption failed too often since that login.
    newest: Option<EncryptedKey>,
}

impl Search for Sessions {
    fn add(&mut self, row: UserRow) -> bool {
        self.0.push(row.id);
        true
    }
}

impl Search for Keys {
    fn add(&mut self, row: UserRow) -> bool {
        let Some(key) = row.key else {
            return true;
        };
        if row.failures >= MAX_FAILURES {
            return false;
        }
        self.failure_row.get_or_insert(row.id);
        if !self.encrypted.contains(&key) {
            self.encrypted.push(key);
        }
        self.encrypted.len() < MAX_KEYS
    }
}

impl Search for NewestKey {
    fn add(&mut self, row: UserRow) -> bool {
        self.is_living |= !row.is_ended;
        if row.key.is_some() && !self.is_found {
            self.is_found = true;
            self.newest = row.key.filter(|_| row.failures < MAX_FAILURES);
        }
        !self.is_living || !self.is_found
    }
}

impl Keys {
    pub(super) fn to_vecs(&self) -> Vec<Vec<u8>> {
        self.encrypted.iter().map(|key| key.0.to_vec()).collect()
    }
}

impl NewestKey {
    pub(super) fn key(self) -> Option<EncryptedKey> {
        self.newest.filter(|_| self.is_living)
    }
}

/// Searches the sessions of a user that have not expired, slice by slice.
pub(super) fn search<T: Search>(db: &Connection, user: &UserId, now: u64) -> Result<T> {
    // CROSS JOIN: SQLite keeps this order of the tables.
    let sql = "SELECT session.id, session_key, failures, ended FROM slice
        CROSS JOIN user_session ON key BETWEEN (slice.id << ?5) + ?1 AND (slice.id << ?5) + ?1 + ?6
        CROSS JOIN session ON session.id = (slice.id << ?7) + (key & ?6)
        WHERE slice.expires > ?4 AND session.expires > ?4 AND appid = ?2 AND openid = ?3
        ORDER BY slice.id DESC, key DESC";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![
        index_key(0, user),
        user.appid,
        user.openid,
        seconds(now),
        SLICE_BITS + USER_BITS,
        SLICE_LEN - 1,
        SLICE_BITS,
    ])?;
    let mut found = T::default();
    while let Some(row) = rows.next()? {
        let row = UserRow {
            id: row.get(0)?,
            key: row.get::<_, Option<_>>(1)?.map(EncryptedKey),
            failures: row.get(2)?,
            is_ended: row.get(3)?,
        };
        if !found.add(row) {
            break;
        }
    }
    Ok(found)
}
