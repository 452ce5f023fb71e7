//! Serves the doors: a runtime for each core, timeouts for slow clients, and a stop within a fixed time.

mod connections;
mod stop;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::pin;
use std::thread::{self, available_parallelism};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

pub use crate::api::InternalDoor;
use crate::app::{StartError, WxLogin};
pub use stop::{Signals, Watchdog};
use worker::{Worker, serve};

/// How long closing the session store may take after the last request.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Timeouts for clients.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the head of a request, including the idle time before it, and for a client to acknowledge data
    /// that was sent to it.
    pub head: Duration,
    /// How long open connections are kept for a further request when the service stops.
    pub linger: Duration,
    /// For all requests in flight when the service stops, including `linger`.
    pub drain: Duration,
}

impl Default for Timeouts {
    /// 75 s, as in nginx: load balancers keep idle connections for 60 s.
    fn default() -> Self {
        Self {
            head: Duration::from_secs(75),
            linger: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}

/// How a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Every request whose head had arrived was answered.
    Complete,
    /// Some were not answered within [`Timeouts::drain`].
    Unanswered,
}

/// Why the service cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No thread, or no file for a listener.
    #[error("cannot serve on every core: {0}")]
    System(#[from] io::Error),
    /// The connections of a core cannot be set up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A thread has panicked.
    #[error("the thread of a core panicked")]
    Panicked,
}

/// A service with its listeners, not serving yet.
pub struct Server {
    wxlogin: WxLogin,
    listeners: Listeners,
    timeouts: Timeouts,
}

struct Listeners {
    public: StdTcpListener,
    internal: Option<(StdTcpListener, InternalDoor)>,
    /// Whether the public door is served only for connections that no other thread accepts in time.
    is_spare: bool,
}

impl Server {
    /// Makes a server of the public door at `listener`.
    ///
    /// # Errors
    /// If the system refuses the listener.
    pub fn new(listener: TcpListener, wxlogin: WxLogin, timeouts: Timeouts) -> io::Result<Self> {
        let listeners = Listeners {
            public: listener.into_std()?,
            internal: None,
            is_spare: false,
        };
        Ok(Self {
            wxlogin,
            listeners,
            timeouts,
        })
    }

    /// Adds the internal door at `listener`.
    ///
    /// # Errors
    /// If the system refuses the listener.
    pub fn with_internal(mut self, listener: TcpListener, door: InternalDoor) -> io::Result<Self> {
        self.listeners.internal = Some((listener.into_std()?, door));
        Ok(self)
    }

    /// The address of the public door, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// If the system does not return it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listeners.public.local_addr()
    }

    /// Serves in this runtime until `stop` is done, then drains and closes the session store.
    ///
    /// # Errors
    /// If the system refuses the listeners.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<Drained> {
        let drained = serve(self.listeners, &self.wxlogin, self.timeouts, stop).await;
        self.wxlogin.close().await;
        drained
    }

    /// The same with a thread and a runtime for each core: a request stays in one thread, which costs a sixth
    /// less CPU than one runtime for all. A spare thread, which reads no files itself, serves the internal
    /// door, and the public one for connections that no core accepts in time. The calling thread only waits, so
    /// that a hanging disk, resolver or client cannot delay a stop: the caller ends the process when this
    /// returns. Calls `started` once all threads serve.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn run_on_every_core(
        self,
        started: impl Fn(),
        stop: impl Future<Output = ()>,
    ) -> Result<Drained, ServeError> {
        let cores = available_parallelism()?.get();
        let (stopping, stopped) = watch::channel(());
        let threads = cores + 1;
        let (starting, mut starts) = mpsc::channel(threads);
        let worker = |listeners| Worker {
            listeners,
            wxlogin: self.wxlogin.clone(),
            timeouts: self.timeouts,
            starting: starting.clone(),
            stopped: stopped.clone(),
        };
        for core in 0..cores {
            let worker = worker(Listeners {
                public: self.listeners.public.try_clone()?,
                internal: None,
                is_spare: false,
            });
            let name = format!("core-{core}");
            thread::Builder::new().name(name).spawn(|| worker.run())?;
        }
        let spare = worker(Listeners {
            is_spare: true,
            ..self.listeners
        });
        thread::Builder::new()
            .name("spare".into())
            .spawn(|| spare.run())?;
        drop(starting);
        let mut serving = FuturesUnordered::new();
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(core) = starts.recv() => {
                    serving.push(core?);
                    if serving.len() == threads {
                        started();
                    }
                }
                // Before a stop, a thread ends with an error only.
                Some(ended) = serving.next() => return ended.unwrap_or(Err(ServeError::Panicked)),
            }
        }
        let _ = stopping.send(());
        // A thread that does not serve yet, because the disk hangs, has no requests to finish.
        while let Ok(core) = starts.try_recv() {
            serving.push(core?);
        }
        let all = async {
            let mut all = Drained::Complete;
            while let Some(ended) = serving.next().await {
                if ended.unwrap_or(Err(ServeError::Panicked))? == Drained::Unanswered {
                    all = Drained::Unanswered;
                }
            }
            Ok::<_, ServeError>(all)
        };
        // A thread that hangs is not waited for.
        let drained = timeout(self.timeouts.drain, all).await;
        let drained = drained.unwrap_or(Ok(Drained::Unanswered))?;
        if timeout(CLOSE_TIMEOUT, self.wxlogin.close()).await.is_err() {
            tracing::warn!("the session store was not closed in time");
        }
        Ok(drained)
    }
}
