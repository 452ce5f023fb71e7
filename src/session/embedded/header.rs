//! What a segment says of itself, in its first 512 bytes.

use super::slot::SLOT_LEN;

const MAGIC: &[u8; 16] = b"wxlogin segment\n";
const VERSION: u32 = 1;

// Where each part begins.
const STAGE: usize = 24;
const COUNT: usize = STAGE + 1;
const GREATEST_EXPIRY: usize = COUNT + 4;
const CHECKSUM: usize = GREATEST_EXPIRY + 8;
const END: usize = CHECKSUM + 4;

/// Count and expiry are those of the slots, and 0 while they are appended.
pub(super) struct Header {
    pub(super) number: u32,
    pub(super) stage: Stage,
    pub(super) count: u32,
    pub(super) greatest_expiry: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Slots are appended.
    Appending,
    /// No more, but what follows the slots is not complete.
    Closed,
    /// An index of users follows the slots.
    Indexed,
}

impl Header {
    pub(super) fn to_bytes(&self) -> [u8; SLOT_LEN] {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.push(self.stage as u8);
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.greatest_expiry.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        let mut header = [0; SLOT_LEN];
        header[..END].copy_from_slice(&bytes);
        header
    }

    /// The header of segment `number`, or what is wrong with it.
    pub(super) fn read(bytes: &[u8; SLOT_LEN], number: u32) -> Result<Self, &'static str> {
        if !bytes.starts_with(MAGIC) {
            return Err("it does not begin as a segment does");
        }
        if part(bytes, MAGIC.len()) != VERSION.to_le_bytes() {
            return Err("it is of another version of wxlogin");
        }
        if part(bytes, CHECKSUM) != crc32fast::hash(&bytes[..CHECKSUM]).to_le_bytes() {
            return Err("its header is damaged");
        }
        if part(bytes, STAGE - 4) != number.to_le_bytes() {
            return Err("it is another segment than its name says");
        }
        let stage = match bytes[STAGE] {
            0 => Stage::Appending,
            1 => Stage::Closed,
            2 => Stage::Indexed,
            _ => return Err("its header makes no sense"),
        };
        Ok(Self {
            number,
            stage,
            count: u32::from_le_bytes(part(bytes, COUNT)),
            greatest_expiry: u64::from_le_bytes(part(bytes, GREATEST_EXPIRY)),
        })
    }
}

fn part<const LEN: usize>(bytes: &[u8; SLOT_LEN], at: usize) -> [u8; LEN] {
    let mut part = [0; LEN];
    part.copy_from_slice(&bytes[at..at + LEN]);
    part
}
