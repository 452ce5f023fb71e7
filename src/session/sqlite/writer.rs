//! The writer thread: commits all waiting writes with one sync (group commit) and then answers them.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use rusqlite::{Connection, Result};
use thread_local::ThreadLocal;
use tokio::runtime::{Handle, Id};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::connection::{self, MAX_WAL, PAGE_SIZE, checkpoint, execute, number};
use super::expiry::Expiry;
use super::{Counts, Directory, Unavailable};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// The most writes that wait. More come only if the disk hangs.
const MAX_WAITING: usize = 4096;
/// The most writes that share a sync.
const MAX_BATCH: usize = 1024;
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
/// What the write returned, once it is durable.
type Answer = Result<i64, Unavailable>;

pub(super) struct Writer {
    /// The only writing connection, closed before the directory is unlocked.
    db: Connection,
    directory: Arc<Directory>,
    counts: Counts,
    expiry: Expiry,
    sessions: IntGauge,
    bytes: IntGauge,
    /// The error of the last commit.
    failure: Option<String>,
    /// Bytes of the write-ahead log after the last commit.
    wal_length: u64,
}

impl Writer {
    pub(super) fn new(
        db: Connection,
        directory: Arc<Directory>,
        metrics: &Metrics,
        clock: Clock,
    ) -> Result<Self> {
        let writer = Self {
            counts: Counts::read(&db)?,
            expiry: Expiry::new(&db, clock)?,
            db,
            directory,
            sessions: metrics.sessions(),
            bytes: metrics.store_bytes(),
            failure: None,
            wal_length: 0,
        };
        connection::accept(&writer.db)?;
        Ok(writer)
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
            let batch = [first].into_iter().chain(jobs.try_iter()).take(MAX_BATCH);
            let (mut writes, waiting): (Vec<_>, Vec<_>) = batch.unzip();
            let done = self.commit(&mut writes);
            for (nth, Waiting(reply, task)) in waiting.into_iter().enumerate() {
                let done = done.as_ref().map_err(Clone::clone);
                let done = done.map(|done| done.get(nth).copied().unwrap_or_default());
                // Its runtime may have ended, and whoever asked with it.
                let _ = task.send((reply, done));
            }
        }
        if let Err(error) = checkpoint(&self.db, "TRUNCATE") {
            tracing::warn!(%error, "the write-ahead log of the session store stays for the next start");
        }
    }

    /// Commits all writes or none; they are durable when this returns.
    fn commit(&mut self, writes: &mut [Write]) -> Result<Vec<i64>, Unavailable> {
        let counts = self.counts;
        let done = self.transaction(writes);
        if done.is_err() {
            self.counts = counts;
            // Some errors have already rolled it back.
            let _ = self.db.execute_batch("ROLLBACK");
        }
        let wal_length = self.directory.verify();
        let done = done.map_err(Unavailable::from).and_then(|done| {
            self.wal_length = wal_length?;
            Ok(done)
        });
        let failure = done.as_ref().err().map(|error| error.0.clone());
        match &failure {
            Some(cause) if failure != self.failure => {
                tracing::error!(cause, "cannot write to the session store");
            }
            None if self.failure.is_some() => {
                tracing::info!("the session store can be written to again");
            }
            _ => {}
        }
        self.failure = failure;
        done
    }

    fn transaction(&mut self, writes: &mut [Write]) -> Result<Vec<i64>> {
        if self.wal_length > MAX_WAL {
            // It grows while checkpoints fail.
            checkpoint(&self.db, "PASSIVE")?;
        }
        execute(&self.db, "BEGIN IMMEDIATE", [])?;
        let mut done = Vec::with_capacity(writes.len());
        for write in &mut *writes {
            done.push(write(&self.db, &mut self.counts)?);
        }
        self.counts.sessions -= self.expiry.run(&mut self.db, writes.len());
        let pages = number(&self.db, "PRAGMA page_count")?;
        execute(&self.db, "COMMIT", [])?;
        self.sessions.set(self.counts.sessions);
        self.bytes.set(pages * i64::from(PAGE_SIZE));
        Ok(done)
    }

    /// Deletes a few expired rows, or else empties the write-ahead log. Returns how long to wait for jobs.
    fn idle(&mut self) -> Duration {
        // An error is in the log, and that of a checkpoint is met again by a commit.
        let _ = self.commit(&mut []);
        if self.expiry.is_unfinished {
            return DELETING;
        }
        if self.wal_length > 0 {
            let _ = checkpoint(&self.db, "TRUNCATE");
        }
        IDLE
    }
}

/// A task in each runtime sends the answers to its requests. So the writer wakes the runtime's thread once for a commit;
/// to wake it for each answer costs more CPU than the writes.
type Task = UnboundedSender<(oneshot::Sender<Answer>, Answer)>;

/// The task of each thread, with its runtime.
#[derive(Default)]
pub(super) struct Tasks(ThreadLocal<RefCell<Option<(Id, Task)>>>);

/// Whoever waits for a write, and the task that sends the answer.
pub(super) struct Waiting(oneshot::Sender<Answer>, Task);

impl Tasks {
    /// Begins to wait in the current runtime.
    pub(super) fn wait(&self) -> (Waiting, oneshot::Receiver<Answer>) {
        let runtime = Handle::current().id();
        let mut task = self.0.get_or_default().borrow_mut();
        // This thread may have had another runtime, or taken the place of a thread that is gone.
        let task = match &mut *task {
            Some((known, task)) if *known == runtime && !task.is_closed() => task,
            other => &mut other.insert((runtime, spawn())).1,
        };
        let (sender, receiver) = oneshot::channel();
        (Waiting(sender, task.clone()), receiver)
    }
}

/// The task ends when the last clone of its sender is dropped.
fn spawn() -> Task {
    let (sender, mut answers) = unbounded_channel::<(oneshot::Sender<Answer>, Answer)>();
    tokio::spawn(async move {
        while let Some((waiting, answer)) = answers.recv().await {
            // Whoever asked may have gone away meanwhile.
            let _ = waiting.send(answer);
        }
    });
    sender
}
