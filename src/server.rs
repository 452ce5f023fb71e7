//! Serves the service: accepts, and on a signal finishes what runs.

mod connections;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, available_parallelism};
use std::time::Duration;

use hyper::server::conn::http1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::api::{self, Answers};
use crate::app::{App, StartError};
use crate::metrics::Metrics;
use connections::Connections;

/// Request line and headers together.
const MAX_HEADERS: usize = 32 * 1024;
/// How long to wait when the system has no file descriptor for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the headers of a request, and between two requests on one connection; up to a quarter
    /// longer.
    pub headers: Duration,
    /// For what runs when the service stops.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// Why a core cannot be used.
#[derive(Debug, thiserror::Error)]
enum CoreError {
    #[error(transparent)]
    System(#[from] io::Error),
    #[error(transparent)]
    App(#[from] StartError),
}

/// A service that has its address but does not answer yet.
pub struct Server {
    listener: TcpListener,
    metrics: Option<TcpListener>,
    app: Arc<App>,
    timeouts: Timeouts,
}

impl Server {
    /// Will answer what comes in at `listener`.
    #[must_use]
    pub fn new(listener: TcpListener, app: App, timeouts: Timeouts) -> Self {
        Self {
            listener,
            metrics: None,
            app: Arc::new(app),
            timeouts,
        }
    }

    /// Will serve metrics to what comes in at `listener`.
    #[must_use]
    pub fn with_metrics(mut self, listener: TcpListener) -> Self {
        self.metrics = Some(listener);
        self
    }

    /// The address, with the port that the system chose if the one asked for was 0.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is done; then accepts nothing more, finishes what runs as far as
    /// timeouts allows, and closes the session store.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let sessions = self.app.sessions.clone();
        self.answer(stop).await;
        sessions.close().await;
    }

    /// The same with a thread for every core, of which this is one. Each has a runtime of its own:
    /// a request stays in its thread from its first byte to its last, which costs a sixth less than
    /// one runtime for all. Whichever has time accepts the next connection.
    ///
    /// # Errors
    /// If the system has no more threads or files.
    pub async fn run_on_every_core(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (stopping, stopped) = watch::channel(());
        // Closed when the last thread has ended.
        let (running, mut ended) = mpsc::channel::<Infallible>(1);
        for core in 1..available_parallelism()?.get() {
            let listener = StdTcpListener::from(self.listener.as_fd().try_clone_to_owned()?);
            let (app, timeouts) = (self.app.clone(), self.timeouts);
            let (mut stopped, running) = (stopped.clone(), running.clone());
            let stop = async move {
                // An error: nobody can change it any more.
                let _ = stopped.changed().await;
            };
            thread::Builder::new()
                .name(format!("core-{core}"))
                .spawn(move || {
                    // The other threads can do without this one.
                    if let Err(error) = run_on_this_core(listener, &app, timeouts, stop) {
                        tracing::error!(%error, core, "cannot use a core");
                    }
                    drop(running);
                })?;
        }
        drop(running);
        let (sessions, timeouts) = (self.app.sessions.clone(), self.timeouts);
        self.answer(async move {
            stop.await;
            drop(stopping);
        })
        .await;
        // A thread that hangs, as in a read of a disk that does, must not hold up the stop.
        let _ = timeout(timeouts.drain, ended.recv()).await;
        sessions.close().await;
        Ok(())
    }

    /// Answers until `stop` is done; then accepts nothing more, and finishes what runs as far as
    /// timeouts allows.
    async fn answer(self, stop: impl Future<Output = ()>) {
        let connections = Arc::new(Connections::default());
        let answers = serve(
            &self.listener,
            api::service(self.app.clone()),
            &connections,
            &self.app.metrics,
        );
        let metrics = async {
            match &self.metrics {
                Some(listener) => {
                    let metrics = api::metrics_service(self.app.clone());
                    serve(listener, metrics, &connections, &self.app.metrics).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = answers => match never {},
            never = metrics => match never {},
            never = connections.watch(self.timeouts.headers) => match never {},
            () = stop => {}
        }
        drop((self.listener, self.metrics));
        let finish = async {
            connections.stop().await;
            self.app.login.drain().await;
        };
        let drained = timeout(self.timeouts.drain, finish).await;
        if drained.is_err() {
            tracing::warn!("stopped with requests unanswered: they took too long");
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run_on_this_core(
    listener: StdTcpListener,
    app: &App,
    timeouts: Timeouts,
    stop: impl Future<Output = ()>,
) -> Result<(), CoreError> {
    let listener = TcpListener::from_std(listener)?;
    // Here and not before: it takes a while, in which the first thread answers already.
    let app = app.sibling()?;
    Server::new(listener, app, timeouts).answer(stop).await;
    Ok(())
}

/// Answers what comes in at `listener`, for ever.
async fn serve(
    listener: &TcpListener,
    service: impl Answers,
    connections: &Arc<Connections>,
    metrics: &Metrics,
) -> Infallible {
    let mut http = http1::Builder::new();
    // An answer is one small write.
    http.max_buf_size(MAX_HEADERS).writev(false);
    loop {
        let stream = accept(listener).await;
        connections.serve(stream, service.clone(), &http, metrics);
    }
}

/// The next connection. Failures to accept pass: the client went away, or files are scarce.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are one small write; waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
