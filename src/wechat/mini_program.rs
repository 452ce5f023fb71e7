//! A Mini Program: AppID, AppSecrets, the accepted AppSecret, and an exhausted quota.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::SecretString;

use super::Error;
use super::access_token::TokenSlot;

/// A Mini Program: its AppID and its AppSecret, or several while the AppSecret is being changed.
#[derive(Debug)]
pub struct MiniProgram {
    appid: String,
    secrets: Vec<SecretString>,
    /// The name of the setting that has its AppSecrets.
    setting: &'static str,
    /// The index of the secret that WeChat accepted last.
    accepted: AtomicUsize,
    /// The end of the pause after WeChat's answer that the quota is used up, in seconds by the monotonic clock.
    quota_pause_end: AtomicU64,
    /// Its `access_token`.
    pub(super) token: TokenSlot,
}

/// How long no requests are sent after WeChat has answered that the quota is used up, in seconds.
pub(crate) const QUOTA_PAUSE: u64 = 10;

impl MiniProgram {
    /// `secrets` are tried in this order: the next one when WeChat refuses one as wrong. `setting` has them.
    #[must_use]
    pub fn new(appid: String, secrets: Vec<SecretString>, setting: &'static str) -> Self {
        Self {
            appid,
            secrets,
            setting,
            accepted: AtomicUsize::new(0),
            quota_pause_end: AtomicU64::new(0),
            token: TokenSlot::default(),
        }
    }

    /// The same with other AppSecrets.
    #[must_use]
    pub fn with_secrets(&self, secrets: Vec<SecretString>) -> Self {
        Self::new(self.appid.clone(), secrets, self.setting)
    }

    /// A remedy, with the names of the settings that this Mini Program comes from.
    pub(crate) fn remedy(&self, remedy: &str) -> String {
        let is_of_several = self.setting.starts_with("WECHAT_APPS");
        let appid_setting = ["WECHAT_APPID", self.setting][usize::from(is_of_several)];
        let remedy = remedy.replace("WECHAT_APPID", appid_setting);
        remedy.replace("WECHAT_SECRET", self.setting)
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

    /// WeChat answered at `now`, by the monotonic clock, that the quota is used up.
    pub(super) fn begin_quota_pause(&self, now: Duration) {
        let end = now.as_secs() + QUOTA_PAUSE;
        self.quota_pause_end.store(end, Ordering::Relaxed);
    }

    /// [`Error::QuotaPause`] if WeChat said within the last ten seconds that the quota is used up.
    pub(super) fn check_quota(&self, now: Duration) -> Result<(), Error> {
        if now.as_secs() < self.quota_pause_end.load(Ordering::Relaxed) {
            return Err(Error::QuotaPause);
        }
        Ok(())
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
