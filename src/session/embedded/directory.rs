//! The directory of a store in files: one that says whose it is, and a file for each segment.
//!
//! `wxlogin.store` is locked while a process has the store. Segments are named by their number in
//! eight hexadecimal digits.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;
use super::medium::Medium;
use super::position::Mask;
use super::segment::Segment;

const STORE: &str = "wxlogin.store";
const MAGIC: &[u8; 16] = b"wxlogin store 1\n";
/// Magic, the key that masks positions, and a checksum of both.
const STORE_LEN: usize = 16 + 32 + 4;
/// A segment that is about to begin: never one with a session in it.
const UNFINISHED: &str = "unfinished";
/// What all but the owner may do.
const OTHERS: u32 = 0o077;

pub(super) struct Directory {
    path: PathBuf,
    /// Itself, to make durable which files there are.
    names: File,
    /// Held for its lock.
    store: File,
}

impl Directory {
    /// Opens a store, or makes one of a directory that is empty or not there yet. Nothing is changed
    /// in one that was there.
    pub(super) fn open(path: &Path) -> Result<(Self, Mask), OpenError> {
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
        let names = File::open(path).map_err(io_error)?;
        let store = path.join(STORE);
        if !store.exists() && fs::read_dir(path).map_err(io_error)?.next().is_some() {
            return Err(OpenError::NotOurs(path.to_owned()));
        }
        let mut store = private(OpenOptions::new().create(true), &store).map_err(io_error)?;
        match store.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io_error(error)),
        }
        let mut content = Vec::new();
        store.read_to_end(&mut content).map_err(io_error)?;
        let mut new = Self {
            path: path.to_owned(),
            names,
            store,
        };
        let mask = match mask(&content) {
            Ok(mask) => mask,
            // It was about to be made, and nothing was stored yet.
            Err(_) if is_blank(&content) && new.segments().map_err(io_error)?.is_empty() => {
                new.initialise().map_err(io_error)?
            }
            Err(reason) => return Err(damaged(&new.path.join(STORE), &reason)),
        };
        Ok((new, mask))
    }

    fn initialise(&mut self) -> io::Result<Mask> {
        let mask = Mask::generate().map_err(|_| io::Error::other("no random bytes"))?;
        let mut content = MAGIC.to_vec();
        content.extend(mask.0);
        content.extend(crc32fast::hash(&content).to_le_bytes());
        self.store.write_all(&content)?;
        self.store.sync_all()?;
        self.names.sync_all()?;
        Ok(mask)
    }

    /// The numbers of the segments there are, in their order.
    pub(super) fn segments(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".seg"));
            let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            numbers.extend(number.filter(|number| *name == *file_name(*number)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn file_of(&self, number: u32) -> PathBuf {
        self.path.join(file_name(number))
    }

    pub(super) fn open_segment(&self, number: u32) -> io::Result<Medium> {
        private(&mut OpenOptions::new(), &self.file_of(number)).map(Medium::File)
    }

    /// Makes a segment; it is there as a whole or not at all.
    pub(super) fn begin_segment(&self, number: u32) -> io::Result<Segment> {
        let unfinished = self.path.join(UNFINISHED);
        let file = private(OpenOptions::new().create(true).truncate(true), &unfinished)?;
        let segment = Segment::begin(number, Medium::File(file))?;
        segment.sync()?;
        fs::rename(&unfinished, self.file_of(number))?;
        self.names.sync_all()?;
        Ok(segment)
    }

    /// If this is undone by a crash, the next start does it again.
    pub(super) fn remove(&self, number: u32) -> io::Result<()> {
        fs::remove_file(self.file_of(number))
    }

    /// Lets nobody but the owner in; they may have come from a backup that did.
    pub(super) fn make_private(&self) -> Result<(), OpenError> {
        let set = |path: &Path, mode| {
            make_private(path, mode).map_err(|source| {
                let path = path.to_owned();
                OpenError::Io { path, source }
            })
        };
        set(&self.path, 0o700)?;
        set(&self.path.join(STORE), 0o600)?;
        let segments = self.segments().map_err(|source| OpenError::Io {
            path: self.path.clone(),
            source,
        })?;
        segments
            .into_iter()
            .try_for_each(|number| set(&self.file_of(number), 0o600))
    }
}

pub(super) fn damaged(path: &Path, reason: &impl ToString) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Empty, or as some file systems leave a file that had its length but not yet its content.
fn is_blank(content: &[u8]) -> bool {
    content.iter().all(|byte| *byte == 0)
}

fn mask(content: &[u8]) -> Result<Mask, &'static str> {
    if content.len() >= MAGIC.len() && !content.starts_with(MAGIC) {
        return Err("it is not one of this version of wxlogin");
    }
    let content: &[u8; STORE_LEN] = content.try_into().map_err(|_| "its length is wrong")?;
    let (checked, checksum) = content.split_at(STORE_LEN - 4);
    if checksum != crc32fast::hash(checked).to_le_bytes() {
        return Err("its content is damaged");
    }
    let mut key = [0; 32];
    key.copy_from_slice(&checked[MAGIC.len()..]);
    Ok(Mask(key))
}

/// Made durable with its name, like the files in it.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Only if it has to be, since only its owner may do it.
fn make_private(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.read(true).write(true).mode(0o600).open(path)
}

fn file_name(number: u32) -> String {
    format!("{number:08x}.seg")
}
