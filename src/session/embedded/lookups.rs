//! Reads of the files. In a thread of its own a lookup costs three times as much CPU as in the runtime's
//! thread, where it has no timeout: a disk that hangs blocks all requests of that runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Mutex as AsyncMutex;

use super::store::{closed, unavailable};
use super::{Reader, Unavailable, lock};
use crate::clock::Clock;

/// The longest wait for a read. A disk that takes longer is not answering.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A lookup that takes longer means that the disk hangs.
const HANG_THRESHOLD: Duration = Duration::from_millis(100);

/// When one of the running lookups began, in milliseconds of the monotonic clock; 0 if none runs.
#[derive(Default)]
pub(super) struct HangDetector(AtomicU64);

/// A running lookup. It ends when this is dropped.
pub(super) struct RunningLookup<'a> {
    detector: &'a HangDetector,
    is_tracked: bool,
}

impl HangDetector {
    /// Begins a lookup in the thread of its runtime; `None` if another one hangs.
    pub(super) fn begin(&self, clock: &Clock) -> Option<RunningLookup<'_>> {
        let now = clock.monotonic().max(Duration::from_millis(1));
        let noted = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let begun = self
            .0
            .compare_exchange(0, noted, Ordering::Relaxed, Ordering::Relaxed)
            .err();
        if begun
            .is_some_and(|begun| now.saturating_sub(Duration::from_millis(begun)) > HANG_THRESHOLD)
        {
            return None;
        }
        Some(RunningLookup {
            detector: self,
            is_tracked: begun.is_none(),
        })
    }
}

impl Drop for RunningLookup<'_> {
    fn drop(&mut self) {
        if self.is_tracked {
            self.detector.0.store(0, Ordering::Relaxed);
        }
    }
}

/// Reads in a thread that may block.
pub(super) async fn read_in_another_thread<T: Send + 'static>(
    reader: Arc<AsyncMutex<Reader>>,
    query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Unavailable> {
    let answer = async {
        // The thread keeps the connection after the timeout, so that at most one thread hangs on it.
        let reader = reader.lock_owned().await;
        let answer = tokio::task::spawn_blocking(move || read(&reader, query));
        answer
            .await
            .unwrap_or_else(|_| Err(Unavailable("a read did not end".into())))
    };
    let answer = tokio::time::timeout(TIMEOUT, answer).await;
    answer.unwrap_or_else(|_| Err(Unavailable("no read in time".into())))
}

/// Reads in this thread.
pub(super) fn read<T>(
    reader: &Reader,
    query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, Unavailable> {
    let reader = lock(reader);
    let db = reader.as_ref().ok_or_else(closed)?;
    query(db).map_err(|error| unavailable(&error))
}
