//! The wall clock and the monotonic clock, which tests replace.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock, which can be set, and a monotonic clock.
#[derive(Clone)]
pub struct Clock(Arc<Sources>);

struct Sources {
    wall: Box<dyn Fn() -> Duration + Send + Sync>,
    monotonic: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// The machine's own clocks. A wall clock set before 1970 reads 0.
    #[must_use]
    pub fn system() -> Self {
        let wall = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.unwrap_or_default()
        };
        let begin = Instant::now();
        Self::new(wall, move || begin.elapsed())
    }

    /// A clock with other sources: `wall` returns the time since the Unix epoch, `monotonic` the time since
    /// any fixed moment.
    pub fn new(
        wall: impl Fn() -> Duration + Send + Sync + 'static,
        monotonic: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Sources {
            wall: Box::new(wall),
            monotonic: Box::new(monotonic),
        }))
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.wall().as_secs()
    }

    /// The time since the Unix epoch.
    #[must_use]
    pub fn wall(&self) -> Duration {
        (self.0.wall)()
    }

    /// The time since a fixed moment. It never jumps.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        (self.0.monotonic)()
    }
}
