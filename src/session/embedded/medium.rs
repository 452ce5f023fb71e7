//! What a segment's bytes are in: a file, or memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{PoisonError, RwLock};

pub(super) enum Medium {
    File(File),
    Memory(RwLock<Vec<u8>>),
}

impl Medium {
    pub(super) fn memory() -> Self {
        Self::Memory(RwLock::default())
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Memory(bytes) => {
                let bytes = bytes.read().unwrap_or_else(PoisonError::into_inner);
                Ok(bytes.len() as u64)
            }
        }
    }

    /// Fills the buffer, or fails.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, offset),
            Self::Memory(bytes) => {
                let bytes = bytes.read().unwrap_or_else(PoisonError::into_inner);
                let begin = index(offset)?;
                let part = bytes.get(begin..begin + buffer.len());
                buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// Writes all, or fails; what lies beyond the end becomes part of it.
    pub(super) fn write_at(&self, part: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all_at(part, offset),
            Self::Memory(bytes) => {
                let mut bytes = bytes.write().unwrap_or_else(PoisonError::into_inner);
                let begin = index(offset)?;
                let end = begin + part.len();
                if bytes.len() < end {
                    // Exactly: whoever makes space makes it in large steps.
                    let missing = end - bytes.len();
                    bytes.reserve_exact(missing);
                    bytes.resize(end, 0);
                }
                bytes[begin..end].copy_from_slice(part);
                Ok(())
            }
        }
    }

    /// Cuts off what lies beyond.
    pub(super) fn truncate(&self, length: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.set_len(length),
            Self::Memory(bytes) => {
                let mut bytes = bytes.write().unwrap_or_else(PoisonError::into_inner);
                bytes.truncate(index(length)?);
                bytes.shrink_to_fit();
                Ok(())
            }
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

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}
