//! Connections and the schema. Every tuning parameter of SQLite is here, with its reason.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
use rusqlite::ffi::{self, SQLITE_CORRUPT};
use rusqlite::{Connection, Error, OpenFlags, Params, Result};
use thread_local::ThreadLocal;

use super::{Damage, Directory, Unavailable, closed};

/// As in [`CREATE`]: "wxlg" and the version of the schema.
pub(super) const APPLICATION_ID: u32 = 0x7778_6c67;
pub(super) const VERSION: u32 = 2;
/// With 8,192 bytes a login costs the same CPU, and a lookup more.
pub(super) const PAGE_SIZE: u32 = 4096;
/// Times are in Unix seconds.
const CREATE: &str = "
    PRAGMA journal_mode = OFF; -- no file beside this one, which a crash would leave
    PRAGMA page_size = 4096;
    PRAGMA auto_vacuum = INCREMENTAL;
    BEGIN;
    PRAGMA application_id = 0x77786c67;
    PRAGMA user_version = 2;
    CREATE TABLE session (
        id INTEGER PRIMARY KEY,    -- the first eight bytes of the token: time of the login, and three random ones
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
        user INTEGER NOT NULL,     -- 32 bits of the SHA-256 of appid and openid
        login INTEGER NOT NULL,    -- counts logins, also when the clock is set back
        bucket INTEGER GENERATED ALWAYS AS (login >> 13) VIRTUAL -- what is searched is few pages for 8,192 logins
    ) STRICT;
    CREATE INDEX session_user ON session (bucket, user);
    COMMIT;
    PRAGMA journal_mode = WAL;";
const WRITER: &str = "
    PRAGMA synchronous = FULL;            -- a commit returns when it is synced to the disk
    PRAGMA cache_size = -4096;            -- KiB: the pages of the newest bucket
    PRAGMA wal_autocheckpoint = 4096;     -- pages in the log: fewer than one login in a hundred waits for a checkpoint
    PRAGMA journal_size_limit = 16777216; -- bytes to which the log is truncated after a checkpoint
    PRAGMA secure_delete = ON;            -- deleted openids and keys do not stay in the file";
const READER: &str = "
    PRAGMA cache_size = -1024; -- KiB for each thread; a commit invalidates it
    PRAGMA query_only = ON;";
/// Bytes of the write-ahead log above which nothing is written until a checkpoint succeeds.
pub(super) const MAX_WAL: u64 = 64 << 20;
/// The longest wait at a start for a lock that another program holds, such as the sqlite3 shell.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Creates an empty database in an empty file.
pub(super) fn create(path: &Path) -> Result<()> {
    open(path, CREATE)?.close().map_err(|(_, error)| error)
}

/// Opens the writing connection, and changes no file. `check`: reads every page.
pub(super) fn writer(path: &Path, check: bool) -> Result<Connection> {
    let db = open(path, WRITER)?;
    if check {
        let said: String = db.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if said != "ok" {
            let damage = ffi::Error::new(SQLITE_CORRUPT);
            return Err(Error::SqliteFailure(damage, Some(said)));
        }
    }
    Ok(db)
}

/// `PASSIVE` goes as far as readers allow, `TRUNCATE` empties the write-ahead log.
pub(super) fn checkpoint(db: &Connection, mode: &str) -> Result<()> {
    db.pragma(None, "wal_checkpoint", mode, |_| Ok(()))
}

/// Executes a statement, which stays prepared: rusqlite's own transactions parse theirs each time.
/// Returns the number of rows that it changed.
pub(super) fn execute(db: &Connection, sql: &str, values: impl Params) -> Result<i64> {
    let rows = db.prepare_cached(sql)?.execute(values)?;
    Ok(i64::try_from(rows).unwrap_or(i64::MAX))
}

/// Reads a number.
pub(super) fn number(db: &Connection, sql: &str) -> Result<i64> {
    db.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

fn open(path: &Path, pragmas: &str) -> Result<Connection> {
    // No mutex: one thread uses a connection at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // The connections of this process share locks in memory, and no other process can open the database, unless this
    // one opens its file in another way. File locks would cost a lookup a seventh of its CPU.
    let db = Connection::open_with_flags_and_vfs(path, flags, "unix-excl")?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    // A close would delete the write-ahead log, and with it the room that is held.
    db.set_db_config(SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, pragmas != CREATE)?;
    db.execute_batch(pragmas)?;
    Ok(db)
}

/// The reading connections: each thread has its own, opened when it first reads.
pub(super) struct Readers {
    /// `None` until its thread reads, and once it is closed.
    pub(super) by_thread: ThreadLocal<Mutex<Option<Connection>>>,
    /// `None` once all are closed. Locked while one is opened, so that `close` finds it.
    pub(super) directory: Mutex<Option<Arc<Directory>>>,
    pub(super) damage: Arc<Damage>,
}

impl Readers {
    pub(super) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T, Unavailable> {
        let mut reader = self.by_thread.get_or_default().lock();
        if reader.is_none() {
            let directory = self.directory.lock();
            let directory = directory.as_ref().ok_or_else(closed)?;
            directory.files.verify()?;
            let opened = open(&directory.database, READER);
            *reader = Some(opened.map_err(|error| self.damage.note(error))?);
        }
        let db = reader.as_ref().ok_or_else(closed)?;
        query(db).map_err(|error| self.damage.note(error))
    }

    /// Closes the connections of all threads, and waits for what they read.
    pub(super) fn close(&self) {
        *self.directory.lock() = None;
        for reader in &self.by_thread {
            *reader.lock() = None;
        }
    }
}
