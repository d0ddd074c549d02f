//! `_Py_DebugOffsets`: what `_PyRuntime` begins with from 3.13 on (`Include/internal/
//! pycore_runtime.h` of 3.13, `pycore_debug_offsets.h` of 3.14). The process itself says where its
//! fields are; a table says which of the numbers is which.

use thiserror::Error;

use super::{Bytecode, Frames, Layout};
use crate::python::reader::words_of;
use crate::python::version::{Unsupported, Version};

/// What they begin with.
const COOKIE: &[u8; 8] = b"xdebugpy";

/// Bytes that are looked at: all that is used of them in either version.
pub const DEBUG_OFFSETS_BYTES: usize = 96 * 8;

/// Largest offset that is believed.
const MAX_OFFSET: u64 = 1 << 20;

/// Why they say nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoDebugOffsets {
    /// They are not there: an older version, or another place.
    #[error("no _Py_DebugOffsets")]
    None,
    /// A version that is not known, or that is not served.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A number that is no offset.
    #[error("the _Py_DebugOffsets say that {0} is at {1}")]
    Offset(&'static str, u64),
}

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugOffsets {
    /// `PY_VERSION_HEX` of the build.
    pub hex: u32,
    version: Version,
    words: Vec<u64>,
}

/// Words of `_Py_DebugOffsets`, by number, as the version has them.
struct Places {
    interpreters_head: usize,
    interpreter_id: usize,
    interpreter_next: usize,
    threads_head: usize,
    modules: usize,
    thread: usize,
    frame: usize,
    code: usize,
    tuple_items: usize,
    text_size: usize,
}

const PLACES_3_13: Places = Places {
    interpreters_head: 5,
    interpreter_id: 7,
    interpreter_next: 8,
    threads_head: 9,
    modules: 11,
    thread: 19,
    frame: 28,
    code: 34,
    tuple_items: 51,
    text_size: 70,
};

const PLACES_3_14: Places = Places {
    interpreters_head: 5,
    interpreter_id: 7,
    interpreter_next: 8,
    threads_head: 9,
    modules: 12,
    thread: 22,
    frame: 31,
    code: 39,
    tuple_items: 57,
    text_size: 80,
};

impl DebugOffsets {
    /// Reads them from the first [`DEBUG_OFFSETS_BYTES`] of `_PyRuntime`.
    ///
    /// # Errors
    ///
    /// When they are not there, or of a build that is not served.
    pub fn read(bytes: &[u8]) -> Result<Self, NoDebugOffsets> {
        let words = words_of(bytes);
        if bytes.get(..8) != Some(COOKIE) || words.len() * 8 < DEBUG_OFFSETS_BYTES {
            return Err(NoDebugOffsets::None);
        }
        let hex = u32::try_from(words[1]).map_err(|_| NoDebugOffsets::None)?;
        let version = Version::from_hex(hex)?;
        if version < Version::V3_13 {
            return Err(NoDebugOffsets::None);
        }
        if words[2] != 0 {
            return Err(Unsupported::FreeThreaded(version).into());
        }
        Ok(Self {
            hex,
            version,
            words,
        })
    }

