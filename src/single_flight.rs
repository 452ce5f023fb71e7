//! Single-flight: what is asked for several times at once is done once, and its answer is remembered for
//! a while.
//!
//! Memory is bounded: at most [`MAX_REMEMBERED`] answers are remembered, and what is in flight must end
//! soon.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;

/// Answers that are remembered at most; the oldest go first.
const MAX_REMEMBERED: usize = 65_536;

/// Names what is asked for: a hash, so that no secret is kept.
pub(crate) type Key = [u8; 32];

/// What is in flight in this process, and the answers `A` that are remembered. `K` is what an attempt that
/// failed half-way leaves to the next one.
pub(crate) struct SingleFlight<A, K = Infallible> {
    entries: Mutex<Entries<A, K>>,
    /// The number of leaders.
    running: AtomicUsize,
    have_ended: Notify,
    clock: Clock,
}

struct Entries<A, K> {
    by_key: HashMap<Key, Entry<A, K>>,
    /// Remembered ones in the order of their ends.
    order: VecDeque<(Duration, Key)>,
}

enum Entry<A, K> {
    /// With all who wait for it.
    Running(Vec<oneshot::Sender<A>>),
    Remembered {
        /// By the monotonic clock.
        until: Duration,
        memory: Memory<A, K>,
    },
}

enum Memory<A, K> {
    Answer(A),
    Kept(K),
}

/// What [`SingleFlight::enter`] finds.
pub(crate) enum Entered<A, K = Infallible> {
    Known(A),
    Running(oneshot::Receiver<A>),
    First(Leader<A, K>),
}

/// The right and duty to find the answer. Dropped without one, it lets the next request lead.
pub(crate) struct Leader<A, K = Infallible> {
    flights: Arc<SingleFlight<A, K>>,
    key: Key,
    kept: Option<K>,
    /// Of an earlier attempt: a second failure does not prolong the memory.
    until: Option<Duration>,
    is_over: bool,
}

impl<A: Clone, K> SingleFlight<A, K> {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            entries: Mutex::new(Entries {
                by_key: HashMap::new(),
                order: VecDeque::new(),
            }),
            running: AtomicUsize::new(0),
            have_ended: Notify::new(),
            clock,
        }
    }

    /// The answer, a way to wait for it, or the leave to find it.
    pub(crate) fn enter(self: &Arc<Self>, key: Key) -> Entered<A, K> {
        let now = self.clock.monotonic();
        let mut entries = self.lock();
        entries.forget(now);
        match entries.by_key.get_mut(&key) {
            Some(Entry::Running(waiting)) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                return Entered::Running(receiver);
            }
            Some(Entry::Remembered {
                until,
                memory: Memory::Answer(answer),
            }) if now < *until => return Entered::Known(answer.clone()),
            _ => {}
        }
        let before = entries.by_key.insert(key, Entry::Running(Vec::new()));
        let (kept, until) = match before {
            Some(Entry::Remembered {
                until,
                memory: Memory::Kept(kept),
            }) if now < until => {
                entries.order.retain(|(_, other)| *other != key);
                (Some(kept), Some(until))
            }
            _ => (None, None),
        };
        self.running.fetch_add(1, Ordering::AcqRel);
        Entered::First(Leader {
            flights: self.clone(),
            key,
            kept,
            until,
            is_over: false,
        })
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn drain(&self) {
        loop {
            let ended = self.have_ended.notified();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Drops what is too old.
    pub(crate) fn forget(&self) {
        self.lock().forget(self.clock.monotonic());
    }
}

impl<A, K> SingleFlight<A, K> {
    /// Ends what was in flight, and returns who waits for it.
    fn end(&self, key: Key, remember: Option<(Duration, Memory<A, K>)>) -> Vec<oneshot::Sender<A>> {
        let mut entries = self.lock();
        let before = match remember {
            None => entries.by_key.remove(&key),
            Some((until, memory)) => {
                let place = entries.order.partition_point(|(end, _)| *end <= until);
                entries.order.insert(place, (until, key));
                let entry = Entry::Remembered { until, memory };
                entries.by_key.insert(key, entry)
            }
        };
        entries.forget(self.clock.monotonic());
        match before {
            Some(Entry::Running(waiting)) => waiting,
            _ => Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries<A, K>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A, K> Entries<A, K> {
    /// Drops what is too old or too much.
    fn forget(&mut self, now: Duration) {
        while let Some(&(end, key)) = self.order.front() {
            if end > now && self.order.len() <= MAX_REMEMBERED {
                return;
            }
            self.order.pop_front();
            // It may have been asked for again since, and then ends later.
            if let Some(Entry::Remembered { until, .. }) = self.by_key.get(&key)
                && *until == end
            {
                self.by_key.remove(&key);
            }
        }
    }
}

impl<A: Clone, K> Leader<A, K> {
    /// What an earlier attempt has left.
    pub(crate) fn take_kept(&mut self) -> Option<K> {
        self.kept.take()
    }

    /// Answers all who wait, and for so long all who come.
    pub(crate) fn remember(self, answer: A, ttl: Duration) {
        let until = self.flights.clock.monotonic() + ttl;
        self.end(Some((until, Memory::Answer(answer.clone()))), &answer);
    }

    /// Answers all who wait. Who comes next finds `kept`, for so long since the first attempt.
    pub(crate) fn keep(self, kept: K, answer: &A, ttl: Duration) {
        let until = self.flights.clock.monotonic() + ttl;
        let until = self.until.unwrap_or(until);
        self.end(Some((until, Memory::Kept(kept))), answer);
    }

    /// Answers all who wait; the next request leads.
    pub(crate) fn answer(self, answer: &A) {
        self.end(None, answer);
    }

    fn end(mut self, remember: Option<(Duration, Memory<A, K>)>, answer: &A) {
        self.is_over = true;
        for waiting in self.flights.end(self.key, remember) {
            // Whoever waited may have gone away meanwhile.
            let _ = waiting.send(answer.clone());
        }
    }
}

impl<A, K> Drop for Leader<A, K> {
    fn drop(&mut self) {
        if !self.is_over {
            self.flights.end(self.key, None);
        }
        if self.flights.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flights.have_ended.notify_waiters();
        }
    }
}
