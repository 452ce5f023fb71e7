//! What the slots of a segment hold that has no index yet.

use std::io;

use super::medium::Medium;
use super::slot::{Damaged, SLOT_LEN, Slot};

/// Read at once.
const CHUNK: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Content {
    /// The key of each slot's user.
    pub(super) users: Vec<u64>,
    /// Unix seconds.
    pub(super) greatest_expiry: u64,
    /// When the first session began, in Unix seconds.
    pub(super) begun: Option<u64>,
    /// Slots that cannot be read.
    pub(super) damaged: usize,
}

impl Content {
    /// Reads all slots before `end`, up to the last that was written.
    pub(super) fn read(medium: &Medium, end: u64) -> io::Result<Self> {
        let mut content = Self::default();
        let mut last = 0;
        let mut offset = SLOT_LEN as u64;
        let mut chunk = vec![0; CHUNK];
        while offset < end {
            let length = (end - offset).min(CHUNK as u64);
            let read = &mut chunk[..usize::try_from(length).map_err(io::Error::other)?];
            medium.read_at(read, offset)?;
            let slots = read.chunks_exact(SLOT_LEN);
            // What is cut short will be written over.
            content.damaged += usize::from(slots.remainder().iter().any(|byte| *byte != 0));
            for bytes in slots {
                let mut slot = Box::new([0; SLOT_LEN]);
                slot.copy_from_slice(bytes);
                match Slot::read(slot) {
                    Ok(None) => content.users.push(0),
                    Ok(Some(slot)) => {
                        content.begun.get_or_insert(slot.created());
                        content.greatest_expiry = content.greatest_expiry.max(slot.expires());
                        content.users.push(slot.user_key());
                        last = content.users.len();
                    }
                    Err(Damaged) => {
                        content.damaged += 1;
                        content.users.push(0);
                        last = content.users.len();
                    }
                }
            }
            offset += length;
        }
        content.users.truncate(last);
        Ok(content)
    }
}
