//! The interpreters of a process, their threads and their modules.

use super::dict::{Entry, MAX_SCANNED};
use super::layout::Frames;
use super::object::Kind;
use super::reader::{Reader, Result, malformed};
use super::value::MODULE_DICT;

/// Most interpreters and threads that are looked through.
const MAX_INTERPRETERS: usize = 256;
const MAX_THREADS: usize = 16_384;
/// Most frames of a stack that is walked.
pub const MAX_FRAMES: usize = 1024;

/// An interpreter of the process. All but the first are sub-interpreters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Its `PyInterpreterState`.
    pub address: u64,
    /// Its number; the main one's is 0.
    pub id: i64,
}

/// A thread that Python knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its `PyThreadState`.
    pub address: u64,
    /// `thread_id`: its base (`fsbase`).
    pub base: u64,
    /// The kernel's number of it in its PID namespace, from 3.11 on.
    pub native_id: Option<u64>,
}

/// A frame of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it is.
    pub address: u64,
    /// Its code object.
    pub code: u64,
    /// Its word for how far it is.
    pub instruction: u64,
}

/// By what it is seen that `sys.modules` has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModulesStamp {
    /// The dict.
    dict: u64,
    /// How many entries it has.
    used: usize,
    /// Its keys, which are others when it has grown.
    keys: u64,
    /// How many entries were ever put into those: one that is put in place of another one counts.
    entries: usize,
}

impl Reader<'_> {
    /// The interpreters, newest first, of the `_PyRuntime` at this address.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or the list is none.
    pub fn interpreters(&self, runtime: u64) -> Result<Vec<Interpreter>> {
        let head = runtime.wrapping_add(self.layout.runtime.interpreters_head);
        self.interpreters_from(self.word(head)?)
    }

    /// The interpreters from this one on.
    pub(super) fn interpreters_from(&self, first: u64) -> Result<Vec<Interpreter>> {
        let layout = &self.layout.interpreter;
        let mut all: Vec<Interpreter> = Vec::new();
        let mut next = first;
        while next != 0 {
            if !next.is_multiple_of(8) || all.len() >= MAX_INTERPRETERS {
                return malformed("list of interpreters", next);
            }
            let id = self.size(next.wrapping_add(layout.id))?;
            if all.iter().any(|i| i.address == next) || id < 0 {
                return malformed("list of interpreters", next);
            }
            all.push(Interpreter { address: next, id });
            next = self.word(next.wrapping_add(layout.next))?;
        }
        Ok(all)
    }

    /// The threads of an interpreter, newest first.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or the list is none.
    pub fn threads(&self, interpreter: u64) -> Result<Vec<Thread>> {
        let layout = &self.layout.thread;
        let mut all = Vec::new();
        let mut next = self.word(interpreter.wrapping_add(self.layout.interpreter.threads_head))?;
        while next != 0 {
            if !next.is_multiple_of(8) || all.len() >= MAX_THREADS {
                return malformed("list of threads", next);
            }
            if self.word(next.wrapping_add(layout.interp))? != interpreter {
                return malformed("thread of the interpreter", next);
            }
            let native_id = match layout.native_thread_id {
                Some(at) => Some(self.word(next.wrapping_add(at))?),
                None => None,
            };
            all.push(Thread {
                address: next,
                base: self.word(next.wrapping_add(layout.thread_id))?,
                native_id,
            });
            next = self.word(next.wrapping_add(layout.next))?;
        }
        Ok(all)
    }

    /// The frames of a thread, the running one first, at most so many. Of a thread that runs it
    /// may be a mixture of moments.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn frames(&self, thread: u64, most: usize) -> Result<Vec<Frame>> {
        let layout = &self.layout.frame;
        let untag = !layout.tag;
        let mut next = match self.layout.thread.frames {
            Frames::Object { frame } => self.word(thread.wrapping_add(frame))?,
            Frames::Direct { current_frame } => self.word(thread.wrapping_add(current_frame))?,
            Frames::CFrame {
                cframe,
                current_frame,
            } => {
                let cframe = self.word(thread.wrapping_add(cframe))?;
                self.word(cframe.wrapping_add(current_frame))?
            }
        };
        let mut all = Vec::new();
        // Frames of no function count as well, so that the walk ends.
        for _ in 0..most.min(MAX_FRAMES) {
            if next == 0 {
                break;
            }
            let is_shim = match (layout.owner, layout.shim_owner) {
                (Some(at), Some(shim)) => self.array::<1>(next.wrapping_add(at))?[0] >= shim,
                _ => false,
            };
            if !is_shim {
                all.push(Frame {
                    address: next,
                    code: self.word(next.wrapping_add(layout.code))? & untag,
                    instruction: self.word(next.wrapping_add(layout.instruction))?,
                });
            }
            next = self.word(next.wrapping_add(layout.previous))?;
        }
        Ok(all)
    }

    /// `sys.modules` of an interpreter: names and modules.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn modules(&self, interpreter: u64) -> Result<Vec<Entry>> {
        let at = interpreter.wrapping_add(self.layout.interpreter.modules);
        self.dict_entries(self.word(at)?, MAX_SCANNED)
    }

    /// What `sys.modules` of an interpreter is like: as long as this stays, so do the names in it. A few
    /// reads.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn modules_stamp(&self, interpreter: u64) -> Result<ModulesStamp> {
        let at = interpreter.wrapping_add(self.layout.interpreter.modules);
        let dict = self.word(at)?;
        let (used, keys, entries) = self.dict_stamp(dict)?;
        Ok(ModulesStamp {
            dict,
            used,
            keys,
            entries,
        })
    }

    /// The module of this name.
    ///
    /// # Errors
    ///
    /// When the modules cannot be read.
    pub fn module(&self, interpreter: u64, name: &str) -> Result<Option<u64>> {
        let modules = self.modules(interpreter)?;
        Ok(self.named(modules.into_iter(), name))
    }

    /// The dict of a module.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub fn module_dict(&self, module: u64) -> Result<u64> {
        // A module of a class of its own is one as well: what decides is the type's base.
        if self.type_of(module)?.kind != Kind::Module {
            return malformed("module", module);
        }
        self.word(module.wrapping_add(MODULE_DICT))
    }
}
