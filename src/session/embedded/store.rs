//! The store of one runtime: the operations that the other stores have too.

use std::future::{Ready, ready};
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::engine::Write;
use super::search::{self, Keys, NewestKey, Search, Sessions};
use super::tables::{self, Change, NewRow, Row};
use super::writer::{Answering, Job};
use super::{Place, Reader, SharedDatabase, describe, lock, lookups};
use crate::session::token::TokenId;
use crate::session::{ExchangeHash, Record, Session, Unavailable, User, UserId};

/// The longest wait for a write. A disk that takes longer is not answering.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The store for one runtime.
#[derive(Clone)]
pub struct Store {
    shared: Arc<SharedDatabase>,
    /// The connection for lookups of one row.
    rows: Arc<AsyncMutex<Reader>>,
    /// The connection for searches in all slices, which take longer.
    searches: Arc<AsyncMutex<Reader>>,
    /// Whether lookups may block the runtime's thread.
    may_block: bool,
    /// Spawned with the first write, in its runtime.
    answering: Arc<OnceLock<Answering>>,
}

impl Store {
    pub(super) fn new(shared: Arc<SharedDatabase>, readers: [Reader; 2], may_block: bool) -> Self {
        let [rows, searches] = readers.map(|reader| Arc::new(AsyncMutex::new(reader)));
        Self {
            shared,
            rows,
            searches,
            may_block,
            answering: Arc::default(),
        }
    }

    /// Stores a session, and returns the selector of its token.
    pub(in crate::session) async fn create(
        &self,
        new: Record<'_>,
    ) -> Result<Option<[u8; 8]>, Unavailable> {
        let row = NewRow {
            token: new.token,
            session: new.session.clone(),
            exchange: new.exchange.as_ref().map(|it| it.hash),
            key: new.exchange.and_then(|it| it.keys.first().copied()),
        };
        let row = self.write(Write::Create(Box::new(row))).await?;
        Ok(Some(self.shared.selector_key.selector(row, new.token)))
    }

    pub(in crate::session) async fn find(
        &self,
        token: TokenId,
    ) -> Result<Option<Session>, Unavailable> {
        let now = self.shared.clock.now();
        let found = self.row(token).await?;
        let living = found.filter(|row| !row.is_ended && now < row.session.expires);
        Ok(living.map(|row| row.session))
    }

    pub(in crate::session) fn exchanged(
        &self,
        exchange: ExchangeHash,
    ) -> Ready<Result<Option<User>, Unavailable>> {
        let now = self.shared.clock.monotonic();
        ready(Ok(self.shared.exchanges.user(exchange, now)))
    }

    pub(in crate::session) async fn keys(
        &self,
        user: &UserId,
    ) -> Result<Vec<Vec<u8>>, Unavailable> {
        let keys: Keys = self.search(user, self.shared.clock.now()).await?;
        Ok(keys.to_vecs())
    }

    pub(in crate::session) async fn newest_key(
        &self,
        user: &UserId,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        let newest: NewestKey = self.search(user, self.shared.clock.now()).await?;
        Ok(newest.key().map(|key| key.0.to_vec()))
    }

    /// The keys, unless too many attempts have failed, and the row in which this attempt is counted as a
    /// failure. Attempts of one user must not overlap.
    pub(in crate::session) async fn begin_attempt(
        &self,
        user: &UserId,
    ) -> Result<(Vec<Vec<u8>>, Option<i64>), Unavailable> {
        let keys: Keys = self.search(user, self.shared.clock.now()).await?;
        if let Some(row) = keys.failure_row {
            let count = Write::Change(Change::CountFailure, vec![row]);
            self.write(count).await?;
        }
        Ok((keys.to_vecs(), keys.failure_row))
    }

