//! The index of a segment's users as it lies behind its slots: for each slot the user's key and the
//! slot's number, sorted.

use std::io;
use std::ops::Range;

use super::medium::Medium;

pub(super) const ENTRY_LEN: usize = 12;
/// Entries read on either side of where a key is expected: keys are hashes, so with the 65,535 of a
/// full segment it is not there once in a hundred times.
const REACH: u64 = 320;

type Entry = (u64, u32);

/// An index at an offset of a medium.
pub(super) struct Index<'a> {
    pub(super) medium: &'a Medium,
    pub(super) offset: u64,
    pub(super) count: u64,
}

/// The index of these users' keys, the first being of slot 1.
pub(super) fn to_bytes(keys: &[u64]) -> Vec<u8> {
    let mut entries: Vec<Entry> = keys.iter().copied().zip(1..).collect();
    entries.sort_unstable();
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_LEN);
    for (key, slot) in entries {
        bytes.extend(key.to_le_bytes());
        bytes.extend(slot.to_le_bytes());
    }
    bytes
}

impl Index<'_> {
    /// The slots with this key, in their order.
    pub(super) fn slots(&self, key: u64) -> io::Result<Vec<u32>> {
        let mut entries = self.entries(self.expected(key))?;
        if !self.has_all(&entries, key) {
            let begin = self.first(|entry| entry >= key)?;
            let end = self.first(|entry| entry > key)?;
            entries = self.entries(begin..end)?;
        }
        let ours = entries.iter().filter(|(entry, _)| *entry == key);
        Ok(ours.map(|(_, slot)| *slot).collect())
    }

    /// Around where the key would be if all were equally far apart.
    fn expected(&self, key: u64) -> Range<u64> {
        let middle = (u128::from(key) * u128::from(self.count)) >> 64;
        let middle = u64::try_from(middle).unwrap_or(self.count);
        middle.saturating_sub(REACH)..(middle + REACH).min(self.count)
    }

    /// Whether what was read reaches beyond the key on both sides, or is the whole index.
    fn has_all(&self, entries: &[Entry], key: u64) -> bool {
        let is_whole = entries.len() as u64 == self.count;
        let (first, last) = (entries.first(), entries.last());
        is_whole || first.is_some_and(|it| it.0 < key) && last.is_some_and(|it| it.0 > key)
    }

    /// The number of the first entry of whose key this is true: of all before, it is false.
    fn first(&self, is_true: impl Fn(u64) -> bool) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = u64::midpoint(low, high);
            let entry = self.entries(middle..middle + 1)?;
            if entry.first().is_some_and(|entry| is_true(entry.0)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    fn entries(&self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length * ENTRY_LEN];
        let offset = self.offset + range.start * ENTRY_LEN as u64;
        self.medium.read_at(&mut bytes, offset)?;
        let entries = bytes.chunks_exact(ENTRY_LEN).map(|entry| {
            let (mut key, mut slot) = ([0; 8], [0; 4]);
            key.copy_from_slice(&entry[..8]);
            slot.copy_from_slice(&entry[8..]);
            (u64::from_le_bytes(key), u32::from_le_bytes(slot))
        });
        Ok(entries.collect())
    }
}
