//! Serves in one runtime, and the thread that has a core's runtime.

use std::io;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::connections::Connections;
use super::{Drained, Listeners, ServeError, Timeouts};
use crate::app::WxLogin;

/// One core's thread.
pub(super) struct Worker {
    pub(super) listeners: Listeners,
    pub(super) wxlogin: WxLogin,
    pub(super) timeouts: Timeouts,
    /// Told when the connections of this core are set up, and where its end will be told.
    pub(super) starting: mpsc::Sender<Result<oneshot::Receiver<Ended>, ServeError>>,
    /// Changes when the service stops.
    pub(super) stopped: watch::Receiver<()>,
}

/// How a core's thread ended.
type Ended = Result<Drained, ServeError>;

impl Worker {
    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn run(mut self) {
        let wxlogin = match self.wxlogin.for_another_runtime() {
            Ok(wxlogin) => wxlogin,
            Err(error) => {
                let _ = self.starting.send(Err(error.into())).await;
                return;
            }
        };
        let (ended, end) = oneshot::channel();
        let _ = self.starting.send(Ok(end)).await;
        let stop = async move {
            // An error means that the sender is gone: the service stops as well.
            let _ = self.stopped.changed().await;
        };
        let drained = serve(self.listeners, &wxlogin, self.timeouts, stop).await;
        // Sent from inside the runtime, whose drop waits for a hanging resolver.
        let _ = ended.send(drained.map_err(ServeError::from));
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
