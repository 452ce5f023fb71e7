//! What writes to the segments: appends sessions, changes their bytes, begins and closes segments,
//! and drops those whose sessions have all expired.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::directory::Directory;
use super::medium::Medium;
use super::position::Position;
use super::segment::Segment;
use super::segments::Segments;
use super::slot::{FAILURES, IS_ENDED, SLOT_LEN, Slot};

/// Space is made in steps of so many slots, 1 MiB: written zeros, so that what is appended later
/// changes nothing but content, which is all that a sync then has to write.
const STEP: u32 = 2048;

pub(super) struct Appender {
    home: Home,
    segments: Arc<Segments>,
    limits: Limits,
    /// The segment that is appended to, if there is one.
    active: Option<Active>,
    /// The number of the newest segment, or greater.
    last_number: u32,
    /// When expired segments were looked for last.
    purged: u64,
}

/// When a segment is full.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) sessions: u32,
    /// Seconds after its first session.
    pub(super) age: u64,
}

/// Where segments come from.
pub(super) enum Home {
    Directory(Directory),
    Memory,
}

pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    /// When its first session began.
    pub(super) begun: Option<u64>,
    /// Slots that there is space for.
    pub(super) room: u32,
}

/// What is written together, and done when it is durable.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) created: Vec<Slot>,
    pub(super) changes: Vec<(Position, Change)>,
    /// Makes sure that a session could be created.
    pub(super) is_check: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    End,
    /// A failure to open user data, before it can happen.
    CountFailure,
    /// It did not happen.
    TakeFailureBack,
}

impl Appender {
    pub(super) fn new(
        home: Home,
        segments: Arc<Segments>,
        limits: Limits,
        active: Option<Active>,
        last_number: u32,
    ) -> Self {
        Self {
            home,
            segments,
            limits,
            active,
            last_number,
            purged: 0,
        }
    }

    /// The most sessions that a batch may create.
    pub(super) fn capacity(&self) -> usize {
        self.limits.sessions as usize
    }

    /// Writes a batch, and says where the sessions are that it created. If it fails, none of them is,
    /// and what of the rest was done is not known.
    pub(super) fn commit(&mut self, batch: &Batch, now: u64) -> io::Result<Vec<Position>> {
        let mut touched = BTreeMap::new();
        for (at, change) in &batch.changes {
            // With its segment, a session is gone for good.
            if let Some(segment) = self.segments.get(at.segment)? {
                change.apply(&segment, at.slot)?;
                touched.insert(at.segment, segment);
            }
        }
        let mut first = 0;
        if !batch.created.is_empty() || batch.is_check {
            let wanted = u32::try_from(batch.created.len()).map_err(io::Error::other)?;
            let segment = self
                .append(batch, wanted.max(1), now)
                .inspect_err(|_| self.active = None)?;
            first = segment.count() + 1;
            touched.insert(segment.number(), segment);
        }
        for (number, segment) in &touched {
            segment.sync().inspect_err(|_| self.abandon(*number))?;
        }
        self.publish(&batch.created, first, now)
    }

    /// Writes the sessions of a batch, which are not there before the segment is synced.
    fn append(&mut self, batch: &Batch, wanted: u32, now: u64) -> io::Result<Arc<Segment>> {
        let segment = self.prepare(wanted, now)?;
        let first = segment.count() + 1;
        if batch.created.is_empty() {
            // It is zeros already, but now the disk must say so.
            segment.write(first, &[0; SLOT_LEN])?;
        } else {
            let bytes: Vec<_> = batch.created.iter().map(Slot::as_bytes).collect();
            segment.write(first, &bytes.concat())?;
        }
        Ok(segment)
    }

    /// Appends nothing more to a segment: a sync that failed tells nothing about the next one.
    fn abandon(&mut self, number: u32) {
        let active = self.active.as_ref();
        if active.is_some_and(|active| active.segment.number() == number) {
            self.active = None;
        }
    }

