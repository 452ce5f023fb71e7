//! The open connections of one runtime.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::Drained;
use crate::metrics::{Counted, Metrics};

/// Request line and headers together, in bytes.
const MAX_HEAD: usize = 32 * 1024;
/// The pause after a failed accept, as when there is no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The least time between two lines of the log about failed accepts.
const LINE_PAUSE: Duration = Duration::from_secs(60);
/// The time for a connection that was accepted last to send its first request, also on a busy machine.
const FIRST_REQUEST: Duration = Duration::from_secs(2);
/// The time for the last responses to be written to their connections.
const FLUSH_TIME: Duration = Duration::from_millis(100);

pub(super) struct Connections {
    slots: Arc<Semaphore>,
    /// When a line about a failed accept may be logged again.
    next_line: Cell<Option<Instant>>,
    http: http1::Builder,
    head_timeout: Duration,
    graceful: GracefulShutdown,
    /// Has a token for each connection that has not sent its first request. Closed when the service stops.
    unused: TaskTracker,
    /// Has a token for each request whose head has arrived, until the whole response is handed to its connection.
    /// Closed when the service stops.
    requests: TaskTracker,
}

impl Connections {
    /// `head_timeout` as in [`Timeouts::head`](super::Timeouts::head).
    pub(super) fn new(head_timeout: Duration, slots: Arc<Semaphore>) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_buf_size(MAX_HEAD)
            // A client that has shut down its sending side still waits for the answer (RFC 9112 §9.6).
            .half_close(true)
            // A response is one small write.
            .writev(false);
        Self {
            slots,
            next_line: Cell::new(None),
            http,
            head_timeout,
            graceful: GracefulShutdown::new(),
            unused: TaskTracker::new(),
            requests: TaskTracker::new(),
        }
    }

    /// Serves the connections of `listener`, until this future is dropped.
    pub(super) async fn accept(&self, listener: &TcpListener, router: &Router, metrics: &Metrics) {
        loop {
            let slot = self.slot().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let open = Counted::new(&metrics.connections);
                    self.serve(stream, router, (slot, open));
                }
                Err(error) => {
                    self.warn(&format_args!("cannot accept connections: {error}"));
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slots = self.slots.clone();
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            return Some(slot);
        }
        self.warn(&"as many connections as the limit of open files allows: others wait (raise LimitNOFILE or ulimit -n)");
        // Never closed.
        slots.acquire_owned().await.ok()
    }

    fn warn(&self, message: &dyn std::fmt::Display) {
        let now = Instant::now();
        if self.next_line.get().is_none_or(|next| next <= now) {
            self.next_line.set(Some(now + LINE_PAUSE));
            tracing::warn!("{message}");
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        router: &Router,
        held: (Option<OwnedSemaphorePermit>, Counted),
    ) {
        // Neither fails on a working socket. The second closes the connection of a client that does not read.
        let _ = stream.set_nodelay(true);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(self.head_timeout));
        let router = TowerToHyperService::new(router.clone());
        let requests = self.requests.clone();
        let unused = Cell::new(Some(self.unused.token()));
        let service = service_fn(move |request| {
            let token = requests.token();
            unused.take();
            let response = router.call(request);
            async move {
                let mut response = response.await?;
                if token.task_tracker().is_closed() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                // The body holds the token: an answer that is passed through takes time.
                let response = response.map(|body| body.map_err(move |error| (error, &token).0));
                Ok::<_, Infallible>(response)
            }
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            let _held = held;
            // A client that closes the connection or is too slow is not a fault of the service.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
        });
    }

    /// Answers with `Connection: close` from now on.
    pub(super) fn announce_the_end(&self) {
        self.requests.close();
        self.unused.close();
    }

    /// Waits until all requests are answered. A connection has [`FIRST_REQUEST`] for its first one. Clients that send
    /// the head of another slowly, or do not read what their connection holds of a response, are not waited for.
    pub(super) async fn drain(&mut self) {
        // A request that arrives after its connection was closed is lost.
        let _ = timeout(FIRST_REQUEST, self.unused.wait()).await;
        let closed = std::mem::take(&mut self.graceful).shutdown();
        let answered = async {
            // Again, if another request has come meanwhile.
            loop {
                self.requests.wait().await;
                sleep(FLUSH_TIME).await;
                if self.requests.is_empty() {
                    break;
                }
            }
        };
        tokio::select! {
            () = closed => {}
            () = answered => {}
        }
    }

    /// The result of the drain, so far.
    pub(super) fn drained(&self) -> Drained {
        if self.requests.is_empty() {
            Drained::Complete
        } else {
            Drained::Unanswered
        }
    }
}
