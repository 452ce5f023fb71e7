//! What waits to be written: taken together, so that many share a sync.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::writer::Job;

/// So many do not wait for more.
const ENOUGH: usize = 32;

/// The end that jobs are put in.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

/// The end that jobs are taken from. When it is dropped, so are the jobs.
pub(super) struct Jobs(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    have_come: Condvar,
}

struct Waiting {
    /// Without a bound of its own: each is of a request that waits for it, or was. `None` when
    /// nobody takes them any more.
    jobs: Option<Vec<Job>>,
    /// How many wake the taker up, if it sleeps.
    awaited: usize,
}

pub(super) fn queue() -> (Queue, Jobs) {
    let waiting = Waiting {
        jobs: Some(Vec::new()),
        awaited: 0,
    };
    let shared = Arc::new(Shared {
        waiting: Mutex::new(waiting),
        have_come: Condvar::new(),
    });
    (Queue(shared.clone()), Jobs(shared))
}

impl Queue {
    /// Gives the job back if nobody takes it any more.
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        let mut waiting = self.0.lock();
        let Some(jobs) = &mut waiting.jobs else {
            return Err(job);
        };
        jobs.push(job);
        let are_enough = jobs.len() == waiting.awaited;
        drop(waiting);
        if are_enough {
            self.0.have_come.notify_one();
        }
        Ok(())
    }
}

impl Jobs {
    /// The jobs that wait, once there are any: at most `max`, and fewer than [`ENOUGH`] not before a
    /// certain time. None after `idle`.
    pub(super) fn take(&self, max: usize, not_before: Instant, idle: Duration) -> Vec<Job> {
        let left = not_before.saturating_duration_since(Instant::now());
        let waiting = self.0.wait(self.0.lock(), ENOUGH.min(max), left);
        let mut waiting = self.0.wait(waiting, 1, idle);
        waiting.awaited = 0;
        let Some(jobs) = &mut waiting.jobs else {
            return Vec::new();
        };
        let rest = jobs.split_off(jobs.len().min(max));
        mem::replace(jobs, rest)
    }

    /// Whether nobody can put jobs in any more.
    pub(super) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.0.lock().jobs = None;
    }
}

impl Shared {
    /// Waits for so many jobs, for a time.
    fn wait<'a>(
        &self,
        mut waiting: MutexGuard<'a, Waiting>,
        count: usize,
        time: Duration,
    ) -> MutexGuard<'a, Waiting> {
        waiting.awaited = count;
        let are_few =
            |waiting: &mut Waiting| waiting.jobs.as_ref().is_some_and(|jobs| jobs.len() < count);
        let waited = self.have_come.wait_timeout_while(waiting, time, are_few);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