    /// The segment to append so many sessions to, with space for them.
    fn prepare(&mut self, wanted: u32, now: u64) -> io::Result<Arc<Segment>> {
        if self.active.as_ref().is_some_and(|active| {
            let age = active.begun.map_or(0, |begun| now.saturating_sub(begun));
            active.segment.count() + wanted > self.limits.sessions || age >= self.limits.age
        }) && let Some(full) = self.active.take()
        {
            close(&full.segment);
        }
        let active = match &mut self.active {
            Some(active) => active,
            none => none.insert(begin(&self.home, &self.segments, &mut self.last_number)?),
        };
        let needed = active.segment.count() + wanted;
        while active.room < needed {
            let step = STEP.min(self.limits.sessions - active.room);
            let zeros = vec![0; step as usize * SLOT_LEN];
            active.segment.write(active.room + 1, &zeros)?;
            active.room += step;
        }
        Ok(active.segment.clone())
    }

    fn publish(&mut self, created: &[Slot], first: u32, now: u64) -> io::Result<Vec<Position>> {
        let Some(active) = self.active.as_mut().filter(|_| !created.is_empty()) else {
            return Ok(Vec::new());
        };
        active.begun.get_or_insert(now);
        active.segment.publish(created)?;
        let segment = active.segment.number();
        let positions = (first..).map(|slot| Position { segment, slot });
        let positions: Vec<_> = positions.take(created.len()).collect();
        for (slot, at) in created.iter().zip(&positions) {
            self.segments.remember(slot, *at, now);
        }
        Ok(positions)
    }

    /// Drops the segments of which all sessions have expired, if time has passed.
    pub(super) fn purge(&mut self, now: u64) {
        if self.purged == now {
            return;
        }
        self.purged = now;
        for segment in self.segments.all().unwrap_or_default() {
            let number = segment.number();
            let active = self.active.as_ref();
            let is_active = active.is_some_and(|active| active.segment.number() == number);
            let is_awaited = is_active && segment.count() == 0;
            if is_awaited || now < segment.greatest_expiry() {
                continue;
            }
            if is_active {
                self.active = None;
            }
            self.segments.remove(number);
            if let Home::Directory(directory) = &self.home
                && let Err(error) = directory.remove(number)
            {
                tracing::warn!(%error, "a file of expired sessions cannot be removed");
            }
        }
    }

    /// Lets nobody find anything any more, and another process open the store.
    pub(super) fn close(self) {
        self.segments.close();
    }
}

impl Change {
    fn apply(self, segment: &Segment, slot: u32) -> io::Result<()> {
        match self {
            Self::End => segment.set_byte(slot, IS_ENDED, 1),
            Self::CountFailure => {
                let failures = segment.byte(slot, FAILURES)?;
                segment.set_byte(slot, FAILURES, failures.saturating_add(1))
            }
            Self::TakeFailureBack => {
                let failures = segment.byte(slot, FAILURES)?;
                segment.set_byte(slot, FAILURES, failures.saturating_sub(1))
            }
        }
    }
}

fn begin(home: &Home, segments: &Segments, last_number: &mut u32) -> io::Result<Active> {
    let number = last_number.checked_add(1);
    let number = number.ok_or_else(|| io::Error::other("there are no numbers left"))?;
    let segment = match home {
        Home::Directory(directory) => directory.begin_segment(number)?,
        Home::Memory => Segment::begin(number, Medium::memory())?,
    };
    *last_number = number;
    let segment = Arc::new(segment);
    segments.add(segment.clone());
    Ok(Active {
        segment,
        begun: None,
        room: 0,
    })
}

/// Closes a segment that nothing is appended to any more.
pub(super) fn close(segment: &Segment) {
    if let Err(error) = segment.close() {
        let segment = segment.number();
        tracing::warn!(%error, segment, "an index cannot be written: it stays in memory until the next start");
    }
}
