//! The store in this process: redb, in a file or in memory.
//!
//! Reads go straight to redb, which keeps them apart from writes. Writes go to one thread
//! ([`writer`]), which commits all that wait together, so that many logins share one fsync.

mod tables;
mod writer;

use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redb::{Database, ReadableDatabase};
use tokio::sync::oneshot;

use super::{NewSession, OpenError, Place, Session, TokenHash, Unavailable};
use crate::clock::Clock;
use writer::{Job, Write};

/// The longest wait for a commit. A disk that takes longer is not answering.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Writes that may wait for the writer; further ones are refused at once.
const MAX_WAITING: usize = 65_536;

/// Sessions by the hash of their token. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Slot,
    writer: SyncSender<Job>,
    clock: Clock,
}

/// The open database, if there is one: the writer takes a broken one out and opens it anew.
type Slot = Arc<RwLock<Option<Database>>>;

impl Store {
    /// Opens the store at `place` and starts its writer.
    ///
    /// # Errors
    /// [`OpenError`]; the file is then left as it is.
    pub fn open(place: &Place, clock: Clock) -> Result<Self, OpenError> {
        let database = match place {
            Place::File(path) => tables::open_file(path)?,
            Place::Memory => tables::open_memory()?,
        };
        let path = match place {
            Place::File(path) => Some(path.clone()),
            Place::Memory => None,
        };
        let database = Arc::new(RwLock::new(Some(database)));
        let (sender, jobs) = std::sync::mpsc::sync_channel(MAX_WAITING);
        writer::start(jobs, database.clone(), path, clock.clone())
            .map_err(|error| OpenError::Other(error.to_string()))?;
        Ok(Self {
            database,
            writer: sender,
            clock,
        })
    }

    /// Stores a session under its token; durable when this returns.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn create(&self, token: TokenHash, new: NewSession) -> Result<(), Unavailable> {
        self.write(Write::Create(token, new)).await
    }

    /// The living session of a token.
    ///
    /// # Errors
    /// If the store does not answer.
    // Reads are served from redb's cache or by one small read of the file, so they do not block
    // for longer than handing them to another thread would take.
    #[expect(
        clippy::unused_async,
        reason = "a store on the network will await here"
    )]
    pub async fn find(&self, token: TokenHash) -> Result<Option<Session>, Unavailable> {
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = slot.as_ref().ok_or_else(closed)?;
        let session = tables::find(&database.begin_read().map_err(unavailable)?, token)?;
        Ok(session.filter(|session| self.clock.now() < session.expires))
    }

    /// Ends the session of a token, durably. A token without a session is no error.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn end(&self, token: TokenHash) -> Result<(), Unavailable> {
        self.write(Write::End(token)).await
    }

    /// Makes sure that the store answers and can be written to.
    ///
    /// # Errors
    /// If not.
    pub async fn check(&self) -> Result<(), Unavailable> {
        self.write(Write::Check).await
    }

    /// Finishes what waits and closes the file, so that it needs no repair when it is opened again.
    pub async fn close(&self) {
        if self.write(Write::Close).await.is_err() {
            tracing::warn!(
                "the session store was not closed cleanly; it will be repaired when it is opened"
            );
        }
    }

    async fn write(&self, write: Write) -> Result<(), Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.writer
            .try_send(Job { write, reply })
            .map_err(|error| match error {
                TrySendError::Full(_) => Unavailable("too many writes are waiting".into()),
                TrySendError::Disconnected(_) => closed(),
            })?;
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

/// Opens a file again after a fault; unlike at the start, the file must be there.
fn reopen(path: &Path) -> Result<Database, OpenError> {
    if let Err(source) = path.metadata() {
        let path = path.to_owned();
        return Err(OpenError::Io { path, source });
    }
    tables::open_file(path)
}
