//! Which codes are being exchanged, and what became of those of the last minute.
//!
//! Codes are known here by their hashes alone. Memory is bounded: an exchange that does not get a slot
//! ends soon, and remembered ones are at most [`MAX_REMEMBERED`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{LoggedIn, LoginError};
use crate::clock::Clock;
use crate::session::{EXCHANGE_TTL, ExchangeHash, User};
use crate::wechat::{self, CodeSession};

/// Outcomes that are remembered at most; the oldest go first. Good ones are in the store as well.
const MAX_REMEMBERED: usize = 16_384;
/// Sessions that one exchange may begin in this process, so that nobody fills the store with one
/// code.
const MAX_SESSIONS: u32 = 100;

/// The exchanges of this process.
pub(super) struct Exchanges {
    entries: Mutex<Entries>,
    clock: Clock,
}

#[derive(Default)]
struct Entries {
    by_hash: HashMap<ExchangeHash, Entry>,
    /// Remembered ones in the order of their ends.
    order: VecDeque<(u64, ExchangeHash)>,
}

enum Entry {
    Running(watch::Receiver<Option<Answer>>),
    Remembered {
        /// Unix seconds.
        until: u64,
        memory: Memory,
    },
}

enum Memory {
    Outcome(Outcome),
    /// WeChat named the user, but the store failed: the next request tries to store it again.
    NotStored(CodeSession),
}

type Answer = Result<Outcome, LoginError>;

/// What became of a code, for all who present it.
#[derive(Clone)]
pub(super) enum Outcome {
    Good(Arc<Exchanged>),
    /// Or WeChat gave no answer, and may have used the code up.
    Refused(wechat::Error),
}

/// How an exchange ended.
pub(super) enum Finished {
    Good(Exchanged),
    Refused(wechat::Error),
    NotStored(CodeSession, LoginError),
    /// WeChat certainly has not seen the code, so the next request may ask.
    NotAsked(LoginError),
}

/// A user whom WeChat named for a code, in the store by now.
pub(super) struct Exchanged {
    user: User,
    /// Opened together with the exchange, for whoever comes first.
    first: Mutex<Option<LoggedIn>>,
    others: AtomicU32,
}

/// The right and duty to exchange a code.
pub(super) struct Leader {
    answer: watch::Sender<Option<Answer>>,
    not_stored: Option<CodeSession>,
    /// Of an earlier try to store the outcome: a failed store does not prolong the memory.
    until: Option<u64>,
}

impl Exchanges {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            entries: Mutex::default(),
            clock,
        }
    }

    /// The outcome of the one exchange of a code. If nobody has begun it, `start` must, and must
    /// [`finish`](Self::finish) it.
    pub(super) async fn join(
        &self,
        hash: ExchangeHash,
        start: impl FnOnce(Leader),
    ) -> Result<Outcome, LoginError> {
        let mut answer = match self.enter(hash) {
            Entered::Known(outcome) => return Ok(outcome),
            Entered::Running(answer) => answer,
            Entered::First(leader) => {
                let answer = leader.answer.subscribe();
                start(leader);
                answer
            }
        };
        match answer.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            _ => Err(LoginError::Internal("an exchange panicked")),
        }
    }

    fn enter(&self, hash: ExchangeHash) -> Entered {
        let now = self.clock.now();
        let mut entries = self.lock();
        entries.forget(now);
        match entries.by_hash.get(&hash) {
            // A leader that panicked has dropped its sender.
            Some(Entry::Running(answer)) if answer.has_changed().is_ok() => {
                return Entered::Running(answer.clone());
            }
            Some(Entry::Remembered {
                until,
                memory: Memory::Outcome(outcome),
            }) if now < *until => return Entered::Known(outcome.clone()),
            _ => {}
        }
        let (sender, receiver) = watch::channel(None);
        let before = entries.by_hash.insert(hash, Entry::Running(receiver));
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
        Entered::First(Leader {
            answer: sender,
            not_stored,
            until,
        })
    }

    /// Tells all who wait, and remembers what must be.
    pub(super) fn finish(&self, hash: ExchangeHash, leader: &Leader, finished: Finished) {
        let (memory, answer) = match finished {
            Finished::Good(exchanged) => known(Outcome::Good(Arc::new(exchanged))),
            Finished::Refused(error) => known(Outcome::Refused(error)),
            Finished::NotStored(user, error) => (Some(Memory::NotStored(user)), Err(error)),
            Finished::NotAsked(error) => (None, Err(error)),
        };
        let mut entries = self.lock();
        match memory {
            None => drop(entries.by_hash.remove(&hash)),
            Some(memory) => {
                let fresh = self.clock.now() + EXCHANGE_TTL.as_secs();
                let until = match memory {
                    Memory::NotStored(_) => leader.until.unwrap_or(fresh),
                    Memory::Outcome(_) => fresh, // as in the store
                };
                let entry = Entry::Remembered { until, memory };
                entries.by_hash.insert(hash, entry);
                entries.order.push_back((until, hash));
                entries.forget(self.clock.now());
            }
        }
        drop(entries);
        leader.answer.send_replace(Some(answer));
    }

    /// Drops what is too old.
    pub(super) fn forget(&self) {
        self.lock().forget(self.clock.now());
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entered {
    Known(Outcome),
    Running(watch::Receiver<Option<Answer>>),
    First(Leader),
}

fn known(outcome: Outcome) -> (Option<Memory>, Answer) {
    (Some(Memory::Outcome(outcome.clone())), Ok(outcome))
}

impl Entries {
    /// Drops what is too old or too much.
    fn forget(&mut self, now: u64) {
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
}

impl Exchanged {
    /// In this exchange, with a session that was stored together with it.
    pub(super) fn now(user: User, first: LoggedIn) -> Self {
        Self {
            user,
            first: Mutex::new(Some(first)),
            others: AtomicU32::new(0),
        }
    }

    /// By another replica, or before a restart.
    pub(super) fn earlier(user: User) -> Self {
        Self {
            user,
            first: Mutex::new(None),
            others: AtomicU32::new(0),
        }
    }

    pub(super) fn user(&self) -> &User {
        &self.user
    }

    /// The session that is there already, once.
    pub(super) fn first_session(&self) -> Option<LoggedIn> {
        self.first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Whether there may be one more; counts it.
    pub(super) fn may_open_another(&self) -> bool {
        self.others.fetch_add(1, Ordering::Relaxed) < MAX_SESSIONS
    }
}
