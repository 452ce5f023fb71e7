//! Serves in one runtime, in the thread of a core or in the spare thread.

use std::io;

use futures_util::future::try_join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::connections::Connections;
use super::{Drained, Listeners, ServeError, Timeouts};
use crate::app::WxLogin;

/// The thread of a core, or the spare thread.
pub(super) struct Worker {
    pub(super) listeners: Listeners,
    pub(super) wxlogin: WxLogin,
    pub(super) timeouts: Timeouts,
    /// Gets a message when the connections of this thread are set up, with a receiver for its end.
    pub(super) starting: mpsc::Sender<Result<oneshot::Receiver<Ended>, ServeError>>,
    /// Changes when the service stops.
    pub(super) stopped: watch::Receiver<()>,
}

/// The result of a thread.
type Ended = Result<Drained, ServeError>;

impl Worker {
    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn run(mut self) {
        let wxlogin = if self.listeners.is_spare {
            self.wxlogin.for_nonblocking_runtime()
        } else {
            self.wxlogin.for_another_runtime()
        };
        let wxlogin = match wxlogin {
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
        // Sent inside the runtime, because its drop waits for a hanging DNS resolver.
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
    let mut doors = vec![(listeners.public, wxlogin.public_door())];
    if let Some((listener, door)) = listeners.internal {
        doors.push((listener, wxlogin.internal_door(&door)));
    }
    {
        let accept = doors
            .iter()
            .enumerate()
            .map(async |(nth, (listener, router))| {
                if listeners.is_spare && nth == 0 {
                    Ok(connections.accept_unserved(listener, router, metrics).await)
                } else {
                    connections.accept(listener, router, metrics).await
                }
            });
        tokio::select! {
            failed = try_join_all(accept) => drop(failed?),
            () = stop => {}
        }
    }
    // Connections in the accept queue are served as well.
    for (listener, router) in doors {
        connections.accept_waiting(&listener, &router, metrics);
    }
    let drain = async {
        connections.drain(timeouts.linger).await;
        wxlogin.drain().await;
    };
    let _ = timeout(timeouts.drain, drain).await;
    Ok(connections.drained())
}
