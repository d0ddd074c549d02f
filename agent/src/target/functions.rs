//! What is needed to watch a Python function of a process: where its code is, where its arguments
//! are, and how the process's threads and values are laid out.

use std::path::PathBuf;

use genspan_common::function::{
    ArgumentSlot, KnownObjects, MAX_ARGUMENTS, WatchedProcess, exception,
};
use genspan_common::python::{BadLayout, NONE};
use thiserror::Error;

use super::python::{NoSymbol, Python};
use crate::python::code::{Code, flag};
use crate::python::find::NotFound;
use crate::python::layout::IntLayout;
use crate::python::reader::ReadError;
use crate::python::version::Version;
use crate::python::wanted::Wanted;

/// What runs for every frame that an exception passes.
const TRACEBACK: &str = "PyTraceBack_Here";

/// In 3.11, in a `_PyInterpreterFrame`: `stacktop` (`Include/internal/pycore_frame.h`).
const STACKTOP_3_11: u32 = 64;

/// From this reference count on an object lives for ever and is not counted: below the least that
/// any version from 3.12 on has for it (`_Py_IMMORTAL_MINIMUM_REFCNT` of 3.14, `1 << 30`).
const IMMORTAL: i32 = 1 << 29;

/// Why a function is not watched.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CannotWatch {
    /// It was not found.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// It does not run from its beginning to its end in one go.
    #[error("`{name}` is {what}: only plain functions are watched")]
    NotPlain {
        /// Its name.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// It is part of the interpreter.
    #[error(
        "`{0}` is frozen into the interpreter: its calls are not counted, so it is not watched"
    )]
    Immortal(String),
    /// The process's memory did not say.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The kernel cannot find a thread's state.
    #[error(
        "the threads of this Python do not lead to their state, as those on glibc do: run the \
         program with a Python that was built for glibc"
    )]
    NoThreadState,
    /// The layout is not one that the programs take.
    #[error("the layout of this Python is not one for the kernel: {0}")]
    Layout(BadLayout),
    /// There is no `None` and the like.
    #[error("`builtins` of this Python has no `{0}`")]
    NoBuiltin(&'static str),
}

impl CannotWatch {
    /// Whether it may be there later: its module is not loaded yet, or not to its end.
    #[must_use]
    pub const fn may_come(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::Read(_))
    }
}

/// A function that can be watched.
#[derive(Clone, Debug)]
pub struct Watchable {
    /// Its code.
    pub code: Code,
    /// The arguments that are told, with their places.
    pub arguments: Vec<(String, ArgumentSlot)>,
    /// Names that were asked for and are no arguments of it.
    pub unknown: Vec<String>,
}

/// Finds a function, and what of it is wanted.
///
/// # Errors
///
/// Why it is not watched.
pub fn find(python: &Python, wanted: &Wanted) -> Result<Watchable, CannotWatch> {
    let watchable = find_any(python, wanted)?;
    let code = &watchable.code;
    let what = [
        (flag::ASYNC_GENERATOR, "an asynchronous generator"),
        (flag::COROUTINE, "a coroutine function (async def)"),
        (flag::GENERATOR, "a generator function"),
    ];
    if let Some((_, what)) = what.iter().find(|(flag, _)| code.flags & flag != 0) {
        let name = wanted.name.to_string();
        return Err(CannotWatch::NotPlain { name, what });
    }
    let counted = python.fit.layout.version >= Version::V3_12;
    let count = python.reader().int(code.address)?;
    if counted && !(0..IMMORTAL).contains(&count) {
        return Err(CannotWatch::Immortal(wanted.name.to_string()));
    }
    Ok(watchable)
}

