//! The answers of a commit. A task in each runtime sends those of its runtime, so that the writer thread wakes it
//! once: to wake it for each answer costs more CPU than the writes.

use std::cell::RefCell;

use thread_local::ThreadLocal;
use tokio::runtime::{self, Handle};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::session::Unavailable;

/// `false` if the id of a new session is taken.
type WriteResult = Result<bool, Unavailable>;
type Reply = oneshot::Sender<WriteResult>;

/// Whoever waits for a write.
pub(super) struct Waiting {
    reply: Reply,
    task: Task,
}

/// The tasks, each made by the thread that writes first.
#[derive(Default)]
pub(super) struct Runtimes(ThreadLocal<RefCell<Option<(runtime::Id, Task)>>>);

#[derive(Clone)]
struct Task(UnboundedSender<Vec<(Reply, WriteResult)>>);

impl Waiting {
    /// In the current runtime.
    pub(super) fn new(reply: Reply, runtimes: &Runtimes) -> Self {
        let task = runtimes.task();
        Self { reply, task }
    }
}

impl Runtimes {
    fn task(&self) -> Task {
        let current = Handle::current().id();
        let mut known = self.0.get_or_default().borrow_mut();
        match &*known {
            // This thread may have had another runtime, or taken the place of a thread that is gone.
            Some((runtime, task)) if *runtime == current && !task.0.is_closed() => task.clone(),
            _ => known.insert((current, Task::spawn())).1.clone(),
        }
    }
}

impl Task {
    /// It ends when the last clone of this is dropped.
    fn spawn() -> Self {
        let (sender, mut commits) = unbounded_channel();
        tokio::spawn(async move {
            while let Some(answers) = commits.recv().await {
                send(answers);
            }
        });
        Self(sender)
    }
}

/// Answers all whose writes were committed together, with one wake-up for each task.
pub(super) fn answer(waiting: Vec<Waiting>, done: &Result<Vec<bool>, Unavailable>) {
    let mut by_task: Vec<(Task, Vec<_>)> = Vec::new();
    for (nth, Waiting { reply, task }) in waiting.into_iter().enumerate() {
        let result = match done {
            Ok(done) => Ok(done.get(nth).copied().unwrap_or_default()),
            Err(error) => Err(error.clone()),
        };
        let known = by_task.iter_mut().find(|it| it.0.0.same_channel(&task.0));
        match known {
            Some((_, answers)) => answers.push((reply, result)),
            None => by_task.push((task, vec![(reply, result)])),
        }
    }
    for (task, answers) in by_task {
        // Its runtime may have ended meanwhile, and whoever waits be in another.
        if let Err(error) = task.0.send(answers) {
            send(error.0);
        }
    }
}

fn send(answers: Vec<(Reply, WriteResult)>) {
    for (reply, result) in answers {
        // Whoever asked may have gone away meanwhile.
        let _ = reply.send(result);
    }
}
