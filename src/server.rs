//! Serves the listeners: a thread with a runtime for each core, timeouts for slow clients, and a stop within a fixed
//! time.

mod connections;
mod listen;
mod resources;
mod signals;

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, available_parallelism};
use std::time::Duration;

use axum::Router;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryFutureExt, TryStreamExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;

use crate::app::WxLogin;
use crate::config::InternalConfig;
use connections::Connections;
pub use listen::{listen, listen_or_take};
pub use resources::{runtime, try_resources};
pub use signals::{Signals, writes_fail_at_limits};

/// How long closing the session store may take after the last request.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// The time for a thread to report how it ended.
const SLACK: Duration = Duration::from_millis(100);

/// Timeouts for clients.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the head of a request, including the idle time before it, and for a client to acknowledge data
    /// that was sent to it.
    pub head: Duration,
    /// How long connections are still accepted and kept when the service stops: whoever sends requests learns of
    /// the stop later.
    pub linger: Duration,
    /// For a whole stop: all requests in flight, including `linger`, and closing the session store.
    pub drain: Duration,
}

impl Default for Timeouts {
    /// 75 s, as in nginx: load balancers keep idle connections for 60 s.
    fn default() -> Self {
        Self {
            head: Duration::from_secs(75),
            linger: Duration::from_secs(1),
            drain: Duration::from_secs(9), // the log may take another
        }
    }
}

/// How a stop ended, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub enum Drained {
    /// Every request whose head had arrived was answered.
    Complete,
    /// Some were not answered within [`Timeouts::drain`].
    Unanswered,
}

/// A service with its listeners, not serving yet.
pub struct Server {
    /// The service.
    pub wxlogin: WxLogin,
    /// The public listener.
    pub public: StdTcpListener,
    /// The internal listener, if there is one.
    pub internal: Option<(StdTcpListener, InternalConfig)>,
    /// For clients, and for a stop.
    pub timeouts: Timeouts,
}

/// A thread that serves a listener, with a router.
struct Worker {
    listener: StdTcpListener,
    /// For connections. Without a free one none is accepted: it waits in the queue of the system.
    slots: Arc<Semaphore>,
    router: Router,
    wxlogin: WxLogin,
    timeouts: Timeouts,
    /// Changes when the service stops.
    stop: watch::Receiver<()>,
}

impl Server {
    /// Serves until `stop` is done, then drains and closes the session store. A thread for each core serves the
    /// public listener, and one the internal listener, which a disk that hangs does not hold up. The calling thread
    /// only waits, so that nothing that hangs delays a stop: the caller ends the process when this returns. Calls
    /// `started` once all threads are started.
    ///
    /// # Errors
    /// If the system has no thread or file for a listener, or a thread panicked.
    pub async fn run(
        self,
        started: impl FnOnce(),
        stop: impl Future<Output = ()>,
    ) -> io::Result<Drained> {
        tokio::spawn(resources::keep_a_thread());
        let (stopping, stopped) = watch::channel(());
        let worker = |listener, slots, router| Worker {
            listener,
            slots: Arc::clone(slots),
            router,
            wxlogin: self.wxlogin.clone(),
            timeouts: self.timeouts,
            stop: stopped.clone(),
        };
        let slots = Arc::new(Semaphore::new(resources::max_connections()));
        let mut serving = FuturesUnordered::new();
        for core in 0..available_parallelism()?.get() {
            let listener = self.public.try_clone()?;
            let worker = worker(listener, &slots, self.wxlogin.public_router());
            serving.push(worker.start(format!("core-{core}"))?);
        }
        // Each thread has its own handle: the last one that is closed closes the listener.
        drop(self.public);
        if let Some((listener, config)) = self.internal {
            let slots = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
            let worker = worker(listener, &slots, self.wxlogin.internal_router(&config));
            serving.push(worker.start("internal".into())?);
        }
        started();
        let mut stop = pin!(stop);
        tokio::select! {
            () = &mut stop => {}
            // Before a stop, a thread ends with an error only.
            Some(ended) = serving.next() => return ended,
        }
        let _ = stopping.send(());
        let all = serving.try_fold(Drained::Complete, async |all, one| Ok(all.max(one)));
        // A thread that hangs is not waited for.
        let limit = self.timeouts.drain.saturating_sub(CLOSE_TIMEOUT);
        let drained = timeout(limit, all).await;
        let drained = drained.unwrap_or(Ok(Drained::Unanswered))?;
        let close = self.wxlogin.0.sessions.close();
        if timeout(CLOSE_TIMEOUT, close).await.is_err() {
            tracing::warn!("the session store was not closed in time");
        }
        Ok(drained)
    }
}

impl Worker {
    /// Starts the thread; returns its end.
    fn start(self, name: String) -> io::Result<impl Future<Output = io::Result<Drained>>> {
        let (ended, end) = oneshot::channel();
        let run = move || {
            // Sent inside the runtime, because its drop waits for a hanging DNS resolver.
            let _ = match runtime() {
                Ok(runtime) => runtime.block_on(async { ended.send(self.serve().await) }),
                Err(error) => ended.send(Err(io::Error::other(error))),
            };
        };
        thread::Builder::new().name(name).spawn(run)?;
        let panicked = |_| Err(io::Error::other("the thread of a core panicked"));
        Ok(end.unwrap_or_else(panicked))
    }

    /// Serves until the service stops, and drains.
    async fn serve(mut self) -> io::Result<Drained> {
        tokio::spawn(resources::keep_a_thread());
        let metrics = &self.wxlogin.0.metrics;
        let mut connections = Connections::new(self.timeouts.head, self.slots);
        self.listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(self.listener)?;
        tokio::select! {
            () = connections.accept(&listener, &self.router, metrics) => {}
            // An error means that the sender is gone: the service stops as well.
            _ = self.stop.changed() => {}
        }
        connections.announce_the_end();
        let accept = connections.accept(&listener, &self.router, metrics);
        let _ = timeout(self.timeouts.linger, accept).await;
        drop(listener);
        let drained = async {
            connections.drain().await;
            self.wxlogin.drain().await;
        };
        // A little earlier than the thread that waits for this one.
        let passed = self.timeouts.linger + CLOSE_TIMEOUT + SLACK;
        let rest = self.timeouts.drain.saturating_sub(passed);
        let _ = timeout(rest, drained).await;
        Ok(connections.drained())
    }
}
