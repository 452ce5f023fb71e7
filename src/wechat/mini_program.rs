//! A Mini Program: AppID, AppSecrets, the accepted AppSecret, and an exhausted quota.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use secrecy::SecretString;

use super::Error;
use super::access_token::TokenSlot;

/// A Mini Program: its AppID and its AppSecret, or several while the AppSecret is being changed.
#[derive(Debug)]
pub struct MiniProgram {
    appid: String,
    secrets: Vec<SecretString>,
    /// The index of the secret that WeChat accepted last.
    accepted: AtomicUsize,
    /// When WeChat last answered that the quota is used up, in Unix seconds; 0 is never.
    quota_exhausted: AtomicU64,
    /// Its `access_token`.
    pub(super) token: TokenSlot,
}

/// How long no requests are sent after WeChat has answered that the quota is used up, in seconds.
pub(crate) const QUOTA_PAUSE: u64 = 10;

impl MiniProgram {
    /// `secrets` are tried in this order: the next one when WeChat refuses one as wrong.
    #[must_use]
    pub fn new(appid: String, secrets: Vec<SecretString>) -> Self {
        Self {
            appid,
            secrets,
            accepted: AtomicUsize::new(0),
            quota_exhausted: AtomicU64::new(0),
            token: TokenSlot::default(),
        }
    }

    /// The same with the AppSecrets of `other` after its own.
    #[must_use]
    pub fn with_secrets_of(&self, other: &Self) -> Self {
        let secrets = [&*self.secrets, &*other.secrets].concat();
        Self::new(self.appid.clone(), secrets)
    }

    /// The AppID.
    #[must_use]
    pub fn appid(&self) -> &str {
        &self.appid
    }

    /// All AppSecrets, in the order of the settings.
    #[must_use]
    pub fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// Records that WeChat answered at `now`, in Unix seconds, that the quota is used up.
    pub(super) fn exhaust_quota(&self, now: u64) {
        self.quota_exhausted.store(now, Ordering::Relaxed);
    }

    /// [`Error::QuotaPause`] within ten seconds after [`exhaust_quota`](Self::exhaust_quota).
    pub(super) fn check_quota(&self, now: u64) -> Result<(), Error> {
        let exhausted = self.quota_exhausted.load(Ordering::Relaxed);
        // A clock that was set back must not prolong the pause.
        match now.checked_sub(exhausted) {
            Some(..QUOTA_PAUSE) => Err(Error::QuotaPause),
            _ => Ok(()),
        }
    }

    /// The AppSecrets, each with its index in the settings. The one that WeChat accepted last comes first.
    pub(super) fn secrets_to_try(&self) -> impl Iterator<Item = (usize, &SecretString)> {
        let accepted = self.accepted.load(Ordering::Relaxed);
        let (before, from) = self.secrets.split_at(accepted);
        (accepted..).zip(from).chain((0..).zip(before))
    }

    /// Records that WeChat accepted the secret at this index.
    pub(super) fn record_accepted(&self, place: usize) {
        let before = self.accepted.swap(place, Ordering::Relaxed);
        if before != place {
            tracing::info!(
                appid = self.appid,
                "WeChat now accepts AppSecret {} of {}, and not the one that it accepted before",
                place + 1,
                self.secrets.len(),
            );
        }
    }
}
