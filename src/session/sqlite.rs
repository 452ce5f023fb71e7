//! The store of one process: SQLite in a directory.
//!
//! One thread writes ([`writer`]), many logins with one sync. A row is read in the thread that asks ([`readers`]).
//! Rows are in the order of logins, because the first bytes of a token are the time: a login appends, and what has
//! expired is at the front.
//!
//! SQLite notices structural damage, but not every byte that a disk changes. A row whose user, expiry or token was
//! changed matches no token.

mod connection;
mod database;
mod directory;
mod expiry;
mod readers;
mod replies;
mod rows;
mod search;
mod writer;

use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::store::{EncryptedExchange, Row};
use super::{
    EncryptedKey, MAX_FAILURES, OpenError, RecentExchange, Session, Token, Unavailable, UserId,
};
use crate::clock::Clock;
use crate::metrics::Metrics;
use database::{Database, Write};
use directory::Directory;
use readers::Readers;
use replies::{Runtimes, Waiting};
use rows::NewRow;
use search::search;
use writer::{Gauges, Job};

/// The longest wait for a search or a commit. A disk that takes longer is not answering.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most different keys of a user: two, each encrypted with up to two AppSecrets.
const MAX_KEYS: usize = 4;

/// The store in files.
pub(super) struct SqliteStore {
    jobs: SyncSender<Job>,
    readers: Arc<Readers>,
    runtimes: Runtimes,
    clock: Clock,
}

impl SqliteStore {
    /// Opens the store in the directory, with the exchanges of the last minute. `ttl` is not needed: each row
    /// has its expiry.
    pub(super) fn open(
        path: &Path,
        _ttl: Duration,
        metrics: &Metrics,
        clock: Clock,
    ) -> Result<(Self, Vec<RecentExchange>), OpenError> {
        let (mut directory, db) = Directory::open(path)?;
        let file = directory.database();
        let exchanges = rows::recent_exchanges(&db, clock.now());
        let opened = exchanges.and_then(|it| Ok((it, Database::new(db, clock.clone())?)));
        let (exchanges, database) = opened.map_err(|error| directory::refusal(&file, &error))?;
        directory.note_files()?;
        let readers = Arc::new(Readers::new(file));
        let gauges = Gauges::new(metrics);
        let jobs = writer::start(database, directory, readers.clone(), gauges)
            .map_err(|error| OpenError::Other(format!("cannot start a thread: {error}")))?;
        let store = Self {
            jobs,
            readers,
            runtimes: Runtimes::default(),
            clock,
        };
        Ok((store, exchanges))
    }

    /// `false` if the id of the token is taken.
    pub(super) async fn create(
        &self,
        token: &Token,
        row: Row,
        exchange: Option<EncryptedExchange>,
    ) -> Result<bool, Unavailable> {
        let row = NewRow {
            id: token.id(),
            row,
            exchange: exchange.as_ref().map(|exchange| exchange.code),
            key: exchange.and_then(|exchange| exchange.keys.first().copied()),
        };
        self.write(Write::Create(Box::new(row))).await
    }

    /// Reads in this thread. In another one it costs three times as much CPU; here it has no timeout, and a disk
    /// that hangs holds up the requests of this thread.
    pub(super) async fn find(&self, token: &Token) -> Result<Option<Row>, Unavailable> {
        self.readers.read(|db| rows::find(db, token.id()))
    }

    /// No other process exchanges codes for this store.
    pub(super) async fn exchanged(&self, _: &[u8; 32]) -> Result<Option<Session>, Unavailable> {
        Ok(None)
    }

    pub(super) async fn keys(&self, user: UserId<'_>) -> Result<Vec<EncryptedKey>, Unavailable> {
        let now = self.clock.now();
        let find = move |db: &Connection, user: UserId<'_>| {
            let mut keys = Vec::new();
            search(db, user, |login| {
                let Some(key) = login.key.filter(|_| now < login.expires) else {
                    return true;
                };
                if login.failures >= MAX_FAILURES {
                    return false;
                }
                if !keys.contains(&key) {
                    keys.push(key);
                }
                keys.len() < MAX_KEYS
            })?;
            Ok(keys)
        };
        self.readers.search(user, find).await
    }

    pub(super) async fn newest_key(
        &self,
        user: UserId<'_>,
    ) -> Result<Option<EncryptedKey>, Unavailable> {
        let now = self.clock.now();
        let find = move |db: &Connection, user: UserId<'_>| {
            let (mut is_living, mut newest) = (false, None);
            search(db, user, |login| {
                if now < login.expires {
                    is_living |= !login.is_ended;
                    let key = login.key.map(|key| (key, login.failures));
                    newest = newest.or(key);
                }
                !is_living || newest.is_none()
            })?;
            let usable = newest.filter(|(_, failures)| is_living && *failures < MAX_FAILURES);
            Ok(usable.map(|(key, _)| key))
        };
        self.readers.search(user, find).await
    }

    pub(super) async fn count_failure(&self, user: UserId<'_>) -> Result<(), Unavailable> {
        let find = |db: &Connection, user: UserId<'_>| {
            let mut newest = None;
            search(db, user, |login| {
                newest = login.key.map(|_| login.id);
                newest.is_none()
            })?;
            Ok(newest)
        };
        if let Some(id) = self.readers.search(user, find).await? {
            self.write(Write::CountFailure(id)).await?;
        }
        Ok(())
    }

    pub(super) async fn end(&self, token: &Token, session: &Session) -> Result<(), Unavailable> {
        let end = Write::End(token.id(), token.seal(session));
        self.write(end).await.map(drop)
    }

    /// Overwrites the user's rows and that of the token, also expired ones: the wall clock may be wrong.
    pub(super) async fn end_all(
        &self,
        user: UserId<'_>,
        token: Option<&Token>,
    ) -> Result<(), Unavailable> {
        let find = |db: &Connection, user: UserId<'_>| {
            let mut ids = Vec::new();
            search(db, user, |login| {
                ids.push(login.id);
                true
            })?;
            Ok(ids)
        };
        let mut ids = self.readers.search(user, find).await?;
        ids.extend(token.map(Token::id));
        self.write(Write::Erase(ids)).await.map(drop)
    }

    pub(super) async fn check(&self) -> Result<(), Unavailable> {
        self.write(Write::Check).await.map(drop)
    }

    /// Commits the writes that wait, closes all connections and releases the directory.
    pub(super) async fn close(&self) {
        let (sender, closed) = oneshot::channel();
        let (jobs, close) = (self.jobs.clone(), Job::Close(sender));
        let closed = async {
            // Waits for its place in the queue. An error means that the store is closed already.
            let _ = tokio::task::spawn_blocking(move || jobs.send(close)).await;
            let _ = closed.await;
        };
        if tokio::time::timeout(TIMEOUT, closed).await.is_err() {
            tracing::warn!("the session store was not closed in time");
        }
    }

    /// Returns when the write is durable: `false` if the id of a new session is taken.
    async fn write(&self, write: Write) -> Result<bool, Unavailable> {
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting::new(sender, &self.runtimes);
        let job = Job::Write(write, waiting);
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Unavailable("too many writes wait for the disk".into()),
            TrySendError::Disconnected(_) => closed(),
        })?;
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(closed())),
            Err(_) => Err(Unavailable("no write in time".into())),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Unavailable {
    Unavailable("it is closed".into())
}

/// SQLite's error message and extended result code.
fn describe(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(kind, Some(message)) => format!("{message} ({kind})"),
        other => other.to_string(),
    }
}
