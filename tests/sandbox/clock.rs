//! The clock of wxlogin in the sandbox: this machine's, and as far ahead of it as somebody has set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wxlogin::clock::Clock;

/// The farthest that it can be ahead, in seconds: ten years.
const MAX_AHEAD: u64 = 3650 * 24 * 60 * 60;

/// Cheap to clone; all clones are the same clock.
#[derive(Clone, Default)]
pub struct SandboxClock(Arc<AtomicU64>);

impl SandboxClock {
    pub fn forward(&self, seconds: u64) {
        let ahead = self.ahead().saturating_add(seconds);
        self.0.store(ahead.min(MAX_AHEAD), Ordering::SeqCst);
    }

    /// In seconds.
    pub fn ahead(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.wall().as_secs()
    }

    fn wall(&self) -> Duration {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap_or_default() + Duration::from_secs(self.ahead())
    }

    pub fn for_wxlogin(&self) -> Clock {
        let (wall, monotonic) = (self.clone(), self.clone());
        let begin = Instant::now();
        Clock::new(
            move || wall.wall(),
            move || begin.elapsed() + Duration::from_secs(monotonic.ahead()),
        )
    }
}
