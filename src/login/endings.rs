//! Users whose sessions were all ended in the last minute: a code that they sent before gives no further session.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashlink::LinkedHashMap;

use crate::clock::Clock;
use crate::one_time_codes::REMEMBERED;
use crate::session::UserId;

/// Counts endings, so that what came before one can be told from what came after it, whatever the clocks say.
pub(crate) struct Endings {
    state: Mutex<State>,
    clock: Clock,
}

#[derive(Default)]
struct State {
    count: u64,
    /// The number of each user's last ending, and when it is forgotten, by the monotonic clock; the oldest first.
    users: LinkedHashMap<[String; 2], (u64, Duration)>,
}

impl Endings {
    pub(crate) fn new(clock: Clock) -> Self {
        let state = Mutex::default();
        Self { state, clock }
    }

    /// All sessions of this user end now.
    pub(crate) fn add(&self, user: UserId<'_>) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        state.count += 1;
        // A code is remembered for a minute after its exchange, which begins before it is remembered.
        let ending = (state.count, now + 2 * REMEMBERED);
        state.users.insert(key(user), ending);
    }

    /// The number of endings so far.
    pub(crate) fn count(&self) -> u64 {
        let mut state = self.state();
        while let Some((_, (_, end))) = state.users.front()
            && *end <= self.clock.monotonic()
        {
            state.users.pop_front();
        }
        state.count
    }

    /// Whether the sessions of this user have ended since there were `count` endings.
    pub(crate) fn has_ended(&self, user: UserId<'_>, count: u64) -> bool {
        let state = self.state();
        // Without a look at the map for nearly all logins.
        state.count > count
            && (state.users.get(&key(user))).is_some_and(|(number, _)| *number > count)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(user: UserId<'_>) -> [String; 2] {
    [user.appid, user.openid].map(str::to_owned)
}
