//! The thread that writes to files: it takes all that waits, makes it durable with one sync, so that
//! many logins share it, and answers each only then.

use std::io;
use std::time::{Duration, Instant};

use super::Unavailable;
use super::appender::{Appender, Batch, Change};
use super::position::Position;
use super::queue::Jobs;
use super::reply::{self, Reply};
use super::slot::Slot;
use crate::clock::Clock;

/// Writes that share a sync.
const MAX_BATCH: usize = 1024;
/// The least time from one sync to the next, unless there is enough for one: a sync is as much work as
/// three logins, which a busy service should share. Who comes later than that does not wait.
const PACE: Duration = Duration::from_millis(5);
/// How often an idle store looks for expired segments.
const IDLE: Duration = Duration::from_secs(1);

/// How long writes are refused after one failed: each failure costs the rest of a segment, and a full
/// disk does not empty itself. Lookups go on meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// A write, and where to say that it is done.
pub(super) struct Job {
    pub(super) write: Write,
    pub(super) reply: Reply<Result<Done, Unavailable>>,
}

pub(super) enum Write {
    Create(Slot),
    Change(Vec<(Position, Change)>),
    /// Nothing, but durably.
    Check,
    /// The last one.
    Close,
}

/// Where the session is, if one was created.
pub(super) type Done = Option<Position>;

pub(super) fn start(jobs: Jobs, appender: Appender, clock: Clock) -> io::Result<()> {
    let writer = Writer {
        appender,
        clock,
        failed: None,
        next: Instant::now(),
    };
    std::thread::Builder::new()
        .name("session-writer".into())
        .spawn(move || writer.run(&jobs))?;
    Ok(())
}

struct Writer {
    appender: Appender,
    clock: Clock,
    /// When the last batch failed, until one succeeds.
    failed: Option<Instant>,
    /// When it is time for the next batch.
    next: Instant,
}

/// Where to answer, and whether a session is among what was asked for.
type Asked = (Reply<Result<Done, Unavailable>>, bool);

impl Writer {
    fn run(mut self, jobs: &Jobs) {
        let max_batch = MAX_BATCH.min(self.appender.capacity());
        loop {
            let waiting = jobs.take(max_batch, self.next, IDLE);
            if waiting.is_empty() && jobs.is_abandoned() {
                return;
            }
            if !waiting.is_empty() {
                self.next = Instant::now() + PACE;
            }
            let is_last = waiting.iter().any(|job| matches!(job.write, Write::Close));
            let (batch, asked) = sort(waiting);
            let result = self.write(&batch, asked.is_empty());
            if is_last {
                self.appender.close();
                answer(asked, &result);
                return;
            }
            answer(asked, &result);
        }
    }

    fn write(&mut self, batch: &Batch, is_idle: bool) -> Result<Vec<Position>, Unavailable> {
        let now = self.clock.now();
        self.appender.purge(now);
        if is_idle {
            return Ok(Vec::new());
        }
        if self.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return Err(Unavailable("it failed a moment ago".into()));
        }
        match self.appender.commit(batch, now) {
            Ok(positions) => {
                if self.failed.take().is_some() {
                    tracing::info!("the session store is back");
                }
                Ok(positions)
            }
            Err(error) => {
                tracing::error!(%error, "the session store failed");
                self.failed = Some(Instant::now());
                Err(super::unavailable(&error))
            }
        }
    }
}

/// All that waits is of requests that run at the same time, so changes may come before sessions.
fn sort(waiting: Vec<Job>) -> (Batch, Vec<Asked>) {
    let mut batch = Batch::default();
    let mut asked = Vec::with_capacity(waiting.len());
    for Job { write, reply } in waiting {
        asked.push((reply, matches!(write, Write::Create(_))));
        batch.add(write);
    }
    (batch, asked)
}

impl Batch {
    pub(super) fn add(&mut self, write: Write) {
        match write {
            Write::Create(slot) => self.created.push(slot),
            Write::Change(changes) => self.changes.extend(changes),
            Write::Check => self.is_check = true,
            Write::Close => {}
        }
    }
}

fn answer(asked: Vec<Asked>, result: &Result<Vec<Position>, Unavailable>) {
    let mut created = result.as_ref().map_or(&[][..], |created| created).iter();
    reply::send(asked.into_iter().map(|(reply, is_session)| {
        let position = if is_session { created.next() } else { None };
        (
            reply,
            result
                .as_ref()
                .map(|_| position.copied())
                .map_err(Clone::clone),
        )
    }));
}
