//! The wall clock and the monotonic one, so that tests can move them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time of day, which somebody may set, and how much time has passed, which nobody can.
#[derive(Clone)]
pub struct Clock(Arc<Sources>);

struct Sources {
    wall: Box<dyn Fn() -> u64 + Send + Sync>,
    monotonic: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// The machine's own clocks. A wall clock set before 1970 reads 0.
    #[must_use]
    pub fn system() -> Self {
        let wall = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        };
        let begin = Instant::now();
        Self::new(wall, move || begin.elapsed())
    }

    /// A clock that asks `wall` for the seconds since the Unix epoch, and `monotonic` for the time since
    /// any moment that stays the same.
    pub fn new(
        wall: impl Fn() -> u64 + Send + Sync + 'static,
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
        (self.0.wall)()
    }

    /// The time since some moment of this process: it never jumps.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        (self.0.monotonic)()
    }
}
