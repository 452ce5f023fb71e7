//! Serves in one runtime, and the thread that has a core's runtime.

use std::io;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::connections::Connections;
use super::{Drained, Listeners, ServeError, Timeouts};
use crate::app::WxLogin;

/// One core's thread.
pub(super) struct Worker {
    pub(super) listeners: Listeners,
    pub(super) wxlogin: WxLogin,
    pub(super) timeouts: Timeouts,
    /// Told when the connections of this core are set up.
    pub(super) starting: mpsc::Sender<()>,
    /// Changes when the service stops.
    pub(super) stopped: watch::Receiver<()>,
    pub(super) ended: mpsc::Sender<Result<Drained, ServeError>>,
}

impl Worker {
    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn run(self) {
        let ended = self.ended.clone();
        let result = self.serve().await;
        // Sent from inside the runtime, whose drop waits for a hanging resolver.
        let _ = ended.send(result).await;
    }

    async fn serve(mut self) -> Result<Drained, ServeError> {
        let wxlogin = self.wxlogin.for_another_runtime()?;
        let _ = self.starting.send(()).await;
        let stop = async move {
            // An error means that the sender is gone: the service stops as well.
            let _ = self.stopped.changed().await;
        };
        Ok(serve(self.listeners, &wxlogin, self.timeouts, stop).await?)
    }
}

/// Serves until `stop` is done, closes the listeners, and drains.
pub(super) async fn serve(
    listeners: Listeners,
    wxlogin: &WxLogin,
    timeouts: Timeouts,
    stop: impl Future<Output = ()>,
) -> io::Result<Drained> {
    let mut connections = Connections::new(timeouts.head);
    let metrics = wxlogin.metrics();
    {
        let public = TcpListener::from_std(listeners.public)?;
        let public = connections.accept(public, wxlogin.public_door(), metrics);
        let internal = async {
            let Some((listener, door)) = listeners.internal else {
                return Ok(std::future::pending().await);
            };
            let listener = TcpListener::from_std(listener)?;
            let router = wxlogin.internal_door(&door);
            Ok::<_, io::Error>(connections.accept(listener, router, metrics).await)
        };
        tokio::select! {
            never = public => match never {},
            failed = internal => match failed? {},
            () = stop => {}
        }
    }
    let drain = async {
        connections.drain(timeouts.linger).await;
        wxlogin.drain().await;
    };
    let _ = timeout(timeouts.drain, drain).await;
    Ok(connections.drained())
}
