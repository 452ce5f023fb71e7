//! Counts what goes on now.

use prometheus::IntGauge;

/// Counts in a gauge until it is dropped.
#[must_use]
pub(crate) struct Counted(IntGauge);

impl Counted {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
