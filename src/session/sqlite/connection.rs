//! Connections and the schema. Every tuning parameter of SQLite is here, with its reason.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Result};

/// In the header of the file: identifies wxlogin's databases.
pub(super) const APPLICATION_ID: u32 = 0x7778_6c67; // "wxlg"
/// The version of the schema.
pub(super) const VERSION: u32 = 2;
/// Times are in Unix seconds.
const SCHEMA: &str = "
    CREATE TABLE session (
        id INTEGER PRIMARY KEY,    -- the first eight bytes of the token: the time of the login, and three random ones
        token BLOB NOT NULL,       -- SHA-256 of the rest of the token, appid, openid, unionid and expires
        appid TEXT NOT NULL,
        openid TEXT NOT NULL,
        unionid TEXT,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        exchange BLOB,             -- SHA-256 of appid and code, if this login exchanged it
        session_key BLOB,          -- encrypted; the key that came with the exchange
        failures INTEGER NOT NULL, -- failed decryptions since this login
        ended INTEGER NOT NULL,    -- 1 after a logout; kept, because the user's other sessions need the key
        bucket INTEGER NOT NULL,   -- logins are counted off into buckets
        user INTEGER NOT NULL      -- 32 bits of the SHA-256 of appid and openid
    ) STRICT;
    CREATE INDEX session_user ON session (bucket, user); -- a login changes only the pages of the newest bucket
";
/// Sessions in a bucket: as many as the index has some thirty pages for. With more, each commit writes more pages;
/// with fewer, there are more buckets to search for a user.
pub(super) const BUCKET_LEN: i64 = 8192;

/// With 8,192 bytes a login costs the same CPU, and a lookup more.
pub(super) const PAGE_SIZE: u32 = 4096;
/// KiB of the writer's page cache, which holds the pages of the newest bucket.
const WRITER_CACHE: i32 = 4096;
/// KiB of the page cache of each reading connection. A commit invalidates it.
const READER_CACHE: i32 = 1024;
/// Pages in the write-ahead log at which a commit also runs a checkpoint: so many that fewer than one login
/// in a hundred waits for one.
const CHECKPOINT: u32 = 4096;
/// Bytes to which the write-ahead log is truncated after a checkpoint.
const KEPT_WAL: u64 = CHECKPOINT as u64 * (PAGE_SIZE as u64 + 24);
/// Bytes of the write-ahead log above which nothing is written until a checkpoint succeeds.
pub(super) const MAX_WAL: u64 = 4 * KEPT_WAL;
/// The longest wait at a start for a lock that another program holds, such as the sqlite3 shell.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Prepared statements that a connection keeps: more than there are.
const STATEMENTS: usize = 32;

/// Creates an empty database.
pub(super) fn create(path: &Path) -> Result<()> {
    let db = open(path)?;
    db.pragma_update(None, "page_size", PAGE_SIZE)?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.execute_batch(&format!("BEGIN; {SCHEMA}"))?;
    db.pragma_update(None, "application_id", APPLICATION_ID)?;
    db.pragma_update(None, "user_version", VERSION)?;
    db.execute_batch("COMMIT")?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)
}

/// Opens the writing connection. Dropped before [`accept`], it leaves the files as they are.
pub(super) fn writer(path: &Path) -> Result<Connection> {
    let db = open(path)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // A commit returns when it is synced to the disk.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    db.pragma_update(None, "journal_size_limit", KEPT_WAL.cast_signed())?;
    secure_delete(&db, false)?;
    Ok(db)
}

/// Checks the database without changing its files. Returns what is wrong. `whole`: every page of it.
pub(super) fn check(db: &Connection, whole: bool) -> Result<Option<String>> {
    // The newest rows are on the last pages, which a truncated file lacks.
    for order in ["id", "bucket"] {
        let newest = format!("SELECT * FROM session ORDER BY {order} DESC LIMIT 100");
        db.query_row(&format!("SELECT count(*) FROM ({newest})"), [], |_| Ok(()))?;
    }
    if whole {
        let said: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        return Ok((said != "ok").then_some(said));
    }
    Ok(None)
}

/// From now on the files are changed.
pub(super) fn accept(db: &Connection) -> Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map(drop)
}

/// Opens a reading connection.
pub(super) fn reader(path: &Path) -> Result<Connection> {
    let db = open(path)?;
    db.pragma_update(None, "cache_size", -READER_CACHE)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

/// `on`: what is deleted is overwritten, in pages that become free too. Else only in those that are written anyway.
pub(super) fn secure_delete(db: &Connection, on: bool) -> Result<()> {
    let mode = if on { "ON" } else { "FAST" };
    db.pragma_update_and_check(None, "secure_delete", mode, |_| Ok(()))
}

/// Runs a checkpoint as far as readers allow. Unlike the automatic one of a commit, it returns its error.
pub(super) fn checkpoint(db: &Connection) -> Result<()> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Runs a complete checkpoint and truncates the write-ahead log.
pub(super) fn empty_log(db: &Connection) -> Result<()> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// The size of the database, without the write-ahead log.
pub(super) fn bytes(db: &Connection) -> Result<i64> {
    let pages: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
    Ok(pages * i64::from(PAGE_SIZE))
}

fn open(path: &Path) -> Result<Connection> {
    // No mutex: one thread uses a connection at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // The connections of this process share locks in memory; no other process can open the database, unless this
    // one opens and closes its file otherwise. File locks, which each lookup would need twice, cost it a seventh of
    // its CPU.
    let db = Connection::open_with_flags_and_vfs(path, flags, "unix-excl")?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.busy_timeout(BUSY_TIMEOUT)?;
    Ok(db)
}
