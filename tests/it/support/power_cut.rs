//! The state of a disk after a power cut, computed from the journal of `disk_faults.c`.
//!
//! Synced writes are kept. Each other write is kept or lost, as a whole or in pieces. Of the changes of names
//! that were not synced, a first part is kept, as in a journaling file system.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use fastrand::Rng;

const HEADER_LEN: usize = 25;
const MARK: u8 = b'!';

/// Appends a line of the test to a journal, in its place among the calls of the service.
pub fn mark(journal: &Path, text: &str) {
    let length = u32::try_from(text.len()).unwrap().to_ne_bytes();
    let record = [&[MARK], &[0; 16][..], &length, &[0; 4], text.as_bytes()].concat();
    let file = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(journal);
    // One system call, as in the service.
    assert_eq!(file.unwrap().write(&record).unwrap(), record.len());
}

/// The operations on a disk, in order.
pub struct Journal {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

struct Record {
    at: u64,
    operation: u8,
    inode: u64,
    offset: u64,
    bytes: Range<usize>,
    second: Range<usize>,
}

impl Journal {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let (mut records, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let long =
                |from: usize| u64::from_ne_bytes(bytes[at + from..][..8].try_into().unwrap());
            let length = |from: usize| {
                u32::from_ne_bytes(bytes[at + from..][..4].try_into().unwrap()) as usize
            };
            let first = at + HEADER_LEN;
            let second = first + length(17);
            let end = second + length(21);
            records.push(Record {
                at: at as u64,
                operation: bytes[at],
                inode: long(1),
                offset: long(9),
                bytes: first..second,
                second: second..end,
            });
            at = end;
        }
        Self { bytes, records }
    }

    /// The points at which the power can be cut: numbers of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The lines of the test before a moment.
    pub fn marks(&self, moment: usize) -> Vec<&str> {
        let marks = self.records[..moment]
            .iter()
            .filter(|it| it.operation == MARK);
        marks.map(|it| self.text(&it.bytes)).collect()
    }

    fn text(&self, range: &Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[range.clone()]).unwrap()
    }

    /// The points right after each line of the test that begins with one of these words.
    pub fn moments_after(&self, words: &[&str]) -> Vec<usize> {
        let is_one = |record: &Record| {
            record.operation == MARK
                && words.contains(&self.text(&record.bytes).split(' ').next().unwrap())
        };
        let records = self.records.iter().enumerate();
        let moments = records.filter(|(_, record)| is_one(record));
        moments.map(|(at, _)| at + 1).collect()
    }

    /// Writes the state of the disk after a power cut at this point to `to`. The disk was mounted at `from`, and
    /// empty at first.
    pub fn rebuild(&self, moment: usize, random: &mut Rng, from: &Path, to: &Path) {
        self.rebuild_with(Loss::pick(random), moment, random, from, to);
    }

    /// The same, and all is lost that was not synced.
    pub fn rebuild_synced(&self, moment: usize, random: &mut Rng, from: &Path, to: &Path) {
        self.rebuild_with(Loss::All, moment, random, from, to);
    }

    fn rebuild_with(&self, loss: Loss, moment: usize, random: &mut Rng, from: &Path, to: &Path) {
        let mut disk = State::default();
        for record in &self.records[..moment] {
            disk.apply(self, record);
        }
        let names = disk.names_left(random);
        fs::create_dir_all(to).unwrap();
        for (path, entry) in names {
            let path = to.join(path.strip_prefix(from).unwrap());
            match entry {
                Entry::Directory => fs::create_dir(path).unwrap(),
                Entry::File(file) => {
                    fs::write(path, disk.files[file].content_left(self, loss, random)).unwrap();
                }
            }
        }
    }
}

/// Which parts of the unsynced writes are lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    All,
    Nothing,
    Writes,
    Pieces(usize),
}

impl Loss {
    fn pick(random: &mut Rng) -> Self {
        let ways = [
            Self::All,
            Self::Nothing,
            Self::Writes,
            Self::Pieces(4096),
            Self::Pieces(512),
        ];
        ways[random.usize(..ways.len())]
    }
}

#[derive(Clone, Copy)]
enum Entry {
    Directory,
    File(usize),
}

enum NameChange {
    Add(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Default)]
struct State {
    files: Vec<FileState>,
    /// The file of an inode.
    inodes: BTreeMap<u64, usize>,
    names: BTreeMap<PathBuf, Entry>,
    /// Changes of names that are not synced, with their place in the journal.
    unsynced_names: Vec<(u64, NameChange)>,
}

#[derive(Default)]
struct FileState {
    synced: Vec<u8>,
    /// Writes and truncations since the first one that is not synced.
    changes: Vec<Change>,
}

#[derive(Clone)]
struct Change {
    at: u64,
    /// Of the new content, or `None` for a truncation.
    bytes: Option<Range<usize>>,
    offset: usize,
    durability: Durability,
}

