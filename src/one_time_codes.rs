//! One-time codes, of `wx.login` and of the phone number button. One request at a time is at work on a code, and
//! what is known of it is remembered for a minute.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hashlink::LinkedHashMap;
use parking_lot::{Mutex, MutexGuard};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::problem::Problem;
use crate::session::{EXCHANGE_TTL, UserId, sha256};

/// The most codes that are remembered. Beyond it, the oldest are forgotten.
const MAX_REMEMBERED: usize = 50_000;
/// WeChat's samples have 32 and 64 characters; the length is not documented.
const MAX_LEN: usize = 256;
/// What `wx.login` gives in DevTools for a project without a real appid.
const MOCK: &str = "the code is a mock one";
/// What JavaScript writes into a URL for a value that is not a code.
const NO_VALUE: [&str; 5] = ["undefined", "null", "NaN", "true", "false"];

/// A code that can be sent to WeChat: 1 to 256 visible ASCII characters, without the quotes, braces, angle brackets and
/// backslashes of JSON, templates and placeholders. It is a secret: it can be used to log in.
#[derive(Debug, Clone)]
pub struct OneTimeCode(SecretString);

impl OneTimeCode {
    /// Checks that a text can be a code.
    ///
    /// # Errors
    /// [`Problem`]: WeChat need not be asked.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        // A client that encodes twice sends a quote as %22: the decoded text is checked as well.
        let decoded = Cow::<[u8]>::from(percent_decode_str(text));
        match text {
            "" => Err(Problem::MissingCode),
            MOCK => Err(Problem::MockCode),
            _ if text.len() <= MAX_LEN && is_code(text.as_bytes()) && is_code(&decoded) => {
                Ok(Self(text.into()))
            }
            _ => Err(Problem::MalformedCode),
        }
    }

    /// Whether it looks like a code of the phone number button: 64 lower-case hex characters.
    #[must_use]
    pub fn looks_like_a_phone_code(&self) -> bool {
        let code = self.expose();
        code.len() == 64 && code.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// SHA-256 of the appid and the code.
    #[must_use]
    pub fn hash(&self, appid: &str) -> [u8; 32] {
        sha256(&[appid.as_bytes(), b"\0", self.expose().as_bytes()])
    }

    /// The code itself, for a request to WeChat.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

fn is_code(text: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_graphic() && !b"\"'`{}<>\\".contains(byte);
    text.iter().all(is_allowed) && !NO_VALUE.iter().any(|word| word.as_bytes() == text)
}

/// What is known (`K`) of the codes of the last minute, by [`OneTimeCode::hash`].
pub(crate) struct OneTimeCodes<K> {
    codes: Mutex<LinkedHashMap<[u8; 32], Code<K>>>,
    tasks: TaskTracker,
    clock: Clock,
}

struct Code<K> {
    /// Locked by the request that is at work on the code.
    known: Arc<AsyncMutex<K>>,
    /// When it is forgotten, by the monotonic clock. The map is in this order.
    end: Duration,
}

impl<K: Default + Send + 'static> OneTimeCodes<K> {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            codes: Mutex::default(),
            tasks: TaskTracker::new(),
            clock,
        }
    }

    /// Runs `work` with what is known of a code; the lock keeps others from working on it. It runs in a task, which
    /// goes on when its request is cancelled; a request that is cancelled while it waits for the lock does nothing.
    /// `None` if it panicked.
    pub(crate) async fn run<F: Future<Output: Send> + Send + 'static>(
        &self,
        code: [u8; 32],
        work: impl FnOnce(OwnedMutexGuard<K>) -> F,
    ) -> Option<F::Output> {
        let known = self.known(code).lock_owned().await;
        self.tasks.spawn(work(known)).await.ok()
    }

    /// What is known of a code. A new one is remembered for a minute.
    fn known(&self, code: [u8; 32]) -> Arc<AsyncMutex<K>> {
        let now = self.clock.monotonic();
        let mut codes = self.codes.lock();
        forget(&mut codes, now);
        if let Some(code) = codes.get(&code) {
            return code.known.clone();
        }
        let known = Arc::<AsyncMutex<K>>::default();
        let new = Code {
            known: known.clone(),
            end: now + EXCHANGE_TTL,
        };
        codes.insert(code, new);
        known
    }

    /// Something has become known of a code: the minute begins anew.
    pub(crate) fn remember(&self, code: [u8; 32]) {
        let end = self.clock.monotonic() + EXCHANGE_TTL;
        if let Some(code) = self.codes.lock().to_back(&code) {
            code.end = end;
        }
    }

    /// What became known of an exchange `age` ago, before this process began.
    pub(crate) fn insert(&self, code: [u8; 32], known: K, age: Duration) {
        let end = (self.clock.monotonic() + EXCHANGE_TTL).saturating_sub(age);
        let known = Arc::new(AsyncMutex::new(known));
        self.codes.lock().insert(code, Code { known, end });
    }

    /// Forgets codes after a minute also if no other code comes: what is known is secret.
    pub(crate) fn forget_in_time(self: &Arc<Self>) {
        let codes = self.clone();
        tokio::spawn(async move {
            // Twice: one that somebody is at work on is remembered for another minute.
            for _ in 0..2 {
                sleep(EXCHANGE_TTL).await;
                forget(&mut codes.codes.lock(), codes.clock.monotonic());
            }
        });
    }

    /// Waits until nobody is at work on a code, also for requests that were cancelled.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Removes codes whose minute has passed and those above [`MAX_REMEMBERED`]. One that somebody is at work on is
/// remembered for another minute.
fn forget<K>(codes: &mut LinkedHashMap<[u8; 32], Code<K>>, now: Duration) {
    for _ in 0..codes.len() {
        let Some((hash, code)) = codes.front().map(|(hash, code)| (*hash, code)) else {
            break;
        };
        if now < code.end && codes.len() <= MAX_REMEMBERED {
            break;
        }
        if Arc::strong_count(&code.known) == 1 {
            codes.remove(&hash);
        } else if let Some(code) = codes.to_back(&hash) {
            code.end = now + EXCHANGE_TTL;
        }
    }
}

/// Users whose sessions were all ended in the last minute: a code that they sent before gives no further session.
///
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
        let mut state = self.pruned();
        state.count += 1;
        // A code is remembered for a minute after its exchange, which begins before it is remembered.
        let ending = (state.count, now + 2 * EXCHANGE_TTL);
        state.users.insert(user.to_strings(), ending);
    }

    /// The number of endings so far.
    pub(crate) fn count(&self) -> u64 {
        self.pruned().count
    }

    /// Forgets endings in time.
    fn pruned(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        while let Some((_, (_, end))) = state.users.front()
            && *end <= self.clock.monotonic()
        {
            state.users.pop_front();
        }
        state
    }

    /// Whether the sessions of this user have ended since there were `count` endings.
    pub(crate) fn has_ended(&self, user: UserId<'_>, count: u64) -> bool {
        let state = self.state.lock();
        // Without a look at the map for nearly all logins.
        state.count > count
            && (state.users.get(&user.to_strings())).is_some_and(|(number, _)| *number > count)
    }
}
