//! Answers of a thread to requests of several runtimes.

use std::cell::RefCell;

use thread_local::ThreadLocal;
use tokio::runtime::{Handle, Id};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::Unavailable;

pub(super) type Answer<T> = Result<T, Unavailable>;

/// A task in each runtime sends the answers to its requests. So a thread that answers many at once wakes the runtime's
/// thread once; to wake it for each answer costs more CPU than the writes of a commit.
type Task<T> = UnboundedSender<(oneshot::Sender<Answer<T>>, Answer<T>)>;

/// The task of a thread, with its runtime.
type OfThread<T> = RefCell<Option<(Id, Task<T>)>>;

#[derive(Default)]
pub(super) struct Tasks<T: Send>(ThreadLocal<OfThread<T>>);

/// Whoever waits for an answer, and the task that sends it.
pub(super) struct Waiting<T>(oneshot::Sender<Answer<T>>, Task<T>);

impl<T: Send + 'static> Tasks<T> {
    /// Begins to wait in the current runtime.
    pub(super) fn wait(&self) -> (Waiting<T>, oneshot::Receiver<Answer<T>>) {
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

impl<T> Waiting<T> {
    pub(super) fn answer(self, answer: Answer<T>) {
        // Its runtime may have ended, and whoever asked with it.
        let _ = self.1.send((self.0, answer));
    }
}

/// The task ends when the last clone of its sender is dropped.
fn spawn<T: Send + 'static>() -> Task<T> {
    let (sender, mut answers) = unbounded_channel::<(oneshot::Sender<Answer<T>>, Answer<T>)>();
    tokio::spawn(async move {
        while let Some((waiting, answer)) = answers.recv().await {
            // Whoever asked may have gone away meanwhile.
            let _ = waiting.send(answer);
        }
    });
    sender
}
