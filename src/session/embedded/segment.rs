//! A segment: a header, sessions in slots, and once it is full an index of their users.
//!
//! One thread at a time writes; any number read meanwhile, and see what was published.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use super::content::Content;
use super::header::{Header, Stage};
use super::index::{self, ENTRY_LEN, Index};
use super::medium::Medium;
use super::slot::{Damaged, SLOT_LEN, Slot};

pub(super) struct Segment {
    number: u32,
    medium: Medium,
    /// Slots that are published: written, and durable.
    count: AtomicU32,
    /// Of the sessions in them, in Unix seconds.
    greatest_expiry: AtomicU64,
    /// The key of each slot's user, until the index is on the medium.
    users: RwLock<Option<Vec<u64>>>,
}

/// A segment that was there, and how it was found.
pub(super) struct Opened {
    pub(super) segment: Segment,
    pub(super) stage: Stage,
    /// When its first session began, if it had to be read as a whole.
    pub(super) begun: Option<u64>,
    /// Slots that could not be read.
    pub(super) damaged: usize,
}

impl Segment {
    /// A segment without sessions.
    pub(super) fn begin(number: u32, medium: Medium) -> io::Result<Self> {
        let segment = Self {
            number,
            medium,
            count: AtomicU32::new(0),
            greatest_expiry: AtomicU64::new(0),
            users: RwLock::new(Some(Vec::new())),
        };
        segment.write_header(Stage::Appending)?;
        Ok(segment)
    }

    /// The segment on a medium, which is only read. An error of kind `InvalidData` says what is
    /// wrong with it.
    pub(super) fn open(number: u32, medium: Medium) -> io::Result<Opened> {
        let length = medium.len()?;
        let mut header = [0; SLOT_LEN];
        if length >= SLOT_LEN as u64 {
            medium.read_at(&mut header, 0)?;
        }
        let header = Header::read(&header, number).map_err(invalid)?;
        let needed = match header.stage {
            Stage::Appending => 0,
            Stage::Closed => offset_of(header.count + 1),
            Stage::Indexed => offset_of(header.count + 1) + index_len(header.count),
        };
        if length < needed {
            return Err(invalid("it is shorter than its header says"));
        }
        let content = match header.stage {
            Stage::Appending => Some(Content::read(&medium, length)?),
            Stage::Closed => {
                let mut content = Content::read(&medium, needed)?;
                content.users.resize(header.count as usize, 0);
                Some(content)
            }
            Stage::Indexed => None,
        };
        let (count, greatest_expiry) = match &content {
            Some(content) => (slot_number(content.users.len())?, content.greatest_expiry),
            None => (header.count, header.greatest_expiry),
        };
        Ok(Opened {
            stage: header.stage,
            begun: content.as_ref().and_then(|content| content.begun),
            damaged: content.as_ref().map_or(0, |content| content.damaged),
            segment: Self {
                number,
                medium,
                count: AtomicU32::new(count),
                greatest_expiry: AtomicU64::new(greatest_expiry),
                users: RwLock::new(content.map(|content| content.users)),
            },
        })
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    pub(super) fn greatest_expiry(&self) -> u64 {
        self.greatest_expiry.load(Ordering::Acquire)
    }

    /// What is in a slot.
    pub(super) fn read(&self, slot: u32) -> io::Result<Result<Option<Slot>, Damaged>> {
        if !(1..=self.count()).contains(&slot) {
            return Ok(Ok(None));
        }
        let mut bytes = Box::new([0; SLOT_LEN]);
        self.medium.read_at(&mut *bytes, offset_of(slot))?;
        Ok(Slot::read(bytes))
    }

    /// The slots that may be of the user with this key, the newest first.
    pub(super) fn slots_of(&self, key: u64) -> io::Result<Vec<u32>> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let mut slots: Vec<u32> = if let Some(users) = &*users {
            let ours = users.iter().zip(1..).filter(|(user, _)| **user == key);
            ours.map(|(_, slot)| slot).collect()
        } else {
            let count = self.count();
            let index = Index {
                medium: &self.medium,
                offset: offset_of(count + 1),
                count: u64::from(count),
            };
            index.slots(key)?
        };
        slots.reverse();
        Ok(slots)
    }

    /// The space there is, in slots without the header.
    pub(super) fn room(&self) -> io::Result<u32> {
        slot_number((self.medium.len()? / SLOT_LEN as u64).saturating_sub(1))
    }

    /// Writes slots that will be published, or space for them.
    pub(super) fn write(&self, first: u32, slots: &[u8]) -> io::Result<()> {
        self.medium.write_at(slots, offset_of(first))
    }

    /// A byte of a slot, of those that change.
    pub(super) fn byte(&self, slot: u32, at: usize) -> io::Result<u8> {
        let mut byte = [0];
        let offset = offset_of(slot) + at as u64;
        self.medium.read_at(&mut byte, offset)?;
        Ok(byte[0])
    }

    /// Writes one that changes, also if it is as it should be already: it may not be durable.
    pub(super) fn set_byte(&self, slot: u32, at: usize, byte: u8) -> io::Result<()> {
        self.medium.write_at(&[byte], offset_of(slot) + at as u64)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.medium.sync()
    }

    /// Lets everybody see slots that follow the others and are durable.
    pub(super) fn publish(&self, slots: &[Slot]) -> io::Result<()> {
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(users) = &mut *users {
            users.extend(slots.iter().map(Slot::user_key));
            for slot in slots {
                self.greatest_expiry
                    .fetch_max(slot.expires(), Ordering::AcqRel);
            }
            self.count
                .store(slot_number(users.len())?, Ordering::Release);
        }
        Ok(())
    }

    /// Puts the index behind the slots; after that, nothing can be appended. If it fails, the index
    /// stays in memory.
    pub(super) fn close(&self) -> io::Result<()> {
        let bytes = {
            let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
            let Some(users) = &*users else {
                return Ok(());
            };
            index::to_bytes(users)
        };
        // Durable before the index is, so that a crash leaves no doubt where the slots end.
        self.write_header(Stage::Closed)?;
        self.sync()?;
        let end = offset_of(self.count() + 1);
        self.medium.write_at(&bytes, end)?;
        self.medium.truncate(end + bytes.len() as u64)?;
        self.sync()?;
        self.write_header(Stage::Indexed)?;
        self.sync()?;
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        *users = None;
        Ok(())
    }

    fn write_header(&self, stage: Stage) -> io::Result<()> {
        let (count, greatest_expiry) = match stage {
            Stage::Appending => (0, 0),
            Stage::Closed | Stage::Indexed => (self.count(), self.greatest_expiry()),
        };
        let header = Header {
            number: self.number,
            stage,
            count,
            greatest_expiry,
        };
        self.medium.write_at(&header.to_bytes(), 0)
    }
}

fn offset_of(slot: u32) -> u64 {
    u64::from(slot) * SLOT_LEN as u64
}

fn index_len(count: u32) -> u64 {
    u64::from(count) * ENTRY_LEN as u64
}

fn slot_number(number: impl TryInto<u32>) -> io::Result<u32> {
    let number = number.try_into();
    number.map_err(|_| invalid("it holds more slots than can be"))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