/// Finds a function of any kind, of which no more is to be seen than that it begins.
///
/// # Errors
///
/// Why it is not watched.
pub fn find_any(python: &Python, wanted: &Wanted) -> Result<Watchable, CannotWatch> {
    let code = python.find(&wanted.name)?;
    let mut arguments = Vec::new();
    let mut unknown = Vec::new();
    for name in &wanted.arguments {
        match code.arguments.iter().find(|a| a.name == *name) {
            Some(found) => {
                let slot = ArgumentSlot {
                    slot: found.slot,
                    cell: found.cell.unwrap_or(NONE),
                };
                arguments.push((name.clone(), slot));
            }
            None => unknown.push(name.clone()),
        }
    }
    arguments.truncate(MAX_ARGUMENTS);
    Ok(Watchable {
        code,
        arguments,
        unknown,
    })
}

/// What the kernel is told of a process.
///
/// # Errors
///
/// When something of it cannot be told.
pub fn process(python: &Python, pid: u32) -> Result<WatchedProcess, CannotWatch> {
    let layout = &python.fit.layout;
    let thread_state = python.fit.thread_state.ok_or(CannotWatch::NoThreadState)?;
    let kernel = layout.kernel(thread_state).checked();
    let version = layout.version;
    // `curexc_type` (to 3.11) and `current_exception` of `PyThreadState` (`Include/cpython/
    // pystate.h`): before `exc_info`, `dict` and `gilstate_counter`, and `thread_id` after them.
    let (tstate_exception, exception) = match version {
        Version::V3_8 | Version::V3_9 | Version::V3_10 => (88, exception::CLASS),
        Version::V3_11 => (96, exception::CLASS),
        Version::V3_12 => (96, exception::OBJECT),
        Version::V3_13 | Version::V3_14 => (112, exception::OBJECT),
    };
    Ok(WatchedProcess {
        root: pid,
        tstate_exception,
        exception,
        frame_stacktop: if version == Version::V3_11 {
            STACKTOP_3_11
        } else {
            NONE
        },
        text_compact: narrow(layout.text.compact),
        int_tagged: u32::from(layout.int == IntLayout::Tagged),
        code_arguments: narrow(layout.code.argcount),
        code_keywords: narrow(layout.code.kwonlyargcount),
        code_name: narrow(layout.code.name),
        function_name: narrow(layout.function.qualname),
        objects: objects(python)?,
        python: kernel.map_err(CannotWatch::Layout)?,
    })
}

/// What is too far away leads nowhere.
fn narrow(offset: u64) -> u32 {
    u32::try_from(offset).unwrap_or(NONE)
}

fn objects(python: &Python) -> Result<KnownObjects, CannotWatch> {
    let reader = python.reader();
    let builtins = reader
        .module(python.fit.main.address, "builtins")?
        .ok_or(CannotWatch::NoBuiltin("builtins"))?;
    let dict = reader.module_dict(builtins)?;
    let of = |name: &'static str| {
        reader
            .dict_get(dict, name)?
            .ok_or(CannotWatch::NoBuiltin(name))
    };
    Ok(KnownObjects {
        text: of("str")?,
        int: of("int")?,
        float: of("float")?,
        boolean: of("bool")?,
        truth: of("True")?,
        none: of("None")?,
    })
}

/// Where a probe tells that an exception passes a frame.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The file, as we reach it.
    pub reach: PathBuf,
    /// The offset in it.
    pub offset: u64,
}

/// Where that is, for versions where a frame that an exception leaves lives on.
///
/// # Errors
///
/// When it is needed and not found.
pub fn traceback_hook(python: &Python, pid: u32) -> Result<Option<Hook>, NoSymbol> {
    if python.fit.layout.version >= Version::V3_12 {
        return Ok(None);
    }
    raise_hook(python, pid).map(Some)
}

/// Where it is, of any version.
///
/// # Errors
///
/// When it is not found.
pub fn raise_hook(python: &Python, pid: u32) -> Result<Hook, NoSymbol> {
    let (file, offset) = python.place(pid, TRACEBACK)?;
    Ok(Hook {
        reach: file.reach,
        offset,
    })
}
