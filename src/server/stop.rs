//! What stops a process: the signals, and a thread that ends it when a stop takes longer than it may.

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
    /// Listened to so that they do not end the process.
    _ignored: [Signal; 2],
}

impl Signals {
    /// From now on signals are waited for, and SIGUSR1 and SIGUSR2 ignored.
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

/// Ends the process when a stop takes longer than it may, whatever hangs in whichever thread.
pub struct Watchdog(SyncSender<()>);

impl Watchdog {
    /// Starts the thread, while there is memory and a thread to be had: `status` is the exit status so long
    /// after [`begin`](Self::begin).
    ///
    /// # Errors
    /// If the system has no thread.
    pub fn start(deadline: Duration, status: u8) -> io::Result<Self> {
        let (sender, begun) = sync_channel(1);
        let end = move || {
            // An error means that the service ends without a stop.
            if begun.recv().is_ok() {
                thread::sleep(deadline);
                std::process::exit(status.into());
            }
        };
        thread::Builder::new().name("watchdog".into()).spawn(end)?;
        Ok(Self(sender))
    }

    /// The stop begins.
    pub fn begin(&self) {
        // Full if it has begun already.
        let _ = self.0.try_send(());
    }
}
