//! Where a CPython process keeps what the programs in the kernel read of it: offsets that the
//! agent finds out per process, and tells the kernel as the value of a map.
//!
//! x86-64, with the GIL, 3.7 to 3.14. Names are those of CPython's sources; where they differ by
//! version, the versions are said. The values come from the process itself or from tables of the
//! agent, never from here.

/// An offset of something that this version does not have.
pub const NONE: u32 = u32::MAX;

/// Largest offset into a structure that the programs accept, in bytes.
pub const MAX_OFFSET: u32 = 4096;

/// How far from the thread's base its own word may be, in bytes, either way.
pub const MAX_THREAD_OFFSET: i32 = 1 << 20;

/// Bytes of a frame that are read at once: every offset into the head of a frame from 3.11 on
/// must lie within, and so must the head of a `PyFrameObject` up to 3.10.
pub const FRAME_BYTES: u32 = 128;

/// Numbers of [`PythonLayout::frames`]: how a thread state leads to the running frame.
pub mod frames {
    /// To 3.10: `PyThreadState.frame` is a `PyFrameObject` (`Include/cpython/pystate.h`).
    pub const OBJECT: u32 = 1;
    /// 3.11 and 3.12: `PyThreadState.cframe` is a `_PyCFrame` whose `current_frame` is a
    /// `_PyInterpreterFrame` (`Include/internal/pycore_frame.h`).
    pub const CFRAME: u32 = 2;
    /// From 3.13 on: `PyThreadState.current_frame` is a `_PyInterpreterFrame`.
    pub const DIRECT: u32 = 3;
}

/// Bits of [`PythonLayout::wanted`]: what the programs do for this process.
pub mod wanted {
    /// Tell in which `contextvars` context data was moved.
    pub const CONTEXT: u32 = 1;
    /// Tell the Python call path of data that was written.
    pub const STACK: u32 = 2;
    /// Tell of work that is given to thread pools.
    pub const POOL: u32 = 4;
}

/// Numbers of [`PythonLayout::item_values`]: how an object of a plain class leads to the first of its
/// attributes.
pub mod values {
    /// To 3.10: its dictionary is 16 bytes into it, and has a pointer to the values at 40
    /// (`ma_values`, `Include/cpython/dictobject.h`).
    pub const DICT: u32 = 1;
    /// 3.11: a pointer to the values is 32 bytes before it (`_PyObject_ValuesPointer`,
    /// `Include/internal/pycore_object.h`).
    pub const BEFORE: u32 = 2;
    /// 3.12: 24 bytes before it is a pointer to a byte before the values, an odd one; or its dictionary
    /// (`_PyDictOrValues_GetValues`, ibidem).
    pub const TAGGED: u32 = 3;
    /// 3.13: the values lie in it, 24 bytes from its start (`_PyObject_InlineValues`, ibidem).
    pub const INLINE: u32 = 4;
}

/// Bit of what stands for a context in records: it is none, but the address of the
/// `concurrent.futures.Future` of work that was given to a thread pool. Contexts are aligned.
pub const POOLED: u64 = 1;

