//! Calls of chosen Python functions: what the agent tells the programs of them, and what the
//! programs tell the agent.

use crate::event::EventHeader;
use crate::python::PythonLayout;

/// Most arguments of a function that are told.
pub const MAX_ARGUMENTS: usize = 8;
/// Most bytes of a text that are copied.
pub const TEXT_BYTES: usize = 1024;
/// Most bytes of a type's name that are copied, with its end.
pub const TYPE_NAME_BYTES: usize = 64;
/// Most watched calls of one thread that are followed within each other; a power of two.
pub const MAX_NESTED: usize = 16;
/// Most watchpoints that the programs know, of all processes.
pub const MAX_WATCHES: u32 = 4096;
/// Most threads with watched calls under way.
pub const MAX_CALLING_THREADS: u32 = 4096;
/// Most watched frames of one thread that run within each other where the interpreter is probed; a
/// power of two.
pub const MAX_RUNNING: usize = 32;
/// Most watched generators and coroutines under way, of all processes.
pub const MAX_GENERATORS: u32 = 16_384;

/// Key of the table of watchpoints.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchKey {
    /// The address that is watched.
    pub address: u64,
    /// See [`WatchedProcess::root`].
    pub root: u32,
    /// Always zero: keeps the key free of padding.
    pub zero: u32,
}

/// Numbers of [`Watch::what`].
pub mod what {
    /// The first bytecode of a function is read: it begins.
    pub const ENTRY: u32 = 1;
    /// The reference count of its code object is written: a frame of it was made, or is gone. Of
    /// a generator or coroutine from 3.11 on that of the function object, which its frame holds.
    pub const COUNT: u32 = 2;
    /// None: the interpreter is probed where it runs a frame, and this is its code object; from 3.11 on
    /// where it runs `RESUME`, and this is that instruction ([`crate::resume`]).
    pub const FRAME: u32 = 64;
    // Further ones: `crate::framework::hook`.
}

/// Where in a frame an argument is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArgumentSlot {
    /// The word of the frame's locals.
    pub slot: u32,
    /// To 3.10: the word that has a cell with it instead, when that one is null. [`IN_CELL`] where
    /// the word itself has a cell with it; else [`crate::python::NONE`].
    pub cell: u32,
}

/// See [`ArgumentSlot::cell`]: of generators from 3.11 on, whose cells are made before they begin, and of
/// functions that are seen at `RESUME`.
pub const IN_CELL: u32 = crate::python::NONE - 1;

/// See [`ArgumentSlot::cell`]: the word is an argument of the caller, for [`crate::framework::hook`]
/// numbers that copy objects. The slot has its number, from [`CALLER_HAS`] on how many arguments the
/// caller must have at least for that, `*args` and `**kwargs` included, and from [`CALLER_ABOVE`] on how
/// many functions lie between it and the one that is watched.
pub const IN_CALLER: u32 = crate::python::NONE - 2;

/// Where in the slot of an argument of a caller is how many it must have: eight bits.
pub const CALLER_HAS: u32 = 16;

/// Where in the slot of what is in a caller is how many functions lie in between: two bits.
pub const CALLER_ABOVE: u32 = 24;

/// See [`ArgumentSlot::cell`]: the function has no such argument in this version.
pub const ABSENT: u32 = crate::python::NONE - 3;

/// See [`ArgumentSlot::cell`]: as [`IN_CALLER`], but the word is a variable of the caller, that of this number.
/// Whether the function has one so far is not known: what is there may be anything.
pub const VARIABLE_OF_CALLER: u32 = crate::python::NONE - 4;

/// Bit of [`ArgumentSlot::slot`]: what is there is content, and is copied only where
/// [`WatchedProcess::contents`] allows it.
pub const CONTENT: u32 = 1 << 31;

/// Bits of [`ArgumentSlot::slot`] that bound how much of an object is copied: so many references lead
/// from it to the last, an object and its `__dict__` being one, and of the last only texts and numbers are
/// copied, of others their type; zero for no bound of its own. With
/// [`CONTENT`] it holds where content is not wanted, and the object is copied so far all the same.
pub const DEPTH: u32 = 7 << DEPTH_SHIFT;

/// Where [`DEPTH`] begins.
pub const DEPTH_SHIFT: u32 = 28;

/// Bit of [`ArgumentSlot::slot`]: of lists and tuples to which more than one reference leads it is enough how long
/// they are, and their items are not copied. It holds for all that a snapshot has. With [`DEPTH`] only.
pub const LENGTHS: u32 = 1 << 27;

/// What a watchpoint is for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The code object.
    pub code: u64,
    /// The agent's number of the function.
    pub function: u32,
    /// [`what`] number.
    pub what: u32,
    /// How many arguments are wanted.
    pub arguments: u32,
    /// One when a call of it is a generator, a coroutine or an asynchronous generator.
    pub generator: u32,
    /// Where they are.
    pub slots: [ArgumentSlot; MAX_ARGUMENTS],
}

