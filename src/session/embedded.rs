//! The store of one process: SQLite, in a directory or in memory.
//!
//! In files, one thread writes ([`writer`]), many logins with one sync, and each runtime reads with a
//! connection of its own. In memory, one connection does both.

mod connection;
mod directory;
mod engine;
mod exchanges;
mod expiry;
mod selector;
mod slices;
mod tables;
mod writer;

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::token::TokenId;
use super::{ExchangeHash, OpenError, Record, Session, Settings, Unavailable, User, UserId};
use crate::clock::Clock;
use directory::Directory;
use engine::{Engine, Write};
use exchanges::Exchanges;
use selector::Mask;
use tables::{Change, Keys, Row};
use writer::Job;

/// Times are in Unix seconds. The slice of a session is `id >> 13`.
const SCHEMA: &str = "
    CREATE TABLE session (
        id INTEGER PRIMARY KEY,   -- in the order of arrival; masked, the selector in the token
        token BLOB NOT NULL,      -- SHA-256 of the verifier in the token
        appid TEXT NOT NULL,
        openid TEXT NOT NULL,
        unionid TEXT,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        exchange BLOB,            -- SHA-256 of appid and code, if this login exchanged it
        session_key BLOB,         -- encrypted; the key that came with the exchange
        failures INTEGER NOT NULL, -- to open user data since this login
        ended INTEGER NOT NULL,   -- 1 after a logout; kept, because the user's other sessions need the key
        checksum INTEGER NOT NULL -- CRC-32 of the columns that say whose session it is and how long
    ) STRICT;
    CREATE TABLE user_session (   -- the sessions of a user in a slice
        key INTEGER PRIMARY KEY   -- slice, 24 bits of the SHA-256 of appid and openid, and the 13 lowest of the id
    ) STRICT;
    CREATE TABLE slice (
        id INTEGER PRIMARY KEY,
        begun INTEGER NOT NULL,   -- when its first session was stored
        expires INTEGER NOT NULL  -- when the last of its sessions does
    ) STRICT;
    CREATE TABLE mask (key BLOB NOT NULL) STRICT; -- masks ids in tokens
";
/// A slice has 8,192 sessions. With 16,384 a login costs a fifth more, as its index has more pages; with
/// fewer, there are more slices to search for a user.
const SLICE_BITS: u32 = 13;
/// So short that the index is dense: a slice has few users with the same bits, and they are told apart by
/// their sessions.
const USER_BITS: u32 = 24;
const SLICE_LEN: i64 = 1 << SLICE_BITS;
/// The longest wait for a write. A disk that takes longer is not answering.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// What all runtimes of a process share.
pub struct Database {
    place: Place,
    exchanges: Arc<Exchanges>,
    mask: Mask,
    clock: Clock,
}

enum Place {
    Directory {
        database: std::path::PathBuf,
        jobs: Sender<Job>,
        readers: Arc<Mutex<Vec<Reader>>>,
    },
    Memory(Arc<Mutex<Engine>>),
}

/// A connection that reads, until the store is closed.
type Reader = Arc<Mutex<Option<Connection>>>;

/// The store for one runtime.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    exchanges: Arc<Exchanges>,
    mask: Mask,
    clock: Clock,
}

#[derive(Clone)]
enum Backend {
    Directory {
        jobs: Sender<Job>,
        /// For one row, read in the runtime's thread.
        rows: Reader,
        /// For searches in all slices, in a thread that may wait.
        searches: Reader,
        /// Of all runtimes.
        readers: Arc<Mutex<Vec<Reader>>>,
    },
    Memory(Arc<Mutex<Engine>>),
}

impl Database {
    pub(super) fn open(path: &Path, settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        let mut directory = Directory::open(path)?;
        let database = directory.database();
        let other = |error: &rusqlite::Error| {
            OpenError::Other(format!("{}: {}", database.display(), describe(error)))
        };
        let db = connection::writer(&database).map_err(|error| other(&error))?;
        let engine = Engine::new(db, slice_age(settings), clock.clone());
        let engine = engine.map_err(|error| other(&error))?;
        let mask = tables::mask(engine.db()).map_err(|error| other(&error))?;
        directory.note_files().map_err(|source| OpenError::Io {
            path: path.to_owned(),
            source,
        })?;
        let exchanges = engine.exchanges();
        let jobs = writer::start(engine, directory)
            .map_err(|error| OpenError::Other(error.to_string()))?;
        Ok(Self {
            place: Place::Directory {
                database,
                jobs,
                readers: Arc::default(),
            },
            exchanges,
            mask: Mask(mask),
            clock,
        })
    }