    /// Takes the counted failure back if the attempt did not fail.
    pub(in crate::session) async fn end_attempt(
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

    pub(in crate::session) async fn end(&self, token: TokenId) -> Result<(), Unavailable> {
        if self.row(token).await?.is_some() {
            let end = Write::Change(Change::End, vec![self.shared.selector_key.id(token)]);
            self.write(end).await?;
        }
        Ok(())
    }

    pub(in crate::session) async fn end_all(
        &self,
        user: &UserId,
        _: Option<TokenId>,
    ) -> Result<(), Unavailable> {
        // Including expired ones: the wall clock may be wrong.
        let Sessions(rows) = self.search(user, 0).await?;
        let end = Write::Change(Change::EndAndDropKey, rows);
        self.write(end).await.map(drop)
    }

    pub(in crate::session) async fn check(&self) -> Result<(), Unavailable> {
        self.write(Write::Check).await.map(drop)
    }

    /// Commits the writes that wait, closes all connections and releases the directory.
    pub(in crate::session) async fn close(&self) {
        let Place::Directory { jobs, readers, .. } = &self.shared.place else {
            return;
        };
        let (sender, closed) = oneshot::channel();
        let readers = std::mem::take(&mut *lock(readers));
        let (jobs, close) = (jobs.clone(), Job::Close(readers, sender));
        let closed = async {
            // Waits for its place in the queue. An error means that the store is closed already.
            let _ = tokio::task::spawn_blocking(move || jobs.send(close)).await;
            let _ = closed.await;
        };
        if tokio::time::timeout(WRITE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("the session store was not closed in time");
        }
    }

    async fn row(&self, token: TokenId) -> Result<Option<Row>, Unavailable> {
        let id = self.shared.selector_key.id(token);
        let found = self.lookup(id).await?;
        Ok(found.filter(|row| row.token == token.hash))
    }

    /// Reads in the runtime's thread, unless the disk seems to hang.
    async fn lookup(&self, id: i64) -> Result<Option<Row>, Unavailable> {
        if let Place::Memory(maps) = &self.shared.place {
            return Ok(lock(maps).row(id, self.shared.clock.monotonic()));
        }
        if self.may_block
            && let Ok(reader) = self.rows.try_lock()
            && let Some(_lookup) = self.shared.hang_detector.begin(&self.shared.clock)
        {
            return lookups::read(&reader, |db| tables::row(db, id));
        }
        lookups::read_in_another_thread(self.rows.clone(), move |db| tables::row(db, id)).await
    }

    /// Searches the sessions of a user that expire after `now`.
    async fn search<T: Search>(&self, user: &UserId, now: u64) -> Result<T, Unavailable> {
        if let Place::Memory(maps) = &self.shared.place {
            let monotonic = self.shared.clock.monotonic();
            return Ok(lock(maps).search(user, now, monotonic));
        }
        let user = user.clone();
        let search = move |db: &Connection| search::search(db, &user, now);
        lookups::read_in_another_thread(self.searches.clone(), search).await
    }

    /// Returns when the write is durable: the id of a session that was created, else 0.
    async fn write(&self, write: Write) -> Result<i64, Unavailable> {
        let jobs = match &self.shared.place {
            Place::Directory { jobs, .. } => jobs,
            Place::Memory(maps) => {
                let now = self.shared.clock.monotonic();
                return Ok(lock(maps).write(write, now));
            }
        };
        let (reply, answer) = oneshot::channel();
        let answering = self.answering.get_or_init(Answering::spawn).clone();
        let job = Job::Write(write, reply, answering);
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Unavailable("too many writes wait for the disk".into()),
            TrySendError::Disconnected(_) => closed(),
        })?;
        match tokio::time::timeout(WRITE_TIMEOUT, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(closed())),
            Err(_) => Err(Unavailable("no write in time".into())),
        }
    }
}

pub(super) fn closed() -> Unavailable {
    Unavailable("it is closed".into())
}

pub(super) fn unavailable(error: &rusqlite::Error) -> Unavailable {
    Unavailable(describe(error))
}