/// Addresses of objects of a process by which values are told apart.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownObjects {
    /// The type `str`.
    pub text: u64,
    /// The type `int`.
    pub int: u64,
    /// The type `float`.
    pub float: u64,
    /// The type `bool`.
    pub boolean: u64,
    /// `True`.
    pub truth: u64,
    /// `None`.
    pub none: u64,
    /// The type `StopIteration`.
    pub stop_iteration: u64,
    /// The type `StopAsyncIteration`.
    pub stop_async_iteration: u64,
    /// The type `GeneratorExit`.
    pub generator_exit: u64,
    /// The type `set`.
    pub set: u64,
    /// The type `frozenset`.
    pub frozenset: u64,
}

/// Numbers of [`WatchedProcess::exception`].
pub mod exception {
    /// To 3.11: `curexc_type`, the class.
    pub const CLASS: u32 = 1;
    /// From 3.12 on: `current_exception`, the exception.
    pub const OBJECT: u32 = 2;
}

/// A process in which functions are watched: value of a table by thread group id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedProcess {
    /// The process whose watchpoints it has: itself, or the one from which it was forked, which
    /// has its objects at the same addresses.
    pub root: u32,
    /// In `PyThreadState`: the exception that is being raised.
    pub tstate_exception: u32,
    /// [`exception`] number: what is there.
    pub exception: u32,
    /// In 3.11, in a frame: `stacktop`, an `int`, by which a frame that is being cleared is told
    /// from one that runs; else [`crate::python::NONE`].
    pub frame_stacktop: u32,
    /// In a compact string that is not ASCII: its characters.
    pub text_compact: u32,
    /// Not zero from 3.12 on: an `int` has `lv_tag`, not `ob_size`.
    pub int_tagged: u32,
    /// In a code object: `co_argcount`.
    pub code_arguments: u32,
    /// In a code object: `co_kwonlyargcount`.
    pub code_keywords: u32,
    /// In a code object: `co_name`.
    pub code_name: u32,
    /// In a function object: `func_qualname`.
    pub function_name: u32,
    /// One when a generator or coroutine is watched in it.
    pub generators: u32,
    /// To 3.10, in a frame: `f_gen`; else [`crate::python::NONE`].
    pub frame_generator: u32,
    /// In a generator: `gi_frame`, a pointer (to 3.10); `gi_iframe`, the frame itself.
    pub generator_frame: u32,
    /// From 3.11 on, in a generator: `gi_frame_state`, a byte; else [`crate::python::NONE`].
    pub generator_state: u32,
    /// From 3.13 on: the opcodes, a byte each, at which a generator is suspended (`RESUME` and its
    /// variants); else zero. It may be closed there without running again.
    pub resume: u32,
    /// From 3.11 on: the opcodes by which a function returns, a byte each: `RETURN_VALUE`, by which it
    /// returns what is on its stack, and `RETURN_CONST` (3.12, 3.13). Else zero.
    pub returns: u32,
    /// In a code object: the names of its variables, a tuple (`co_varnames`; `co_localsplusnames` from
    /// 3.11 on). Where a function that returns frees the last of them first (3.14):
    /// [`crate::python::NONE`], since then none is read at that moment.
    pub code_variables: u32,
    /// To 3.10: which argument of `_PyEval_EvalFrameDefault` is the frame, counted from one; the next
    /// one says whether an exception is thrown into it. Else zero.
    pub frame_argument: u32,
    /// In 3.10, in a frame: `f_state`, a byte; else [`crate::python::NONE`]. To 3.9 a frame that was run
    /// to its end has no `f_stacktop`.
    pub frame_state: u32,
    /// To 3.9, in a frame: `f_stacktop`; else [`crate::python::NONE`].
    pub frame_top: u32,
    /// [`crate::snapshot::dicts`] number.
    pub dicts: u32,
    /// In a type: `ht_cached_keys`, which its instances' values belong to; used in 3.11 and 3.12.
    pub type_cached_keys: u32,
    /// In a tuple: its items.
    pub tuple_items: u32,
    /// Not zero when objects may be copied: what is inside of them is content.
    pub contents: u32,
    /// Objects that values are compared with.
    pub objects: KnownObjects,
    /// Where things are.
    pub python: PythonLayout,
}

/// Key of the table of generators and coroutines under way: each is in it by the address of its
/// frame, and by its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GeneratorKey {
    /// The address.
    pub address: u64,
    /// The process: a forked child's are others.
    pub tgid: u32,
    /// Always zero.
    pub zero: u32,
}

/// A generator or coroutine that was told to begin.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenGenerator {
    /// Its frame.
    pub frame: u64,
    /// The object.
    pub generator: u64,
    /// When it began, in boot nanoseconds.
    pub began: u64,
    /// The thread on which it began.
    pub tid: u32,
    /// The agent's number of the function.
    pub function: u32,
}