/// Value of the map of Python processes, by thread group id. All offsets in bytes.
///
/// Pointers in frames may be tagged (3.14, `_PyStackRef`): [`Self::tag`] says which low bits are
/// no part of the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PythonLayout {
    /// From the thread's base (`fsbase`) to the word that points to its `PyThreadState`: the slot
    /// of `autoTSSkey` among glibc's thread-specific data (792 to 3.12, 808 in 3.13; to be found).
    pub thread_state: i32,
    /// [`frames`] number.
    pub frames: u32,
    /// In `PyThreadState`: `frame` (to 3.10), `cframe` (3.11, 3.12), `current_frame` (3.13).
    pub tstate_frame: u32,
    /// In `_PyCFrame`: `current_frame` (3.11: 8, 3.12: 0); else [`NONE`].
    pub cframe_frame: u32,
    /// In `PyThreadState`: `context`, the current `PyContext` or null.
    pub tstate_context: u32,
    /// In `PyContext`: `ctx_entered`, an `int`: whether it is the current one of some thread.
    pub context_entered: u32,
    /// In a frame: the code object (`f_code`; 3.13: `f_executable`).
    pub frame_code: u32,
    /// In a frame: its caller (`f_back` to 3.10, `previous`).
    pub frame_previous: u32,
    /// In a frame: how far it is: `f_lasti`, an `int` (to 3.10); `prev_instr`, a pointer (3.11,
    /// 3.12); `instr_ptr` (3.13).
    pub frame_instruction: u32,
    /// In a frame: its first argument (`f_localsplus`, `localsplus`).
    pub frame_locals: u32,
    /// In a frame: the function object (`f_func` 3.11, `f_funcobj` 3.12); [`NONE`] to 3.10.
    pub frame_function: u32,
    /// In a frame: `owner`, a `char` (3.11); [`NONE`] to 3.10.
    pub frame_owner: u32,
    /// First value of `owner` that says that a frame is no function's: `FRAME_OWNED_BY_CSTACK`,
    /// 3 from 3.12 on; [`NONE`] where there are no such frames.
    pub shim_owner: u32,
    /// Bits that are no part of a pointer in a frame: 3 in 3.14, else 0.
    pub tag: u32,
    /// In a code object: where the bytecode is. From 3.11 on `co_code_adaptive`, which starts
    /// there; up to 3.10 `co_code`, which points to a `bytes` object.
    pub code_bytecode: u32,
    /// In a `bytes` object: its data (32); used up to 3.10.
    pub bytes_data: u32,
    /// How far behind the first instruction [`Self::frame_instruction`] is when a function is
    /// entered: 2 in 3.11 and 3.12, 0 from 3.13 on. Not used up to 3.10, where `f_lasti` is -1.
    pub entry_before: u32,
    /// In a code object: `co_filename`.
    pub code_filename: u32,
    /// In a code object: `co_qualname` (3.11), `co_name` before.
    pub code_qualname: u32,
    /// In a code object: `co_flags`.
    pub code_flags: u32,
    /// In a code object: `co_firstlineno`.
    pub code_first_line: u32,
    /// In a compact ASCII string: its bytes (48; 40 from 3.12 on).
    pub string_data: u32,
    /// In a string: its length in characters (16).
    pub string_length: u32,
    /// [`wanted`] bits.
    pub wanted: u32,
    /// [`values`] number of the objects of `concurrent.futures.thread._WorkItem`; zero when work for
    /// thread pools is not told.
    pub item_values: u32,
    /// Always zero: keeps it free of padding.
    pub zero: u32,
    /// The code of `concurrent.futures.Future.__init__`, or zero.
    pub future_made: u64,
    /// The code of `concurrent.futures.thread._WorkItem.run`, or zero.
    pub item_run: u64,
}

/// Why a layout is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLayout {
    /// [`PythonLayout::frames`] is no number of [`frames`].
    Frames(u32),
    /// The word of the thread is out of bounds or not aligned.
    ThreadState(i32),
    /// The named offset is out of bounds, not aligned, or missing where this version has it.
    Offset(&'static str, u32),
    /// More bits are called a tag than an aligned pointer leaves free.
    Tag(u32),
}

impl core::fmt::Display for BadLayout {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Frames(n) => write!(f, "no way {n} to the running frame"),
            Self::ThreadState(n) => write!(f, "no thread state at the thread's base {n:+}"),
            Self::Offset(name, n) => write!(f, "no {name} at offset {n}"),
            Self::Tag(n) => write!(f, "no pointer has the tag {n:#x}"),
        }
    }
}

impl core::error::Error for BadLayout {}

impl PythonLayout {
    /// All offsets missing: what a table starts from.
    pub const EMPTY: Self = Self {
        thread_state: 0,
        frames: 0,
        tstate_frame: NONE,
        cframe_frame: NONE,
        tstate_context: NONE,
        context_entered: NONE,
        frame_code: NONE,
        frame_previous: NONE,
        frame_instruction: NONE,
        frame_locals: NONE,
        frame_function: NONE,
        frame_owner: NONE,
        shim_owner: NONE,
        tag: 0,
        code_bytecode: NONE,
        bytes_data: NONE,
        entry_before: 0,
        code_filename: NONE,
        code_qualname: NONE,
        code_flags: NONE,
        code_first_line: NONE,
        string_data: NONE,
        string_length: NONE,
        wanted: 0,
        item_values: 0,
        zero: 0,
        future_made: 0,
        item_run: 0,
    };

