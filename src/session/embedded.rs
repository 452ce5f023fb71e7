//! The store of one process, in files or in memory: sessions are appended to segments, each in a slot
//! of its own, and a token tells where its session is.
//!
//! So a lookup is one small read, and a segment is dropped as a whole once all in it has expired. In
//! files, one thread writes ([`writer`]) and everybody reads; in memory, callers write in turn.

mod appender;
mod blocks;
mod content;
mod directory;
mod exchanges;
mod header;
mod index;
mod medium;
mod position;
mod queue;
mod recovery;
mod reply;
mod segment;
mod segments;
mod slot;
mod writer;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::token::{TokenHash, TokenId};
use super::{
    ExchangeHash, MAX_FAILURES, OpenError, Record, Session, Settings, Unavailable, User, UserId,
};
use crate::clock::Clock;
use appender::{Appender, Batch, Change, Home, Limits};
use position::Mask;
pub(super) use position::Position;
use queue::Queue;
use recovery::Recovered;
use segments::{Keys, Segments};
use slot::Slot;
use writer::{Done, Job, Write};

/// The longest wait for a write. A disk that takes longer is not answering.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The store of one process.
#[derive(Clone)]
pub struct Store {
    segments: Arc<Segments>,
    writer: Writer,
    mask: Mask,
    clock: Clock,
}

#[derive(Clone)]
enum Writer {
    Thread(Queue),
    /// Nothing to wait for but each other.
    Caller(Arc<Mutex<Appender>>),
}

impl Store {
    pub(super) fn open(path: &Path, settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        let Recovered {
            segments,
            appender,
            mask,
        } = recovery::open(path, limits(settings), clock.now())?;
        let (queue, jobs) = queue::queue();
        writer::start(jobs, appender, clock.clone())
            .map_err(|error| OpenError::Other(error.to_string()))?;
        Ok(Self {
            segments,
            writer: Writer::Thread(queue),
            mask,
            clock,
        })
    }

    pub(super) fn in_memory(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        let mask = Mask::generate();
        let mask = mask.map_err(|_| OpenError::Other("there are no random bytes".into()))?;
        let segments = Arc::new(Segments::new([]));
        let limits = limits(settings);
        let appender = Appender::new(Home::Memory, segments.clone(), limits, None, 0);
        Ok(Self {
            segments,
            writer: Writer::Caller(Arc::new(Mutex::new(appender))),
            mask,
            clock,
        })
    }

    /// Stores a session, and says what place its token is to tell.
    pub(super) async fn create(&self, new: Record<'_>) -> Result<[u8; 8], Unavailable> {
        let slot = Slot::new(&new).map_err(|_| Unavailable("an id is too long for it".into()))?;
        let position = self.write(Write::Create(slot)).await?;
        let position = position.ok_or_else(|| Unavailable("it did not say where".into()))?;
        Ok(self.mask.hide(position, new.token))
    }

    pub(super) fn find(&self, token: TokenId) -> Result<Option<Session>, Unavailable> {
        let found = self.segments.find(self.mask.position(token), token.hash);
        let living = found
            .map_err(|error| unavailable(&error))?
            .filter(|slot| !slot.is_ended() && self.clock.now() < slot.expires());
        Ok(living.map(|slot| slot.session()))
    }

    pub(super) fn exchanged(&self, exchange: ExchangeHash) -> Result<Option<User>, Unavailable> {
        let exchanged = self.segments.exchanged(exchange, self.clock.now());
        exchanged.map_err(|error| unavailable(&error))
    }

    pub(super) async fn keys(&self, user: &UserId) -> Result<Vec<Vec<u8>>, Unavailable> {
        Ok(to_vecs(&self.stored_keys(user).await?))
    }