    pub(super) fn in_memory(settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        let mask = Mask::generate();
        let mask = mask.map_err(|_| OpenError::Other("there are no random bytes".into()))?;
        let engine = connection::in_memory(mask.0)
            .and_then(|db| Engine::new(db, slice_age(settings), clock.clone()))
            .map_err(|error| OpenError::Other(describe(&error)))?;
        Ok(Self {
            exchanges: engine.exchanges(),
            place: Place::Memory(Arc::new(Mutex::new(engine))),
            mask,
            clock,
        })
    }

    /// The store for a runtime.
    pub(super) fn connect(&self) -> Result<Store, OpenError> {
        let backend = match &self.place {
            Place::Directory {
                database,
                jobs,
                readers,
            } => {
                let reader = || {
                    let db = connection::reader(database);
                    let db = db.map_err(|error| OpenError::Other(describe(&error)))?;
                    Ok(Arc::new(Mutex::new(Some(db))))
                };
                let (rows, searches) = (reader()?, reader()?);
                lock(readers).extend([rows.clone(), searches.clone()]);
                Backend::Directory {
                    jobs: jobs.clone(),
                    rows,
                    searches,
                    readers: readers.clone(),
                }
            }
            Place::Memory(engine) => Backend::Memory(engine.clone()),
        };
        Ok(Store {
            backend,
            exchanges: self.exchanges.clone(),
            mask: self.mask,
            clock: self.clock.clone(),
        })
    }
}

impl Store {
    /// Stores a session, and returns the selector of its token.
    pub(super) async fn create(&self, new: Record<'_>) -> Result<Option<[u8; 8]>, Unavailable> {
        let row = Box::new(Row::new(&new));
        let key = new.exchange.and_then(|it| it.keys.first().copied());
        let row = self.write(Write::Create(row, key)).await?;
        Ok(Some(self.mask.selector(row, new.token)))
    }

    #[expect(clippy::unused_async, reason = "the interface of both backends")]
    pub(super) async fn find(&self, token: TokenId) -> Result<Option<Session>, Unavailable> {
        let now = self.clock.now();
        let found = self.row(token)?;
        let living = found.filter(|row| !row.is_ended && now < row.session.expires);
        Ok(living.map(|row| row.session))
    }

    #[expect(clippy::unused_async, reason = "the interface of both backends")]
    pub(super) async fn exchanged(
        &self,
        exchange: ExchangeHash,
    ) -> Result<Option<User>, Unavailable> {
        let Some(id) = self.exchanges.row(exchange, self.clock.monotonic()) else {
            return Ok(None);
        };
        let row = self.read(|db| tables::row(db, id))?;
        let ours = row.filter(|row| row.exchange == Some(exchange));
        Ok(ours.map(Row::user))
    }

    pub(super) async fn keys(&self, user: &UserId) -> Result<Vec<Vec<u8>>, Unavailable> {
        Ok(to_vecs(&self.stored_keys(user).await?))
    }

    /// The keys, if one more attempt may fail, and the row where that was counted. Two attempts of one
    /// user must not overlap.
    pub(super) async fn begin_attempt(
        &self,
        user: &UserId,
    ) -> Result<(Vec<Vec<u8>>, Option<i64>), Unavailable> {
        let keys = self.stored_keys(user).await?;
        if let Some(row) = keys.newest {
            let count = Write::Change(Change::CountFailure, vec![row]);
            self.write(count).await?;
        }
        Ok((to_vecs(&keys), keys.newest))
    }