    /// The version's table with these offsets over it.
    ///
    /// # Errors
    ///
    /// When one of them cannot be right.
    pub fn layout(&self) -> Result<Layout, NoDebugOffsets> {
        let places = match self.version {
            Version::V3_14 => &PLACES_3_14,
            _ => &PLACES_3_13,
        };
        let mut layout = Layout::table(self.version).clone();
        let set = |name: &'static str, to: &mut u64, place: usize| {
            let value = self.words.get(place).copied().unwrap_or(u64::MAX);
            if value > MAX_OFFSET {
                return Err(NoDebugOffsets::Offset(name, value));
            }
            *to = value;
            Ok(())
        };
        let (runtime, interpreter) = (&mut layout.runtime, &mut layout.interpreter);
        let interpreters_head = places.interpreters_head;
        set(
            "interpreters.head",
            &mut runtime.interpreters_head,
            interpreters_head,
        )?;
        set("interp.id", &mut interpreter.id, places.interpreter_id)?;
        set(
            "interp.next",
            &mut interpreter.next,
            places.interpreter_next,
        )?;
        let threads_head = &mut interpreter.threads_head;
        set("interp.threads.head", threads_head, places.threads_head)?;
        set(
            "interp.imports.modules",
            &mut interpreter.modules,
            places.modules,
        )?;
        // size, prev, next, interp, current_frame, thread_id, native_thread_id, …
        let thread = &mut layout.thread;
        set("tstate.next", &mut thread.next, places.thread + 2)?;
        set("tstate.interp", &mut thread.interp, places.thread + 3)?;
        let mut current_frame = 0;
        set(
            "tstate.current_frame",
            &mut current_frame,
            places.thread + 4,
        )?;
        thread.frames = Frames::Direct { current_frame };
        set("tstate.thread_id", &mut thread.thread_id, places.thread + 5)?;
        let mut native = 0;
        set("tstate.native_thread_id", &mut native, places.thread + 6)?;
        thread.native_thread_id = Some(native);
        // size, previous, executable, instr_ptr, localsplus, owner, …
        let frame = &mut layout.frame;
        set("frame.previous", &mut frame.previous, places.frame + 1)?;
        set("frame.executable", &mut frame.code, places.frame + 2)?;
        set("frame.instr_ptr", &mut frame.instruction, places.frame + 3)?;
        set("frame.localsplus", &mut frame.locals, places.frame + 4)?;
        let mut owner = 0;
        set("frame.owner", &mut owner, places.frame + 5)?;
        frame.owner = Some(owner);
        // size, filename, name, qualname, linetable, firstlineno, argcount, localsplusnames,
        // localspluskinds, co_code_adaptive, …
        let code = &mut layout.code;
        set("code.filename", &mut code.filename, places.code + 1)?;
        set("code.name", &mut code.name, places.code + 2)?;
        let (mut qualname, mut kinds, mut bytecode) = (0, 0, 0);
        set("code.qualname", &mut qualname, places.code + 3)?;
        set("code.linetable", &mut code.linetable, places.code + 4)?;
        set("code.firstlineno", &mut code.firstlineno, places.code + 5)?;
        set("code.argcount", &mut code.argcount, places.code + 6)?;
        set("code.localsplusnames", &mut code.names, places.code + 7)?;
        set("code.localspluskinds", &mut kinds, places.code + 8)?;
        set("code.co_code_adaptive", &mut bytecode, places.code + 9)?;
        code.qualname = Some(qualname);
        code.kinds = Some(kinds);
        code.bytecode = Bytecode::Inline(bytecode);
        set("tuple.ob_item", &mut layout.tuple_items, places.tuple_items)?;
        set(
            "sizeof(PyASCIIObject)",
            &mut layout.text.ascii,
            places.text_size,
        )?;
        Ok(layout)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytecode, DEBUG_OFFSETS_BYTES, DebugOffsets, Frames, Layout, NoDebugOffsets};
    use crate::python::version::{Unsupported, Version};

    /// What a build says: each offset is sixteen times the number of its word.
    fn told(hex: u64, free_threaded: u64) -> Vec<u8> {
        let mut bytes = b"xdebugpy".to_vec();
        bytes.extend(hex.to_le_bytes());
        bytes.extend(free_threaded.to_le_bytes());
        for word in 3..DEBUG_OFFSETS_BYTES as u64 / 8 {
            bytes.extend((word * 16).to_le_bytes());
        }
        bytes
    }

    fn layout(hex: u64) -> Layout {
        let offsets = DebugOffsets::read(&told(hex, 0)).expect("offsets");
        offsets.layout().expect("a layout")
    }

    #[test]
    fn each_number_is_taken_for_what_it_is() {
        // By hand from the headers of 3.13.0 and 3.14.10.
        let old = layout(0x030d_00f0);
        assert_eq!(old.version, Version::V3_13);
        assert_eq!(old.runtime.interpreters_head, 5 * 16);
        assert_eq!(old.interpreter.threads_head, 9 * 16);
        assert_eq!(old.interpreter.modules, 11 * 16);
        assert_eq!(old.thread.next, 21 * 16);
        let current_frame = 23 * 16;
        assert_eq!(old.thread.frames, Frames::Direct { current_frame });
        assert_eq!(old.thread.thread_id, 24 * 16);
        assert_eq!(old.frame.previous, 29 * 16);
        assert_eq!(old.frame.locals, 32 * 16);
        assert_eq!(old.code.filename, 35 * 16);
        assert_eq!(old.code.bytecode, Bytecode::Inline(43 * 16));
        assert_eq!((old.tuple_items, old.text.ascii), (51 * 16, 70 * 16));
        let new = layout(0x030e_0af0);
        assert_eq!(new.interpreter.modules, 12 * 16);
        assert_eq!(new.thread.thread_id, 27 * 16);
        assert_eq!(new.frame.previous, 32 * 16);
        assert_eq!(new.code.bytecode, Bytecode::Inline(48 * 16));
        assert_eq!((new.tuple_items, new.text.ascii), (57 * 16, 80 * 16));
        // What they do not say is the table's.
        assert_eq!(new.frame.tag, 3);
    }

    #[test]
    fn what_is_not_served_is_named() {
        let refused = |hex, free| DebugOffsets::read(&told(hex, free)).map(|o| o.hex);
        let free = Unsupported::FreeThreaded(Version::V3_14).into();
        assert_eq!(refused(0x030e_00f0, 1), Err(free));
        let (major, minor) = (3, 15);
        let newer = Unsupported::Version { major, minor }.into();
        assert_eq!(refused(0x030f_00a1, 0), Err(newer));
        assert_eq!(refused(0x030c_00f0, 0), Err(NoDebugOffsets::None));
        assert_eq!(DebugOffsets::read(&[0; 4096]), Err(NoDebugOffsets::None));
        let short = &told(0x030d_00f0, 0)[..200];
        assert_eq!(DebugOffsets::read(short), Err(NoDebugOffsets::None));
    }

    #[test]
    fn an_offset_that_cannot_be_is_refused() {
        let mut bytes = told(0x030d_00f0, 0);
        bytes[5 * 8 + 4] = 1;
        let layout = DebugOffsets::read(&bytes).expect("offsets").layout();
        assert!(matches!(
            layout,
            Err(NoDebugOffsets::Offset("interpreters.head", _))
        ));
    }
}
