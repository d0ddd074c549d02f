//! Calls whose answer is a task: made by one exchange, asked after by others, perhaps cancelled.
//! They are one call, from the first exchange to the one that tells how it ended.

use crate::model::call::ModelCall;
use crate::model::time::BootTime;
use std::collections::BTreeMap;

/// Tasks followed at one time; of more, the one that was silent longest is told as it is.
pub const MAX_TASKS: usize = 4096;

/// How long nobody may ask after a task before it is told as it is, in nanoseconds. Libraries ask
/// every few seconds.
pub const TASK_PATIENCE: u64 = 120_000_000_000;

/// What an answer says of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) id: String,
    /// It is over, one way or the other.
    pub(super) over: bool,
    /// Path at which what it makes can be read as a stream.
    pub(super) stream: Option<String>,
}

/// What a request does with a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TaskStep {
    /// Asks how it is.
    Poll(String),
    /// Ends it.
    Cancel(String),
    /// Reads what it makes at this path, which the task named before.
    Stream(String),
}

/// The tasks under way, by process and id.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    held: BTreeMap<(u32, String), Held>,
}

#[derive(Debug)]
struct Held {
    call: ModelCall,
    stream: Option<String>,
    last: BootTime,
}

/// Calls that go for another.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) same: Option<ModelCall>,
    pub(super) evicted: Option<ModelCall>,
}

impl Tasks {
    /// Whether a step is one of a task that is followed.
    pub(super) fn knows(&self, pid: u32, step: &TaskStep) -> bool {
        self.key(pid, step).is_some()
    }

    /// Under what the task of a step is followed.
    fn key(&self, pid: u32, step: &TaskStep) -> Option<(u32, String)> {
        match step {
            TaskStep::Poll(id) | TaskStep::Cancel(id) => {
                let key = (pid, id.clone());
                self.held.contains_key(&key).then_some(key)
            }
            TaskStep::Stream(path) => {
                let named = |held: &Held| held.stream.as_ref() == Some(path);
                let mut all = self.held.iter();
                let found = all.find(|((of, _), held)| *of == pid && named(held));
                found.map(|(key, _)| key.clone())
            }
        }
    }

    /// Takes a call whose answer is a task that goes on. Gives the ones that must go for it: one
    /// of the same id, after which nobody can ask any more, and one that is too many.
    pub(super) fn hold(&mut self, task: Task, call: ModelCall) -> Replaced {
        let key = (call.connection.pid, task.id);
        let same = self.held.remove(&key).map(|h| h.call);
        let full = self.held.len() >= MAX_TASKS;
        let evicted = full.then(|| self.oldest()).flatten();
        let last = call.end;
        let stream = task.stream;
        self.held.insert(key, Held { call, stream, last });
        Replaced { same, evicted }
    }

    fn oldest(&mut self) -> Option<ModelCall> {
        let (key, _) = self.held.iter().min_by_key(|(_, h)| h.last)?;
        let key = key.clone();
        self.held.remove(&key).map(|h| h.call)
    }

    /// A step of a task that is followed is over: `call` is what came of it. Gives the task's
    /// call when that is over with it.
    pub(super) fn step(
        &mut self,
        step: &TaskStep,
        task: Option<&Task>,
        mut call: ModelCall,
    ) -> Option<ModelCall> {
        let key = self.key(call.connection.pid, step)?;
        let held = self.held.get_mut(&key)?;
        held.last = call.end;
        let over = match step {
            TaskStep::Poll(_) => {
                held.call.polls = held.call.polls.saturating_add(1);
                task.is_some_and(|t| t.over)
            }
            TaskStep::Cancel(_) => call.error.is_none() && call.response.status.is_some(),
            // One that is refused, or breaks off, may be tried again.
            TaskStep::Stream(_) => task.is_some_and(|t| t.over),
        };
        let refused = call.response.status.is_none_or(|s| s >= 400);
        if matches!(step, TaskStep::Stream(_)) && !refused {
            streamed(&mut held.call, &mut call);
        }
        if !over {
            return None;
        }
        let mut whole = self.held.remove(&key)?.call;
        whole.end = call.end;
        whole.defects.add(call.defects);
        match step {
            TaskStep::Poll(_) => {
                whole.response = call.response;
                whole.error = call.error;
            }
            TaskStep::Cancel(_) => whole.response.finish_reasons = vec!["cancelled".to_owned()],
            TaskStep::Stream(_) => {}
        }
        Some(whole)
    }

    /// The calls after which nobody asked for long.
    pub(super) fn silent(&mut self, now: BootTime) -> Vec<ModelCall> {
        self.take(|_, held| now.since(held.last) > TASK_PATIENCE)
    }

    /// The calls of a process that is gone.
    pub(super) fn of_process(&mut self, pid: u32) -> Vec<ModelCall> {
        self.take(|(p, _), _| *p == pid)
    }

    /// All calls.
    pub(super) fn all(&mut self) -> Vec<ModelCall> {
        self.take(|_, _| true)
    }

    fn take(&mut self, which: impl Fn(&(u32, String), &Held) -> bool) -> Vec<ModelCall> {
        let keys: Vec<_> = self
            .held
            .iter()
            .filter(|(key, held)| which(key, held))
            .map(|(key, _)| key.clone())
            .collect();
        keys.iter()
            .filter_map(|key| self.held.remove(key))
            .map(|held| held.call)
            .collect()
    }
}

/// What a task made was read as a stream: all of the answer but what the task said of itself.
fn streamed(whole: &mut ModelCall, read: &mut ModelCall) {
    let response = std::mem::take(&mut read.response);
    let told = std::mem::replace(&mut whole.response, response);
    whole.response.id = told.id;
    whole.response.model = told.model;
    whole.response.request_id = told.request_id;
    whole.first_chunk = read.first_chunk;
    whole.error = read.error.take();
    whole.request.stream = true;
}
