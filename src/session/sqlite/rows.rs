//! SQL statements that read and write rows.

use rusqlite::{Connection, ErrorCode, OptionalExtension, Result, params};

use super::connection;
use super::search::hash;
use crate::session::store::Row;
use crate::session::{EXCHANGE_TTL, EncryptedKey, RecentExchange, Session};

/// The most exchanges that are remembered: a thousand a second.
const MAX_EXCHANGES: u32 = 1 << 16;
/// Rows before and after an erased one that are written anew: more than three pages have.
const NEIGHBOURS: i64 = 80;

/// A session to be stored.
pub(super) struct NewRow {
    pub(super) id: i64,
    pub(super) row: Row,
    /// SHA-256 of appid and code.
    pub(super) exchange: Option<[u8; 32]>,
    pub(super) key: Option<EncryptedKey>,
}

/// Returns `false` if the id is taken.
pub(super) fn insert(db: &Connection, new: &NewRow, bucket: i64) -> Result<bool> {
    let sql = "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?)";
    let session = &new.row.session;
    let inserted = db.prepare_cached(sql)?.execute(params![
        new.id,
        new.row.seal,
        session.appid,
        session.openid,
        session.unionid,
        session.created.cast_signed(),
        session.expires.cast_signed(),
        new.exchange,
        new.key.map(|key| key.0),
        bucket,
        hash(session.user()),
    ]);
    match inserted {
        // The primary key's. The transaction goes on without this row.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Ok(false)
        }
        inserted => inserted.map(|_| true),
    }
}

/// Writes what a login writes, at the end of the table, and deletes it.
pub(super) fn insert_and_delete(db: &Connection, bucket: i64) -> Result<()> {
    let sql = "INSERT INTO session VALUES (?, x'', '', '', NULL, 0, 0, NULL, NULL, 0, 1, ?, 0)";
    db.prepare_cached(sql)?.execute((i64::MAX, bucket))?;
    delete(db, i64::MAX).map(drop)
}

/// Reads a session that was not ended.
pub(super) fn find(db: &Connection, id: i64) -> Result<Option<Row>> {
    let sql = "SELECT token, appid, openid, unionid, created, expires FROM session
        WHERE id = ? AND NOT ended";
    let mut statement = db.prepare_cached(sql)?;
    let found = statement.query_row([id], |columns| {
        let row = || {
            Ok::<_, rusqlite::Error>(Row {
                seal: columns.get(0)?,
                session: Session {
                    appid: columns.get(1)?,
                    openid: columns.get(2)?,
                    unionid: columns.get(3)?,
                    created: columns.get::<_, i64>(4)?.cast_unsigned(),
                    expires: columns.get::<_, i64>(5)?.cast_unsigned(),
                },
            })
        };
        // What is no text is a row that the disk changed, and no session: its holder logs in anew.
        Ok(row().ok())
    });
    found.optional().map(Option::flatten)
}

/// Ends a session, if it has not been deleted.
pub(super) fn end(db: &Connection, id: i64, seal: [u8; 32]) -> Result<()> {
    let sql = "UPDATE session SET ended = 1 WHERE id = ? AND token = ?";
    db.prepare_cached(sql)?.execute((id, seal)).map(drop)
}

pub(super) fn count_failure(db: &Connection, id: i64) -> Result<()> {
    let sql = "UPDATE session SET failures = min(failures + 1, 255) WHERE id = ?";
    db.prepare_cached(sql)?.execute([id]).map(drop)
}

/// Deletes sessions and overwrites their bytes. Returns how many there were.
pub(super) fn erase(db: &Connection, ids: &[i64]) -> Result<usize> {
    connection::secure_delete(db, true)?;
    let erased = ids.iter().map(|id| erase_one(db, *id)).sum();
    connection::secure_delete(db, false)?;
    erased
}

/// When SQLite distributes rows over pages anew, it may leave copies behind their end: one row in 500 has one. So the
/// rows around it are moved away and back, which overwrites the pages that they had.
fn erase_one(db: &Connection, id: i64) -> Result<usize> {
    let deleted = delete(db, id)?;
    if deleted > 0 {
        let sql = "UPDATE session SET id = -id WHERE id
            BETWEEN coalesce((SELECT id FROM session WHERE id < ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2), 0)
            AND coalesce((SELECT id FROM session WHERE id > ?1 ORDER BY id LIMIT 1 OFFSET ?2), ?3)";
        db.prepare_cached(sql)?
            .execute((id, NEIGHBOURS, i64::MAX))?;
        let sql = "UPDATE session SET id = -id WHERE id < 0";
        db.prepare_cached(sql)?.execute([])?;
    }
    Ok(deleted)
}

fn delete(db: &Connection, id: i64) -> Result<usize> {
    let sql = "DELETE FROM session WHERE id = ?";
    db.prepare_cached(sql)?.execute([id])
}

/// The exchanges of the last minute by the wall clock, each with its first session.
pub(super) fn recent_exchanges(db: &Connection, now: u64) -> Result<Vec<RecentExchange>> {
    let sql = "SELECT exchange, appid, openid, unionid, created, expires FROM session
        ORDER BY id DESC LIMIT ?";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([MAX_EXCHANGES])?;
    let mut recent = Vec::new();
    while let Some(row) = rows.next()? {
        let session = Session {
            appid: row.get(1)?,
            openid: row.get(2)?,
            unionid: row.get(3)?,
            created: row.get::<_, i64>(4)?.cast_unsigned(),
            expires: row.get::<_, i64>(5)?.cast_unsigned(),
        };
        let age = now.saturating_sub(session.created);
        // Ids are nearly in the order of `created`.
        if age >= 2 * EXCHANGE_TTL.as_secs() {
            break;
        }
        if age < EXCHANGE_TTL.as_secs()
            && let Some(code) = row.get(0)?
        {
            recent.push(RecentExchange { code, session, age });
        }
    }
    Ok(recent)
}
