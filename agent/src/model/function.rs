//! Calls of chosen Python functions, as the kernel tells them.

use serde::{Deserialize, Serialize};

use super::time::BootTime;

/// What is known of a function that is watched, in all processes in which it is this one:
/// recorded, replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FunctionFacts {
    /// Its number, by which its calls are told; of one run, never used again.
    pub id: u32,
    /// Its module.
    pub module: String,
    /// Its qualified name in the module, as `__qualname__`.
    pub name: String,
    /// `co_filename`.
    pub file: String,
    /// `co_firstlineno`.
    pub line: u32,
    /// Names of the arguments that are told, in their order.
    pub arguments: Vec<String>,
}

/// Names a call: a thread begins no two at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FunctionCall {
    /// Process (thread group) id in the initial PID namespace.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// See [`FunctionFacts::id`].
    pub function: u32,
    /// When it began.
    pub began: BootTime,
}

impl FunctionCall {
    /// What names it where its function is not known.
    #[must_use]
    pub const fn name(&self) -> CallName {
        CallName {
            pid: self.pid,
            tid: self.tid,
            began: self.began,
        }
    }
}

/// Names a call by where and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallName {
    /// As in [`FunctionCall`].
    pub pid: u32,
    /// As in [`FunctionCall`].
    pub tid: u32,
    /// As in [`FunctionCall`].
    pub began: BootTime,
}

/// An argument, as shallowly as it was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument<'a> {
    /// `None`.
    None,
    /// A `bool`.
    Bool(bool),
    /// An `int` of up to 60 bits.
    Int(i64),
    /// A `float`.
    Float(f64),
    /// A `str`.
    Text {
        /// Its first characters, each of so many bytes, in the processor's order.
        bytes: &'a [u8],
        /// Bytes of a character: 1 (Latin-1), 2 or 4.
        width: usize,
        /// How many characters it has in all.
        characters: u64,
    },
    /// Anything else, by the name of its type.
    Other(&'a [u8]),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionEnd<'a> {
    /// It returned.
    Returned,
    /// It raised an exception of the class with this name.
    Raised(&'a [u8]),
    /// It was found to be over; when it ended is not known.
    Late,
    /// Its thread ended.
    ThreadEnded,
    /// A generator or coroutine was closed before its end.
    Closed,
}
