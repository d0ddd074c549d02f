//! Python objects of a process as they were at one moment: copied by the kernel when a watched function
//! was entered, and decoded by whoever can look into the process.
//!
//! What is built on it (a framework's hook that wants arguments) names the function and its arguments,
//! and is told of each call as [`Snapshot`]: whose call it was, when and on which thread, in which
//! context, and the values in the order of the arguments.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::function::FunctionCall;
use super::time::BootTime;

/// The member under which a value has the class of an instance: no attribute has such a name.
pub const CLASS: &str = "<class>";

/// In the place of an object that was not copied: there was no room for it, or it is not wanted.
pub const OMITTED: &str = "<omitted>";

/// A value in which instances have no classes: one without attributes is a text with its class.
pub fn without_classes(value: &mut Json) {
    match value {
        Json::Object(all) => {
            let class = all.shift_remove(CLASS);
            if let (Some(Json::String(class)), true) = (class, all.is_empty()) {
                *value = Json::String(format!("<{class}>"));
                return;
            }
            all.values_mut().for_each(without_classes);
        }
        Json::Array(items) => items.iter_mut().for_each(without_classes),
        Json::String(_) | Json::Number(_) | Json::Bool(_) | Json::Null => {}
    }
}

/// Whose objects they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Arguments of a watched function, in the order of its facts.
    Call(FunctionCall),
    /// Of a run of LangChain.
    Run {
        /// `genspan_common::framework::hook` number: what it does.
        hook: u32,
        /// See [`super::framework::RunStart::manager`].
        manager: u64,
    },
    /// Of a span of LlamaIndex.
    Span {
        /// `genspan_common::dispatch::hook` number: it begins, or ends.
        hook: u32,
        /// Eight characters of its id.
        id: u64,
    },
    /// What a model says of its answer besides the answer, where content is not wanted.
    Counts {
        /// Of the same of [`Self::Run`] or of [`Self::Span`], and which of these it is.
        hook: u32,
        /// The manager, or a part of the id, likewise.
        of: u64,
    },
    /// What a hook wants.
    Hook {
        /// Its number.
        hook: u32,
        /// The address of the first argument: an object by which calls are told apart.
        first: u64,
    },
}

/// What the kernel copied: addresses and pieces of memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawSnapshot<'a> {
    /// Process (thread group) id in the initial PID namespace.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// When.
    pub time: BootTime,
    /// Whose objects they are.
    pub subject: Subject,
    /// The context in which the thread runs, where that is wanted.
    pub context: Option<u64>,
    /// The process whose watchpoints this one has.
    pub root: u32,
    /// Something was left out: there was too much. What could not be read is not told by this: words that
    /// may be no references are followed too.
    pub cut: bool,
    /// Addresses of the objects; zero where there is none.
    pub roots: [u64; genspan_common::function::MAX_ARGUMENTS],
    /// The pieces, as in [`genspan_common::snapshot`].
    pub segments: &'a [u8],
}

/// The same, decoded: what is recorded and replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// As in [`RawSnapshot`].
    pub pid: u32,
    /// As in [`RawSnapshot`].
    pub tid: u32,
    /// As in [`RawSnapshot`].
    pub time: BootTime,
    /// As in [`RawSnapshot`].
    pub subject: Subject,
    /// As in [`RawSnapshot`].
    pub context: Option<u64>,
    /// The values: `None` where there is none. Lists, dicts and texts are themselves, an instance is the
    /// object of its attributes, with its class under [`CLASS`]; what is missing says so in its place, as
    /// [`OMITTED`] and the like.
    pub values: Vec<Option<Json>>,
}

/// [`Snapshot`] as it stands in a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct SnapshotFacts {
    /// Boot nanoseconds.
    pub time: u64,
    /// As in [`RawSnapshot`].
    pub pid: u32,
    /// As in [`RawSnapshot`].
    pub tid: u32,
    /// Number of `genspan_common::snapshot::purpose`.
    pub purpose: u32,
    /// Number of the function or the hook.
    pub number: u32,
    /// When the call began, the manager, or the first argument.
    pub subject: u64,
    /// As in [`RawSnapshot`].
    pub context: Option<u64>,
    /// As in [`Snapshot`].
    pub values: Vec<Option<Json>>,
}

impl RawSnapshot<'_> {
    /// The same, decoded to these values.
    #[must_use]
    pub const fn with(&self, values: Vec<Option<Json>>) -> Snapshot {
        Snapshot {
            pid: self.pid,
            tid: self.tid,
            time: self.time,
            subject: self.subject,
            context: self.context,
            values,
        }
    }
}

impl Subject {
    /// From the numbers by which it is told.
    #[must_use]
    pub const fn of(purpose: u32, number: u32, subject: u64, pid: u32, tid: u32) -> Option<Self> {
        use genspan_common::snapshot::purpose as numbers;
        Some(match purpose {
            numbers::FUNCTION => Self::Call(FunctionCall {
                pid,
                tid,
                function: number,
                began: BootTime(subject),
            }),
            numbers::RUN => Self::Run {
                hook: number,
                manager: subject,
            },
            numbers::SPAN => Self::Span {
                hook: number,
                id: subject,
            },
            numbers::COUNTS => Self::Counts {
                hook: number,
                of: subject,
            },
            numbers::HOOK => Self::Hook {
                hook: number,
                first: subject,
            },
            _ => return None,
        })
    }

    /// Its numbers: purpose, number, subject.
    #[must_use]
    pub const fn numbers(self) -> (u32, u32, u64) {
        use genspan_common::snapshot::purpose as numbers;
        match self {
            Self::Call(call) => (numbers::FUNCTION, call.function, call.began.0),
            Self::Run { hook, manager } => (numbers::RUN, hook, manager),
            Self::Span { hook, id } => (numbers::SPAN, hook, id),
            Self::Counts { hook, of } => (numbers::COUNTS, hook, of),
            Self::Hook { hook, first } => (numbers::HOOK, hook, first),
        }
    }
}

impl From<&Snapshot> for SnapshotFacts {
    fn from(found: &Snapshot) -> Self {
        let (purpose, number, subject) = found.subject.numbers();
        Self {
            time: found.time.0,
            pid: found.pid,
            tid: found.tid,
            purpose,
            number,
            subject,
            context: found.context,
            values: found.values.clone(),
        }
    }
}

impl SnapshotFacts {
    /// The snapshot; none when it is nobody's.
    #[must_use]
    pub fn snapshot(self) -> Option<Snapshot> {
        let subject = Subject::of(self.purpose, self.number, self.subject, self.pid, self.tid)?;
        Some(Snapshot {
            pid: self.pid,
            tid: self.tid,
            time: BootTime(self.time),
            subject,
            context: self.context,
            values: self.values,
        })
    }
}
