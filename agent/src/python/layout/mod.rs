//! Where CPython keeps things, as data: one table per version, with `_Py_DebugOffsets` over it
//! where a process has them. All offsets in bytes; x86-64 and other 64-bit builds, with the GIL.
//!
//! Field names are those of CPython's sources. Which header says what: `Include/internal/
//! pycore_runtime.h` (runtime), `pycore_interp.h` (`PyInterpreterState`), `Include/cpython/
//! pystate.h` (`PyThreadState`), `pycore_frame.h` and `frameobject.h` (frames), `Include/cpython/
//! code.h`, `funcobject.h`, `unicodeobject.h`, `dictobject.h` with `pycore_dict.h`.

mod debug_offsets;
mod kernel;
mod tables;

pub use debug_offsets::{DEBUG_OFFSETS_BYTES, DebugOffsets, NoDebugOffsets};

use super::version::Version;

/// In every object: `ob_type`.
pub(super) const OB_TYPE: u64 = 8;
/// In objects of variable size: `ob_size`.
pub(super) const OB_SIZE: u64 = 16;

/// `_PyRuntimeState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeLayout {
    /// `interpreters.head`: the newest interpreter.
    pub interpreters_head: u64,
    /// `autoTSSkey`, a `Py_tss_t`: its `_is_initialized`, an `int`; its `_key` is 4 further on.
    pub auto_tss_key: u64,
}

/// `PyInterpreterState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterpreterLayout {
    /// `next`: an older interpreter.
    pub next: u64,
    /// `id`, an `int64_t`; the main one's is 0.
    pub id: u64,
    /// `threads.head` (`tstate_head` up to 3.10).
    pub threads_head: u64,
    /// `imports.modules` (`modules` up to 3.11): the dict `sys.modules`. A first guess: it moves
    /// with small changes of the structure, and is looked for where it does not fit.
    pub modules: u64,
}

/// How a thread state leads to its running frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// To 3.10: `PyThreadState.frame` is a `PyFrameObject`.
    Object {
        /// `PyThreadState.frame`.
        frame: u64,
    },
    /// 3.11 and 3.12: over a `_PyCFrame`.
    CFrame {
        /// `PyThreadState.cframe`.
        cframe: u64,
        /// `_PyCFrame.current_frame`.
        current_frame: u64,
    },
    /// From 3.13 on.
    Direct {
        /// `PyThreadState.current_frame`.
        current_frame: u64,
    },
}

/// `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLayout {
    /// `next`: an older thread.
    pub next: u64,
    /// `interp`.
    pub interp: u64,
    /// The way to the frame.
    pub frames: Frames,
    /// `thread_id`: `pthread_self()`, which on glibc and musl is the thread's base (`fsbase`).
    pub thread_id: u64,
    /// `native_thread_id`, the kernel's number of the thread; from 3.11 on.
    pub native_thread_id: Option<u64>,
    /// `context`, the current `PyContext` or null.
    pub context: u64,
}

/// A frame: `PyFrameObject` up to 3.10, `_PyInterpreterFrame` from 3.11 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    /// `f_code`, `f_executable`.
    pub code: u64,
    /// `f_back`, `previous`.
    pub previous: u64,
    /// `f_lasti` (an `int`, to 3.10), `prev_instr` (3.11, 3.12), `instr_ptr`.
    pub instruction: u64,
    /// `f_localsplus`, `localsplus`.
    pub locals: u64,
    /// `f_func`, `f_funcobj`; from 3.11 on.
    pub function: Option<u64>,
    /// `owner`, a `char`; from 3.11 on.
    pub owner: Option<u64>,
    /// First `owner` that is no function's: `FRAME_OWNED_BY_CSTACK`, from 3.12 on.
    pub shim_owner: Option<u8>,
    /// Low bits that are no part of a pointer in a frame (`_PyStackRef`, 3.14).
    pub tag: u64,
}

/// `PyCodeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeLayout {
    /// `co_argcount`, an `int`, as those that follow.
    pub argcount: u64,
    /// `co_kwonlyargcount`.
    pub kwonlyargcount: u64,
    /// `co_nlocals`.
    pub nlocals: u64,
    /// `co_flags`.
    pub flags: u64,
    /// `co_firstlineno`.
    pub firstlineno: u64,
    /// `co_consts`, a tuple.
    pub consts: u64,
    /// `co_varnames` (to 3.10), `co_localsplusnames`: a tuple.
    pub names: u64,
    /// `co_cellvars`, a tuple; to 3.10.
    pub cellvars: Option<u64>,
    /// `co_localspluskinds`, bytes; from 3.11 on.
    pub kinds: Option<u64>,
    /// `co_filename`.
    pub filename: u64,
    /// `co_name`.
    pub name: u64,
    /// `co_qualname`; from 3.11 on.
    pub qualname: Option<u64>,
    /// `co_lnotab` (to 3.9), `co_linetable`: bytes.
    pub linetable: u64,
    /// Where the bytecode is.
    pub bytecode: Bytecode,
}

/// How a code object leads to its bytecode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytecode {
    /// To 3.10: `co_code`, a `bytes` object, here.
    Bytes(u64),
    /// From 3.11 on: `co_code_adaptive` begins here.
    Inline(u64),
}

/// `PyFunctionObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionLayout {
    /// `func_code`.
    pub code: u64,
    /// `func_qualname`.
    pub qualname: u64,
    /// `func_dict`.
    pub dict: u64,
    /// `func_module`.
    pub module: u64,
}

/// `PyASCIIObject` and those that begin with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLayout {
    /// `sizeof(PyASCIIObject)`: where the characters of a compact ASCII string are.
    pub ascii: u64,
    /// `sizeof(PyCompactUnicodeObject)`: where those of another compact string are, and where
    /// `PyUnicodeObject.data` points to those of a legacy one.
    pub compact: u64,
    /// `wstr` and `wstr_length` of a legacy string that nobody made ready; to 3.11.
    pub wide: Option<(u64, u64)>,
}

/// How an `int` is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntLayout {
    /// To 3.11: `ob_size` is the number of digits, negative for a negative number.
    Sized,
    /// From 3.12 on: `lv_tag` is the number of digits over three bits for the sign and more.
    Tagged,
}

/// How a dict's keys and the values of instances are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DictLayout {
    /// To 3.10: `dk_size`, one kind of entry; a split dict's values are an array.
    Sized,
    /// 3.11: logarithms, two kinds of entries; an instance points to its values, or to a dict.
    Values,
    /// 3.12: as before, the two pointers made one by a tag.
    TaggedValues,
    /// From 3.13 on: the values lie in the instance, with a head.
    InlineValues,
}

/// A whole layout.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the types say what they are")]
pub struct Layout {
    pub version: Version,
    pub runtime: RuntimeLayout,
    pub interpreter: InterpreterLayout,
    pub thread: ThreadLayout,
    pub frame: FrameLayout,
    pub code: CodeLayout,
    pub function: FunctionLayout,
    pub text: TextLayout,
    pub int: IntLayout,
    pub dict: DictLayout,
    /// `PyTupleObject.ob_item`.
    pub tuple_items: u64,
    /// `PyHeapTypeObject.ht_qualname`.
    pub type_qualname: u64,
    /// `PyHeapTypeObject.ht_cached_keys`.
    pub type_cached_keys: u64,
}

impl Layout {
    /// That of this version.
    #[must_use]
    pub fn table(version: Version) -> &'static Self {
        tables::of(version)
    }
}
