//! Single-flight: concurrent requests for the same key share one operation, and its answer is remembered
//! for a while.
//!
//! Memory is bounded: at most [`MAX_REMEMBERED`] answers are remembered. Operations in flight are bounded
//! by their own timeouts only.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;

/// The most answers that are remembered. Beyond it, those that expire first are evicted.
const MAX_REMEMBERED: usize = 50_000;

/// Identifies an operation: a hash, so that no secret is kept in memory.
pub(crate) type Key = [u8; 32];

/// The operations in flight in this process, and the remembered answers `A`. `U` is the intermediate result
/// of an operation that failed half-way, from which the next leader goes on.
pub(crate) struct SingleFlight<A, U = Infallible> {
    entries: Mutex<Entries<A, U>>,
    /// The number of [`Leader`]s.
    leaders: AtomicUsize,
    last_leader_dropped: Notify,
    clock: Clock,
}

struct Entries<A, U> {
    by_key: HashMap<Key, Entry<A, U>>,
    /// Remembered entries in the order in which they expire.
    expiry: VecDeque<(Duration, Key)>,
}

enum Entry<A, U> {
    /// With the channels of the requests that wait for the answer.
    InFlight(Vec<oneshot::Sender<A>>),
    Remembered {
        /// By the monotonic clock.
        until: Duration,
        result: Remembered<A, U>,
    },
}

enum Remembered<A, U> {
    Answer(A),
    Unfinished(U),
}

/// The result of [`SingleFlight::enter`].
pub(crate) enum Entered<A, U = Infallible> {
    /// The remembered answer.
    Remembered(A),
    /// The operation is in flight: receives its answer, or an error if its leader was dropped without one.
    InFlight(oneshot::Receiver<A>),
    /// The caller must run the operation.
    Leader(Leader<A, U>),
}

/// Held by the request that runs the operation. If it is dropped without an answer, the next request
/// becomes the leader.
pub(crate) struct Leader<A, U = Infallible> {
    single_flight: Arc<SingleFlight<A, U>>,
    key: Key,
    unfinished: Option<U>,
    /// When `unfinished` expires. A further failure does not prolong it.
    unfinished_until: Option<Duration>,
    has_answered: bool,
}

impl<A: Clone, U> SingleFlight<A, U> {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            entries: Mutex::new(Entries {
                by_key: HashMap::new(),
                expiry: VecDeque::new(),
            }),
            leaders: AtomicUsize::new(0),
            last_leader_dropped: Notify::new(),
            clock,
        }
    }

    /// Looks the key up. The first caller for a key becomes its leader.
    pub(crate) fn enter(self: &Arc<Self>, key: Key) -> Entered<A, U> {
        let now = self.clock.monotonic();
        let mut entries = self.lock();
        entries.evict(now);
        match entries.by_key.get_mut(&key) {
            Some(Entry::InFlight(waiting)) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                return Entered::InFlight(receiver);
            }
            Some(Entry::Remembered {
                until,
                result: Remembered::Answer(answer),
            }) if now < *until => return Entered::Remembered(answer.clone()),
            _ => {}
        }
        let before = entries.by_key.insert(key, Entry::InFlight(Vec::new()));
        let (unfinished, unfinished_until) = match before {
            Some(Entry::Remembered {
                until,
                result: Remembered::Unfinished(unfinished),
            }) if now < until => {
                entries.expiry.retain(|(_, other)| *other != key);
                (Some(unfinished), Some(until))
            }
            _ => (None, None),
        };
        self.leaders.fetch_add(1, Ordering::AcqRel);
        Entered::Leader(Leader {
            single_flight: self.clone(),
            key,
            unfinished,
            unfinished_until,
            has_answered: false,
        })
    }

    /// Waits until no operation is in flight.
    pub(crate) async fn drain(&self) {
        loop {
            let last_dropped = self.last_leader_dropped.notified();
            if self.leaders.load(Ordering::Acquire) == 0 {
                return;
            }
            last_dropped.await;
        }
    }

    /// Removes expired entries.
    pub(crate) fn evict_expired(&self) {
        self.lock().evict(self.clock.monotonic());
    }
}

impl<A, U> SingleFlight<A, U> {
    /// Ends an operation, and returns the channels of the requests that wait for it.
    fn finish(
        &self,
        key: Key,
        remember: Option<(Duration, Remembered<A, U>)>,
    ) -> Vec<oneshot::Sender<A>> {
        let mut entries = self.lock();
        let before = match remember {
            None => entries.by_key.remove(&key),
            Some((until, result)) => {
                let place = entries.expiry.partition_point(|(end, _)| *end <= until);
                entries.expiry.insert(place, (until, key));
                let entry = Entry::Remembered { until, result };
                entries.by_key.insert(key, entry)
            }
        };
        entries.evict(self.clock.monotonic());
        match before {
            Some(Entry::InFlight(waiting)) => waiting,
            _ => Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries<A, U>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A, U> Entries<A, U> {
    /// Removes what has expired, and what exceeds [`MAX_REMEMBERED`].
    fn evict(&mut self, now: Duration) {
        while let Some(&(end, key)) = self.expiry.front() {
            if end > now && self.expiry.len() <= MAX_REMEMBERED {
                return;
            }
            self.expiry.pop_front();
            // A later operation may have replaced this entry by one that expires later.
            if let Some(Entry::Remembered { until, .. }) = self.by_key.get(&key)
                && *until == end
            {
                self.by_key.remove(&key);
            }
        }
    }
}

impl<A: Clone, U> Leader<A, U> {
    /// The intermediate result that an earlier leader left with [`leave_unfinished`](Self::leave_unfinished).
    pub(crate) fn take_unfinished(&mut self) -> Option<U> {
        self.unfinished.take()
    }

    /// Answers the requests that wait, and those that arrive within `ttl`.
    pub(crate) fn answer_and_remember(self, answer: A, ttl: Duration) {
        let until = self.single_flight.clock.monotonic() + ttl;
        self.finish(Some((until, Remembered::Answer(answer.clone()))), &answer);
    }

    /// Answers the requests that wait with a failure. The next request becomes the leader and gets
    /// `unfinished`, until `ttl` after it was left for the first time.
    pub(crate) fn leave_unfinished(self, unfinished: U, answer: &A, ttl: Duration) {
        let until = self.single_flight.clock.monotonic() + ttl;
        let until = self.unfinished_until.unwrap_or(until);
        self.finish(Some((until, Remembered::Unfinished(unfinished))), answer);
    }

    /// Answers the requests that wait. The next request becomes the leader.
    pub(crate) fn answer_without_remembering(self, answer: &A) {
        self.finish(None, answer);
    }

    fn finish(mut self, remember: Option<(Duration, Remembered<A, U>)>, answer: &A) {
        self.has_answered = true;
        for waiting in self.single_flight.finish(self.key, remember) {
            // Fails if that request was cancelled.
            let _ = waiting.send(answer.clone());
        }
    }
}

impl<A, U> Drop for Leader<A, U> {
    fn drop(&mut self) {
        if !self.has_answered {
            self.single_flight.finish(self.key, None);
        }
        if self.single_flight.leaders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.single_flight.last_leader_dropped.notify_waiters();
        }
    }
}
