//! The store of one process: SQLite in a directory, or plain maps in memory ([`maps`]).
//!
//! In a directory, one thread writes ([`writer`]), many logins with one sync, and each runtime reads with
//! connections of its own.
//!
//! SQLite notices structural damage, but not every byte that a disk changes.

mod connection;
mod directory;
mod engine;
mod exchanges;
mod expiry;
mod lookups;
mod maps;
mod search;
mod selector;
mod size;
mod slices;
mod store;
mod tables;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::{OpenError, Settings, Unavailable};
use crate::clock::Clock;
use directory::Directory;
use engine::Engine;
use exchanges::EarlierExchanges;
use lookups::HangDetector;
use maps::Maps;
use selector::SelectorKey;
pub use store::Store;
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
        failures INTEGER NOT NULL, -- failed decryptions since this login
        ended INTEGER NOT NULL    -- 1 after a logout; kept, because the user's other sessions need the key
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
/// Bits of a user's hash in the index. Few users of a slice have the same bits; a search compares the ids in
/// their sessions.
const USER_BITS: u32 = 24;
const SLICE_LEN: i64 = 1 << SLICE_BITS;

/// An open store, which all runtimes of a process share.
pub struct Database(Arc<SharedDatabase>);

struct SharedDatabase {
    place: Place,
    exchanges: EarlierExchanges,
    selector_key: SelectorKey,
    hang_detector: HangDetector,
    clock: Clock,
}

enum Place {
    Directory {
        database: PathBuf,
        jobs: SyncSender<Job>,
        /// The reading connections of all runtimes, closed with the store.
        readers: Mutex<Vec<Reader>>,
    },
    Memory(Mutex<Maps>),
}

/// A reading connection; `None` once the store is closed.
type Reader = Arc<Mutex<Option<Connection>>>;

impl Database {
    pub(super) fn open(path: &Path, settings: &Settings, clock: Clock) -> Result<Self, OpenError> {
        let mut directory = Directory::open(path)?;
        let database = directory.database();
        let opened = connection::writer(&database)
            .and_then(|db| Engine::new(db, slice_age(settings), clock.clone()))
            .and_then(|engine| {
                let selector_key = SelectorKey(tables::mask(engine.db())?);
                Ok((
                    selector_key,
                    EarlierExchanges::load(engine.db(), &clock)?,
                    engine,
                ))
            });
        let (selector_key, exchanges, engine) =
            opened.map_err(|error| directory::refusal(&database, &error))?;
        directory.note_files()?;
        let jobs = writer::start(engine, directory)
            .map_err(|error| OpenError::Other(format!("cannot start a thread: {error}")))?;
        Ok(Self(Arc::new(SharedDatabase {
            place: Place::Directory {
                database,
                jobs,
                readers: Mutex::default(),
            },
            exchanges,
            selector_key,
            hang_detector: HangDetector::default(),
            clock,
        })))
    }

    pub(super) fn in_memory(clock: Clock) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(SharedDatabase {
            place: Place::Memory(Mutex::default()),
            exchanges: EarlierExchanges::default(),
            selector_key: SelectorKey::generate()?,
            hang_detector: HangDetector::default(),
            clock,
        })))
    }

    /// Connects a runtime. `may_block`: whether lookups may block its thread.
    pub(super) fn connect(&self, may_block: bool) -> Result<Store, OpenError> {
        let Place::Directory {
            database, readers, ..
        } = &self.0.place
        else {
            return Ok(Store::new(
                self.0.clone(),
                [Reader::default(), Reader::default()],
                may_block,
            ));
        };
        let reader = || match connection::reader(database) {
            Ok(db) => Ok(Arc::new(Mutex::new(Some(db)))),
            Err(error) => Err(directory::refusal(database, &error)),
        };
        let connections = [reader()?, reader()?];
        lock(readers).extend(connections.clone());
        Ok(Store::new(self.0.clone(), connections, may_block))
    }
}

/// An eighth of `SESSION_TTL`, so that expired sessions are not kept for much longer than that.
fn slice_age(settings: &Settings) -> u64 {
    (settings.ttl.as_secs() / 8).max(1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SQLite's error message and extended result code.
fn describe(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(kind, Some(message)) => format!("{message} ({kind})"),
        other => other.to_string(),
    }
}
