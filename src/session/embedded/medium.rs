//! What a segment's bytes are in: a file, or memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::blocks::Blocks;

pub(super) enum Medium {
    File(File),
    Memory(RwLock<Blocks>),
}

impl Medium {
    pub(super) fn memory() -> Self {
        Self::Memory(RwLock::default())
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Memory(blocks) => Ok(read(blocks).len()),
        }
    }

    /// Fills the buffer, or fails.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, offset),
            Self::Memory(blocks) => read(blocks).read_at(buffer, offset),
        }
    }

    /// Writes all, or fails; what lies beyond the end becomes part of it.
    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all_at(bytes, offset),
            Self::Memory(blocks) => write(blocks).write_at(bytes, offset),
        }
    }

    /// Cuts off what lies beyond.
    pub(super) fn truncate(&self, length: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.set_len(length),
            Self::Memory(blocks) => write(blocks).truncate(length),
        }
    }

    /// Makes durable what was written, as far as the medium can.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync_data(),
            Self::Memory(_) => Ok(()),
        }
    }
}

fn read(blocks: &RwLock<Blocks>) -> RwLockReadGuard<'_, Blocks> {
    blocks.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(blocks: &RwLock<Blocks>) -> RwLockWriteGuard<'_, Blocks> {
    blocks.write().unwrap_or_else(PoisonError::into_inner)
}
