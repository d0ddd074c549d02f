//! The Python frames from which a request is written: a record of addresses, which the agent turns
//! into names.

use crate::event::EventHeader;

/// Most frames of a record, the innermost ones.
pub const MAX_FRAMES: usize = 64;

/// A frame, as it is in the traced process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Address of its code object; zero of a frame that is no function's (`_PyInterpreterFrame.owner`).
    pub code: u64,
    /// How far it is: see [`crate::python::PythonLayout::frame_instruction`].
    pub instruction: u64,
}

/// A [`crate::event::EventKind::Stack`] record: right before the data that is written from there.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackEvent {
    /// Common part.
    pub header: EventHeader,
    /// As in [`crate::map::ConnectionKey::ssl`].
    pub ssl: u64,
    /// See [`crate::map::ConnectionState::generation`].
    pub generation: u64,
    /// How many of [`Self::frames`] were read; what follows them is anything.
    pub count: u32,
    /// One when there are frames around these.
    pub more: u32,
    /// The innermost first.
    pub frames: [Frame; MAX_FRAMES],
}

const _: () = {
    assert!(size_of::<StackEvent>() == 48 + 16 * MAX_FRAMES);
};
