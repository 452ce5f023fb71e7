//! How SQLite is used: all that is tuned stands here, with the reason.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Result};

use super::SCHEMA;

/// In the header of the file: it is ours.
pub(super) const APPLICATION_ID: u32 = 0x7778_6c67; // "wxlg"
/// The version of the tables.
pub(super) const VERSION: u32 = 1;

/// With 8,192 a login costs as much, and a lookup more.
pub(super) const PAGE_SIZE: u32 = 4096;
/// KiB of the writer's page cache: the pages of the current slice are in it.
const WRITER_CACHE: i32 = 4096;
/// KiB of the page cache of each reading connection. It is emptied whenever something was committed.
const READER_CACHE: i32 = 1024;
/// Pages in the write-ahead log from which on a commit also writes them into the database: so many that fewer
/// than one login in a hundred waits for that.
const CHECKPOINT: u32 = 4096;
/// Bytes of the write-ahead log that are kept when it begins anew.
const KEPT_WAL: u64 = CHECKPOINT as u64 * (PAGE_SIZE as u64 + 24);
/// Bytes of the write-ahead log from which on nothing is written before it could be emptied.
pub(super) const MAX_WAL: u64 = 4 * KEPT_WAL;
/// Another program that has the file open, such as sqlite3, may hold us up for so long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Every statement there is.
const STATEMENTS: usize = 32;

/// Makes an empty database, complete when this returns.
pub(super) fn create(path: &Path, mask: [u8; 32]) -> Result<()> {
    let db = open(path)?;
    db.pragma_update(None, "page_size", PAGE_SIZE)?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.execute_batch(&format!("BEGIN; {SCHEMA}"))?;
    db.execute("INSERT INTO mask VALUES (?)", [mask])?;
    db.pragma_update(None, "application_id", APPLICATION_ID)?;
    db.pragma_update(None, "user_version", VERSION)?;
    db.execute_batch("COMMIT")?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)
}

/// The connection that writes.
pub(super) fn writer(path: &Path) -> Result<Connection> {
    let db = open(path)?;
    // What is acknowledged is on the disk.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    db.pragma_update(None, "journal_size_limit", KEPT_WAL.cast_signed())?;
    // Otherwise the ids and keys of users stay in the file for long after their sessions.
    db.pragma_update(None, "secure_delete", true)?;
    Ok(db)
}

/// A connection that reads.
pub(super) fn reader(path: &Path) -> Result<Connection> {
    let db = open(path)?;
    db.pragma_update(None, "cache_size", -READER_CACHE)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

/// Looks whether a database is as it must be, without changing it: neither its file nor its write-ahead
/// log. Returns what is wrong. The whole is checked only if asked for, as that takes long.
pub(super) fn check(path: &Path, whole: bool) -> Result<Option<String>> {
    let db = open(path)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // So that it needs no file for what it shares with others.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // The newest are on the last pages, which are missing if something is.
    for sql in [
        "SELECT count(*) FROM (SELECT * FROM session ORDER BY id DESC LIMIT 100)",
        "SELECT count(*) FROM (SELECT * FROM user_session ORDER BY key DESC LIMIT 100)",
        "SELECT sum(expires) FROM slice",
        "SELECT key FROM mask",
    ] {
        db.query_row(sql, [], |_| Ok(()))?;
    }
    if whole {
        let said: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        return Ok((said != "ok").then_some(said));
    }
    Ok(None)
}

/// Writes what it can of the write-ahead log into the database, as commits do too, but says what went wrong.
/// If that was all, the next commit begins the log anew.
pub(super) fn checkpoint(db: &Connection) -> Result<()> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Writes all of the write-ahead log into the database, and truncates it.
pub(super) fn empty_log(db: &Connection) -> Result<()> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

fn open(path: &Path) -> Result<Connection> {
    // Without a lock around each call: a connection is in one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.busy_timeout(BUSY_TIMEOUT)?;
    Ok(db)
}
