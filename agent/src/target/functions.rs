//! What is needed to watch a Python function of a process: where its code is, where its arguments
//! are, and how the process's threads and values are laid out.

use std::path::PathBuf;

use genspan_common::function::{
    ArgumentSlot, IN_CELL, KnownObjects, MAX_ARGUMENTS, Watch, WatchedProcess, exception,
};
use genspan_common::python::{BadLayout, NONE};
use genspan_common::snapshot::dicts;
use thiserror::Error;

use super::python::{NoSymbol, Python};
use crate::python::code::{Code, flag};
use crate::python::find::NotFound;
use crate::python::layout::{DictLayout, IntLayout};
use crate::python::reader::ReadError;
use crate::python::version::Version;
use crate::python::wanted::Wanted;

/// What runs for every frame that an exception passes.
const TRACEBACK: &str = "PyTraceBack_Here";
/// What runs when code in C looks at the exception that left something that it called.
const MATCHES: &str = "PyErr_ExceptionMatches";

/// What runs a frame of Python code, and up to 3.10 every one.
const EVAL: &str = "_PyEval_EvalFrameDefault";

/// Functions whose calls are generators of some sort.
const GENERATORS: u32 = flag::GENERATOR | flag::COROUTINE | flag::ASYNC_GENERATOR;
/// Most instructions before `RETURN_GENERATOR`: those that make cells.
const MAX_PREFIX: u64 = 512;

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
    /// There is no one function object that holds the count of its frames.
    #[error(
        "`{0}` is a generator or coroutine that another function defines: from 3.12 on the end \
         of such a one is not seen, so it is not watched"
    )]
    Nested(String),
    /// Its bytecode does not begin as that of a generator does.
    #[error("`{0}` is a generator or coroutine whose beginning is not known, so it is not watched")]
    NoBeginning(String),
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

impl Watchable {
    /// What the kernel is told of a watchpoint on it; `function` is the agent's number of it, `what` as
    /// in [`Watch::what`].
    #[must_use]
    pub fn watch(&self, function: u32, what: u32) -> Watch {
        let mut slots = [ArgumentSlot::default(); MAX_ARGUMENTS];
        for (to, (_, from)) in slots.iter_mut().zip(&self.arguments) {
            *to = *from;
        }
        Watch {
            code: self.code.address,
            function,
            what,
            arguments: u32::try_from(self.arguments.len()).unwrap_or(0),
            generator: u32::from(self.generator),
            slots,
        }
    }
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
    /// A call of it is a generator, a coroutine or an asynchronous generator.
    pub generator: bool,
    /// The first byte of bytecode of a call that runs: it is read when the call begins.
    pub entry: u64,
    /// The object whose reference count tells that a frame is gone.
    pub counted: u64,
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
    watchable(python, python.find_function(&wanted.name)?, wanted)
}

/// What is wanted of a function whose code was found, with its function object where it has one of its own.
///
/// # Errors
///
/// Why it is not watched.
pub(super) fn watchable(
    python: &Python,
    (code, function): (Code, Option<u64>),
    wanted: &Wanted,
) -> Result<Watchable, CannotWatch> {
    let version = python.fit.layout.version;
    let generator = code.flags & GENERATORS != 0;
    let (mut entry, mut counted) = (code.entry, code.address);
    let mut cells = Vec::new();
    if generator && version >= Version::V3_11 {
        let name = || wanted.name.to_string();
        entry = beginning(python, &code)?.ok_or_else(|| CannotWatch::NoBeginning(name()))?;
        cells = python.reader().becomes_cells(code.address)?;
        counted = match function {
            Some(function) => function,
            // Its frame holds the code as well.
            None if version == Version::V3_11 => code.address,
            None => return Err(CannotWatch::Nested(name())),
        };
    }
    let count = python.reader().int(counted)?;
    if version >= Version::V3_12 && !(0..IMMORTAL).contains(&count) {
        return Err(CannotWatch::Immortal(wanted.name.to_string()));
    }
    let (arguments, unknown) = arguments(&code, wanted, &cells);
    Ok(Watchable {
        code,
        generator,
        entry,
        counted,
        arguments,
        unknown,
    })
}

/// In a type: `tp_dealloc` (`Include/cpython/object.h`, the same in all versions).
const TYPE_FREES: u64 = 48;

