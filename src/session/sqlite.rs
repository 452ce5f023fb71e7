//! The store of one process: SQLite in a directory.
//!
//! One thread writes ([`writer`]), many logins with one sync; a row is read in the thread that asks. Rows are in the
//! order of logins, because a token begins with the time: a login appends, and what has expired is at the front.
//! SQLite notices structural damage, but not every byte that a disk changes: a row with another user, expiry or token
//! matches no token.

mod connection;
mod damage;
mod directory;
mod expiry;
mod rows;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use thread_local::ThreadLocal;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::answers::Waiting;
use super::logins::{self, Logins};
use super::{
    EncryptedKey, OpenError, RecentExchange, Result, Row, Sealed, Session, Token, Unavailable,
    UserId,
};
use crate::clock::Clock;
use crate::metrics::Metrics;
use connection::{Readers, VERSION, execute};
use damage::Damage;
use directory::Directory;
pub use directory::is_ignored;
use rows::Counts;
use writer::{Job, Writer};

/// The longest wait for a search or a commit. A disk that takes longer is not answering.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most searches at a time: so many threads that may block, with a connection each.
const MAX_SEARCHES: usize = 8;
/// Rows erased in one commit: each takes a millisecond, for which logins wait.
const MAX_ERASED: usize = 32;

/// The store in files.
pub(super) struct SqliteStore {
    /// `None` once it is closed.
    writer: Mutex<Option<(SyncSender<Job>, JoinHandle<()>)>>,
    readers: Arc<Readers>,
    searches: Arc<Semaphore>,
}

impl SqliteStore {
    /// Opens the store in a directory. Returns also the exchanges of the last minute.
    pub(super) fn open(
        path: &Path,
        metrics: &Metrics,
        clock: Clock,
    ) -> Result<(Self, Vec<RecentExchange>), OpenError> {
        let (directory, db) = Directory::open(path)?;
        let directory = Arc::new(directory);
        let damage = Arc::new(Damage {
            reports: metrics.store_damage.with_label_values(&["database"]),
            last: Mutex::default(),
        });
        let refused = |error| directory::refusal(&directory.database, error);
        let exchanges = rows::recent_exchanges(&db, clock.wall()).map_err(refused)?;
        let writer = Writer::new(db, &directory, &damage, metrics, clock);
        let writer = writer.map_err(refused)?.start()?;
        let store = Self {
            writer: Mutex::new(Some(writer)),
            readers: Arc::new(Readers {
                by_thread: ThreadLocal::new(),
                directory: Mutex::new(Some(directory)),
                damage,
            }),
            searches: Arc::new(Semaphore::new(MAX_SEARCHES)),
        };
        Ok((store, exchanges))
    }

    /// `false` if the id of the token is taken.
    pub(super) async fn create(&self, token: &Token, row: Row) -> Result<bool> {
        let id = token.id();
        let insert = self.write(move |db, counts| rows::insert(db, id, &row, counts));
        Ok(insert.await? > 0)
    }

    /// Reads in this thread. In another one it costs three times as much CPU; here it has no timeout, and a disk
    /// that hangs holds up the other requests of this thread.
    #[expect(clippy::unused_async, reason = "the interface of all stores")]
    pub(super) async fn find(&self, token: &Token) -> Result<Option<Sealed>> {
        self.readers.read(|db| rows::find(db, token.id()))
    }

    /// The newest key of a user who has logged in lately, read from the newest bucket in this thread, like a row.
    pub(super) fn recent_key(&self, user: UserId<'_>, now: u64) -> Result<Option<EncryptedKey>> {
        self.readers
            .read(|db| rows::search(db, user, now, 1, logins::newest_key))
    }

