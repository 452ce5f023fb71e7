//! The parts of a running sandbox.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use tokio::sync::RwLock;
use wxlogin::WxLogin;

use super::clock::SandboxClock;
use super::fake_wechat::FakeWechat;
use super::logged_in::LoggedIn;
use super::options::Openness;
use super::requests::Requests;
use super::service::Service;
use super::settings::Settings;

/// Cheap to clone; all clones are the same sandbox.
#[derive(Clone)]
pub struct Sandbox(Arc<Parts>);

pub struct Parts {
    pub addresses: Addresses,
    pub openness: Openness,
    pub wechat: FakeWechat,
    pub requests: Requests,
    pub logged_in: LoggedIn,
    pub service: RwLock<Service>,
    /// For requests to wxlogin.
    pub http: reqwest::Client,
    settings: Settings,
    /// The time of wxlogin's clock at which it asks WeChat again after errcode 45009.
    quota_pause_end: Mutex<Option<u64>>,
}

/// The addresses at which this machine reaches them.
#[derive(Clone, Copy)]
pub struct Addresses {
    pub public: SocketAddr,
    pub internal: SocketAddr,
    /// The stand-in's too.
    pub page: SocketAddr,
}

impl Addresses {
    /// For `WECHAT_API_BASE`.
    pub fn base(self) -> String {
        format!("http://{}", self.page)
    }
}

impl Deref for Sandbox {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Sandbox {
    pub fn start(addresses: Addresses, openness: Openness, settings: Settings) -> Self {
        let http = reqwest::Client::builder().no_proxy();
        let http = http.redirect(reqwest::redirect::Policy::none());
        Self(Arc::new(Parts {
            addresses,
            openness,
            wechat: FakeWechat::new(addresses.page),
            requests: Requests::default(),
            logged_in: LoggedIn::default(),
            service: RwLock::new(Service::start(&settings)),
            http: http.build().unwrap(),
            settings,
            quota_pause_end: Mutex::default(),
        }))
    }

    pub async fn wxlogin(&self) -> WxLogin {
        self.service.read().await.wxlogin.clone()
    }

    pub async fn clock(&self) -> SandboxClock {
        self.service.read().await.clock.clone()
    }

    /// wxlogin has answered a login. `retry_after`: the seconds, if it said that WeChat's quota is used up.
    pub async fn note_quota(&self, retry_after: Option<u64>) {
        let now = self.clock().await.now();
        let mut end = self.0.quota_pause_end.lock().unwrap();
        // Further logins in the pause do not prolong it.
        if end.is_none_or(|end| end <= now) || retry_after.is_none() {
            *end = retry_after.map(|seconds| now + seconds);
        }
    }

    /// How many seconds the pause after errcode 45009 still lasts.
    pub async fn quota_pause(&self) -> Option<u64> {
        let now = self.clock().await.now();
        let end = *self.0.quota_pause_end.lock().unwrap();
        end?.checked_sub(now).filter(|rest| *rest > 0)
    }

    /// Resets everything: a new wxlogin, and a WeChat without users.
    pub async fn reset(&self) {
        let service = Service::start(&self.0.settings);
        let old = std::mem::replace(&mut *self.service.write().await, service);
        *self.0.quota_pause_end.lock().unwrap() = None;
        self.wechat.reset();
        self.logged_in.clear();
        self.requests.clear();
        drop(old); // finishes its requests in flight
    }
}
