//! The thread that writes: it commits all that wait in one transaction, so that 64 clients share
//! one fsync, and answers each only after the commit is durable.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::{Database, Error};
use tokio::sync::oneshot;

use super::{OpenError, Record, Slot, TokenHash, Unavailable, UserId, tables};
use crate::clock::Clock;

/// Writes in one transaction.
const MAX_BATCH: usize = 1024;
/// Expired records removed in one transaction: few enough not to delay a login.
const MAX_REMOVED: usize = 256;
/// How often an idle store looks for expired records.
const IDLE: Duration = Duration::from_secs(1);

/// How long writes are refused after one failed: each failure costs a repair of the file, and a full
/// disk does not empty itself. Lookups go on meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// A write, and where to say that it is done.
pub(super) struct Job {
    pub(super) write: Write,
    pub(super) reply: oneshot::Sender<Result<(), Unavailable>>,
}

pub(super) enum Write {
    Create(Record),
    End(TokenHash),
    EndAll(UserId),
    BeginAttempt(UserId),
    EndAttempt {
        user: UserId,
        failed: bool,
    },
    /// Nothing, but durably.
    Check,
    /// The last one.
    Close,
}

pub(super) fn start(
    jobs: Receiver<Job>,
    slot: Slot,
    path: PathBuf,
    clock: Clock,
) -> io::Result<()> {
    let mut writer = Writer {
        slot,
        path,
        clock,
        failed: None,
    };
    std::thread::Builder::new()
        .name("session-writer".into())
        .spawn(move || writer.run(&jobs))?;
    Ok(())
}

struct Writer {
    slot: Slot,
    /// `None` in memory, where there is nothing to open again.
    path: PathBuf,
    clock: Clock,
    /// When the last commit failed, until one succeeds.
    failed: Option<Instant>,
}

impl Writer {
    fn run(&mut self, jobs: &Receiver<Job>) {
        let mut wait = IDLE;
        loop {
            let batch: Vec<Job> = match jobs.recv_timeout(wait) {
                Ok(first) => std::iter::once(first)
                    .chain(jobs.try_iter())
                    .take(MAX_BATCH)
                    .collect(),
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let result = self.commit(&batch);
            let removed = result.as_ref().copied().unwrap_or(0);
            wait = if removed == MAX_REMOVED {
                Duration::ZERO // there may be more
            } else {
                IDLE
            };
            let close = batch.iter().any(|job| matches!(job.write, Write::Close));
            if close {
                self.replace(None);
            }
            for job in batch {
                // Whoever asked may have gone away meanwhile.
                let _ = job.reply.send(result.clone().map(drop));
            }
            if close {
                return;
            }
        }
    }

    /// Commits a batch and says how many expired records it removed. After a failure the file is
    /// closed and opened anew: after an I/O error redb refuses to go on.
    fn commit(&mut self, batch: &[Job]) -> Result<usize, Unavailable> {
        if self.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return Err(Unavailable("it failed a moment ago".into()));
        }
        self.ensure_open()?;
        let result = {
            let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
            let database = slot.as_ref().ok_or_else(super::closed)?;
            // A file damaged under our feet can make redb panic; this thread must live on.
            catch_unwind(AssertUnwindSafe(|| self.apply(database, batch)))
                .unwrap_or_else(|_| Err(Error::Corrupted("redb panicked".into())))
        };
        match result {
            Ok(removed) => {
                if self.failed.take().is_some() {
                    tracing::info!("the session store is back");
                }
                Ok(removed)
            }
            Err(error) => {
                tracing::error!(%error, "the session store failed");
                self.failed = Some(Instant::now());
                self.replace(None);
                // For the lookups; if it cannot be opened, the next batch tries again.
                let _ = self.ensure_open();
                Err(super::unavailable(error))
            }
        }
    }

    fn apply(&self, database: &Database, batch: &[Job]) -> Result<usize, Error> {
        let now = self.clock.now();
        if batch.is_empty() && !tables::any_expired(database, now)? {
            return Ok(0);
        }
        let transaction = database.begin_write()?;
        for job in batch {
            match &job.write {
                Write::Create(new) => tables::create(&transaction, new, now)?,
                Write::End(token) => tables::end(&transaction, *token)?,
                Write::EndAll(user) => tables::end_all(&transaction, user)?,
                Write::BeginAttempt(user) => tables::begin_attempt(&transaction, user)?,
                Write::EndAttempt { user, failed } => {
                    tables::end_attempt(&transaction, user, *failed)?;
                }
                Write::Check | Write::Close => {}
            }
        }
        let removed = tables::remove_expired(&transaction, now, MAX_REMOVED)?;
        transaction.commit()?;
        Ok(removed)
    }

    fn ensure_open(&self) -> Result<(), Unavailable> {
        let open = {
            let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
            slot.is_some()
        };
        if !open {
            let database = reopen(&self.path).map_err(|error| Unavailable(error.to_string()))?;
            self.replace(Some(database));
        }
        Ok(())
    }

    fn replace(&self, database: Option<Database>) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        *slot = database;
    }
}

/// Opens a file again after a fault; unlike at the start, the file must be there.
fn reopen(path: &Path) -> Result<Database, OpenError> {
    if let Err(source) = path.metadata() {
        let path = path.to_owned();
        return Err(OpenError::Io { path, source });
    }
    tables::open_file(path)
}
