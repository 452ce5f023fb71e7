//! The open connections of a thread: ends those that wait too long for a request, and at a stop each
//! as soon as none of its requests runs.
//!
//! A look at all of them every few seconds costs nothing; hyper's timer and graceful shutdown cost
//! every request a tenth of its time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::api::{Answer, Answers};
use crate::metrics::Metrics;

/// Looks while one connection may wait; so its time is exact to this part of it.
const LOOKS: u32 = 4;
/// For requests that have come when the service is stopped, and are not read yet.
const LAST_READ: Duration = Duration::from_millis(10);

/// The open connections of a thread.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    /// Counts the looks.
    now: AtomicU32,
    is_stopping: AtomicBool,
    has_ended: Notify,
}

struct Open {
    state: Arc<State>,
    task: AbortHandle,
}

struct State {
    is_busy: AtomicBool,
    /// The look since which it waits for a request.
    since: AtomicU32,
}

impl Connections {
    /// Answers what comes in at `stream`, until one of both ends it.
    pub(super) fn serve(
        self: &Arc<Self>,
        stream: TcpStream,
        service: impl Answers,
        http: &http1::Builder,
        metrics: &Metrics,
    ) {
        let state = Arc::new(State {
            is_busy: AtomicBool::new(false),
            since: AtomicU32::new(self.now.load(Relaxed)),
        });
        let counted = metrics.connection();
        let place = Place {
            connections: self.clone(),
            number: self.next.fetch_add(1, Relaxed),
        };
        let number = place.number;
        let (connections, of_task) = (self.clone(), state.clone());
        let service = service_fn(move |request| {
            of_task.is_busy.store(true, Relaxed);
            let answer = service.call(request);
            let (connections, state) = (connections.clone(), of_task.clone());
            async move {
                let Ok(answer) = answer.await;
                Ok::<_, Infallible>(connections.answered(&state, answer))
            }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let task = tokio::spawn(async move {
            let (_place, _counted) = (place, counted);
            // A client that breaks off or is too slow is no fault of the service.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
        });
        let task = task.abort_handle();
        // It has not ended yet: the task runs in this thread, after us.
        self.lock().insert(number, Open { state, task });
    }

    fn answered(&self, state: &State, mut answer: Answer) -> Answer {
        state.since.store(self.now.load(Relaxed), Relaxed);
        state.is_busy.store(false, Relaxed);
        if self.is_stopping.load(Relaxed) {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        answer
    }

    /// Ends those that wait for a request for longer than `timeouts`, for ever.
    pub(super) async fn watch(&self, timeouts: Duration) -> Infallible {
        loop {
            sleep(timeouts / LOOKS).await;
            let now = self.now.fetch_add(1, Relaxed).wrapping_add(1);
            // More than that many looks ago, so not too soon.
            self.end(|state| now.wrapping_sub(state.since.load(Relaxed)) > LOOKS);
        }
    }

    /// Ends all that wait for a request, and waits until the others are answered. A client that has
    /// not read its last answer loses what the system had no room for.
    pub(super) async fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
        sleep(LAST_READ).await;
        self.end(|_| true);
        while !self.lock().is_empty() {
            self.has_ended.notified().await;
        }
    }

    /// Ends those of which no request runs and of which this is true.
    fn end(&self, is_over: impl Fn(&State) -> bool) {
        let is_over = |open: &&Open| !open.state.is_busy.load(Relaxed) && is_over(&open.state);
        let tasks: Vec<_> = {
            let open = self.lock();
            let over = open.values().filter(is_over);
            over.map(|open| open.task.clone()).collect()
        };
        for task in tasks {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection, until this is dropped.
struct Place {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.number);
        self.connections.has_ended.notify_one();
    }
}
