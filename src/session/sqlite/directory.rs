//! The directory of a store: `sessions.sqlite` and its write-ahead log `sessions.sqlite-wal`. A lock on the directory
//! keeps other processes out.

use std::ffi::OsStr;
use std::fs::{Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use fs_err::{self as fs, File, OpenOptions};
use rusqlite::{Connection, ErrorCode};

use super::connection::{self, APPLICATION_ID, PAGE_SIZE, VERSION};
use super::damage::is_damage;
use super::{OpenError, Unavailable};
use crate::session::files::Files;

const DATABASE: &str = "sessions.sqlite";
const WAL: &str = "sessions.sqlite-wal";
/// A database that is being created. It has no sessions.
const UNFINISHED: &str = "unfinished.sqlite";
/// The largest database that is checked as a whole at start, in bytes: that takes some 20 ms.
const CHECKED: u64 = 16 << 20;

pub(super) struct Directory {
    pub(super) database: PathBuf,
    /// Closed before the lock is released.
    pub(super) files: Files,
    _lock: Lock,
}

/// The open directory, which is locked.
struct Lock(File);

impl Directory {
    /// Opens a store, with its writing connection. Creates it if the directory is empty or does not exist. A
    /// directory that is refused is not changed.
    pub(super) fn open(path: &Path) -> Result<(Self, Connection), OpenError> {
        let shown = path.display();
        if !fs::exists(path)? {
            fs::create_dir(path)?;
            File::open(path.join(".."))?.sync_all()?;
        }
        let lock = Lock(File::open(path)?);
        lock.0.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse(path.into()),
            TryLockError::Error(error) => OpenError::Io(io::Error::other(format!(
                "cannot lock {shown}: {error}. Network file systems have no such locks, or lose them: name a directory on a local disk"
            ))),
        })?;
        let database = path.join(DATABASE);
        if !fs::exists(&database)? {
            if fs::exists(path.join(WAL))? {
                return Err(damaged(&database, "it is not there"));
            }
            for file in fs::read_dir(path)? {
                if !is_ignored(&file?.file_name()) {
                    return Err(OpenError::Refused(format!(
                        "the directory {shown} holds files and no session store; it was not used. Name one that is empty or not there yet"
                    )));
                }
            }
            create(path)?;
        }
        let db = open_database(&database)?;
        // A restored backup may have other modes.
        for (file, mode) in [("", 0o700), (DATABASE, 0o600), (WAL, 0o600)] {
            fs::set_permissions(path.join(file), Permissions::from_mode(mode))?;
        }
        let files = Files::open(&database, &path.join(WAL))?;
        let directory = Self {
            database,
            files,
            _lock: lock,
        };
        Ok((directory, db))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child process that is being started may hold a copy of the descriptor for a moment.
        let _ = self.0.unlock();
    }
}

/// Whether it is what a start that was killed has left, or a check.
#[must_use]
pub fn is_ignored(name: &OsStr) -> bool {
    name == UNFINISHED || name.as_encoded_bytes().starts_with(b".wxlogin-check-")
}

/// Creates the database under another name and renames it, so that a crash leaves none that is incomplete.
fn create(directory: &Path) -> Result<(), OpenError> {
    let unfinished = directory.join(UNFINISHED);
    let mut options = OpenOptions::new();
    // SQLite gives its other files the mode of this one.
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&unfinished)?;
    connection::create(&unfinished).map_err(|error| refusal(&unfinished, error))?;
    fs::rename(&unfinished, directory.join(DATABASE))?;
    Ok(File::open(directory)?.sync_all()?)
}

/// Opens the writing connection. Changes nothing if the database is refused.
fn open_database(path: &Path) -> Result<Connection, OpenError> {
    // Read without SQLite, which refuses a file without its write-ahead log if a crash interrupted a
    // checkpoint: https://www.sqlite.org/fileformat.html#the_database_header
    let mut header = Vec::new();
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.take(72).read_to_end(&mut header)?;
    if header.get(68..72) != Some(&APPLICATION_ID.to_be_bytes()) {
        return Err(damaged(path, "it is the file of another program"));
    }
    if header[60..64] != VERSION.to_be_bytes() {
        return Err(OpenError::Refused(format!(
            "the session store {} was made by another version of wxlogin; it was not used. Run that version, or move it away, and users log in again",
            path.with_file_name("").display()
        )));
    }
    let length = fs::metadata(path)?.len();
    let wal = path.with_file_name(WAL);
    let wal_length = fs::metadata(&wal).map_or(None, |metadata| Some(metadata.len()));
    // SQLite does not notice that the last page is short. The write-ahead log may complete it.
    if length % u64::from(PAGE_SIZE) > 0 && wal_length.is_none_or(|length| length == 0) {
        return Err(damaged(path, "its end is missing"));
    }
    connection::writer(path, length <= CHECKED).map_err(|error| {
        if wal_length.is_none() {
            // SQLite created it.
            let _ = fs::remove_file(wal);
        }
        refusal(path, error)
    })
}

/// The reason why SQLite does not open a database.
pub(super) fn refusal(path: &Path, error: rusqlite::Error) -> OpenError {
    let (shown, code) = (path.display(), error.sqlite_error_code());
    let Unavailable(reason) = error.into();
    match code {
        _ if is_damage(code) => damaged(path, &reason),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse(path.into()),
        _ => OpenError::Refused(format!("cannot open the session store {shown}: {reason}")),
    }
}

fn damaged(path: &Path, reason: &str) -> OpenError {
    OpenError::Refused(format!(
        "the session store is damaged: {}: {reason}; it was not used. Restore its directory from a backup, or move it away to start with no sessions",
        path.display()
    ))
}
