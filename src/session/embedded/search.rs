//! Searches for what a user has in all slices.

use rusqlite::{Connection, Result, params};

use super::tables::{index_key, seconds};
use super::{SLICE_BITS, SLICE_LEN, USER_BITS};
use crate::session::encryption::ENCRYPTED_KEY_LEN;
use crate::session::{MAX_FAILURES, UserId};

/// Different keys of a user that are looked for: two, each as two AppSecrets may encrypt it.
const MAX_KEYS: usize = 4;

/// What is looked at in a session when those of a user are searched.
struct UserRow {
    id: i64,
    key: Option<EncryptedBytes>,
    failures: u8,
    is_ended: bool,
}

type EncryptedBytes = [u8; ENCRYPTED_KEY_LEN];

/// What user data may be opened with.
#[derive(Default)]
pub(super) struct Keys {
    /// Encrypted `session_key`s, the newest first.
    pub(super) encrypted: Vec<EncryptedBytes>,
    /// The row of the login that brought the newest, where failures are counted.
    pub(super) failure_row: Option<i64>,
}

/// The rows of a user's sessions that have not expired, the newest first, until `show` says that it is
/// enough.
fn of_user(
    db: &Connection,
    user: &UserId,
    now: u64,
    mut show: impl FnMut(UserRow) -> bool,
) -> Result<()> {
    // Slice by slice: the tables are joined in this order.
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
    while let Some(row) = rows.next()? {
        let row = UserRow {
            id: row.get(0)?,
            key: row.get(1)?,
            failures: row.get(2)?,
            is_ended: row.get(3)?,
        };
        if !show(row) {
            break;
        }
    }
    Ok(())
}

/// The rows of the sessions that a user has. Those that were ended too: that may not be durable yet.
pub(super) fn sessions(db: &Connection, user: &UserId, now: u64) -> Result<Vec<i64>> {
    let mut rows = Vec::new();
    of_user(db, user, now, |row| {
        rows.push(row.id);
        true
    })?;
    Ok(rows)
}

/// The newest keys of a user, up to a login after which too much failed to open.
pub(super) fn keys(db: &Connection, user: &UserId, now: u64) -> Result<Keys> {
    let mut keys = Keys::default();
    of_user(db, user, now, |row| {
        let Some(encrypted) = row.key else {
            return true;
        };
        if row.failures >= MAX_FAILURES {
            return false;
        }
        keys.failure_row.get_or_insert(row.id);
        if !keys.encrypted.contains(&encrypted) {
            keys.encrypted.push(encrypted);
        }
        keys.encrypted.len() < MAX_KEYS
    })?;
    Ok(keys)
}

/// The newest key of a user who has a session that was not ended.
pub(super) fn newest_key(
    db: &Connection,
    user: &UserId,
    now: u64,
) -> Result<Option<EncryptedBytes>> {
    let (mut is_living, mut newest) = (false, None);
    of_user(db, user, now, |row| {
        is_living |= !row.is_ended;
        let is_dropped = row.failures >= MAX_FAILURES;
        if let Some(key) = row.key {
            newest.get_or_insert((!is_dropped).then_some(key));
        }
        !is_living || newest.is_none()
    })?;
    Ok(newest.flatten().filter(|_| is_living))
}
