//! What is read from the tables, and what is written to them.

use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{SLICE_BITS, SLICE_LEN, USER_BITS};
use crate::session::encryption::{ENCRYPTED_KEY_LEN, EncryptedKey};
use crate::session::token::TokenHash;
use crate::session::{ExchangeHash, MAX_FAILURES, Record, Session, User, UserId};

/// Different keys of a user that are looked for: two, each as two AppSecrets may encrypt it.
const MAX_KEYS: usize = 4;

/// A session as it is stored.
pub(super) struct Row {
    pub(super) token: TokenHash,
    pub(super) session: Session,
    pub(super) exchange: Option<ExchangeHash>,
    pub(super) is_ended: bool,
}

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
    pub(super) newest: Option<i64>,
}

/// A change of one row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    End,
    /// With the `session_key` that came with it.
    EndAndDropKey,
    /// A failure to open user data, before it can happen.
    CountFailure,
    /// It did not happen.
    TakeFailureBack,
}

impl Row {
    pub(super) fn new(record: &Record<'_>) -> Self {
        Self {
            token: record.token,
            session: record.session.clone(),
            exchange: record.exchange.as_ref().map(|exchange| exchange.hash),
            is_ended: false,
        }
    }

    pub(super) fn user(self) -> User {
        User {
            openid: self.session.user.openid,
            unionid: self.session.unionid,
        }
    }
}

/// Stores a session in a row of its own.
pub(super) fn insert(
    db: &Connection,
    id: i64,
    row: &Row,
    key: Option<&EncryptedKey>,
) -> Result<()> {
    let session = &row.session;
    db.prepare_cached("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)")?
        .execute(params![
            id,
            row.token.0,
            session.user.appid,
            session.user.openid,
            session.unionid,
            seconds(session.created),
            seconds(session.expires),
            row.exchange.map(|exchange| exchange.0),
            key.map(EncryptedKey::as_bytes),
        ])?;
    db.prepare_cached("INSERT INTO user_session VALUES (?)")?
        .execute([index_key(id, &session.user)])?;
    Ok(())
}

/// Writes what a login writes, and nothing that stays.
pub(super) fn insert_and_delete(db: &Connection, id: i64) -> Result<()> {
    let key = key_of(id, 0);
    for (sql, id) in [
        (
            "INSERT INTO session VALUES (?, x'', '', '', NULL, 0, 0, NULL, NULL, 0, 1)",
            id,
        ),
        ("INSERT INTO user_session VALUES (?)", key),
        ("DELETE FROM user_session WHERE key = ?", key),
        ("DELETE FROM session WHERE id = ?", id),
    ] {
        db.prepare_cached(sql)?.execute([id])?;
    }
    Ok(())
}

/// A row, ended or not, expired or not.
pub(super) fn row(db: &Connection, id: i64) -> Result<Option<Row>> {
    let sql = "SELECT token, appid, openid, unionid, created, expires, exchange, ended
        FROM session WHERE id = ?";
    let row = db.prepare_cached(sql)?.query_row([id], |columns| {
        Ok(Row {
            token: TokenHash(columns.get(0)?),
            session: Session {
                user: UserId {
                    appid: columns.get(1)?,
                    openid: columns.get(2)?,
                },
                unionid: columns.get(3)?,
                created: columns.get::<_, i64>(4)?.cast_unsigned(),
                expires: columns.get::<_, i64>(5)?.cast_unsigned(),
            },
            exchange: columns.get::<_, Option<_>>(6)?.map(ExchangeHash),
            is_ended: columns.get(7)?,
        })
    });
    row.optional()
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
        keys.newest.get_or_insert(row.id);
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

/// Changes a row, if it is still there.
pub(super) fn change(db: &Connection, id: i64, change: Change) -> Result<()> {
    let sql = match change {
        Change::End => "UPDATE session SET ended = 1 WHERE id = ?",
        Change::EndAndDropKey => "UPDATE session SET ended = 1, session_key = NULL WHERE id = ?",
        Change::CountFailure => "UPDATE session SET failures = min(failures + 1, 255) WHERE id = ?",
        Change::TakeFailureBack => {
            "UPDATE session SET failures = max(failures - 1, 0) WHERE id = ?"
        }
    };
    db.prepare_cached(sql)?.execute([id])?;
    Ok(())
}

/// A session in the index of its slice, where other users may have the same bits. NUL is in no id.
fn index_key(id: i64, user: &UserId) -> i64 {
    let ids = [user.appid.as_bytes(), user.openid.as_bytes()].join(&0);
    let user = digest(&SHA256, &ids);
    let user = user.as_ref().iter().take(USER_BITS as usize / 8);
    key_of(id, user.fold(0, |bits, byte| bits << 8 | i64::from(*byte)))
}

fn key_of(id: i64, user: i64) -> i64 {
    (id >> SLICE_BITS << USER_BITS | user) << SLICE_BITS | id & (SLICE_LEN - 1)
}

/// A time as SQLite can compare it.
pub(super) fn seconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// What masks row numbers in tokens.
pub(super) fn mask(db: &Connection) -> Result<[u8; 32]> {
    db.query_row("SELECT key FROM mask", [], |row| row.get(0))
}
