//! The part of a layout that the programs in the kernel need.

use genspan_common::python::{NONE, PythonLayout, frames};

use super::{Bytecode, Frames, Layout};
use crate::python::text::{BYTES_DATA, LENGTH};

/// In `PyContext` (`Include/internal/pycore_context.h`): `ctx_entered`.
const CONTEXT_ENTERED: u32 = 40;

/// What is said where an offset does not fit: a table never has such a one, `_Py_DebugOffsets`
/// may, and then the layout is refused when it is checked.
const TOO_FAR: u32 = u32::MAX - 1;

fn narrow(offset: u64) -> u32 {
    u32::try_from(offset).unwrap_or(TOO_FAR)
}

fn optional(offset: Option<u64>) -> u32 {
    offset.map_or(NONE, narrow)
}

impl Layout {
    /// What the kernel reads of it; `thread_state` is where from a thread's base the word is that
    /// points to its state. Nothing is wanted of the kernel yet.
    #[must_use]
    pub fn kernel(&self, thread_state: i32) -> PythonLayout {
        let (kind, tstate_frame, cframe_frame) = match self.thread.frames {
            Frames::Object { frame } => (frames::OBJECT, frame, None),
            Frames::CFrame {
                cframe,
                current_frame,
            } => (frames::CFRAME, cframe, Some(current_frame)),
            Frames::Direct { current_frame } => (frames::DIRECT, current_frame, None),
        };
        let (bytecode, bytes_data) = match self.code.bytecode {
            Bytecode::Bytes(at) => (at, narrow(BYTES_DATA)),
            Bytecode::Inline(at) => (at, NONE),
        };
        PythonLayout {
            thread_state,
            frames: kind,
            tstate_frame: narrow(tstate_frame),
            cframe_frame: optional(cframe_frame),
            tstate_context: narrow(self.thread.context),
            context_entered: CONTEXT_ENTERED,
            frame_code: narrow(self.frame.code),
            frame_previous: narrow(self.frame.previous),
            frame_instruction: narrow(self.frame.instruction),
            frame_locals: narrow(self.frame.locals),
            frame_function: optional(self.frame.function),
            frame_owner: optional(self.frame.owner),
            shim_owner: self.frame.shim_owner.map_or(NONE, u32::from),
            tag: narrow(self.frame.tag),
            code_bytecode: narrow(bytecode),
            bytes_data,
            // `prev_instr` is the instruction before the one that comes next.
            entry_before: if kind == frames::CFRAME { 2 } else { 0 },
            code_filename: narrow(self.code.filename),
            code_qualname: narrow(self.code.qualname.unwrap_or(self.code.name)),
            code_flags: narrow(self.code.flags),
            code_first_line: narrow(self.code.firstlineno),
            string_data: narrow(self.text.ascii),
            string_length: narrow(LENGTH),
            wanted: 0,
            item_values: 0,
            zero: 0,
            future_made: 0,
            item_run: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use genspan_common::python::{NONE, frames};

    use super::Layout;
    use crate::python::version::Version;

    #[test]
    fn every_table_is_one_that_the_kernel_takes() {
        for version in Version::ALL {
            let layout = Layout::table(version).kernel(792);
            assert_eq!(layout.checked(), Ok(layout), "{version}");
        }
    }

    #[test]
    fn what_versions_differ_in_is_told() {
        let of = |version| Layout::table(version).kernel(792);
        let old = of(Version::V3_8);
        assert_eq!((old.frames, old.tstate_frame), (frames::OBJECT, 24));
        assert_eq!((old.code_bytecode, old.bytes_data), (48, 32));
        assert_eq!((old.code_qualname, old.frame_owner), (112, NONE));
        let middle = of(Version::V3_11);
        assert_eq!((middle.tstate_frame, middle.cframe_frame), (56, 8));
        assert_eq!((middle.entry_before, middle.shim_owner), (2, NONE));
        let new = of(Version::V3_14);
        assert_eq!(
            (new.frames, new.tstate_frame, new.tag),
            (frames::DIRECT, 72, 3)
        );
        assert_eq!((new.frame_locals, new.shim_owner), (80, 3));
        assert_eq!((new.code_bytecode, new.entry_before), (208, 0));
    }
}
