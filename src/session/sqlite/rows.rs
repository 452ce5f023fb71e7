//! Rows, and how they are found: by id, or by user. The index by user is in buckets of 8,192 logins, which are
//! searched one by one, so that a login changes one of some thirty pages. With larger buckets each commit writes more
//! pages; with smaller ones there are more to search.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::Duration;

use rusqlite::{Connection, Error, OptionalExtension, Result, params};

use super::connection::{execute, number};
use crate::session::logins::{Login, Logins};
use crate::session::{
    EXCHANGE_TTL, EncryptedKey, RecentExchange, Row, Sealed, Session, Token, UserId, sha256,
};

/// More buckets than there can be: half a billion sessions.
const MAX_BUCKETS: i64 = 1 << 16;

#[derive(Clone, Copy)]
pub(super) struct Counts {
    /// The number of the last login.
    login: i64,
    /// Sessions, also expired ones.
    pub(super) sessions: i64,
    /// Whether a login is among the writes of a commit, which must leave room for the end of sessions.
    pub(super) is_growing: bool,
}

impl Counts {
    pub(super) fn read(db: &Connection) -> Result<Self> {
        let last = "SELECT coalesce(max(login), 0) FROM session
            WHERE bucket = (SELECT max(bucket) FROM session)";
        Ok(Self {
            login: number(db, last)?,
            sessions: number(db, "SELECT count(*) FROM session")?,
            is_growing: false,
        })
    }
}

/// Returns 0 if the id is taken.
pub(super) fn insert(db: &Connection, id: i64, row: &Row, counts: &mut Counts) -> Result<i64> {
    counts.login += 1;
    counts.is_growing = true;
    let (session, exchange) = (&row.session, row.exchange);
    let sql = "INSERT OR IGNORE INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?)";
    let values = params![
        id,
        row.seal,
        session.appid,
        session.openid,
        session.unionid,
        session.created,
        session.expires,
        exchange.map(|exchange| exchange.code),
        exchange.map(|exchange| exchange.key.0),
        hash(session.user()),
        counts.login,
    ];
    execute(db, sql, values).inspect(|new| counts.sessions += new)
}

/// Reads a session that was not ended.
pub(super) fn find(db: &Connection, id: i64) -> Result<Option<Sealed>> {
    let sql = "SELECT appid, openid, unionid, created, expires, token FROM session
        WHERE id = ? AND NOT ended";
    let sealed = |row: &rusqlite::Row<'_>| Ok::<_, Error>((row.get(5)?, session(row)?));
    let mut statement = db.prepare_cached(sql)?;
    // One that the disk changed so that it is no text fits no token: its holder logs in anew.
    let found = statement.query_row([id], |row| Ok(sealed(row).unwrap_or_default()));
    found.optional()
}

/// Deletes a session. Where SQLite has moved rows to other pages, one in 500 has left a copy between the rows of a page
/// nearby. With `nearby`, the rows of three pages to each side are moved away and back, which overwrites these pages.
pub(super) fn erase(db: &Connection, id: i64, nearby: bool, counts: &mut Counts) -> Result<()> {
    let deleted = execute(db, "DELETE FROM session WHERE id = ?", [id])?;
    counts.sessions -= deleted;
    // Whoever deleted it before has done the rest.
    if deleted > 0 && nearby {
        let sql = "UPDATE session SET id = -id WHERE id IN (
            SELECT * FROM (SELECT id FROM session WHERE id < ?1 ORDER BY id DESC LIMIT 80)
            UNION ALL SELECT * FROM (SELECT id FROM session WHERE id > ?1 ORDER BY id LIMIT 80))";
        execute(db, sql, [id])?;
        execute(db, "UPDATE session SET id = -id WHERE id < 0", [])?;
    }
    Ok(())
}

/// Reads the user's logins that expire after `now`, also those that were ended, the newest first, of at most so many
/// `buckets`.
pub(super) fn search<T>(
    db: &Connection,
    user: UserId<'_>,
    now: u64,
    buckets: usize,
    read: impl FnOnce(Logins<'_, '_>) -> T,
) -> Result<T> {
    // One snapshot for all buckets.
    let _transaction = db.unchecked_transaction()?;
    let oldest = number(db, "SELECT coalesce(min(bucket), 0) FROM session")?;
    let newest = number(db, "SELECT coalesce(max(bucket), -1) FROM session")?;
    if newest.saturating_sub(oldest) > MAX_BUCKETS {
        return Err(Error::IntegralValueOutOfRange(0, newest));
    }
    let sql = "SELECT appid, openid, unionid, created, expires, id, session_key, failures, ended,
            login FROM session
        WHERE bucket = ? AND user = ? AND appid = ? AND openid = ? AND expires > ?";
    let mut statement = db.prepare_cached(sql)?;
    let hash = hash(user);
    let mut in_bucket = |bucket: i64| {
        let values = params![bucket, hash, user.appid, user.openid, now];
        let mut logins: Vec<_> = statement.query_map(values, login)?.collect::<Result<_>>()?;
        // Not by SQLite: to begin its sorter costs more than all the rest.
        logins.sort_unstable_by_key(|(number, _)| Reverse(*number));
        Ok(logins.into_iter().map(|(_, login)| login))
    };
    let mut failed = Ok(());
    // No bucket is read before it is needed.
    let logins = (oldest..=newest).rev().take(buckets).map_while(|bucket| {
        let logins = in_bucket(bucket).map_err(|error| failed = Err(error));
        logins.ok()
    });
    let read = read(&mut logins.flatten());
    failed.map(|()| read)
}

/// A login with its number.
fn login(row: &rusqlite::Row<'_>) -> Result<(i64, Login<'static>)> {
    let session = Session {
        id: row.get(5)?,
        ..session(row)?
    };
    let login = Login {
        session: Cow::Owned(session),
        key: row.get::<_, Option<_>>(6)?.map(EncryptedKey),
        failures: row.get(7)?,
        is_ended: row.get(8)?,
    };
    Ok((row.get(9)?, login))
}

/// 32 bits of a user. Others may have the same.
fn hash(user: UserId<'_>) -> u32 {
    let [a, b, c, d, ..] = sha256(&[&user.to_bytes()]);
    u32::from_be_bytes([a, b, c, d])
}

/// The exchanges of the last minute by the wall clock, each with its first session, the newest first; not all of many.
pub(super) fn recent_exchanges(db: &Connection, now: Duration) -> Result<Vec<RecentExchange>> {
    let sql = "SELECT appid, openid, unionid, created, expires, exchange FROM session
        WHERE id >= ? AND exchange IS NOT NULL ORDER BY id DESC LIMIT 50000";
    let first = Token::first_id(now.saturating_sub(EXCHANGE_TTL));
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([first], |row| Ok((row.get(5)?, session(row)?)))?;
    rows.collect()
}

/// The first five columns.
fn session(row: &rusqlite::Row<'_>) -> Result<Session> {
    Ok(Session {
        id: 0,
        appid: row.get(0)?,
        openid: row.get(1)?,
        unionid: row.get(2)?,
        created: row.get(3)?,
        expires: row.get(4)?,
    })
}
