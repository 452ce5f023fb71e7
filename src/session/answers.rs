//! Answers of a thread to requests of several runtimes.

use std::cell::RefCell;

use thread_local::ThreadLocal;
use tokio::runtime::{Handle, Id};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::Unavailable;

pub(super) type Answer = Result<i64, Unavailable>;

/// A task in each runtime sends the answers to its requests. So a thread that answers many at once wakes the runtime's
/// thread once; to wake it for each answer costs more CPU than the writes of a commit.
type Task = UnboundedSender<(oneshot::Sender<Answer>, Answer)>;

/// The task of each thread, with its runtime.
#[derive(Default)]
pub(super) struct Tasks(ThreadLocal<RefCell<Option<(Id, Task)>>>);

/// Whoever waits for an answer, and the task that sends it.
pub(super) struct Waiting(oneshot::Sender<Answer>, Task);

impl Tasks {
    /// Begins to wait in the current runtime.
    pub(super) fn wait(&self) -> (Waiting, oneshot::Receiver<Answer>) {
        let runtime = Handle::current().id();
        let mut task = self.0.get_or_default().borrow_mut();
        // This thread may have had another runtime, or taken the place of a thread that is gone.
        let task = match &mut *task {
            Some((known, task)) if *known == runtime && !task.is_closed() => task,
            other => &mut other.insert((runtime, spawn())).1,
        };
        let (sender, receiver) = oneshot::channel();
        (Waiting(sender, task.clone()), receiver)
    }
}

impl Waiting {
    pub(super) fn answer(self, answer: Answer) {
        // Its runtime may have ended, and whoever asked with it.
        let _ = self.1.send((self.0, answer));
    }
}

/// The task ends when the last clone of its sender is dropped.
fn spawn() -> Task {
    let (sender, mut answers) = unbounded_channel::<(oneshot::Sender<Answer>, Answer)>();
    tokio::spawn(async move {
        while let Some((waiting, answer)) = answers.recv().await {
            // Whoever asked may have gone away meanwhile.
            let _ = waiting.send(answer);
        }
    });
    sender
}
