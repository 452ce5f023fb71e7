//! Rows: SQL statements that read and write one session.

use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{SLICE_BITS, SLICE_LEN, USER_BITS};
use crate::session::encryption::EncryptedKey;
use crate::session::token::TokenHash;
use crate::session::{ExchangeHash, Session, UserId};

/// A stored session.
pub(super) struct Row {
    pub(super) token: TokenHash,
    pub(super) session: Session,
    pub(super) is_ended: bool,
}

/// A row to be inserted.
pub(super) struct NewRow {
    pub(super) token: TokenHash,
    pub(super) session: Session,
    pub(super) exchange: Option<ExchangeHash>,
    pub(super) key: Option<EncryptedKey>,
}

/// A change to one row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    End,
    /// Deletes its `session_key` too.
    EndAndDropKey,
    /// Counts a failed decryption, before the attempt.
    CountFailure,
    /// Takes it back, after an attempt that did not fail.
    TakeFailureBack,
}

/// Stores a session.
pub(super) fn insert(db: &Connection, id: i64, row: &NewRow) -> Result<()> {
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
            row.key.as_ref().map(EncryptedKey::as_bytes),
        ])?;
    db.prepare_cached("INSERT INTO user_session VALUES (?)")?
        .execute([index_key(id, &session.user)])?;
    Ok(())
}

/// Writes what a login writes, and deletes it.
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

/// Reads a session, also an ended or expired one.
pub(super) fn row(db: &Connection, id: i64) -> Result<Option<Row>> {
    let sql = "SELECT token, appid, openid, unionid, created, expires, ended
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
            is_ended: columns.get(6)?,
        })
    });
    row.optional()
}

/// Changes a session, if it has not been deleted.
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

/// The key of a session in the index. Other users may have the same bits. No appid or openid contains NUL.
pub(super) fn index_key(id: i64, user: &UserId) -> i64 {
    let ids = [user.appid.as_bytes(), user.openid.as_bytes()].join(&0);
    let user = digest(&SHA256, &ids);
    let user = user.as_ref().iter().take(USER_BITS as usize / 8);
    key_of(id, user.fold(0, |bits, byte| bits << 8 | i64::from(*byte)))
}

fn key_of(id: i64, user: i64) -> i64 {
    (id >> SLICE_BITS << USER_BITS | user) << SLICE_BITS | id & (SLICE_LEN - 1)
}

/// Unix seconds as an SQLite integer.
pub(super) fn seconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// The key that masks ids in tokens.
pub(super) fn mask(db: &Connection) -> Result<[u8; 32]> {
    db.query_row("SELECT key FROM mask", [], |row| row.get(0))
}
