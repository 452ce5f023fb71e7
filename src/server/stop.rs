//! The signals that stop the process.

use std::future::pending;
use std::io::{self, IsTerminal, stderr};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Sent to a process that writes beyond its limit of a file's size. Once it is handled, the write returns an error.
const SIGXFSZ: i32 = 25;

/// The signals that stop the service. One that was ignored when the process began, as by `nohup`, is `None`.
pub struct Signals {
    term: Option<Signal>,
    int: Option<Signal>,
    quit: Option<Signal>,
    hup: Option<Signal>,
    /// Read at the start: a terminal that has hung up is none any more.
    has_terminal: bool,
}

impl Signals {
    /// Installs the handlers. SIGUSR1 and SIGUSR2 are ignored from now on.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        writes_fail_at_limits()?;
        // A handler stays when its stream is dropped.
        drop(signal(SignalKind::user_defined1())?);
        drop(signal(SignalKind::user_defined2())?);
        let ignored = ignored();
        let listen = |kind: SignalKind| {
            let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
            (!is_ignored).then(|| signal(kind)).transpose()
        };
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            hup: listen(SignalKind::hangup())?,
            has_terminal: stderr().is_terminal(),
        })
    }

    /// Waits for a signal that stops the service; returns its name.
    pub async fn stop(mut self) -> &'static str {
        let hangup = async {
            received(&mut self.hup).await;
            while !self.has_terminal {
                tracing::warn!(
                    "SIGHUP changes nothing: settings and secrets are read at the start, so restart wxlogin to change them"
                );
                received(&mut self.hup).await;
            }
        };
        tokio::select! {
            () = received(&mut self.term) => "SIGTERM",
            () = received(&mut self.int) => "SIGINT",
            () = received(&mut self.quit) => "SIGQUIT",
            () = hangup => "SIGHUP",
        }
    }
}

/// Makes a write beyond the limit of a file's size an error, which otherwise ends the process.
///
/// # Errors
/// If the system refuses the handler.
pub fn writes_fail_at_limits() -> io::Result<()> {
    signal(SignalKind::from_raw(SIGXFSZ)).map(drop)
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            let _ = signal.recv().await;
        }
        None => pending().await,
    }
}

/// A bit for each signal that is ignored; none where there is no `/proc`.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
