//! Memory that is used like a file, and grows without being moved.

use std::io;

/// The length of a block: 128 slots.
const BLOCK_LEN: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Blocks {
    blocks: Vec<Box<[u8]>>,
    len: u64,
}

impl Blocks {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills the buffer, or fails.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset + buffer.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buffer;
        let mut offset = offset;
        while !rest.is_empty() {
            let (block, begin) = place(offset)?;
            let length = rest.len().min(BLOCK_LEN - begin);
            let (part, after) = rest.split_at_mut(length);
            part.copy_from_slice(&self.blocks[block][begin..begin + length]);
            rest = after;
            offset += length as u64;
        }
        Ok(())
    }

    /// What lies beyond the end becomes part of it.
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut rest, mut offset) = (bytes, offset);
        while !rest.is_empty() {
            let (block, begin) = place(offset)?;
            while self.blocks.len() <= block {
                self.blocks.push(vec![0; BLOCK_LEN].into());
            }
            let length = rest.len().min(BLOCK_LEN - begin);
            let (part, after) = rest.split_at(length);
            self.blocks[block][begin..begin + length].copy_from_slice(part);
            rest = after;
            offset += length as u64;
        }
        self.len = self.len.max(offset);
        Ok(())
    }

    /// Cuts off what lies beyond.
    pub(super) fn truncate(&mut self, len: u64) -> io::Result<()> {
        let (last, end) = place(len)?;
        self.blocks.truncate(last + 1);
        if let Some(block) = self.blocks.get_mut(last) {
            block[end..].fill(0);
        }
        self.len = self.len.min(len);
        Ok(())
    }
}

/// The block that an offset is in, and where in it.
fn place(offset: u64) -> io::Result<(usize, usize)> {
    let offset = usize::try_from(offset).map_err(io::Error::other)?;
    Ok((offset / BLOCK_LEN, offset % BLOCK_LEN))
}