    /// This layout, if the programs may be given it.
    ///
    /// That it is this process's layout no check here can tell; only that nothing in it leads the
    /// programs astray: they read where it says, and a read that fails is no harm.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub const fn checked(self) -> Result<Self, BadLayout> {
        let t = self.thread_state;
        if t == 0 || t % 8 != 0 || t > MAX_THREAD_OFFSET || t < -MAX_THREAD_OFFSET {
            return Err(BadLayout::ThreadState(t));
        }
        if self.tag & !7 != 0 {
            return Err(BadLayout::Tag(self.tag));
        }
        let objects = match self.frames {
            frames::OBJECT => true,
            frames::CFRAME | frames::DIRECT => false,
            n => return Err(BadLayout::Frames(n)),
        };
        // Name, value, alignment, bound, and whether it must be there.
        let all = [
            ("tstate.frame", self.tstate_frame, 8, MAX_OFFSET, true),
            (
                "cframe.current_frame",
                self.cframe_frame,
                8,
                MAX_OFFSET,
                self.frames == frames::CFRAME,
            ),
            ("tstate.context", self.tstate_context, 8, MAX_OFFSET, true),
            ("context.entered", self.context_entered, 4, MAX_OFFSET, true),
            ("frame.code", self.frame_code, 8, FRAME_BYTES - 8, true),
            (
                "frame.previous",
                self.frame_previous,
                8,
                FRAME_BYTES - 8,
                true,
            ),
            (
                "frame.instruction",
                self.frame_instruction,
                if objects { 4 } else { 8 },
                FRAME_BYTES - 8,
                true,
            ),
            ("frame.locals", self.frame_locals, 8, MAX_OFFSET, true),
            (
                "frame.function",
                self.frame_function,
                8,
                FRAME_BYTES - 8,
                !objects,
            ),
            (
                "frame.owner",
                self.frame_owner,
                1,
                FRAME_BYTES - 8,
                !objects,
            ),
            ("code.bytecode", self.code_bytecode, 2, MAX_OFFSET, true),
            ("bytes.data", self.bytes_data, 8, MAX_OFFSET, objects),
            ("code.filename", self.code_filename, 8, MAX_OFFSET, true),
            ("code.qualname", self.code_qualname, 8, MAX_OFFSET, true),
            ("code.flags", self.code_flags, 4, MAX_OFFSET, true),
            (
                "code.firstlineno",
                self.code_first_line,
                4,
                MAX_OFFSET,
                true,
            ),
            ("str.data", self.string_data, 8, MAX_OFFSET, true),
            ("str.length", self.string_length, 8, MAX_OFFSET, true),
        ];
        let mut i = 0;
        while i < all.len() {
            let (name, value, align, bound, needed) = all[i];
            if if value == NONE {
                needed
            } else {
                value % align != 0 || value > bound
            } {
                return Err(BadLayout::Offset(name, value));
            }
            i += 1;
        }
        if self.entry_before > 8 {
            return Err(BadLayout::Offset("entry", self.entry_before));
        }
        Ok(self)
    }
}

// SAFETY: integers only, `repr(C)`, no padding: its size is checked below.
#[cfg(feature = "user")]
unsafe impl aya::Pod for PythonLayout {}

const _: () = assert!(size_of::<PythonLayout>() == 26 * 4 + 2 * 8);

#[cfg(test)]
mod tests {
    use super::{BadLayout, NONE, PythonLayout, frames};

    /// CPython 3.13, built as a shared library.
    fn direct() -> PythonLayout {
        PythonLayout {
            thread_state: 808,
            frames: frames::DIRECT,
            tstate_frame: 72,
            tstate_context: 208,
            context_entered: 40,
            frame_code: 0,
            frame_previous: 8,
            frame_instruction: 56,
            frame_locals: 72,
            frame_function: 16,
            frame_owner: 70,
            shim_owner: 3,
            code_bytecode: 200,
            code_filename: 112,
            code_qualname: 128,
            code_flags: 48,
            code_first_line: 68,
            string_data: 40,
            string_length: 16,
            ..PythonLayout::EMPTY
        }
    }

    #[test]
    fn a_whole_layout_is_taken_as_it_is() {
        assert_eq!(direct().checked(), Ok(direct()));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            PythonLayout::EMPTY.checked(),
            Err(BadLayout::ThreadState(0))
        );
        let mut layout = direct();
        layout.frames = frames::CFRAME;
        let missing = BadLayout::Offset("cframe.current_frame", NONE);
        assert_eq!(layout.checked(), Err(missing));
        layout.frames = frames::OBJECT;
        assert_eq!(layout.checked(), Err(BadLayout::Offset("bytes.data", NONE)));
        layout.frames = 4;
        assert_eq!(layout.checked(), Err(BadLayout::Frames(4)));
        layout = direct();
        layout.frame_owner = NONE;
        assert_eq!(
            layout.checked(),
            Err(BadLayout::Offset("frame.owner", NONE))
        );
    }

    #[test]
    fn what_leads_astray_is_refused() {
        let mut layout = direct();
        layout.frame_previous = 7;
        assert_eq!(
            layout.checked(),
            Err(BadLayout::Offset("frame.previous", 7))
        );
        layout = direct();
        layout.frame_code = 128;
        assert_eq!(layout.checked(), Err(BadLayout::Offset("frame.code", 128)));
        layout = direct();
        layout.tag = 8;
        assert_eq!(layout.checked(), Err(BadLayout::Tag(8)));
        layout = direct();
        layout.thread_state = i32::MIN;
        assert_eq!(layout.checked(), Err(BadLayout::ThreadState(i32::MIN)));
    }
}