/// Finds a class, and what of it is read whenever an object of it, or of a class below it, is freed.
/// Gives that place, and what the kernel is told of a watchpoint there.
///
/// # Errors
///
/// Why it is not watched.
pub fn find_freed(
    python: &Python,
    wanted: &Wanted,
    what: u32,
) -> Result<(u64, Watch), CannotWatch> {
    let class = python.find_class(&wanted.name)?;
    let watch = Watch {
        code: class,
        function: 0,
        what,
        arguments: 0,
        generator: 0,
        slots: [ArgumentSlot::default(); MAX_ARGUMENTS],
    };
    Ok((class.wrapping_add(TYPE_FREES), watch))
}

/// Finds a function of any kind, of which no more is to be seen than that it begins. Variables of
/// functions around it may be wanted as well, up to 3.10.
///
/// # Errors
///
/// Why it is not watched.
pub fn find_any(python: &Python, wanted: &Wanted) -> Result<Watchable, CannotWatch> {
    let code = python.find(&wanted.name)?;
    let (mut arguments, unknown) = arguments(&code, wanted, &[]);
    if !unknown.is_empty() {
        let free = python.reader().free_variables(code.address)?;
        let wanted = free.into_iter().filter(|(name, _)| unknown.contains(name));
        arguments.extend(wanted.map(|(name, slot)| (name, ArgumentSlot { slot, cell: NONE })));
        arguments.truncate(MAX_ARGUMENTS);
    }
    Ok(Watchable {
        generator: false,
        entry: code.entry,
        counted: code.address,
        code,
        arguments,
        unknown,
    })
}

/// The arguments that are told, with their places, and names that are none. `cells` says which words
/// have cells with them when the call begins.
fn arguments(
    code: &Code,
    wanted: &Wanted,
    cells: &[bool],
) -> (Vec<(String, ArgumentSlot)>, Vec<String>) {
    let mut arguments = Vec::new();
    let mut unknown = Vec::new();
    for name in &wanted.arguments {
        match code.arguments.iter().find(|a| a.name == *name) {
            Some(found) => {
                let in_cell = cells.get(found.slot as usize) == Some(&true);
                let slot = ArgumentSlot {
                    slot: found.slot,
                    cell: match found.cell {
                        None if in_cell => IN_CELL,
                        cell => cell.unwrap_or(NONE),
                    },
                };
                arguments.push((name.clone(), slot));
            }
            None => unknown.push(name.clone()),
        }
    }
    arguments.truncate(MAX_ARGUMENTS);
    (arguments, unknown)
}

/// From 3.11 on a call of a generator function runs up to `RETURN_GENERATOR`, behind what makes
/// its cells; what comes then runs when the generator is first resumed (`insert_prefix_instructions`,
/// `Python/compile.c` of 3.11, `Python/flowgraph.c` later).
fn beginning(python: &Python, code: &Code) -> Result<Option<u64>, ReadError> {
    let returns = match python.fit.layout.version {
        Version::V3_13 => 35,
        Version::V3_14 => 34,
        _ => 75,
    };
    let reader = python.reader();
    for index in 0..MAX_PREFIX {
        let at = code.entry.wrapping_add(2 * index);
        // Two bytes of four that can be read: the bytecode goes on.
        let word = reader.int(at)?;
        if word & 0xff == returns {
            return Ok(Some(at.wrapping_add(2)));
        }
    }
    Ok(None)
}

/// What is wanted of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Generators or coroutines are watched in it.
    pub generators: bool,
    /// What is inside of its objects may be copied.
    pub contents: bool,
}

