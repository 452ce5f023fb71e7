//! Answers from the writer's thread to those who wait in others.
//!
//! To wake somebody in another thread is a system call, and often a switch of threads. So of all in one
//! thread whose writes shared a sync, only one is woken from here, and wakes the others there.

use std::thread::{self, ThreadId};

use tokio::sync::oneshot::{self, Receiver, Sender};

/// Where to send one answer.
pub(super) struct Reply<T> {
    sender: Sender<Answer<T>>,
    thread: ThreadId,
}

/// An answer, and those that its receiver is to pass on.
pub(super) struct Answer<T> {
    result: T,
    others: Others<T>,
}

struct Others<T>(Vec<(Sender<Answer<T>>, T)>);

/// For an answer to this thread.
pub(super) fn reply<T>() -> (Reply<T>, Receiver<Answer<T>>) {
    let (sender, answer) = oneshot::channel();
    let thread = thread::current().id();
    (Reply { sender, thread }, answer)
}

/// Sends the answers.
pub(super) fn send<T>(answers: impl IntoIterator<Item = (Reply<T>, T)>) {
    let mut by_thread: Vec<(ThreadId, Others<T>)> = Vec::new();
    for (Reply { sender, thread }, result) in answers {
        match by_thread.iter_mut().find(|(other, _)| *other == thread) {
            Some((_, others)) => others.0.push((sender, result)),
            None => by_thread.push((thread, Others(vec![(sender, result)]))),
        }
    }
    for (_, mut others) in by_thread {
        if let Some((first, result)) = others.0.pop() {
            // If whoever asked has gone away meanwhile, the others get theirs from here.
            let _ = first.send(Answer { result, others });
        }
    }
}

impl<T> Answer<T> {
    /// What the writer says.
    pub(super) fn open(self) -> T {
        drop(self.others);
        self.result
    }
}

impl<T> Drop for Others<T> {
    fn drop(&mut self) {
        for (sender, result) in self.0.drain(..) {
            let others = Others(Vec::new());
            let _ = sender.send(Answer { result, others });
        }
    }
}
