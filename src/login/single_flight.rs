//! Which codes are being exchanged, and what became of those of the last minute.
//!
//! Codes are known here by their hashes alone. Memory is bounded: an exchange that does not get a slot
//! ends soon, and remembered ones are at most [`MAX_REMEMBERED`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::LoginError;
use crate::clock::Clock;
use crate::session::{EXCHANGE_TTL, ExchangeHash, User};
use crate::wechat::{self, CodeSession};

/// Outcomes that are remembered at most; the oldest go first. Good ones are in the store as well.
const MAX_REMEMBERED: usize = 16_384;
/// Sessions that one exchange may begin in this process, so that nobody fills the store with one
/// code.
const MAX_SESSIONS: u32 = 100;

/// The exchanges of this process.
pub(super) struct SingleFlight {
    entries: Mutex<Entries>,
    /// Leaders that there are.
    running: AtomicUsize,
    have_ended: Notify,
    clock: Clock,
}

#[derive(Default)]
struct Entries {
    by_hash: HashMap<ExchangeHash, Entry>,
    /// Remembered ones in the order of their ends.
    order: VecDeque<(Duration, ExchangeHash)>,
}

enum Entry {
    /// With all who wait for it.
    Running(Vec<oneshot::Sender<Answer>>),
    Remembered {
        /// By the monotonic clock.
        until: Duration,
        memory: Memory,
    },
}

enum Memory {
    Outcome(Outcome),
    /// WeChat named the user, but the store failed: the next request tries to store it again.
    NotStored(CodeSession),
}

pub(super) type Answer = Result<Outcome, LoginError>;

/// What became of a code, for all who present it.
#[derive(Clone)]
pub(super) enum Outcome {
    Good(Arc<Exchanged>),
    /// Or WeChat gave no answer, and may have used the code up.
    Refused(wechat::Error),
}

/// A user whom WeChat named for a code, in the store by now.
pub(super) struct Exchanged {
    user: User,
    /// Sessions that it began, beside the first.
    others: AtomicU32,
}

/// What there is of an exchange.
pub(super) enum Entered {
    Known(Outcome),
    Running(oneshot::Receiver<Answer>),
    First(Leader),
}

/// The right and duty to exchange a code. Dropped without a word, it lets the next request lead.
pub(super) struct Leader {
    flights: Arc<SingleFlight>,
    hash: ExchangeHash,
    not_stored: Option<CodeSession>,
    /// Of an earlier try to store the outcome: a failed store does not prolong the memory.
    until: Option<Duration>,
    is_over: bool,
}

impl SingleFlight {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            entries: Mutex::default(),
            running: AtomicUsize::new(0),
            have_ended: Notify::new(),
            clock,
        }
    }

    /// The outcome of the one exchange of a code, or the leave to begin it.
    pub(super) fn enter(self: &Arc<Self>, hash: ExchangeHash) -> Entered {
        let now = self.clock.monotonic();
        let mut entries = self.lock();
        entries.forget(now);
        match entries.by_hash.get_mut(&hash) {
            Some(Entry::Running(waiting)) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                return Entered::Running(receiver);
            }
            Some(Entry::Remembered {
                until,
                memory: Memory::Outcome(outcome),
            }) if now < *until => return Entered::Known(outcome.clone()),
            _ => {}
        }
        let before = entries.by_hash.insert(hash, Entry::Running(Vec::new()));
        let (not_stored, until) = match before {
            Some(Entry::Remembered {
                until,
                memory: Memory::NotStored(user),
            }) if now < until => {
                entries.order.retain(|(_, other)| *other != hash);
                (Some(user), Some(until))
            }
            _ => (None, None),
        };
        self.running.fetch_add(1, Ordering::AcqRel);
        Entered::First(Leader {
            flights: self.clone(),
            hash,
            not_stored,
            until,
            is_over: false,
        })
    }

    /// Puts an exchange that ran at rest, and returns who waits for it.
    fn end(
        &self,
        hash: ExchangeHash,
        remember: Option<(Duration, Memory)>,
    ) -> Vec<oneshot::Sender<Answer>> {
        let mut entries = self.lock();
        let before = match remember {
            None => entries.by_hash.remove(&hash),
            Some((until, memory)) => {
                // At the end, but for those whose earlier try to store them failed too.
                let place = entries.order.partition_point(|(end, _)| *end <= until);
                entries.order.insert(place, (until, hash));
                let entry = Entry::Remembered { until, memory };
                entries.by_hash.insert(hash, entry)
            }
        };
        entries.forget(self.clock.monotonic());
        match before {
            Some(Entry::Running(waiting)) => waiting,
            _ => Vec::new(),
        }
    }

    /// Waits until no exchange is running.
    pub(super) async fn drain(&self) {
        loop {
            let ended = self.have_ended.notified();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Drops what is too old.
    pub(super) fn forget(&self) {
        self.lock().forget(self.clock.monotonic());
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Drops what is too old or too much.
    fn forget(&mut self, now: Duration) {
        while let Some(&(end, hash)) = self.order.front() {
            if end > now && self.order.len() <= MAX_REMEMBERED {
                return;
            }
            self.order.pop_front();
            // It may have been asked about again since, and then ends later.
            if let Some(Entry::Remembered { until, .. }) = self.by_hash.get(&hash)
                && *until == end
            {
                self.by_hash.remove(&hash);
            }
        }
    }
}

impl Leader {
    /// A user whom WeChat named in an exchange before, which could not be stored.
    pub(super) fn take_not_stored(&mut self) -> Option<CodeSession> {
        self.not_stored.take()
    }

    /// The exchange is over, for a minute: as long as the store remembers it.
    pub(super) fn remember(self, outcome: Outcome) {
        let until = self.a_minute_from_now();
        let memory = Memory::Outcome(outcome.clone());
        self.end(Some((until, memory)), &Ok(outcome));
    }

    /// WeChat named a user, whom the next request must try to store.
    pub(super) fn keep(self, user: CodeSession, error: LoginError) {
        let until = self.until.unwrap_or_else(|| self.a_minute_from_now());
        self.end(Some((until, Memory::NotStored(user))), &Err(error));
    }

    /// Nothing has happened; the next request may lead.
    pub(super) fn give_up(self, error: LoginError) {
        self.end(None, &Err(error));
    }

    fn a_minute_from_now(&self) -> Duration {
        self.flights.clock.monotonic() + EXCHANGE_TTL
    }

    fn end(mut self, remember: Option<(Duration, Memory)>, answer: &Answer) {
        self.is_over = true;
        for waiting in self.flights.end(self.hash, remember) {
            // Whoever waited may have gone away meanwhile.
            let _ = waiting.send(answer.clone());
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.is_over {
            self.flights.end(self.hash, None);
        }
        if self.flights.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flights.have_ended.notify_waiters();
        }
    }
}

impl Exchanged {
    pub(super) fn new(user: User) -> Self {
        Self {
            user,
            others: AtomicU32::new(0),
        }
    }

    pub(super) fn user(&self) -> &User {
        &self.user
    }

    /// Whether there may be one more session; counts it.
    pub(super) fn may_open_another(&self) -> bool {
        self.others.fetch_add(1, Ordering::Relaxed) < MAX_SESSIONS
    }
}
