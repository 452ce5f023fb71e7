//! SIGTERM and the other signals that stop the process. What a stop does is in `server.rs`.

use std::future::poll_fn;
use std::io::{self, IsTerminal, stderr};
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Sent to a process that writes beyond its limit of a file's size. Once it is handled, the write returns an error.
const SIGXFSZ: i32 = 25;

/// The signals that stop the service.
pub struct Signals {
    /// By name, without those that were ignored when the process began, as by `nohup`.
    signals: Vec<(&'static str, Signal)>,
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
        let mut signals = Vec::new();
        for (name, kind) in [
            ("SIGTERM", SignalKind::terminate()),
            ("SIGINT", SignalKind::interrupt()),
            ("SIGQUIT", SignalKind::quit()),
            ("SIGHUP", SignalKind::hangup()),
        ] {
            if ignored >> (kind.as_raw_value() - 1) & 1 == 0 {
                signals.push((name, signal(kind)?));
            }
        }
        Ok(Self {
            signals,
            has_terminal: stderr().is_terminal(),
        })
    }

    /// Waits for a signal that stops the service; returns its name.
    pub async fn stop(mut self) -> &'static str {
        loop {
            let name = poll_fn(|context| {
                for (name, signal) in &mut self.signals {
                    if signal.poll_recv(context).is_ready() {
                        return Poll::Ready(*name);
                    }
                }
                Poll::Pending
            });
            let name = name.await;
            if name != "SIGHUP" || self.has_terminal {
                return name;
            }
            tracing::warn!(
                "SIGHUP changes nothing: settings and secrets are read at the start, so restart wxlogin to change them"
            );
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

/// A bit for each signal that is ignored; none where there is no `/proc`.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