/// What the kernel is told of a process, and of what is wanted of it.
///
/// # Errors
///
/// When something of it cannot be told.
pub fn process(python: &Python, pid: u32, wants: Wants) -> Result<WatchedProcess, CannotWatch> {
    let layout = &python.fit.layout;
    let thread_state = python.fit.thread_state.ok_or(CannotWatch::NoThreadState)?;
    let kernel = layout.kernel(thread_state).checked();
    let version = layout.version;
    // `curexc_type` (to 3.11) and `current_exception` of `PyThreadState` (`Include/cpython/
    // pystate.h`): before `exc_info`, `dict` and `gilstate_counter`, and `thread_id` after them.
    // `gi_frame` (to 3.10, with `f_gen` of its frame), `gi_iframe` and `gi_frame_state`
    // (`Include/genobject.h`, `Include/cpython/genobject.h`).
    let (frame_generator, generator_frame, generator_state) = match version {
        Version::V3_8 | Version::V3_9 => (96, 16, NONE),
        Version::V3_10 => (88, 16, NONE),
        Version::V3_11 => (NONE, 80, 75),
        Version::V3_12 | Version::V3_13 | Version::V3_14 => (NONE, 72, 67),
    };
    // `RESUME`, `RESUME_CHECK`, `INSTRUMENTED_RESUME` (`Include/opcode_ids.h`).
    let resume = match version {
        Version::V3_13 => [149, 207, 236, 0],
        Version::V3_14 => [128, 196, 245, 0],
        _ => [0; 4],
    };
    // `RETURN_VALUE`, `RETURN_CONST` (the same, `Include/opcode.h` before).
    let returns = match version {
        Version::V3_8 | Version::V3_9 | Version::V3_10 => [0; 4],
        Version::V3_11 => [83, 0, 0, 0],
        Version::V3_12 => [83, 121, 0, 0],
        Version::V3_13 => [36, 103, 0, 0],
        Version::V3_14 => [35, 0, 0, 0],
    };
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
        generators: u32::from(wants.generators),
        frame_generator,
        generator_frame,
        generator_state,
        resume: u32::from_le_bytes(resume),
        returns: u32::from_le_bytes(returns),
        // `Include/cpython/code.h`. From 3.14 on the last variable is freed first.
        code_variables: match version {
            Version::V3_8 | Version::V3_9 | Version::V3_10 => 72,
            Version::V3_11 | Version::V3_12 | Version::V3_13 => 96,
            Version::V3_14 => NONE,
        },
        // `_PyEval_EvalFrameDefault(f, throwflag)`, from 3.9 on behind `tstate`.
        frame_argument: match version {
            Version::V3_8 => 1,
            Version::V3_9 | Version::V3_10 => 2,
            _ => 0,
        },
        // `f_state` and `f_stacktop` (`Include/cpython/frameobject.h`, `Include/frameobject.h`).
        frame_state: if version == Version::V3_10 { 108 } else { NONE },
        frame_top: match version {
            Version::V3_8 | Version::V3_9 => 72,
            _ => NONE,
        },
        dicts: match layout.dict {
            DictLayout::Sized => dicts::SIZED,
            DictLayout::Values => dicts::VALUES,
            DictLayout::TaggedValues => dicts::TAGGED_VALUES,
            DictLayout::InlineValues => dicts::INLINE_VALUES,
        },
        type_cached_keys: narrow(layout.type_cached_keys),
        tuple_items: narrow(layout.tuple_items),
        contents: u32::from(wants.contents),
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
        stop_iteration: of("StopIteration")?,
        stop_async_iteration: of("StopAsyncIteration")?,
        generator_exit: of("GeneratorExit")?,
        set: of("set")?,
        frozenset: of("frozenset")?,
    })
}

/// Where probes tell that an exception passes a frame, or is looked at.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The file, as we reach it.
    pub reach: PathBuf,
    /// The offsets in it.
    pub offsets: Vec<u64>,
}

/// Where that is, for versions where a frame that an exception leaves lives on; for all where
/// generators or coroutines are watched.
///
/// # Errors
///
/// When it is needed and not found.
pub fn traceback_hook(
    python: &Python,
    pid: u32,
    generators: bool,
) -> Result<Option<Hook>, NoSymbol> {
    if python.fit.layout.version >= Version::V3_12 && !generators {
        return Ok(None);
    }
    let mut hook = raise_hook(python, pid)?;
    if generators {
        hook.offsets.push(python.place(pid, MATCHES)?.1);
    }
    Ok(Some(hook))
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
        offsets: vec![offset],
    })
}

/// Where a probe goes that sees every frame.
///
/// # Errors
///
/// When there is none, or it would not see them.
pub fn frame_hook(python: &Python, pid: u32) -> Result<Hook, NoFrames> {
    if python.fit.layout.version >= Version::V3_11 {
        return Err(NoFrames::Inlined(python.version()));
    }
    let (file, offset) = python.place(pid, EVAL)?;
    Ok(Hook {
        reach: file.reach,
        offsets: vec![offset],
    })
}

/// Why frames are not seen where the interpreter runs them.
#[derive(Debug, Error)]
pub enum NoFrames {
    /// From 3.11 on a Python function that another one calls is run without a call in C.
    #[error(
        "Python {0} calls Python functions within `_PyEval_EvalFrameDefault`, so that no probe on that \
         sees them (it would up to 3.10; --function-probe resume does)"
    )]
    Inlined(String),
    /// It is not found.
    #[error(transparent)]
    NoSymbol(#[from] NoSymbol),
}
