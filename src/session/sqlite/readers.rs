//! Reading connections: each thread has its own, opened when it reads first.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, Result};
use thread_local::ThreadLocal;
use tokio::sync::Semaphore;

use super::{TIMEOUT, closed, connection, describe, lock};
use crate::session::{Unavailable, UserId};

/// The most searches at a time: so many threads that may block, with a connection each.
const MAX_SEARCHES: usize = 8;

pub(super) struct Readers {
    database: PathBuf,
    /// `None` until its thread reads, and once it is closed. The mutex is contended at the end only.
    by_thread: ThreadLocal<Mutex<Option<Connection>>>,
    is_closed: Mutex<bool>,
    searches: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(database: PathBuf) -> Self {
        Self {
            database,
            by_thread: ThreadLocal::new(),
            is_closed: Mutex::new(false),
            searches: Arc::new(Semaphore::new(MAX_SEARCHES)),
        }
    }

    /// Reads in this thread.
    pub(super) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T, Unavailable> {
        let mut reader = lock(self.by_thread.get_or_default());
        let db = match &mut *reader {
            Some(db) => db,
            none => none.insert(self.open()?),
        };
        query(db).map_err(|error| Unavailable(describe(&error)))
    }

    /// Reads in a thread that may block.
    pub(super) async fn search<T: Send + 'static>(
        self: &Arc<Self>,
        user: UserId<'_>,
        query: impl FnOnce(&Connection, UserId<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (readers, searches) = (self.clone(), self.searches.clone());
        let (appid, openid) = (user.appid.to_owned(), user.openid.to_owned());
        let answer = async {
            // The thread keeps it after the timeout, so that not more of them hang.
            let permit = searches.acquire_owned().await;
            let search = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let (appid, openid) = (&*appid, &*openid);
                readers.read(|db| query(db, UserId { appid, openid }))
            });
            search
                .await
                .unwrap_or_else(|_| Err(Unavailable("a search did not end".into())))
        };
        let answer = tokio::time::timeout(TIMEOUT, answer).await;
        answer.unwrap_or_else(|_| Err(Unavailable("no read in time".into())))
    }

    /// Closes the connections of all threads, and waits for what they read.
    pub(super) fn close(&self) {
        *lock(&self.is_closed) = true;
        for reader in &self.by_thread {
            lock(reader).take();
        }
    }

    fn open(&self) -> Result<Connection, Unavailable> {
        // Held while it is opened: `close` then finds it.
        let is_closed = lock(&self.is_closed);
        if *is_closed {
            return Err(closed());
        }
        connection::reader(&self.database).map_err(|error| Unavailable(describe(&error)))
    }
}
