//! The writer thread: commits all waiting writes with one sync (group commit) and then answers them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, slice};

use prometheus::IntGauge;
use rusqlite::ffi::{self, SQLITE_FULL};
use rusqlite::{Connection, Error, Result};

use super::connection::{MAX_WAL, PAGE_SIZE, checkpoint, execute, number};
use super::expiry::Expiry;
use super::{Counts, Damage, Directory, TIMEOUT, Unavailable};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::session::answers::{self, Answer, Waiting};

/// The most writes that wait, and that share a sync. More come only if the disk hangs.
const MAX_WAITING: usize = 4096;
/// The least time between two commits, so that concurrent logins share one.
const COMMIT_INTERVAL: Duration = Duration::from_millis(1);
/// How long the store must be idle for a checkpoint, so that a write-ahead log that is lost costs seconds. An idle
/// store also looks so often for expired sessions.
const IDLE: Duration = Duration::from_secs(1);
/// The pause between two deletions of an idle store.
const DELETING: Duration = Duration::from_millis(20);

/// A change within a transaction, and whoever waits for it.
pub(super) type Job = (Write, Waiting);
/// Returns the number of rows.
type Write = Box<dyn FnMut(&Connection, &mut Counts) -> Result<i64> + Send>;

pub(super) struct Writer {
    /// The only writing connection, closed before the directory is unlocked.
    db: Connection,
    directory: Arc<Directory>,
    damage: Arc<Damage>,
    counts: Counts,
    expiry: Expiry,
    sessions: IntGauge,
    bytes: IntGauge,
    is_failing: bool,
    /// Bytes of the write-ahead log after the last commit.
    wal_length: u64,
}

impl Writer {
    pub(super) fn new(
        db: Connection,
        directory: &Arc<Directory>,
        damage: &Arc<Damage>,
        metrics: &Metrics,
        clock: Clock,
    ) -> Result<Self> {
        Ok(Self {
            counts: Counts::read(&db)?,
            expiry: Expiry::new(&db, clock)?,
            db,
            directory: directory.clone(),
            damage: damage.clone(),
            sessions: metrics.shown(&metrics.sessions),
            bytes: metrics.shown(&metrics.store_bytes),
            is_failing: false,
            wal_length: 0,
        })
    }

    /// Starts the thread. It ends when the sender is dropped, and closes the store.
    pub(super) fn start(self) -> io::Result<(SyncSender<Job>, JoinHandle<()>)> {
        let (sender, jobs) = sync_channel(MAX_WAITING);
        let thread = thread::Builder::new().name("session-writer".into());
        Ok((sender, thread.spawn(move || self.run(&jobs))?))
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        let (mut next, mut wait) = (Instant::now(), self.idle());
        loop {
            let first = match jobs.recv_timeout(wait) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    wait = self.idle();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next = Instant::now() + COMMIT_INTERVAL;
            let batch = [first].into_iter().chain(jobs.try_iter()).take(MAX_WAITING);
            let (mut writes, waiting): (Vec<_>, Vec<_>) = batch.unzip();
            let answers = self.commit(&mut writes);
            answers::send(waiting.into_iter().zip(answers));
        }
        if let Err(error) = self.empty_log() {
            tracing::warn!(%error, "the write-ahead log of the session store stays for the next start");
        }
    }

    /// Commits the writes together, or if that fails each by itself, while somebody waits for it: on a full disk that
    /// needs the least room. What is answered as done is durable.
    fn commit(&mut self, writes: &mut [Write]) -> Vec<Answer> {
        let begin = Instant::now();
        if let Ok(done) = self.try_commit(writes, true) {
            return done.into_iter().map(Ok).collect();
        }
        let alone = writes.iter_mut().map(|write| {
            if begin.elapsed() > TIMEOUT {
                return Err(Unavailable("no write in time".into()));
            }
            // So that the log is written from its beginning: it has room there.
            let _ = checkpoint(&self.db, "RESTART");
            let done = self.try_commit(slice::from_mut(write), false);
            done.map(|done| done[0])
        });
        alone.collect()
    }

    /// Commits all writes or none, and deletes a few expired rows with them.
    fn try_commit(&mut self, writes: &mut [Write], expiry: bool) -> Result<Vec<i64>, Unavailable> {
        let counts = self.counts;
        self.counts.is_growing = false;
        let done = match self.transaction(writes, expiry) {
            Ok(done) => self.directory.files.verify().map(|wal_length| {
                self.wal_length = wal_length;
                done
            }),
            Err(error) => {
                // Some errors have already rolled it back.
                let _ = self.db.execute_batch("ROLLBACK");
                self.counts = counts;
                Err(self.damage.note(error))
            }
        };
        match &done {
            Err(Unavailable(cause)) if !self.is_failing => {
                tracing::error!(cause, "cannot write to the session store");
                self.is_failing = true;
            }
            // That a session can be ended does not say that one can be stored.
            Ok(_) if self.is_failing && self.counts.is_growing => {
                tracing::info!("the session store can be written to again");
                self.is_failing = false;
            }
            _ => {}
        }
        done
    }

    fn transaction(&mut self, writes: &mut [Write], expiry: bool) -> Result<Vec<i64>> {
        // It grows while checkpoints fail.
        let checkpointed = match self.wal_length {
            ..=MAX_WAL => Ok(()),
            _ => checkpoint(&self.db, "PASSIVE"),
        };
        execute(&self.db, "BEGIN IMMEDIATE", [])?;
        let mut done = Vec::with_capacity(writes.len());
        for write in &mut *writes {
            done.push(write(&self.db, &mut self.counts)?);
        }
        if expiry {
            self.counts.sessions -= self.expiry.run(&mut self.db, writes.len());
        }
        let pages = number(&self.db, "PRAGMA page_count")?;
        let bytes = pages * i64::from(PAGE_SIZE);
        let has_room = self.directory.files.hold(bytes.unsigned_abs());
        if self.counts.is_growing {
            checkpointed?;
            if !has_room {
                return Err(Error::SqliteFailure(ffi::Error::new(SQLITE_FULL), None));
            }
        }
        execute(&self.db, "COMMIT", [])?;
        self.sessions.set(self.counts.sessions);
        self.bytes.set(bytes);
        Ok(done)
    }

    /// Deletes a few expired rows, or if there are none empties the write-ahead log. Returns how long to wait for jobs.
    fn idle(&mut self) -> Duration {
        let sessions = self.counts.sessions;
        // An error is in the log, and that of a checkpoint is met again by a commit.
        self.commit(&mut []);
        if self.wal_length > 0 && self.counts.sessions == sessions {
            let _ = self.empty_log();
        }
        [IDLE, DELETING][usize::from(self.expiry.is_unfinished)]
    }

    /// Writes the log into the database, and holds room for the next one, also for a start on a disk that is full then.
    fn empty_log(&self) -> Result<()> {
        // On a full disk, what is truncated would be gone.
        let mode = ["TRUNCATE", "RESTART"][usize::from(self.is_failing)];
        let emptied = checkpoint(&self.db, mode);
        self.directory.files.hold(0);
        emptied
    }
}
