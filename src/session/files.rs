//! The database and the write-ahead log as files: whether they are still there, and room that is held for them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err::{File, OpenOptions, metadata};
#[cfg(target_os = "linux")]
use rustix::{fs, io::Errno};

use super::{Result, Unavailable};

/// Bytes that are free on a full disk: of the database for pages that are split, and of the write-ahead log for 160
/// pages that one write changes: a logout changes one, 32 deleted rows some seventy.
const ROOM: [u64; 2] = [64 << 10, 640 << 10];
/// Bytes that are held at once, so that it is not done with each commit.
const AHEAD: u64 = 128 << 10;

/// Kept open as long as SQLite's connections: closing a descriptor of the database releases SQLite's locks on it.
pub(super) struct Files([File; 2]);

impl Files {
    pub(super) fn open(database: &Path, wal: &Path) -> io::Result<Self> {
        let open = |path| OpenOptions::new().write(true).open(path);
        Ok(Self([open(database)?, open(wal)?]))
    }

    /// Returns the length of the write-ahead log. An error if the files were deleted or replaced: SQLite would go on
    /// writing to the ones that it opened, and a restart would not find them.
    pub(super) fn verify(&self) -> Result<u64> {
        let length = self.0.iter().try_fold(Some(0), |before, file| {
            let [open, found] = [file.metadata()?, metadata(file.path())?];
            let is_same = (open.dev(), open.ino()) == (found.dev(), found.ino());
            Ok::<_, io::Error>(before.filter(|_| is_same).map(|_| found.len()))
        });
        let what = match length {
            Ok(Some(length)) => return Ok(length),
            Ok(None) => format!("others are at {}", self.0[1].path().display()),
            Err(error) => error.to_string(),
        };
        Err(Unavailable(format!(
            "its files are gone ({what}): restart wxlogin"
        )))
    }

    /// Holds room for so many bytes of the database and for the write-ahead log, where the file system can do so.
    /// `false` if the disk is full. What makes the database no larger can be written all the same.
    pub(super) fn hold(&self, database: u64) -> bool {
        let [db, wal] = &self.0;
        hold(db, database + ROOM[0]) && hold(wal, ROOM[1])
    }
}

fn hold(file: &File, bytes: u64) -> bool {
    if file.metadata().is_ok_and(|it| it.blocks() * 512 >= bytes) {
        return true;
    }
    #[cfg(target_os = "linux")]
    let held = fs::fallocate(file, fs::FallocateFlags::KEEP_SIZE, 0, bytes + AHEAD);
    #[cfg(target_os = "linux")]
    if let Err(Errno::NOSPC | Errno::DQUOT) = held {
        return false;
    }
    true
}
