//! wxlogin itself: both listeners on free ports of the loopback, behind those of the sandbox.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

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
    pub fn start(settings: &Settings) -> Self {
        let config = settings.config();
        let clock = SandboxClock::default();
        let wxlogin = WxLogin::with_clock(config.service, clock.for_wxlogin()).unwrap();
        let free_port = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (public, internal) = (free_port(), free_port());
        let addresses = [&public, &internal].map(|listener| listener.local_addr().unwrap());
        let timeouts = Timeouts {
            linger: Duration::ZERO,
            ..Timeouts::default()
        };
        let server = Server {
            wxlogin: wxlogin.clone(),
            public,
            internal: Some((internal, config.internal)),
            timeouts,
        };
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
