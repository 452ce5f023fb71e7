//! The writer thread: commits all waiting writes with one sync (group commit) and then answers them.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::directory::Directory;
use super::engine::{Engine, Write};
use super::{Reader, Unavailable, describe, lock};

/// The most writes that wait. More come only if the disk hangs.
const MAX_WAITING: usize = 4096;
/// The most writes that share a sync.
const MAX_BATCH: usize = 1024;
/// The least time between two commits, so that concurrent logins share one.
const COMMIT_INTERVAL: Duration = Duration::from_millis(1);
/// How often an idle store looks for expired sessions.
const IDLE: Duration = Duration::from_secs(1);
/// How often it goes on deleting them.
const DELETING: Duration = Duration::from_millis(20);

/// A job for the writer thread.
pub(super) enum Job {
    /// With the runtime in which the answer is awaited.
    Write(Write, Reply, Answering),
    /// The last job: closes the reading connections and the writing one. The caller's thread does not, because
    /// a read that hangs holds its connection.
    Close(Vec<Reader>, oneshot::Sender<()>),
}

/// Answers a write: with the id of a session that was created, else 0.
type Reply = oneshot::Sender<WriteResult>;
type WriteResult = Result<i64, Unavailable>;

/// A task that sends the answers of a commit in its runtime. The writer thread wakes it once: to wake the
/// runtime's thread for each answer costs more CPU than the writes.
#[derive(Clone)]
pub(super) struct Answering(UnboundedSender<Vec<(Reply, WriteResult)>>);

impl Answering {
    /// Spawns the task in the current runtime. It ends when the last clone of this is dropped.
    pub(super) fn spawn() -> Self {
        let (sender, mut commits) = unbounded_channel();
        tokio::spawn(async move {
            while let Some(answers) = commits.recv().await {
                send(answers);
            }
        });
        Self(sender)
    }
}

fn send(answers: Vec<(Reply, WriteResult)>) {
    for (reply, result) in answers {
        // Whoever asked may have gone away meanwhile.
        let _ = reply.send(result);
    }
}

struct Writer {
    engine: Engine,
    directory: Directory,
    /// The error of the last commit.
    failure: Option<String>,
}

/// Starts the thread. It ends when the last sender is dropped.
pub(super) fn start(engine: Engine, directory: Directory) -> io::Result<SyncSender<Job>> {
    let (sender, jobs) = sync_channel(MAX_WAITING);
    let writer = Writer {
        engine,
        directory,
        failure: None,
    };
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
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Some(first) = first else {
                let deleting = self.engine.delete_expired();
                wait = if deleting.unwrap_or_default() {
                    DELETING
                } else {
                    IDLE
                };
                continue;
            };
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next = Instant::now() + COMMIT_INTERVAL;
            let (mut writes, mut replies, mut closing) = (Vec::new(), Vec::new(), None);
            for job in [first].into_iter().chain(jobs.try_iter()).take(MAX_BATCH) {
                match job {
                    Job::Write(write, reply, runtime) => {
                        writes.push(write);
                        replies.push((reply, runtime));
                    }
                    Job::Close(readers, closed) => {
                        closing = Some((readers, closed));
                        break;
                    }
                }
            }
            if !writes.is_empty() {
                answer(replies, &self.commit(&writes));
            }
            if let Some((readers, closed)) = closing {
                for reader in &readers {
                    lock(reader).take();
                }
                self.directory.close(self.engine.into_db());
                let _ = closed.send(());
                return;
            }
        }
    }

    fn commit(&mut self, writes: &[Write]) -> Result<Vec<i64>, Unavailable> {
        let done = self.directory.limit_log(self.engine.db());
        let done = done.and_then(|()| {
            let rows = self.engine.commit(writes);
            let rows = rows.map_err(|error| describe(&error))?;
            self.directory.verify()?;
            Ok(rows)
        });
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
}

/// Sends the answers, with one wake-up for each runtime.
fn answer(replies: Vec<(Reply, Answering)>, done: &Result<Vec<i64>, Unavailable>) {
    let mut by_runtime: Vec<(Answering, Vec<_>)> = Vec::new();
    for (nth, (reply, runtime)) in replies.into_iter().enumerate() {
        let result = match done {
            Ok(rows) => Ok(rows.get(nth).copied().unwrap_or_default()),
            Err(error) => Err(error.clone()),
        };
        let known = by_runtime
            .iter_mut()
            .find(|it| it.0.0.same_channel(&runtime.0));
        match known {
            Some((_, answers)) => answers.push((reply, result)),
            None => by_runtime.push((runtime, vec![(reply, result)])),
        }
    }
    for (runtime, answers) in by_runtime {
        // The runtime of the task may have ended before the one in which the answers are awaited.
        if let Err(error) = runtime.0.send(answers) {
            send(error.0);
        }
    }
}
