//! The ways in which the Python of a process is looked into, and what each costs it: figures of
//! docs/functions.md, docs/frameworks.md and docs/traces.md, for those who ask.

use super::status::Mechanism;

/// Watchpoints that a thread has.
pub const WATCHPOINTS: u32 = 4;

/// A way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Watchpoints of the processor on code objects.
    Watchpoints,
    /// A probe on both ends of `_PyEval_EvalFrameDefault`.
    Interpreter,
    /// Probes on the interpreter's code for `RESUME`, and on the function that clears a frame.
    Resume,
    /// A probe on `PyTraceBack_Here`, and on `PyErr_ExceptionMatches` where coroutines are watched.
    Exceptions,
    /// A probe on the return of `PyContext_CopyCurrent`.
    Contexts,
    /// A probe on `PyThread_allocate_lock`.
    Pools,
    /// A probe on `PyEval_EvalCode`.
    Imports,
    /// No probe: a look now and then.
    Polling,
}

impl Way {
    /// Those that there are, or not, in a process.
    pub const ALL: [Self; 7] = [
        Self::Watchpoints,
        Self::Interpreter,
        Self::Resume,
        Self::Exceptions,
        Self::Contexts,
        Self::Pools,
        Self::Imports,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watchpoints => "watchpoints",
            Self::Interpreter => "interpreter",
            Self::Resume => "resume",
            Self::Exceptions => "exceptions",
            Self::Contexts => "contexts",
            Self::Pools => "pools",
            Self::Imports => "imports",
            Self::Polling => "polling",
        }
    }

    /// The function of the interpreter that is probed for it, if one is.
    #[must_use]
    pub const fn symbol(self) -> Option<&'static str> {
        match self {
            Self::Watchpoints | Self::Resume | Self::Polling => None,
            Self::Imports => Some("PyEval_EvalCode"),
            Self::Interpreter => Some("_PyEval_EvalFrameDefault"),
            Self::Exceptions => Some("PyTraceBack_Here"),
            Self::Contexts => Some("PyContext_CopyCurrent"),
            Self::Pools => Some("PyThread_allocate_lock"),
        }
    }

    /// What it is for.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Watchpoints => "calls of functions and runs of frameworks",
            Self::Interpreter => "calls of functions for which no watchpoint is left, to 3.10",
            Self::Resume => "calls of functions for which no watchpoint is left, from 3.11 on",
            Self::Exceptions => "functions, coroutines and runs that an exception ends",
            Self::Contexts => "for which request, run or coroutine tasks and threads work",
            Self::Pools => "for whom thread pools work",
            Self::Imports => "modules that are imported later, while any is waited for",
            Self::Polling => "modules that are imported later, where imports are not told",
        }
    }

    /// What it costs.
    #[must_use]
    pub const fn cost(self) -> &'static str {
        match self {
            Self::Watchpoints => {
                "a call of a function 40 us, of a coroutine 70 to 200 us, a run of a framework 14 to 35 us; \
                 a context switch of a thread 1.3 to 3.5 us; any other function nothing"
            }
            Self::Interpreter => "0.7 us for each call of any Python function of the process",
            Self::Resume => "1.3 us for each call of any Python function of the process",
            Self::Exceptions => "1.6 us for each Python frame that an exception passes",
            Self::Contexts => "3 to 4 us for each copy of a context, some for each task or request",
            Self::Pools => {
                "1.6 us for each lock that is made, 4.7 us where it is that of a `Future`"
            }
            Self::Imports => {
                "1 us for each module that is imported, and each `exec` and `eval` (11 us in some builds of 3.8)"
            }
            Self::Polling => {
                "nothing; calls are not seen for a quarter of a second after an import, for five seconds \
                 where the process is older than a minute"
            }
        }
    }

    /// As it is told.
    #[must_use]
    pub fn used_by(self, used_by: Vec<String>, taken: u32) -> Mechanism {
        Mechanism {
            name: self.name().to_owned(),
            taken,
            used_by,
            ahead: 0,
            cost: self.cost().to_owned(),
        }
    }
}
