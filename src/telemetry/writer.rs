//! Writes log lines to standard error, in a thread with a bounded queue. If standard error blocks or its disk is
//! full, lines are dropped and counted; requests are not delayed.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// With [`MAX_LINE`], the queue holds at most 8 MiB (1.2 MB of our usual lines).
const MAX_QUEUED_LINES: usize = 4 * 1024;
/// In bytes. Our own lines have some 300; those of libraries can have any length.
const MAX_LINE: usize = 2 * 1024;
/// The size of a write, in bytes.
const BUFFER: usize = 64 * 1024;
/// How long a blocked standard error may delay the end of the process.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after each write, so that lines are batched: waking the thread for each line would cost more CPU
/// than the line itself.
const BATCH_PAUSE: Duration = Duration::from_millis(10);
/// The pause before a retry, if standard error is non-blocking and full.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Counts lines that were dropped because the queue was full.
static QUEUE_FULL: OnceLock<ErrorCounter> = OnceLock::new();
/// Counts lines that could not be written: the disk is full, or the pipe is closed.
static WRITE_FAILED: AtomicU64 = AtomicU64::new(0);

/// How many log lines were dropped since the process started.
#[must_use]
pub fn dropped_lines() -> u64 {
    let queue_full = QUEUE_FULL.get().map_or(0, ErrorCounter::dropped_lines);
    queue_full as u64 + WRITE_FAILED.load(Ordering::Relaxed)
}

/// Starts the writing thread.
pub(super) fn start() -> io::Result<(Lines, Flush)> {
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    let stderr = StandardError {
        out: BufWriter::with_capacity(BUFFER, stderr.into()),
        reported: 0,
    };
    let (lines, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_QUEUED_LINES)
        .thread_name("log-writer")
        .finish(stderr);
    // Fails for a second subscriber, which is not installed.
    let _ = QUEUE_FULL.set(lines.error_counter());
    Ok((Lines(lines), Flush(Some(guard))))
}

/// The sender of the queue. Cuts lines that are too long.
#[derive(Clone)]
pub(super) struct Lines(NonBlocking);

impl Write for Lines {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.len() <= MAX_LINE {
            return self.0.write(line);
        }
        // A character that is cut in two becomes U+FFFD, which like the ellipsis has three bytes.
        let start = String::from_utf8_lossy(&line[..MAX_LINE - "\u{fffd}…\n".len()]);
        self.0.write_all(format!("{start}…\n").as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Standard error, without the lock of [`io::stderr`], which a blocked write would hold.
struct StandardError {
    out: BufWriter<File>,
    /// How many dropped lines have been reported in the log.
    reported: u64,
}

impl StandardError {
    /// Writes, and retries while standard error is non-blocking and full.
    fn retry(
        &mut self,
        mut write: impl FnMut(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            match write(&mut self.out) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
                done => return done,
            }
        }
    }
}

impl Write for StandardError {
    /// Takes a whole line. It is dropped on an error: the buffer is full and cannot be written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line is shorter than the buffer, so after an error no part of it is in the buffer.
        if self.retry(|out| out.write_all(line)).is_err() {
            WRITE_FAILED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    /// Called when the queue is empty, so that it has room for the warning.
    fn flush(&mut self) -> io::Result<()> {
        let written = self.retry(Write::flush);
        thread::sleep(BATCH_PAUSE);
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

/// Writes, when it is dropped, the lines that are queued, for at most [`EXIT_TIMEOUT`].
pub(super) struct Flush(Option<WorkerGuard>);

impl Drop for Flush {
    fn drop(&mut self) {
        let guard = self.0.take();
        let (flushed, wait) = mpsc::channel();
        // In another thread: if the queue is full, the guard prints to standard output, which may block as well.
        let flush = thread::Builder::new().spawn(move || {
            drop(guard);
            // Fails after the timeout.
            let _ = flushed.send(());
        });
        if flush.is_ok() {
            let _ = wait.recv_timeout(EXIT_TIMEOUT);
        }
    }
}