#[derive(Clone, Copy, PartialEq)]
enum Durability {
    Synced,
    Unsynced,
    /// A sync failed: the system marks the data as written, and no later sync writes it.
    Lost,
}

impl State {
    fn apply(&mut self, journal: &Journal, record: &Record) {
        let path = |range| PathBuf::from(journal.text(range));
        let offset = usize::try_from(record.offset).unwrap();
        let file = self.inodes.get(&record.inode).copied();
        match (record.operation, file) {
            (b'c', _) => {
                self.inodes.insert(record.inode, self.files.len());
                let entry = Entry::File(self.files.len());
                self.files.push(FileState::default());
                self.change_name(record, NameChange::Add(path(&record.bytes), entry));
            }
            (b'm', _) => {
                self.change_name(
                    record,
                    NameChange::Add(path(&record.bytes), Entry::Directory),
                );
            }
            (b'u', _) => self.change_name(record, NameChange::Remove(path(&record.bytes))),
            (b'r', _) => {
                let (from, to) = (path(&record.bytes), path(&record.second));
                self.change_name(record, NameChange::Rename(from, to));
            }
            (b'w' | b't', Some(file)) => self.files[file].changes.push(Change {
                at: record.at,
                bytes: (record.operation == b'w').then(|| record.bytes.clone()),
                offset,
                durability: Durability::Unsynced,
            }),
            (b's', Some(file)) => self.files[file].sync(journal, record.offset, Durability::Synced),
            (b'f', Some(file)) => self.files[file].sync(journal, record.offset, Durability::Lost),
            (b'd', _) => self.sync_names(record.offset),
            (MARK | b'f', _) => {}
            (operation, _) => panic!("{} of an unknown file", char::from(operation)),
        }
    }

    fn change_name(&mut self, record: &Record, change: NameChange) {
        self.unsynced_names.push((record.at, change));
    }

    /// A journaling file system writes the changes of names in order, whichever directory is synced.
    fn sync_names(&mut self, begun: u64) {
        let synced = self.unsynced_names.partition_point(|(at, _)| *at < begun);
        for (_, change) in self.unsynced_names.drain(..synced) {
            change.apply(&mut self.names);
        }
    }

    fn names_left(&mut self, random: &mut Rng) -> BTreeMap<PathBuf, Entry> {
        let mut names = self.names.clone();
        let left = random.usize(..=self.unsynced_names.len());
        for (_, change) in self.unsynced_names.drain(..left) {
            change.apply(&mut names);
        }
        names
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Self::Add(path, entry) => {
                names.insert(path, entry);
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
            Self::Rename(from, to) => {
                if let Some(entry) = names.remove(&from) {
                    names.insert(to, entry);
                }
            }
        }
    }
}

impl FileState {
    fn sync(&mut self, journal: &Journal, begun: u64, outcome: Durability) {
        // The last ones are those after the last sync.
        for change in self.changes.iter_mut().rev() {
            if change.durability != Durability::Unsynced {
                break;
            }
            if change.at < begun {
                change.durability = outcome;
            }
        }
        let is_synced = |change: &Change| change.durability == Durability::Synced;
        let first = self.changes.iter().position(|change| !is_synced(change));
        for change in self.changes.drain(..first.unwrap_or(self.changes.len())) {
            change.apply(journal, &mut self.synced);
        }
    }

    fn content_left(&self, journal: &Journal, loss: Loss, random: &mut Rng) -> Vec<u8> {
        let mut content = self.synced.clone();
        for change in &self.changes {
            for part in change.parts_left(loss, random) {
                part.apply(journal, &mut content);
            }
        }
        content
    }
}

impl Change {
    fn apply(&self, journal: &Journal, content: &mut Vec<u8>) {
        let Some(bytes) = &self.bytes else {
            return content.resize(self.offset, 0);
        };
        let end = self.offset + bytes.len();
        content.resize(content.len().max(end), 0);
        content[self.offset..end].copy_from_slice(&journal.bytes[bytes.clone()]);
    }

    /// Its content after the cut.
    fn parts_left(&self, loss: Loss, random: &mut Rng) -> Vec<Self> {
        let piece = match loss {
            _ if self.durability == Durability::Synced => return vec![self.clone()],
            Loss::All => return Vec::new(),
            Loss::Nothing => return vec![self.clone()],
            Loss::Writes => usize::MAX / 2,
            Loss::Pieces(length) => length,
        };
        let Some(bytes) = &self.bytes else {
            return Vec::from_iter(random.bool().then(|| self.clone()));
        };
        let (mut parts, mut from) = (Vec::new(), bytes.start);
        while from < bytes.end {
            // The pieces are aligned to the disk, not to the write.
            let offset = self.offset + (from - bytes.start);
            let to = bytes.end.min(from + piece - offset % piece);
            if random.bool() {
                parts.push(Self {
                    bytes: Some(from..to),
                    offset,
                    ..self.clone()
                });
            }
            from = to;
        }
        parts
    }
}
