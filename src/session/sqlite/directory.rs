//! The directory of a store: `sessions.sqlite` and, while it is in use or after a crash,
//! `sessions.sqlite-wal`. A lock on the directory keeps other processes out.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use super::connection::{self, APPLICATION_ID, PAGE_SIZE, VERSION};
use super::{OpenError, describe};

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
    /// Device and inode of the database and of the write-ahead log that SQLite writes to.
    files: Option<[(u64, u64); 2]>,
}

impl Directory {
    /// Opens a store, with its writing connection. Creates it if the directory is empty or does not exist. A
    /// directory that is refused is not changed.
    pub(super) fn open(path: &Path) -> Result<(Self, Connection), OpenError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(OpenError::NotADirectory(path.to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => make_directory(path)?,
            Err(error) => return Err(failed("find", path)(error)),
        }
        let directory = Self {
            path: path.to_owned(),
            lock: lock(path)?,
            files: None,
        };
        let entries = fs::read_dir(path).map_err(failed("read", path))?;
        let names = entries.map(|entry| Ok(entry?.file_name()));
        let names: Vec<_> = names
            .collect::<Result<_, _>>()
            .map_err(failed("read", path))?;
        let has = |name: &str| names.iter().any(|it| it == name);
        let database = directory.database();
        if !has(DATABASE) {
            if has(EARLIER) {
                return Err(OpenError::OtherVersion(path.to_owned()));
            } else if has(WAL) {
                return Err(damaged(&database, "it is not there"));
            } else if names
                .iter()
                .all(|it| UNFINISHED.iter().any(|name| it == name))
            {
                directory.create()?;
            } else {
                return Err(OpenError::NotOurs(path.to_owned()));
            }
        }
        let db = open_database(&database)?;
        for name in ["", DATABASE, WAL] {
            make_private(&path.join(name))?;
        }
        Ok((directory, db))
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Creates the database under another name and renames it, so that a crash leaves none that is incomplete.
    fn create(&self) -> Result<(), OpenError> {
        let [unfinished, journal] = UNFINISHED.map(|name| self.path.join(name));
        for left in [&unfinished, &journal] {
            match fs::remove_file(left) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("remove", left)(error));
                }
                _ => {}
            }
        }
        // SQLite gives its other files the mode of this one.
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        options
            .open(&unfinished)
            .map_err(failed("create", &unfinished))?;
        connection::create(&unfinished).map_err(|error| refusal(&unfinished, &error))?;
        fs::rename(&unfinished, self.database()).map_err(failed("rename", &unfinished))?;
        sync(&self.path)
    }

    /// Remembers the identity of the files that SQLite has opened.
    pub(super) fn note_files(&mut self) -> Result<(), OpenError> {
        let files = self
            .look()
            .map_err(failed("find the files in", &self.path))?;
        self.files = Some(files.map(|(identity, _)| identity));
        Ok(())
    }

    /// Returns the length of the write-ahead log. An error if the files were deleted or replaced: SQLite would go on
    /// writing to the ones that it opened, and a restart would not find them.
    pub(super) fn verify(&self) -> Result<u64, String> {
        let what = match self.look() {
            Ok(files) if self.files == Some(files.map(|(identity, _)| identity)) => {
                return Ok(files[1].1);
            }
            Ok(_) => "replaced".to_owned(),
            Err(error) => error.to_string(),
        };
        let path = self.path.display();
        Err(format!(
            "{DATABASE} or {WAL} in {path} is gone ({what}): restart wxlogin"
        ))
    }

    /// Device and inode, and the length of each file.
    fn look(&self) -> io::Result<[((u64, u64), u64); 2]> {
        let look = |name: &str| {
            let metadata = fs::metadata(self.path.join(name))?;
            Ok::<_, io::Error>(((metadata.dev(), metadata.ino()), metadata.len()))
        };
        Ok([look(DATABASE)?, look(WAL)?])
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
    let directory = File::open(path).map_err(failed("open", path))?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed("lock", path)(error)),
    }
}

/// Opens the writing connection. Changes nothing if the database is refused.
fn open_database(path: &Path) -> Result<Connection, OpenError> {
    // Read without SQLite, which refuses a file without its write-ahead log if a crash interrupted a
    // checkpoint: https://www.sqlite.org/fileformat.html#the_database_header
    let file = File::open(path).map_err(failed("open", path))?;
    let mut header = [0; 72];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(damaged(path, "it is too short"));
        }
        read => read.map_err(failed("read", path))?,
    }
    let number = |offset| {
        header[offset..]
            .iter()
            .take(4)
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
    };
    if number(68) != APPLICATION_ID {
        return Err(damaged(path, "it is the file of another program"));
    }
    if number(60) != VERSION {
        let directory = path.parent().unwrap_or(path);
        return Err(OpenError::OtherVersion(directory.to_owned()));
    }
    let length = file.metadata().map_err(failed("read", path))?.len();
    let wal = path.with_file_name(WAL);
    let wal_length = fs::metadata(&wal).map(|metadata| metadata.len());
    // SQLite does not notice that the last page is short. The write-ahead log may complete it.
    if wal_length.as_ref().map_or(true, |length| *length == 0) && length % u64::from(PAGE_SIZE) > 0
    {
        return Err(damaged(path, "its end is missing"));
    }
    let opened = connection::writer(path).and_then(|db| {
        let wrong = connection::check(&db, length <= CHECKED)?;
        if wrong.is_none() {
            connection::accept(&db)?;
        }
        Ok((db, wrong))
    });
    let refused = match opened {
        Ok((db, None)) => return Ok(db),
        Ok((_, Some(reason))) => damaged(path, &reason),
        Err(error) => refusal(path, &error),
    };
    if wal_length.is_err() {
        // SQLite created it.
        let _ = fs::remove_file(wal);
    }
    Err(refused)
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

fn failed(tried: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        tried,
        path,
        source,
    }
}

fn make_directory(path: &Path) -> Result<(), OpenError> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(failed("create", path))?;
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    sync(parent.unwrap_or(Path::new(".")))
}

/// What was created or renamed in a directory is durable.
fn sync(directory: &Path) -> Result<(), OpenError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(failed("sync", directory))
}

/// Removes the permissions of everybody but the owner, which a restored backup may have. A file that does not
/// exist is no error, nor is one of another owner that is private already.
fn make_private(path: &Path) -> Result<(), OpenError> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("find", path)(error)),
    };
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let made = fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS));
    made.map_err(failed("change the mode of", path))
}
