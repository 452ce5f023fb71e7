//! The limit of calls to WeChat that are in flight at a time.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How long a call waits for a slot.
const TIMEOUT: Duration = Duration::from_millis(500);

/// A permit for each call that may be in flight.
pub(crate) struct Slots(Semaphore);

/// Too many calls are in flight.
#[derive(Debug)]
pub(crate) struct Overloaded;

impl Slots {
    pub(crate) fn new(max_in_flight: u32) -> Self {
        Self(Semaphore::new(max_in_flight as usize))
    }

    /// Waits for a slot. Dropping the permit frees it.
    pub(crate) async fn acquire(&self) -> Result<SemaphorePermit<'_>, Overloaded> {
        // Without a timer if a slot is free.
        if let Ok(slot) = self.0.try_acquire() {
            return Ok(slot);
        }
        match timeout(TIMEOUT, self.0.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(Overloaded),
        }
    }
}
