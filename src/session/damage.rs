//! What a disk has changed, and what the operator is told of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Unavailable;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// How long the store is not ready after a report of damage, in seconds: SQLite can take a single read that failed
/// for damage.
const UNREADY: u64 = 10;
const REMEDY: &str = "stop wxlogin, check the disk, and restore the directory of the store from a backup, or move it away to start with no sessions";
const MISFIT: &str =
    "a session does not fit its token: somebody altered the token, or the disk the session";

/// When damage was reported last, in seconds by the monotonic clock, or 0.
#[derive(Default)]
pub(super) struct Damage(AtomicU64);

impl Damage {
    /// SQLite has found damage. Reports that follow each other are one line of the log.
    pub(super) fn of_store(&self, error: &Unavailable, metrics: &Metrics, clock: &Clock) {
        metrics.store_damage.with_label_values(&["database"]).inc();
        let now = clock.monotonic().as_secs().max(1);
        let before = self.0.swap(now, Ordering::Relaxed);
        if before == 0 || now >= before + UNREADY {
            let cause = &error.0;
            tracing::error!(cause, remedy = REMEDY, "the session store is damaged");
        }
    }

    pub(super) fn is_recent(&self, clock: &Clock) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        last > 0 && clock.monotonic().as_secs() < last + UNREADY
    }
}

/// A session does not match its token. The first one is logged, all are counted.
pub(super) fn of_row(metrics: &Metrics) {
    let misfits = metrics.store_damage.with_label_values(&["row"]);
    misfits.inc();
    if misfits.get() == 1 {
        tracing::warn!("{MISFIT}");
    }
}
