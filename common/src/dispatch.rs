//! Spans of LlamaIndex, seen at watchpoints on the functions of its dispatcher.

use crate::event::EventHeader;
use crate::function::TYPE_NAME_BYTES;

/// Most bytes of a span's id that are copied from its beginning; a power of two.
pub const HEAD_BYTES: usize = 128;
/// Characters of an id that are copied from its end: those of the UUID that it ends with.
pub const TAIL_CHARACTERS: usize = 36;
/// Most bytes of those: of characters of two bytes.
pub const TAIL_BYTES: usize = 2 * TAIL_CHARACTERS;
/// Where in a UUID that is written, from its end, eight characters are by which a snapshot says whose it is
/// ([`crate::snapshot::purpose::SPAN`]).
pub const NUMBER_FROM_END: u64 = 12;
/// How many references lead to an object that is copied of what a span is given or gives, at most.
pub const CONTENT_DEPTH: u32 = 5;
/// The same of a tool, to its name.
pub const TOOL_DEPTH: u32 = 2;
/// Variables of a function that asks a model, of which the cells say whose stream a generator gives.
pub const CELLS: usize = 8;
/// Classes that an object's class is derived from, of which the names are copied.
pub const MAX_BASES: usize = 12;
/// Most bytes of such a name, with its end.
pub const BASE_BYTES: usize = 24;

/// Numbers of [`SpanTold::hook`], which are numbers of [`crate::function::Watch::what`] as well.
pub mod hook {
    /// `Dispatcher.span_enter`: a span begins.
    pub const ENTERS: u32 = 24;
    /// `Dispatcher.span_exit`: its function returned.
    pub const EXITS: u32 = 25;
    /// `Dispatcher.span_drop`: an exception left its function.
    pub const DROPS: u32 = 26;
    /// `Dispatcher.event`: something is told of a span.
    pub const EVENT: u32 = 27;

    /// Whether this is one of them.
    #[must_use]
    pub const fn is_one(number: u32) -> bool {
        ENTERS <= number && number <= EVENT
    }
}

/// The end of a span's id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Bytes of a character: 1 (Latin-1) or 2; zero when there is no id.
    pub width: u32,
    /// Characters that were copied.
    pub characters: u32,
    /// They.
    pub bytes: [u8; TAIL_BYTES],
}

/// What is told of a span. Texts end with a zero byte or at their length.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanTold {
    /// Common part.
    pub header: EventHeader,
    /// [`hook`] number.
    pub hook: u32,
    /// As [`crate::function::WatchedProcess::root`].
    pub root: u32,
    /// The `contextvars` context of the thread; zero when it runs in none that was entered.
    pub context: u64,
    /// The object whose method it is (of [`hook::ENTERS`]); zero when it is nobody's. Where `given` is set and a
    /// generator tells it: the first cell among its first [`CELLS`] variables, which it has in common with the
    /// function that made it.
    pub object: u64,
    /// The frame of the function that tells it.
    pub caller: u64,
    /// Its code object.
    pub caller_code: u64,
    /// `co_flags` of that.
    pub caller_flags: u32,
    /// Not zero when [`hook::EVENT`] takes an id as an argument (to 0.10.40): there an event has the
    /// id of the span that the thread began last, whether that goes on or not.
    pub given: u32,
    /// Of [`hook::EVENT`] by such a version that a model is asked: the innermost frame around the caller that told
    /// something before; zero when there is none among those that were looked at. So of [`hook::ENTERS`]
    /// without a parent: such a frame, or that of a generator that was told. Of [`hook::EXITS`]: the frame of
    /// the generator in the answer that the function returns, if it is one that is streamed.
    pub around: u64,
    /// The span's id.
    pub id: Tail,
    /// `tp_name` of a class: of the object, of the result, of the exception, of the event.
    pub class: [u8; TYPE_NAME_BYTES],
    /// Of an `ExceptionEvent`: that of the exception. Where `given` is set and a model is asked: the first
    /// [`CELLS`] variables of the caller, a word each.
    pub exception: [u8; TYPE_NAME_BYTES],
}

/// A span that begins: [`hook::ENTERS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanEntered {
    /// What any record tells.
    pub told: SpanTold,
    /// The id of the span that it belongs to.
    pub parent: Tail,
    /// Bytes of a character of `head`: 1 (Latin-1) or 2; zero when the id was not read.
    pub head_width: u32,
    /// Always zero.
    pub zero: u32,
    /// Characters that the id has in all.
    pub characters: u64,
    /// The id, from its beginning.
    pub head: [u8; HEAD_BYTES],
    /// `tp_name` of the classes that the object's is derived from (its `__mro__` without itself).
    pub bases: [[u8; BASE_BYTES]; MAX_BASES],
}

const _: () = {
    assert!(size_of::<Tail>() == 80);
    assert!(size_of::<SpanTold>() == 288);
    assert!(size_of::<SpanEntered>() == 288 + 80 + 16 + 128 + 288);
    assert!(HEAD_BYTES.is_power_of_two() && TAIL_CHARACTERS < 64);
};
