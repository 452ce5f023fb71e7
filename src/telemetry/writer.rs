//! Log lines go through a bounded queue to a thread that writes them to standard error. A reader of
//! standard error that stops reading, or a full disk, costs log lines, never a request.

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
/// Bytes. Our own lines have some 300; what a library logs can have any length.
const MAX_LINE: usize = 2 * 1024;
/// Bytes written with one system call.
const BUFFER: usize = 64 * 1024;
/// How long a reader that has stopped reading may hold up the end of the process.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
/// After each write, so that lines gather: a thread that was woken for each would cost a login more than
/// the line itself.
const PACE: Duration = Duration::from_millis(10);
/// Before the next attempt, if standard error is non-blocking and full.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Lines that found no room in the queue.
static QUEUE_FULL: OnceLock<ErrorCounter> = OnceLock::new();
/// Lines that could not be written: the disk is full, or the reader has gone.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// How many log lines were dropped since the process started.
#[must_use]
pub fn dropped_lines() -> u64 {
    let queue_full = QUEUE_FULL.get().map_or(0, ErrorCounter::dropped_lines);
    queue_full as u64 + REFUSED.load(Ordering::Relaxed)
}

/// Starts the thread that writes.
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
    // A second subscriber of the process is not installed, so its counter is not needed.
    let _ = QUEUE_FULL.set(lines.error_counter());
    Ok((Lines(lines), Flush(Some(guard))))
}

/// The queue. Cuts lines that are too long.
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

/// Standard error, without the lock of [`io::stderr`], which a stuck write would hold.
struct StandardError {
    out: BufWriter<File>,
    /// How many dropped lines have been logged.
    reported: u64,
}

impl StandardError {
    /// Waits while standard error is non-blocking and full.
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
    /// Takes a whole line. An error drops it: the buffer is full of lines that wait for room.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line is shorter than the buffer, so after an error none of it has been written.
        if self.retry(|out| out.write_all(line)).is_err() {
            REFUSED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    /// Called when the queue is empty, so that there is room for a line.
    fn flush(&mut self) -> io::Result<()> {
        let written = self.retry(Write::flush);
        thread::sleep(PACE);
        if written.is_err() {
            return Ok(()); // the lines stay in the buffer, for the next attempt
        }
        let dropped = dropped_lines();
        if dropped > self.reported {
            let lines = dropped - self.reported;
            tracing::warn!(
                "{lines} log lines were dropped: standard error took them too slowly or refused them"
            );
            // Unless this line itself was dropped.
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
        // In a thread of its own: if the queue is full, the guard prints that to standard output, whose
        // reader may have stopped as well.
        let flush = thread::Builder::new().spawn(move || {
            drop(guard);
            // Nobody waits any more after the timeout.
            let _ = flushed.send(());
        });
        if flush.is_ok() {
            let _ = wait.recv_timeout(EXIT_TIMEOUT);
        }
    }
}
