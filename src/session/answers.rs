//! Answers of a thread to requests of several runtimes.

use std::collections::HashMap;

use tokio::runtime::Handle;
use tokio::sync::oneshot::{Receiver, Sender, channel};

use super::Result;

pub(super) type Answer = Result<i64>;

/// Whoever waits for an answer, and the runtime in which they wait.
pub(super) struct Waiting(Handle, Sender<Answer>);

impl Waiting {
    /// Begins to wait in the current runtime.
    pub(super) fn new() -> (Self, Receiver<Answer>) {
        let (sender, receiver) = channel();
        (Self(Handle::current(), sender), receiver)
    }
}

/// Sends all answers, by a task in each runtime, which wakes its thread once: to wake it for each answer costs more CPU
/// than the writes of a commit.
pub(super) fn send(answers: impl Iterator<Item = (Waiting, Answer)>) {
    let mut by_runtime = HashMap::new();
    for (Waiting(runtime, sender), answer) in answers {
        let new = || (runtime.clone(), Vec::new());
        let (_, answers) = by_runtime.entry(runtime.id()).or_insert_with(new);
        answers.push((sender, answer));
    }
    for (runtime, answers) in by_runtime.into_values() {
        // If the runtime has ended, nobody waits, and the task is dropped.
        runtime.spawn(async {
            for (sender, answer) in answers {
                // Whoever asked may have gone away meanwhile.
                let _ = sender.send(answer);
            }
        });
    }
}
