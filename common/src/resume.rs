//! The instruction by which each Python function begins, from CPython 3.11 on, as a place where the
//! interpreter is probed: what the agent tells the programs of it, and what these found out.

/// Numbers of [`Resumed::register`]: where the frame is when the place is reached. Those that a function
/// that is called must keep, so that compilers keep the frame there.
pub mod register {
    /// `rbx`.
    pub const RBX: u32 = 0;
    /// `rbp`.
    pub const RBP: u32 = 1;
    /// `r12`.
    pub const R12: u32 = 2;
    /// `r13`.
    pub const R13: u32 = 3;
    /// `r14`.
    pub const R14: u32 = 4;
    /// `r15`.
    pub const R15: u32 = 5;
}

/// Numbers of [`Resumed::refused`].
pub mod refused {
    /// Something else than `RESUME` was run where it should be.
    pub const NO_RESUME: u32 = 1;
    /// What should be cleared was no frame.
    pub const NO_FRAME: u32 = 2;
}

/// So many hits of each of both places are held against what they should be; later ones cost less.
pub const CHECKED: u64 = 4096;

/// A process whose interpreter is probed at `RESUME`: value of a table by thread group id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// As [`crate::function::WatchedProcess::root`].
    pub root: u32,
    /// [`register`] number.
    pub register: u32,
    /// Which argument of the function that clears a frame is the frame, counted from zero.
    pub argument: u32,
    /// As [`crate::python::PythonLayout::frame_code`].
    pub frame_code: u32,
    /// As [`crate::python::PythonLayout::frame_instruction`].
    pub frame_instruction: u32,
    /// As [`crate::python::PythonLayout::tag`].
    pub tag: u32,
    /// The opcodes whose code is probed, a byte each; zero for none.
    pub opcodes: u32,
    /// From this opcode on one stands for another, while somebody traces.
    pub instrumented: u32,
    /// One when a generator or coroutine is watched in it.
    pub generators: u32,
    /// Set by the programs: [`refused`] number, from when on they do nothing more. Zero as long as what was
    /// seen is what it should be.
    pub refused: u32,
    /// The type of code objects.
    pub code_type: u64,
    /// Counted by the programs, up to [`CHECKED`]: how often `RESUME` was run as it should be.
    pub entered: u64,
    /// The same of frames that were cleared.
    pub cleared: u64,
}

/// What aya needs to pass it through the `bpf` system call.
#[cfg(feature = "user")]
mod user {
    // SAFETY: integers only, `repr(C)`, no padding: its size is checked below.
    unsafe impl aya::Pod for super::Resumed {}
}

const _: () = assert!(size_of::<Resumed>() == 10 * 4 + 3 * 8);