    /// Takes the failure back that was counted in this row, unless it did happen.
    pub(super) async fn end_attempt(
        &self,
        _: &UserId,
        counted: Option<i64>,
        failed: bool,
    ) -> Result<(), Unavailable> {
        match counted.filter(|_| !failed) {
            Some(row) => {
                let change = Write::Change(Change::TakeFailureBack, vec![row]);
                self.write(change).await.map(drop)
            }
            None => Ok(()),
        }
    }

    pub(super) async fn end(&self, token: TokenId) -> Result<(), Unavailable> {
        if self.row(token)?.is_some() {
            let end = Write::Change(Change::End, vec![self.mask.row(token)]);
            self.write(end).await?;
        }
        Ok(())
    }

    pub(super) async fn end_all(
        &self,
        user: &UserId,
        _: Option<TokenId>,
    ) -> Result<(), Unavailable> {
        let rows = self.search(user, tables::sessions).await?;
        self.write(Write::Change(Change::End, rows)).await.map(drop)
    }

    pub(super) async fn check(&self) -> Result<(), Unavailable> {
        self.write(Write::Check).await.map(drop)
    }

    /// Finishes what waits, and lets another process have the files.
    pub(super) async fn close(&self) {
        let Backend::Directory { jobs, readers, .. } = &self.backend else {
            return;
        };
        for reader in &*lock(readers) {
            lock(reader).take();
        }
        let (sender, closed) = oneshot::channel();
        let _ = jobs.send(Job::Close(sender));
        if tokio::time::timeout(WRITE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("the session store was not closed in time");
        }
    }

    fn row(&self, token: TokenId) -> Result<Option<Row>, Unavailable> {
        let id = self.mask.row(token);
        let found = self.read(|db| tables::row(db, id))?;
        Ok(found.filter(|row| row.token == token.hash))
    }

    async fn stored_keys(&self, user: &UserId) -> Result<Keys, Unavailable> {
        self.search(user, tables::keys).await
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Unavailable> {
        match &self.backend {
            Backend::Directory { rows, .. } => read_with(rows, read),
            Backend::Memory(engine) => read(lock(engine).db()).map_err(|error| unavailable(&error)),
        }
    }

    async fn search<T: Send + 'static>(
        &self,
        user: &UserId,
        search: impl FnOnce(&Connection, &UserId, u64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let now = self.clock.now();
        let Backend::Directory { searches, .. } = &self.backend else {
            return self.read(|db| search(db, user, now));
        };
        let (searches, user) = (searches.clone(), user.clone());
        let found =
            tokio::task::spawn_blocking(move || read_with(&searches, |db| search(db, &user, now)));
        let found = found.await;
        found.unwrap_or_else(|_| Err(Unavailable("a search did not end".into())))
    }

    async fn write(&self, write: Write) -> Result<i64, Unavailable> {
        let jobs = match &self.backend {
            Backend::Directory { jobs, .. } => jobs,
            Backend::Memory(engine) => {
                let rows = lock(engine).commit([write].iter());
                let rows = rows.map_err(|error| unavailable(&error))?;
                return Ok(rows.first().copied().unwrap_or_default());
            }
        };
        let (reply, answer) = oneshot::channel();
        jobs.send(Job::Write(write, reply)).map_err(|_| closed())?;
        match tokio::time::timeout(WRITE_TIMEOUT, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(closed())),
            Err(_) => Err(Unavailable("no write in time".into())),
        }
    }
}

fn read_with<T>(
    reader: &Reader,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, Unavailable> {
    let reader = lock(reader);
    let db = reader.as_ref().ok_or_else(closed)?;
    read(db).map_err(|error| unavailable(&error))
}

/// Slices of an eighth of a session's life, so that little is kept for long after its time.
fn slice_age(settings: &Settings) -> u64 {
    (settings.ttl.as_secs() / 8).max(1)
}

fn to_vecs(keys: &Keys) -> Vec<Vec<u8>> {
    keys.encrypted.iter().map(|key| key.to_vec()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Unavailable {
    Unavailable("it is closed".into())
}

fn unavailable(error: &rusqlite::Error) -> Unavailable {
    Unavailable(describe(error))
}

/// What SQLite says, with the exact kind of error.
fn describe(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(kind, Some(message)) => format!("{message} ({kind})"),
        other => other.to_string(),
    }
}
