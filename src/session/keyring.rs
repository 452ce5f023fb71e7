//! The sealed `session_key`s of a user, as the stores of one process keep them. What happens to them
//! in Redis is in its scripts, and the same.

use super::{MAX_FAILURES, Seal};

/// The two newest keys, and how often data failed to open with them.
#[derive(Default)]
pub(super) struct Keyring {
    pub(super) newest: Vec<u8>,
    pub(super) previous: Vec<u8>,
    /// Since the last login, with those that are possible right now.
    pub(super) failures: u8,
}

impl Keyring {
    /// The user has logged in, and has this key now.
    pub(super) fn put(&mut self, seals: &[Seal]) {
        let Some(seal) = seals.first() else { return };
        if !seals.iter().any(|seal| seal.as_bytes() == self.newest) {
            self.previous = std::mem::take(&mut self.newest);
        }
        seal.as_bytes().clone_into(&mut self.newest);
        self.failures = 0;
    }

    /// The keys, the newest first; none after the last failure.
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        let keys = [&self.newest, &self.previous];
        let keys = keys.into_iter().filter(|key| !key.is_empty()).cloned();
        keys.take_while(|_| self.failures < MAX_FAILURES).collect()
    }

    /// Counts a failure that is about to be possible.
    pub(super) fn begin_attempt(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Takes the failure back that did not happen, or drops the keys after the last one.
    pub(super) fn end_attempt(&mut self, failed: bool) {
        if !failed {
            // 0 if the user has logged in meanwhile.
            self.failures = self.failures.saturating_sub(1);
        } else if self.failures >= MAX_FAILURES {
            self.newest.clear();
            self.previous.clear();
        }
    }
}
