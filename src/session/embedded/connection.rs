//! SQLite connections. Every tuning parameter is here, with its reason.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Result};

use super::SCHEMA;

/// In the header of the file: identifies wxlogin's databases.
pub(super) const APPLICATION_ID: u32 = 0x7778_6c67; // "wxlg"
/// The version of the schema.
pub(super) const VERSION: u32 = 1;

/// With 8,192 bytes a login costs the same CPU, and a lookup more.
pub(super) const PAGE_SIZE: u32 = 4096;
/// KiB of the writer's page cache, which holds the pages of the current slice.
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

/// Opens the writing connection.
pub(super) fn writer(path: &Path) -> Result<Connection> {
    let db = open(path)?;
    // A commit returns when it is synced to the disk.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    db.pragma_update(None, "journal_size_limit", KEPT_WAL.cast_signed())?;
    // Overwrites deleted rows: otherwise openids and keys stay readable in the file.
    db.pragma_update(None, "secure_delete", true)?;
    Ok(db)
}

/// Opens a reading connection.
pub(super) fn reader(path: &Path) -> Result<Connection> {
    let db = open(path)?;
    db.pragma_update(None, "cache_size", -READER_CACHE)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

/// Checks a database without changing its file or its write-ahead log. Returns what is wrong. `whole`: with
/// `quick_check`, which reads every page.
pub(super) fn check(path: &Path, whole: bool) -> Result<Option<String>> {
    let db = open(path)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // The newest rows are on the last pages, which a truncated file lacks.
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

/// Runs a checkpoint as far as readers allow. Unlike the automatic one of a commit, it returns its error.
pub(super) fn checkpoint(db: &Connection) -> Result<()> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Runs a complete checkpoint and truncates the write-ahead log.
pub(super) fn empty_log(db: &Connection) -> Result<()> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

fn open(path: &Path) -> Result<Connection> {
    // No mutex: one thread uses a connection at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // The connections of this process share locks in memory; no other process can open the database, unless this one opens and closes its file otherwise. File
    // locks, which each lookup would need twice, cost it a seventh of its CPU.
    let db = Connection::open_with_flags_and_vfs(path, flags, "unix-excl")?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.busy_timeout(BUSY_TIMEOUT)?;
    Ok(db)
}
