//! The directory of a store: `sessions.sqlite` and, while it is in use or after a crash,
//! `sessions.sqlite-wal`. A lock on the directory keeps other processes out.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use super::connection::{APPLICATION_ID, PAGE_SIZE, VERSION};
use super::selector::SelectorKey;
use super::{OpenError, connection, describe};

const DATABASE: &str = "sessions.sqlite";
const WAL: &str = "sessions.sqlite-wal";
/// A database that is being created. It has no sessions.
const UNFINISHED: [&str; 2] = ["unfinished.sqlite", "unfinished.sqlite-journal"];
/// The main file of the storage engine of earlier versions.
const EARLIER: &str = "wxlogin.store";
/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// The largest database that is checked as a whole at start, in bytes: that takes some 20 ms.
const CHECKED: u64 = 16 << 20;

pub(super) struct Directory {
    path: PathBuf,
    /// The open directory, which holds the lock.
    lock: File,
    /// Device and inode of the files that SQLite writes to.
    files: Vec<(PathBuf, (u64, u64))>,
}

impl Directory {
    /// Opens a store. Creates it if the directory is empty or does not exist. A directory that is refused is
    /// not changed.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(OpenError::NotADirectory(path.to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_directory(path).map_err(io_error(path))?;
            }
            Err(error) => return Err(io_error(path)(error)),
        }
        let directory = Self {
            path: path.to_owned(),
            lock: lock(path)?,
            files: Vec::new(),
        };
        let names: Vec<_> = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .map_err(io_error(path))?;
        let database = directory.database();
        if names.iter().any(|name| name == DATABASE) {
            examine(&database)?;
        } else if names.iter().any(|name| name == EARLIER) {
            return Err(OpenError::OtherVersion(path.to_owned()));
        } else if names.iter().any(|name| name == WAL) {
            return Err(damaged(&database, "it is not there"));
        } else if names
            .iter()
            .all(|name| UNFINISHED.iter().any(|it| name == it))
        {
            directory.create()?;
        } else {
            return Err(OpenError::NotOurs(path.to_owned()));
        }
        for name in ["", DATABASE, WAL] {
            make_private(&path.join(name)).map_err(io_error(path))?;
        }
        Ok(directory)
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Creates the database under another name and renames it, so that a crash leaves none that is incomplete.
    fn create(&self) -> Result<(), OpenError> {
        let [unfinished, journal] = UNFINISHED.map(|name| self.path.join(name));
        for left in [&unfinished, &journal] {
            if left.exists() {
                fs::remove_file(left).map_err(io_error(left))?;
            }
        }
        // SQLite gives its other files the mode of this one.
        let mut options = OpenOptions::new();
        let made = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished);
        made.map_err(io_error(&unfinished))?;
        connection::create(&unfinished, SelectorKey::generate()?.0)
            .map_err(|error| refusal(&unfinished, &error))?;
        fs::rename(&unfinished, self.database())
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(io_error(&self.path))
    }

    /// Remembers the identity of the files that SQLite has opened.
    pub(super) fn note_files(&mut self) -> Result<(), OpenError> {
        for path in [DATABASE, WAL].map(|name| self.path.join(name)) {
            let identity = identity(&path).map_err(io_error(&path))?;
            self.files.push((path, identity));
        }
        Ok(())
    }

    /// An error if the files were deleted or replaced: SQLite would go on writing to the ones that it opened,
    /// and a restart would not find them.
    pub(super) fn verify(&self) -> Result<(), String> {
        for (path, known) in &self.files {
            let found = identity(path);
            if !found.as_ref().is_ok_and(|found| found == known) {
                let what = found.map_or_else(|error| error.to_string(), |_| "replaced".to_owned());
                return Err(format!(
                    "{} is gone ({what}): restart wxlogin",
                    path.display()
                ));
            }
        }
        Ok(())
    }

    /// Limits the length of the write-ahead log, which grows while checkpoints fail.
    pub(super) fn limit_log(&self, db: &Connection) -> Result<(), String> {
        let length = fs::metadata(self.path.join(WAL)).map_or(0, |metadata| metadata.len());
        if length > connection::MAX_WAL {
            connection::checkpoint(db).map_err(|error| describe(&error))?;
        }
        Ok(())
    }

    /// Runs a complete checkpoint, closes the database and releases the lock.
    pub(super) fn close(self, db: Connection) {
        if let Err(error) = connection::empty_log(&db) {
            tracing::warn!(%error, "the write-ahead log of the session store stays for the next start");
        }
        // The lock is released last.
        drop(db);
        drop(self.lock);
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let directory = File::open(path).map_err(io_error(path))?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error(path)(error)),
    }
}

/// Checks a database without changing anything.
fn examine(path: &Path) -> Result<(), OpenError> {
    // Read without SQLite, which refuses a file without its write-ahead log if a crash interrupted a
    // checkpoint: https://www.sqlite.org/fileformat.html#the_database_header
    let file = File::open(path).map_err(io_error(path))?;
    let number = |offset| {
        let mut bytes = [0; 4];
        match file.read_exact_at(&mut bytes, offset) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(damaged(path, "it is too short"))
            }
            read => read.map_err(io_error(path)),
        }?;
        Ok(u32::from_be_bytes(bytes))
    };
    if number(68)? != APPLICATION_ID {
        return Err(damaged(path, "it is the file of another program"));
    }
    if number(60)? != VERSION {
        let directory = path.parent().unwrap_or(path);
        return Err(OpenError::OtherVersion(directory.to_owned()));
    }
    let length = file.metadata().map_err(io_error(path))?.len();
    let wal = path.with_file_name(WAL);
    let wal_length = fs::metadata(&wal).map(|metadata| metadata.len());
    // SQLite does not notice that the last page is short. The write-ahead log may complete it.
    let is_whole = wal_length.as_ref().map_or(true, |length| *length == 0);
    if is_whole && length < u64::from(number(28)?) * u64::from(PAGE_SIZE) {
        return Err(damaged(path, "its end is missing"));
    }
    let checked = connection::check(path, length <= CHECKED);
    if wal_length.is_err() {
        // The check created it.
        let _ = fs::remove_file(wal);
    }
    match checked {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(damaged(path, &reason)),
        Err(error) => Err(refusal(path, &error)),
    }
}

/// The reason why SQLite does not open a database.
pub(super) fn refusal(path: &Path, error: &rusqlite::Error) -> OpenError {
    use ErrorCode::{DatabaseBusy, DatabaseCorrupt, DatabaseLocked, NotADatabase};
    match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => OpenError::InUse(path.to_owned()),
        Some(DatabaseCorrupt | NotADatabase) => damaged(path, &describe(error)),
        _ => OpenError::Other(format!("{}: {}", path.display(), describe(error))),
    }
}

fn damaged(path: &Path, reason: &str) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Creates a directory and syncs its parent.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Removes the permissions of everybody but the owner, which a restored backup may have. A file that does not
/// exist is no error, nor is one of another owner that is private already.
fn make_private(path: &Path) -> io::Result<()> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if mode & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))?;
    }
    Ok(())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
