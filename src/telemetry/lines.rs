//! Log lines on standard error, written together: a system call for each would cost a login as much
//! as all else that is done for its line.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others.
const PAUSE: Duration = Duration::from_millis(50);
/// When this much waits, it is written by whoever adds to it.
const MAX_WAITING: usize = 64 * 1024;

/// Where log lines go. Warnings and errors take all that waits along at once, so that none is lost
/// if the process dies of what they tell.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Vec<u8>>,
    has_come: Condvar,
    /// Held while writing, so that lines stay in order.
    out: Mutex<()>,
}

impl Lines {
    /// Starts the thread that writes what waits.
    pub(super) fn start() -> io::Result<Self> {
        let lines = Self::default();
        let writer = lines.clone();
        std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run())?;
        Ok(lines)
    }

    fn run(&self) {
        loop {
            let waiting = lock(&self.0.waiting);
            let is_empty = |waiting: &mut Vec<u8>| waiting.is_empty();
            drop(self.0.has_come.wait_while(waiting, is_empty));
            std::thread::sleep(PAUSE);
            self.flush();
        }
    }

    /// Writes all that waits.
    pub(super) fn flush(&self) {
        let _in_order = lock(&self.0.out);
        let lines = mem::take(&mut *lock(&self.0.waiting));
        // Nobody is left to be told if there is no standard error.
        let _ = io::stderr().write_all(&lines);
    }

    fn add(&self, line: &[u8], at_once: bool) {
        let mut waiting = lock(&self.0.waiting);
        let was_empty = waiting.is_empty();
        waiting.extend_from_slice(line);
        let is_full = waiting.len() > MAX_WAITING;
        drop(waiting);
        if at_once || is_full {
            self.flush();
        } else if was_empty {
            self.0.has_come.notify_one();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a line, which the subscriber writes as a whole.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    at_once: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.add(line, self.at_once);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            lines: self,
            at_once: true,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line {
            lines: self,
            at_once: *metadata.level() <= Level::WARN,
        }
    }
}