    /// The keys, if one more attempt may fail, and where that was counted. Two attempts of one user
    /// must not overlap.
    pub(super) async fn begin_attempt(
        &self,
        user: &UserId,
    ) -> Result<(Vec<Vec<u8>>, Option<Position>), Unavailable> {
        let keys = self.stored_keys(user).await?;
        if let Some(at) = keys.newest {
            let counted = vec![(at, Change::CountFailure)];
            self.write(Write::Change(counted)).await?;
        }
        Ok((to_vecs(&keys), keys.newest))
    }

    /// The attempt whose failure was counted here did not fail.
    pub(super) async fn take_failure_back(&self, at: Position) -> Result<(), Unavailable> {
        let change = vec![(at, Change::TakeFailureBack)];
        self.write(Write::Change(change)).await.map(drop)
    }

    pub(super) async fn end(&self, token: TokenId) -> Result<(), Unavailable> {
        let at = self.mask.position(token);
        let found = self.segments.find(at, token.hash);
        if found.map_err(|error| unavailable(&error))?.is_some() {
            self.write(Write::Change(vec![(at, Change::End)])).await?;
        }
        Ok(())
    }

    pub(super) async fn end_all(&self, user: &UserId) -> Result<(), Unavailable> {
        let now = self.clock.now();
        let living = self.search(user, move |segments, user| segments.living(user, now));
        let ended = living.await?.into_iter().map(|at| (at, Change::End));
        self.write(Write::Change(ended.collect())).await.map(drop)
    }

    pub(super) async fn check(&self) -> Result<(), Unavailable> {
        self.write(Write::Check).await.map(drop)
    }

    pub(super) async fn close(&self) {
        if self.write(Write::Close).await.is_err() {
            tracing::warn!("the session store was not closed cleanly");
        }
    }

    async fn stored_keys(&self, user: &UserId) -> Result<Keys, Unavailable> {
        self.search(user, Segments::keys).await
    }

    /// Searches in a thread for what may take its time: there are one or two reads for each segment.
    async fn search<T: Send + 'static>(
        &self,
        user: &UserId,
        search: impl FnOnce(&Segments, &UserId) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (segments, user) = (self.segments.clone(), user.clone());
        let found = tokio::task::spawn_blocking(move || search(&segments, &user)).await;
        let found = found.map_err(|_| Unavailable("a search did not end".into()))?;
        found.map_err(|error| unavailable(&error))
    }

    async fn write(&self, write: Write) -> Result<Done, Unavailable> {
        match &self.writer {
            Writer::Thread(queue) => ask(queue, write).await,
            Writer::Caller(appender) => {
                let mut appender = appender.lock().unwrap_or_else(PoisonError::into_inner);
                let now = self.clock.now();
                appender.purge(now);
                let mut batch = Batch::default();
                batch.add(write);
                let created = appender.commit(&batch, now);
                let created = created.map_err(|error| unavailable(&error))?;
                Ok(created.first().copied())
            }
        }
    }
}

async fn ask(queue: &Queue, write: Write) -> Result<Done, Unavailable> {
    let (reply, answer) = reply::reply();
    let job = Job { write, reply };
    queue.push(job).map_err(|_| closed())?;
    match tokio::time::timeout(WRITE_TIMEOUT, answer).await {
        Ok(Ok(answer)) => answer.open(),
        Ok(Err(_)) => Err(closed()),
        Err(_) => Err(Unavailable("no write in time".into())),
    }
}

/// Segments of an eighth of a session's life, so that little is kept after its time.
fn limits(settings: &Settings) -> Limits {
    Limits {
        sessions: settings.segment_len.get().into(),
        age: (settings.ttl.as_secs() / 8).max(1),
    }
}

fn to_vecs(keys: &Keys) -> Vec<Vec<u8>> {
    keys.seals.iter().map(|seal| seal.to_vec()).collect()
}

fn closed() -> Unavailable {
    Unavailable("it is closed".into())
}

fn unavailable(error: &io::Error) -> Unavailable {
    Unavailable(error.to_string())
}