    /// [Searches](rows::search) in a thread that may block: it can read each bucket.
    pub(super) async fn search<T: Send + 'static>(
        &self,
        user: UserId<'_>,
        now: u64,
        read: impl FnOnce(Logins<'_, '_>) -> T + Send + 'static,
    ) -> Result<T> {
        let (readers, searches) = (self.readers.clone(), self.searches.clone());
        let user = user.to_strings();
        let search = async {
            // Kept by the thread after the timeout, so that no more threads hang.
            let permit = searches.acquire_owned().await;
            let search = spawn_blocking(move || {
                let _permit = permit;
                readers.read(|db| rows::search(db, (&user).into(), now, usize::MAX, read))
            });
            search.await.unwrap_or_else(|_| Err(closed()))
        };
        let late = |_| Err(Unavailable("no read in time".into()));
        timeout(TIMEOUT, search).await.unwrap_or_else(late)
    }

    pub(super) async fn count_failure(&self, user: UserId<'_>) -> Result<()> {
        if let Some(id) = self.search(user, 0, logins::newest_with_key).await? {
            let sql = "UPDATE session SET failures = min(failures + 1, 255) WHERE id = ?";
            self.write(move |db, _| execute(db, sql, [id])).await?;
        }
        Ok(())
    }

    pub(super) async fn end(&self, token: &Token, session: &Session) -> Result<()> {
        let row = (token.id(), token.seal(session));
        let sql = "UPDATE session SET ended = 1 WHERE id = ? AND token = ?";
        let end = self.write(move |db, _| execute(db, sql, row));
        end.await.map(drop)
    }

    /// Erases the user's rows and that of the token, also expired ones: the wall clock may be wrong.
    pub(super) async fn end_all(&self, user: UserId<'_>, token: Option<&Token>) -> Result<()> {
        // So that a login is found which a slow disk has delayed until its request failed.
        self.write(|_, _| Ok(0)).await?;
        let ids = self.search(user, 0, |logins| logins.map(|it| it.session.id).collect());
        let mut ids: Vec<i64> = ids.await?;
        // That of the token last, so that a request that failed can be repeated.
        let token = token.map(Token::id);
        ids.retain(|id| Some(*id) != token);
        ids.extend(token);
        for ids in ids.chunks(MAX_ERASED) {
            let erase = |nearby| {
                let ids = ids.to_vec();
                self.write(move |db, counts| {
                    for id in &ids {
                        rows::erase(db, *id, nearby, counts)?;
                    }
                    Ok(0)
                })
            };
            if erase(true).await.is_err() {
                erase(false).await?; // a full disk has room for their own pages alone
            }
        }
        Ok(())
    }

    pub(super) async fn check(&self) -> Result<()> {
        if self.readers.damage.is_recent() {
            return Err(Unavailable("it is damaged: see the log".into()));
        }
        // Writes the first page, if a login would find room.
        let sql = format!("PRAGMA user_version = {VERSION}");
        let check = self.write(move |db, counts| {
            counts.is_growing = true;
            execute(db, &sql, [])
        });
        check.await.map(drop)
    }

    /// Commits the writes that wait, closes all connections and releases the directory.
    pub(super) async fn close(&self) {
        // The thread ends when its sender is dropped.
        let Some((_, thread)) = self.writer.lock().take() else {
            return;
        };
        let readers = self.readers.clone();
        // In a thread that may block: a read or a write that hangs holds its connection.
        let closed = spawn_blocking(move || {
            readers.close();
            thread.join()
        });
        let _ = timeout(TIMEOUT, closed).await;
    }

    /// Returns what the write returns, when it is durable.
    async fn write(
        &self,
        write: impl FnMut(&Connection, &mut Counts) -> rusqlite::Result<i64> + Send + 'static,
    ) -> Result<i64> {
        let (waiting, answer) = Waiting::new();
        let sent = match &*self.writer.lock() {
            Some((jobs, _)) => jobs.try_send((Box::new(write), waiting)),
            None => return Err(closed()),
        };
        sent.map_err(|_| Unavailable("too many writes wait for the disk".into()))?;
        let late = |_| Ok(Err(Unavailable("no write in time".into())));
        let answer = timeout(TIMEOUT, answer).await.unwrap_or_else(late);
        answer.unwrap_or_else(|_| Err(closed()))
    }
}

fn closed() -> Unavailable {
    Unavailable("it is closed".into())
}
