//! The writer thread: commits all waiting writes with one sync (group commit) and then answers them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::oneshot;

use super::connection::{self, MAX_WAL};
use super::database::{Database, Write};
use super::directory::Directory;
use super::readers::Readers;
use super::replies::{self, Waiting};
use super::{Unavailable, describe};
use crate::metrics::Metrics;

/// The most writes that wait. More come only if the disk hangs.
const MAX_WAITING: usize = 4096;
/// The most writes that share a sync.
const MAX_BATCH: usize = 1024;
/// The least time between two commits, so that concurrent logins share one.
const COMMIT_INTERVAL: Duration = Duration::from_millis(1);
/// How long the store must be idle to look for expired sessions and for a write-ahead log to be emptied.
const IDLE: Duration = Duration::from_secs(1);
/// The pause between two deletions of an idle store.
const DELETING: Duration = Duration::from_millis(20);
/// The least time between two checkpoints of an idle store: a write-ahead log that is lost costs so much.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// The least time between two looks at the size.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);

/// A job for the writer thread.
pub(super) enum Job {
    Write(Write, Waiting),
    /// The last job: closes all connections. The caller's thread does not, because a read that hangs holds its
    /// connection.
    Close(oneshot::Sender<()>),
}

/// The size of the store.
pub(super) struct Gauges {
    sessions: IntGauge,
    bytes: IntGauge,
}

struct Writer {
    database: Database,
    directory: Directory,
    readers: Arc<Readers>,
    gauges: Gauges,
    /// The error of the last commit.
    failure: Option<String>,
    /// Bytes of the write-ahead log after the last commit.
    log_length: u64,
    /// When an idle store may run a checkpoint, and when the size is looked at.
    next_checkpoint: Instant,
    next_size: Instant,
}

/// Starts the thread. It ends when the last sender is dropped.
pub(super) fn start(
    database: Database,
    directory: Directory,
    readers: Arc<Readers>,
    gauges: Gauges,
) -> io::Result<SyncSender<Job>> {
    let (sender, jobs) = sync_channel(MAX_WAITING);
    let now = Instant::now();
    let mut writer = Writer {
        database,
        directory,
        readers,
        gauges,
        failure: None,
        log_length: 0,
        next_checkpoint: now,
        next_size: now,
    };
    writer.measure();
    thread::Builder::new()
        .name("session-writer".into())
        .spawn(move || writer.run(&jobs))?;
    Ok(sender)
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        let (mut next, mut wait) = (Instant::now(), IDLE);
        loop {
            let first = match jobs.recv_timeout(wait) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    wait = self.idle();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next = Instant::now() + COMMIT_INTERVAL;
            let (mut writes, mut waiting, mut closing) = (Vec::new(), Vec::new(), None);
            for job in [first].into_iter().chain(jobs.try_iter()).take(MAX_BATCH) {
                match job {
                    Job::Write(write, caller) => {
                        writes.push(write);
                        waiting.push(caller);
                    }
                    Job::Close(closed) => {
                        closing = Some(closed);
                        break;
                    }
                }
            }
            if !writes.is_empty() {
                replies::answer(waiting, &self.commit(&writes));
            }
            if let Some(closed) = closing {
                self.readers.close();
                self.directory.close(self.database.into_db());
                let _ = closed.send(());
                return;
            }
            self.measure();
        }
    }

    fn commit(&mut self, writes: &[Write]) -> Result<Vec<bool>, Unavailable> {
        let done = self.try_to_commit(writes);
        match (&done, &self.failure) {
            (Ok(_), Some(_)) => tracing::info!("the session store can be written to again"),
            (Err(cause), failure) if failure.as_ref() != Some(cause) => {
                tracing::error!(cause, "cannot write to the session store");
            }
            _ => {}
        }
        self.failure = done.as_ref().err().cloned();
        done.map_err(Unavailable)
    }

    fn try_to_commit(&mut self, writes: &[Write]) -> Result<Vec<bool>, String> {
        if self.log_length > MAX_WAL {
            // It grows while checkpoints fail.
            connection::checkpoint(self.database.db()).map_err(|error| describe(&error))?;
        }
        let done = self.database.commit(writes);
        let done = done.map_err(|error| describe(&error))?;
        self.log_length = self.directory.verify()?;
        Ok(done)
    }

    /// Deletes a few expired rows, and empties the write-ahead log. Returns how long to wait for jobs.
    fn idle(&mut self) -> Duration {
        let before = self.database.sessions();
        // An error is met again by the next write, and told.
        let _ = self.database.commit(&[]);
        let is_deleting = self.database.sessions() < before;
        let now = Instant::now();
        if !is_deleting && now >= self.next_checkpoint {
            self.next_checkpoint = now + CHECKPOINT_INTERVAL;
            if self.directory.verify().is_ok_and(|length| length > 0) {
                let _ = connection::empty_log(self.database.db());
            }
        }
        self.measure();
        if is_deleting { DELETING } else { IDLE }
    }

    fn measure(&mut self) {
        self.gauges.sessions.set(self.database.sessions());
        let now = Instant::now();
        if now >= self.next_size {
            self.next_size = now + GAUGE_INTERVAL;
            if let Ok(bytes) = connection::bytes(self.database.db()) {
                self.gauges.bytes.set(bytes);
            }
        }
    }
}

impl Gauges {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            sessions: metrics.sessions(),
            bytes: metrics.store_bytes(),
        }
    }
}
