//! Stops the process: on a signal, and by a thread that ends it when a stop takes too long.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that stop the service.
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    quit: Signal,
    /// Handled so that they do not end the process.
    _ignored: [Signal; 2],
}

impl Signals {
    /// Installs the handlers. SIGUSR1 and SIGUSR2 are ignored from now on.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            _ignored: [
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
            ],
        })
    }

    /// Waits for a signal that stops the service; returns its name.
    pub async fn stop(mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
            _ = self.hup.recv() => "SIGHUP",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }
}

/// A thread that ends the process when a stop takes too long, also if all other threads hang.
pub struct Watchdog(SyncSender<()>);

impl Watchdog {
    /// Starts the thread at the start of the process, when resources are available. It exits with `status` when
    /// `deadline` has passed since [`begin`](Self::begin).
    ///
    /// # Errors
    /// If the system has no thread.
    pub fn start(deadline: Duration, status: u8) -> io::Result<Self> {
        let (sender, begun) = sync_channel(1);
        let end = move || {
            // An error means that the sender was dropped: the process ends without a stop.
            if begun.recv().is_ok() {
                thread::sleep(deadline);
                std::process::exit(status.into());
            }
        };
        thread::Builder::new().name("watchdog".into()).spawn(end)?;
        Ok(Self(sender))
    }

    /// Starts the countdown.
    pub fn begin(&self) {
        // The channel is full if the countdown has started already.
        let _ = self.0.try_send(());
    }
}
