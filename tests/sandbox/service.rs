//! wxlogin itself: both listeners on free ports of the loopback, behind those of the sandbox.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use wxlogin::WxLogin;
use wxlogin::server::{Server, Timeouts};

use super::clock::SandboxClock;
use super::settings::Settings;

/// A running wxlogin, which stops when it is dropped.
pub struct Service {
    pub public: SocketAddr,
    pub internal: SocketAddr,
    pub wxlogin: WxLogin,
    pub clock: SandboxClock,
    _stop: oneshot::Sender<()>,
}

impl Service {
    /// Without sessions, and with a clock that goes right.
    pub async fn start(settings: &Settings) -> Self {
        let config = settings.config();
        let clock = SandboxClock::default();
        let wxlogin = WxLogin::with_clock(config.service, clock.for_wxlogin()).unwrap();
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
            clock,
            _stop: stop,
        }
    }
}

async fn free_port() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    listener.unwrap()
}