/// A function begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionBegan {
    /// Common part. Its thread and its time name the call from here on.
    pub header: EventHeader,
    /// The agent's number of the function.
    pub function: u32,
    /// How many watched calls of this thread are around it.
    pub depth: u32,
    /// See [`WatchedProcess::root`]: what a forked child is of which nothing else is known yet.
    pub root: u32,
    /// One when the call is a generator or coroutine: it stands by itself, whatever its thread does.
    pub generator: u32,
    /// When the watched generator or coroutine began that is around it, nearer than any watched
    /// plain function; zero when none is.
    pub within: u64,
    /// The thread on which that began.
    pub within_tid: u32,
    /// One when its thread's own frame was another one yet: builds that tell the thread of a new frame late
    /// have it in a register only. Never of a generator or coroutine.
    pub ahead: u32,
    /// The context in which it begins, as in [`crate::event::ConnectionContext::context`]; zero where
    /// contexts are not told.
    pub context: u64,
}

/// The watched generator or coroutine in which what follows is written: right before the data.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteWithin {
    /// Common part.
    pub header: EventHeader,
    /// As in [`crate::map::ConnectionKey::ssl`].
    pub ssl: u64,
    /// See [`crate::map::ConnectionState::generation`].
    pub generation: u64,
    /// When the call began.
    pub began: u64,
    /// The thread on which it began.
    pub began_tid: u32,
    /// Always zero.
    pub zero: u32,
}

/// Numbers of [`FunctionEnded::how`].
pub mod how {
    /// It returned.
    pub const RETURNED: u32 = 0;
    /// It raised an exception, whose class's name follows.
    pub const RAISED: u32 = 1;
    /// It was over already: when is not known.
    pub const LATE: u32 = 2;
    /// Its thread ended.
    pub const THREAD_ENDED: u32 = 3;
    /// A generator or coroutine was closed before its end: `GeneratorExit` left it, or it was not
    /// even run for that.
    pub const CLOSED: u32 = 4;
}

/// A function that was told to begin is over.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionEnded {
    /// Common part; the thread is that on which the call began.
    pub header: EventHeader,
    /// When it began.
    pub began: u64,
    /// The agent's number of the function.
    pub function: u32,
    /// [`how`] number.
    pub how: u32,
    /// `tp_name` of the exception's class, ended by a zero byte; empty when there is none.
    pub exception: [u8; TYPE_NAME_BYTES],
}

/// Numbers of [`FunctionArgument::tag`]: what an argument is.
pub mod tag {
    /// `None`.
    pub const NONE: u32 = 0;
    /// A `bool`: the word is 0 or 1.
    pub const BOOL: u32 = 1;
    /// An `int` of up to 60 bits: the word is its magnitude.
    pub const INT: u32 = 2;
    /// The same, negative.
    pub const NEGATIVE: u32 = 3;
    /// A `float`: the word is its bits.
    pub const FLOAT: u32 = 4;
    /// A `str`: the word is the width of a character in bytes; the bytes follow.
    pub const TEXT: u32 = 5;
    /// Anything else: its type's name follows, ended by a zero byte.
    pub const OTHER: u32 = 6;
}

/// An argument of a function that was just told to begin; `bytes` bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionArgument {
    /// Common part.
    pub header: EventHeader,
    /// When the call began.
    pub began: u64,
    /// The agent's number of the function.
    pub function: u32,
    /// Which of the arguments that are wanted it is.
    pub index: u32,
    /// [`tag`] number.
    pub tag: u32,
    /// Bytes that follow and count.
    pub bytes: u32,
    /// Depends on the tag.
    pub word: u64,
    /// Characters that a text has in all.
    pub characters: u64,
}

/// What aya needs to pass these through the `bpf` system call.
#[cfg(feature = "user")]
mod user {
    use super::{GeneratorKey, OpenGenerator, Watch, WatchKey, WatchedProcess};

    // SAFETY: integers only, `repr(C)`, no padding: sizes are checked below.
    unsafe impl aya::Pod for WatchKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Watch {}
    // SAFETY: as above.
    unsafe impl aya::Pod for GeneratorKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for OpenGenerator {}
    // SAFETY: as above.
    unsafe impl aya::Pod for WatchedProcess {}
}

const _: () = {
    assert!(size_of::<WatchKey>() == 16);
    assert!(size_of::<GeneratorKey>() == 16 && size_of::<OpenGenerator>() == 32);
    assert!(size_of::<Watch>() == 24 + 8 * MAX_ARGUMENTS);
    assert!(size_of::<WatchedProcess>() == 24 * 4 + 11 * 8 + size_of::<PythonLayout>());
    assert!(size_of::<FunctionBegan>() == 64);
    assert!(size_of::<WriteWithin>() == 56);
    assert!(size_of::<FunctionEnded>() == 40 + TYPE_NAME_BYTES);
    assert!(size_of::<FunctionArgument>() == 64);
    assert!(MAX_NESTED.is_power_of_two() && MAX_RUNNING.is_power_of_two());
};
