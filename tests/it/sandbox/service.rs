//! wxlogin itself: both doors on free ports of the loopback, behind the doors of the sandbox.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use wxlogin::WxLogin;
use wxlogin::config::ServerConfig;
use wxlogin::server::{Server, Timeouts};
use wxlogin::telemetry::{self, Logging};

use super::fake_wechat::{APPID, SECRET};

pub const INTERNAL_TOKEN: &str = "sandbox-internal-token";

/// A running wxlogin, which stops when it is dropped.
pub struct Service {
    pub public: SocketAddr,
    pub internal: SocketAddr,
    pub wxlogin: WxLogin,
    _stop: oneshot::Sender<()>,
}

impl Service {
    /// With WeChat at `base`, without sessions.
    pub async fn start(base: &str) -> Self {
        let config = config(base);
        let wxlogin = WxLogin::new(config.service).unwrap();
        let (public, internal) = (free_port().await, free_port().await);
        let addresses = [&public, &internal].map(|listener| listener.local_addr().unwrap());
        let timeouts = Timeouts {
            linger: Duration::ZERO,
            ..Timeouts::default()
        };
        let server = Server::new(public, wxlogin.clone(), timeouts).unwrap();
        let server = server.with_internal(internal, config.internal);
        let server = server.unwrap();
        let (stop, stopping) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let stop = async {
                let _ = stopping.await;
            };
            let _ = server.run(|| {}, stop).await.unwrap();
        });
        Self {
            public: addresses[0],
            internal: addresses[1],
            wxlogin,
            _stop: stop,
        }
    }
}

pub fn start_logging(base: &str) -> Logging {
    telemetry::init(&config(base).log).unwrap()
}

fn config(base: &str) -> ServerConfig {
    let settings = [
        ("WECHAT_APPID", APPID),
        ("WECHAT_SECRET", SECRET),
        ("WECHAT_API_BASE", base),
        ("INTERNAL_ADDR", "127.0.0.1:9090"), // a free port instead
        ("INTERNAL_TOKEN", INTERNAL_TOKEN),
        ("INTERNAL_ACCESS_TOKEN", "on"),
        ("SESSION_STORE", "memory:"),
        ("USERDATA_MAX_AGE", "0"), // the page's example is not made anew each time
        ("RUST_LOG", "wxlogin=debug"),
    ];
    let vars: BTreeMap<_, _> = settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    ServerConfig::from_vars(&vars).unwrap()
}

async fn free_port() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    listener.unwrap()
}
