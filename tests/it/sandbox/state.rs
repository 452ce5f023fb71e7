//! The parts of a running sandbox.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use tokio::sync::RwLock;

use super::fake_wechat::FakeWechat;
use super::logged_in::LoggedIn;
use super::options::Openness;
use super::requests::Requests;
use super::service::Service;
use super::to_wechat::Failures;

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
    failures: Mutex<Option<Failures>>,
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
    pub async fn start(addresses: Addresses, openness: Openness) -> Self {
        let http = reqwest::Client::builder().no_proxy();
        let http = http.redirect(reqwest::redirect::Policy::none());
        Self(Arc::new(Parts {
            addresses,
            openness,
            wechat: FakeWechat::new(addresses.page),
            requests: Requests::default(),
            logged_in: LoggedIn::default(),
            service: RwLock::new(Service::start(&addresses.base()).await),
            http: http.build().unwrap(),
            failures: Mutex::default(),
        }))
    }

    pub fn failures(&self) -> Option<Failures> {
        *self.0.failures.lock().unwrap()
    }

    pub fn set_failures(&self, failures: Option<Failures>) {
        *self.0.failures.lock().unwrap() = failures;
    }

    /// Whether WeChat refuses this request.
    pub fn chance(&self) -> Option<i64> {
        let failures = self.failures()?;
        (fastrand::f64() < failures.probability).then_some(failures.errcode)
    }

    /// Resets everything: a new wxlogin, and a WeChat without users.
    pub async fn reset(&self) {
        let service = Service::start(&self.addresses.base()).await;
        let old = std::mem::replace(&mut *self.service.write().await, service);
        self.set_failures(None);
        self.wechat.reset();
        self.logged_in.clear();
        self.requests.clear();
        drop(old); // finishes its requests in flight
    }
}
