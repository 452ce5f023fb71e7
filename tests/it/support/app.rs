//! The service in this process, on a free port, with a stand-in for WeChat and a manual clock; and a client
//! for it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wxlogin::WxLogin;
use wxlogin::clock::Clock;
use wxlogin::config::Config;
use wxlogin::config::ServerConfig;
use wxlogin::metrics::Metrics;
use wxlogin::server::{Drained, Server, Timeouts};

use crate::fake_wechat::{APPID, FakeWechat, SECRET};
use crate::support::client::Client;

/// Short, except for the head of a request: on a busy machine a test can pause between two requests.
pub const TIMEOUTS: Timeouts = Timeouts {
    head: Duration::from_secs(30),
    linger: Duration::from_millis(200),
    drain: Duration::from_secs(2),
};

/// A service under test.
pub struct TestApp {
    pub client: Client,
    pub internal: Client,
    pub wechat: FakeWechat,
    pub clock: ManualClock,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Drained>,
}

/// The manual clocks of a service: only a test moves them.
#[derive(Clone)]
pub struct ManualClock {
    /// Seconds since the Unix epoch.
    wall: Arc<AtomicU64>,
    /// Seconds, not before zero.
    monotonic: Arc<AtomicU64>,
}

impl ManualClock {
    pub fn at(now: u64) -> Self {
        Self {
            wall: Arc::new(AtomicU64::new(now)),
            monotonic: Arc::default(),
        }
    }

    /// Advances both clocks.
    pub fn forward(&self, seconds: u64) {
        self.wall.fetch_add(seconds, Ordering::SeqCst);
        self.monotonic.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Sets the wall clock only.
    pub fn set_wall(&self, now: u64) {
        self.wall.store(now, Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        let Self { wall, monotonic } = self.clone();
        Clock::new(
            move || Duration::from_secs(wall.load(Ordering::SeqCst)),
            move || Duration::from_secs(monotonic.load(Ordering::SeqCst)),
        )
    }
}

/// What a service under test has; the rest is as in production.
pub struct Setup<'a> {
    wechat: Option<FakeWechat>,
    settings: &'a [(&'a str, &'a str)],
    clock: ManualClock,
    /// Instead of the manual clock.
    service_clock: Option<Clock>,
    timeouts: Timeouts,
}

impl<'a> Setup<'a> {
    /// These settings, a name and a value each.
    pub fn settings(self, settings: &'a [(&'a str, &'a str)]) -> Self {
        Self { settings, ..self }
    }

    /// A stand-in for WeChat that other services can share.
    pub fn wechat(self, wechat: &FakeWechat) -> Self {
        let wechat = Some(wechat.clone());
        Self { wechat, ..self }
    }

    pub fn clock(self, clock: ManualClock) -> Self {
        Self { clock, ..self }
    }

    /// A clock that depends on the manual one, or not.
    pub fn service_clock(self, clock: Clock) -> Self {
        let service_clock = Some(clock);
        Self {
            service_clock,
            ..self
        }
    }

    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    pub async fn start(self) -> TestApp {
        // As the binary does. Here service and clients share the file descriptors of one process.
        rlimit::increase_nofile_limit(u64::MAX).unwrap();
        let wechat = match self.wechat {
            Some(wechat) => wechat,
            None => FakeWechat::start().await,
        };
        let clock = self.service_clock.unwrap_or_else(|| self.clock.clock());
        let config = ServerConfig::from_vars(&vars(&wechat.base(), self.settings)).unwrap();
        let wxlogin = WxLogin::with_clock(config.service, clock).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let [public, internal] = [(); 2].map(|()| TcpListener::bind(any_port).unwrap());
        let client = |listener: &TcpListener| Client::new(listener.local_addr().unwrap());
        let (client, internal_client) = (client(&public), client(&internal));
        let server = Server {
            wxlogin,
            public,
            internal: Some((internal, config.internal)),
            timeouts: self.timeouts,
        };
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        let running = tokio::spawn(async { server.run(|| {}, stopped).await.unwrap() });
        TestApp {
            client,
            internal: internal_client,
            wechat,
            clock: self.clock,
            stop,
            running,
        }
    }
}

impl TestApp {
    pub fn setup<'a>() -> Setup<'a> {
        Setup {
            wechat: None,
            settings: &[],
            clock: ManualClock::at(1_800_000_000),
            service_clock: None,
            timeouts: TIMEOUTS,
        }
    }

    /// With sessions in memory and otherwise default settings.
    pub async fn start() -> Self {
        Self::setup().start().await
    }

    /// With these settings, a name and a value each.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::setup().settings(settings).start().await
    }

    /// Stops it as a signal does, and waits until it has stopped.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        assert_eq!(self.running.await.unwrap(), Drained::Complete);
    }
}

/// The settings of a test: a Mini Program of the stand-in at `base`, and `settings` over it.
pub fn config(base: &str, settings: &[(&str, &str)]) -> Config {
    Config::from_vars(&vars(base, settings)).unwrap()
}

/// For a store without a service.
pub fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new().unwrap())
}

pub fn vars(base: &str, settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    let ours = [
        ("WECHAT_APPID", APPID),
        ("WECHAT_SECRET", SECRET),
        ("WECHAT_API_BASE", base),
        ("SESSION_STORE", "memory:"),
    ];
    ours.iter()
        .chain(settings)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
