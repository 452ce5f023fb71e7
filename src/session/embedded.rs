//! The store in a file: redb.
//!
//! Reads go straight to redb, which keeps them apart from writes. Writes go to one thread
//! ([`writer`]), which commits all that wait together, so that many logins share one fsync.

mod tables;
mod writer;

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::sync::oneshot;

use super::{ExchangeHash, OpenError, Record, Session, TokenHash, Unavailable, User, UserId};
use crate::clock::Clock;
use writer::{Job, Write};

/// The longest wait for a commit. A disk that takes longer is not answering.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The store in a file.
#[derive(Clone)]
pub struct Store {
    database: Slot,
    /// Without a bound of its own: each job is of a request that waits for it, or was.
    writer: Sender<Job>,
    clock: Clock,
}

/// The open database, if there is one: the writer takes a broken one out and opens it anew.
type Slot = Arc<RwLock<Option<Database>>>;

impl Store {
    pub(super) fn open(path: &Path, clock: Clock) -> Result<Self, OpenError> {
        let database = tables::open_file(path)?;
        let database = Arc::new(RwLock::new(Some(database)));
        let (sender, jobs) = std::sync::mpsc::channel();
        writer::start(jobs, database.clone(), path.to_owned(), clock.clone())
            .map_err(|error| OpenError::Other(error.to_string()))?;
        Ok(Self {
            database,
            writer: sender,
            clock,
        })
    }

    pub(super) async fn create(&self, new: Record) -> Result<(), Unavailable> {
        self.write(Write::Create(new)).await
    }

    pub(super) fn find(&self, token: TokenHash) -> Result<Option<Session>, Unavailable> {
        let session = self.read(|transaction| tables::find(transaction, token))?;
        Ok(session.filter(|session| self.clock.now() < session.expires))
    }

    pub(super) fn exchanged(&self, exchange: ExchangeHash) -> Result<Option<User>, Unavailable> {
        let now = self.clock.now();
        self.read(|transaction| tables::exchanged(transaction, exchange, now))
    }

    pub(super) fn keys(&self, user: &UserId) -> Result<Vec<Vec<u8>>, Unavailable> {
        let row = self.read(|transaction| tables::user(transaction, user))?;
        Ok(row.map_or_else(Vec::new, |row| row.keys.keys()))
    }

    /// The keys, if one more attempt may fail. Two attempts of one user must not overlap.
    pub(super) async fn begin_attempt(&self, user: &UserId) -> Result<Vec<Vec<u8>>, Unavailable> {
        let keys = self.keys(user)?;
        if !keys.is_empty() {
            self.write(Write::BeginAttempt(user.clone())).await?;
        }
        Ok(keys)
    }

    pub(super) async fn end_attempt(&self, user: &UserId, failed: bool) -> Result<(), Unavailable> {
        let user = user.clone();
        self.write(Write::EndAttempt { user, failed }).await
    }

    pub(super) async fn end(&self, token: TokenHash) -> Result<(), Unavailable> {
        self.write(Write::End(token)).await
    }

    pub(super) async fn end_all(&self, user: &UserId) -> Result<(), Unavailable> {
        self.write(Write::EndAll(user.clone())).await
    }

    pub(super) async fn check(&self) -> Result<(), Unavailable> {
        self.write(Write::Check).await
    }

    pub(super) async fn close(&self) {
        if self.write(Write::Close).await.is_err() {
            tracing::warn!(
                "the session store was not closed cleanly; it will be repaired when it is opened"
            );
        }
    }

    /// Reads in the caller's thread: redb's cache or one small read of the file answers sooner
    /// than another thread would.
    fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Unavailable> {
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = slot.as_ref().ok_or_else(closed)?;
        let transaction = database.begin_read().map_err(unavailable)?;
        read(&transaction).map_err(unavailable)
    }

    async fn write(&self, write: Write) -> Result<(), Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.writer
            .send(Job { write, reply })
            .map_err(|_| closed())?;
        match tokio::time::timeout(WRITE_TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(Unavailable("no commit in time".into())),
        }
    }
}

fn closed() -> Unavailable {
    Unavailable("it is closed".into())
}

fn unavailable(error: impl Into<redb::Error>) -> Unavailable {
    Unavailable(error.into().to_string())
}
