//! The directory of a store: `sessions.sqlite` and, while it is in use or after a crash,
//! `sessions.sqlite-wal` and `sessions.sqlite-shm`. The directory itself is locked while a process has it.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use super::connection::{self, APPLICATION_ID, MAX_WAL, VERSION};
use super::selector::Mask;
use super::{OpenError, describe};

const DATABASE: &str = "sessions.sqlite";
const WAL: &str = "sessions.sqlite-wal";
const SHM: &str = "sessions.sqlite-shm";
/// A database that is about to be made: never one with a session in it.
const UNFINISHED: &str = "unfinished.sqlite";
const UNFINISHED_JOURNAL: &str = "unfinished.sqlite-journal";
/// What the storage engine of earlier versions called its main file.
const EARLIER: &str = "wxlogin.store";
/// What all but the owner may do.
const OTHERS: u32 = 0o077;
/// Databases up to so many bytes are checked as a whole at the start, which takes some 20 ms.
const CHECKED: u64 = 16 << 20;

pub(super) struct Directory {
    path: PathBuf,
    /// Itself, held for its lock.
    lock: File,
    /// Device and inode of the files that SQLite writes to.
    files: Vec<(PathBuf, (u64, u64))>,
}

impl Directory {
    /// Opens a store, or makes one of a directory that is empty or not there yet. What is refused is
    /// left as it is.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(OpenError::NotADirectory(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(path).map_err(io_error)?;
            }
            Err(error) => return Err(io_error(error)),
        }
        let directory = Self {
            path: path.to_owned(),
            lock: lock(path)?,
            files: Vec::new(),
        };
        let names: Vec<_> = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .map_err(io_error)?;
        let database = directory.database();
        if names.iter().any(|name| name == DATABASE) {
            examine(&database)?;
        } else if names.iter().any(|name| name == EARLIER) {
            return Err(OpenError::OtherVersion(path.to_owned()));
        } else if names.iter().any(|name| name == WAL) {
            return Err(damaged(&database, "it is not there"));
        } else if names
            .iter()
            .all(|name| name == UNFINISHED || name == UNFINISHED_JOURNAL)
        {
            directory.create()?;
        } else {
            return Err(OpenError::NotOurs(path.to_owned()));
        }
        for name in ["", DATABASE, WAL, SHM] {
            make_private(&path.join(name)).map_err(io_error)?;
        }
        Ok(directory)
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Makes a database; it is there as a whole or not at all.
    fn create(&self) -> Result<(), OpenError> {
        let unfinished = self.path.join(UNFINISHED);
        let io_error = |source| OpenError::Io {
            path: unfinished.clone(),
            source,
        };
        for name in [UNFINISHED, UNFINISHED_JOURNAL] {
            match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error(error));
                }
                _ => {}
            }
        }
        let mask = Mask::generate();
        let mask = mask.map_err(|_| OpenError::Other("there are no random bytes".into()))?;
        // SQLite gives its other files the mode of this one.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(&unfinished).map_err(io_error)?;
        connection::create(&unfinished, mask.0).map_err(|error| refusal(&unfinished, &error))?;
        fs::rename(&unfinished, self.database())
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(io_error)
    }

    /// Notes which files are open, once SQLite has them all.
    pub(super) fn note_files(&mut self) -> io::Result<()> {
        for name in [DATABASE, WAL] {
            let path = self.path.join(name);
            let identity = identity(&fs::metadata(&path)?);
            self.files.push((path, identity));
        }
        Ok(())
    }

    /// Whether what is written will be there after a restart: not if the files were deleted or replaced,
    /// since SQLite goes on to write to those that it opened.
    pub(super) fn verify(&self) -> Result<(), String> {
        for (path, known) in &self.files {
            let file = path.display();
            match fs::metadata(path) {
                Ok(metadata) if identity(&metadata) == *known => {}
                Ok(_) => return Err(format!("{file} was replaced: restart wxlogin")),
                Err(error) => {
                    return Err(format!("{file} was taken away: {error}: restart wxlogin"));
                }
            }
        }
        Ok(())
    }

    /// Empties the write-ahead log if it has become too long, as it does if its content cannot be
    /// written into the database.
    pub(super) fn limit_log(&self, db: &Connection) -> Result<(), String> {
        let length = fs::metadata(self.path.join(WAL)).map_or(0, |metadata| metadata.len());
        if length > MAX_WAL {
            connection::empty_log(db).map_err(|error| describe(&error))?;
        }
        Ok(())
    }

    /// Leaves the database complete in one file, and lets another process have it.
    pub(super) fn close(self, db: Connection) {
        if let Err(error) = connection::empty_log(&db) {
            tracing::warn!(%error, "the write-ahead log of the session store stays for the next start");
        }
        // The lock is the last to go.
        drop(db);
        drop(self.lock);
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let error = match File::open(path) {
        Ok(directory) => match directory.try_lock() {
            Ok(()) => return Ok(directory),
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => error,
        },
        Err(error) => error,
    };
    Err(OpenError::Io {
        path: path.to_owned(),
        source: error,
    })
}

/// Looks into a database without changing anything.
fn examine(path: &Path) -> Result<(), OpenError> {
    let mut header = [0; 100];
    let read = File::open(path).and_then(|mut file| {
        file.read_exact(&mut header)?;
        file.metadata()
    });
    let length = match read {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(damaged(path, "it is too short"));
        }
        Err(source) => {
            let path = path.to_owned();
            return Err(OpenError::Io { path, source });
        }
    };
    // https://www.sqlite.org/fileformat.html#the_database_header
    let number = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(damaged(path, "it is not a database"));
    }
    if number(68) != APPLICATION_ID {
        return Err(damaged(path, "it is a database of another program"));
    }
    if number(60) != VERSION {
        let directory = path.parent().unwrap_or(path);
        return Err(OpenError::OtherVersion(directory.to_owned()));
    }
    let wal = path.with_file_name(WAL);
    let wal_length = fs::metadata(&wal).map(|metadata| metadata.len());
    // Otherwise the end of the database may be in the write-ahead log.
    if !wal_length.as_ref().is_ok_and(|length| *length > 0)
        && length < u64::from(number(28)) * u64::from(connection::PAGE_SIZE)
    {
        return Err(damaged(path, "its end is missing"));
    }
    let result = connection::check(path, length <= CHECKED);
    if wal_length.is_err() {
        // Made by looking.
        let _ = fs::remove_file(wal);
    }
    match result {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(damaged(path, &reason)),
        Err(error) => Err(refusal(path, &error)),
    }
}

fn refusal(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::InUse(path.to_owned())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            damaged(path, &describe(error))
        }
        _ => OpenError::Other(format!("{}: {}", path.display(), describe(error))),
    }
}

fn damaged(path: &Path, reason: &str) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Made durable with its name, like the files in it.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Lets nobody but the owner in, if it is there: it may have come from a backup that did. Only if it has
/// to be, since only its owner may do it.
fn make_private(path: &Path) -> io::Result<()> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if mode & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))?;
    }
    Ok(())
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
