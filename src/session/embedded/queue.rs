//! What waits to be written: taken together, so that many share a sync.

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
    /// Without a bound of its own: each job is of a request that waits for it, or was. `None` when
    /// nobody takes them any more.
    waiting: Mutex<Option<Vec<Job>>>,
    has_come: Condvar,
}

pub(super) fn queue() -> (Queue, Jobs) {
    let shared = Arc::new(Shared {
        waiting: Mutex::new(Some(Vec::new())),
        has_come: Condvar::new(),
    });
    (Queue(shared.clone()), Jobs(shared))
}

impl Queue {
    /// Gives the job back if nobody takes it any more.
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        let mut waiting = self.0.lock();
        let Some(jobs) = &mut *waiting else {
            return Err(job);
        };
        jobs.push(job);
        let count = jobs.len();
        drop(waiting);
        // Others are found when the time has come.
        if count == 1 || count == ENOUGH {
            self.0.has_come.notify_one();
        }
        Ok(())
    }
}

impl Jobs {
    /// The jobs that wait, once there are any: at most `max`, and fewer than [`ENOUGH`] not before a
    /// certain time. None after `idle`.
    pub(super) fn take(&self, max: usize, not_before: Instant, idle: Duration) -> Vec<Job> {
        let is_fewer = |count| {
            move |jobs: &mut Option<Vec<Job>>| jobs.as_ref().is_some_and(|jobs| jobs.len() < count)
        };
        let waiting = self.0.lock();
        let (waiting, _) = self
            .0
            .has_come
            .wait_timeout_while(waiting, idle, is_fewer(1))
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.as_ref().is_none_or(Vec::is_empty) {
            return Vec::new();
        }
        let left = not_before.saturating_duration_since(Instant::now());
        let (mut waiting, _) = self
            .0
            .has_come
            .wait_timeout_while(waiting, left, is_fewer(ENOUGH.min(max)))
            .unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = &mut *waiting else {
            return Vec::new();
        };
        let rest = jobs.split_off(jobs.len().min(max));
        std::mem::replace(jobs, rest)
    }

    /// Whether nobody can put jobs in any more.
    pub(super) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Job>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
