//! The log: one subscriber for the process, on standard error, as text or as JSON.
//!
//! A thread with a bounded queue writes it. If standard error blocks or its disk is full, lines are dropped and
//! counted; requests are not delayed.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, ErrorKind, Stderr, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt};

/// Some 1.2 MB of our usual lines.
const MAX_QUEUED_LINES: usize = 4 * 1024;
/// The size of a write, in bytes.
const BUFFER: usize = 64 * 1024;
/// The pause after each write, so that lines are batched: waking the thread for each line would cost more CPU
/// than the line itself.
const BATCH_PAUSE: Duration = Duration::from_millis(10);
/// How long a blocked standard error may delay the end of the process.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Counts lines that were dropped because the queue was full.
static QUEUE_FULL: OnceLock<ErrorCounter> = OnceLock::new();
/// Counts lines that could not be written: the disk is full, or the pipe is closed.
static WRITE_FAILED: AtomicU64 = AtomicU64::new(0);

/// What is logged, and in which format.
#[derive(Debug)]
pub struct Settings {
    /// `RUST_LOG`.
    pub filter: Targets,
    /// `LOG_FORMAT`: whether a line is a JSON object.
    pub is_json: bool,
}

/// The filter that `RUST_LOG` describes: one level for all at most, and one for each target. [`Targets`] itself takes
/// a mistyped level for a target, nothing for a level, and drops what it does not know.
pub(crate) fn parse_filter(text: &str) -> Option<Targets> {
    let (mut filter, mut targets) = (Targets::new(), BTreeSet::new());
    for word in text.split(',') {
        let (target, level) = word.split_once('=').unwrap_or(("", word));
        let (target, level) = (target.trim(), level.trim());
        let level: LevelFilter = level.parse().ok().filter(|_| !level.is_empty())?;
        let mut bytes = target.bytes();
        let is_name = bytes.all(|b| b.is_ascii_alphanumeric() || b"_:-".contains(&b));
        if !is_name || !targets.insert(target) {
            return None;
        }
        filter = filter.with_target(target, level); // the empty target is that of all
    }
    Some(filter)
}

/// The filter without `RUST_LOG`.
pub(crate) fn default_filter() -> Targets {
    Targets::new().with_target("", LevelFilter::INFO)
}

/// Writes the queued lines when it is dropped, for at most a second.
#[must_use]
pub struct Logging {
    lines: NonBlocking,
    guard: Option<WorkerGuard>,
}

impl Logging {
    /// Writes a line, whatever `RUST_LOG` is. Standard error that nobody reads does not hold it up.
    pub fn print(&self, line: &str) {
        // The queue accepts or drops it, without an error.
        let _ = self.lines.clone().write_all(format!("{line}\n").as_bytes());
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let guard = self.guard.take();
        let (flushed, wait) = mpsc::channel::<()>();
        // In another thread: if the queue is full, the guard prints to standard output, which may block as well.
        let _thread = thread::Builder::new().spawn(move || {
            drop(guard);
            drop(flushed);
        });
        // Ends when `flushed` is dropped.
        let _ = wait.recv_timeout(EXIT_TIMEOUT);
    }
}

/// Installs the subscriber of the process, and logs panics. Does nothing if there is a subscriber.
///
/// Lines go to standard error. Those that cannot be written are dropped and counted.
pub fn init(settings: &Settings) -> Logging {
    let stderr = StandardError {
        out: BufWriter::with_capacity(BUFFER, io::stderr()),
        reported: 0,
    };
    let (lines, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_QUEUED_LINES)
        .thread_name("log-writer")
        .finish(stderr);
    let layer = fmt::layer().with_writer(lines.clone());
    let layer = if settings.is_json {
        layer.json().flatten_event(true).boxed()
    } else {
        layer.boxed()
    };
    // Below INFO, HTTP libraries log URLs, headers and bodies, and with them the AppSecret, tokens and codes. So only
    // our own lines are logged below INFO, whatever `RUST_LOG` says.
    let only_ours = default_filter().with_target("wxlogin", LevelFilter::TRACE);
    let filter = settings.filter.clone().and(only_ours);
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let _ = QUEUE_FULL.set(lines.error_counter());
        // The panic message is not logged: it can quote a secret.
        std::panic::set_hook(Box::new(|panic| {
            let location = panic.location().map(ToString::to_string);
            tracing::error!(location, "panicked");
        }));
    }
    let guard = Some(guard);
    Logging { lines, guard }
}

/// How many log lines were dropped since the process started.
#[must_use]
pub fn dropped_lines() -> u64 {
    let queue_full = QUEUE_FULL.get().map_or(0, ErrorCounter::dropped_lines);
    queue_full as u64 + WRITE_FAILED.load(Ordering::Relaxed)
}

struct StandardError {
    out: BufWriter<Stderr>,
    /// How many dropped lines have been reported in the log.
    reported: u64,
}

impl Write for StandardError {
    /// Takes a whole line. It is dropped on an error: the buffer is full and cannot be written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.out.write_all(line).is_err() {
            WRITE_FAILED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    /// Called when the queue is empty, so that it has room for the warning.
    fn flush(&mut self) -> io::Result<()> {
        let mut written = self.out.flush();
        thread::sleep(BATCH_PAUSE);
        // Standard error may be non-blocking, and full.
        while matches!(&written, Err(error) if error.kind() == ErrorKind::WouldBlock) {
            written = self.out.flush();
            thread::sleep(BATCH_PAUSE);
        }
        if written.is_err() {
            return Ok(()); // the lines stay in the buffer, for the next attempt
        }
        let dropped = dropped_lines();
        if dropped > self.reported {
            let lines = dropped - self.reported;
            tracing::warn!(
                "{lines} log lines were dropped: standard error was too slow or refused them"
            );
            // Not if the warning itself was dropped.
            if dropped_lines() == dropped {
                self.reported = dropped;
            }
        }
        Ok(())
    }
}
