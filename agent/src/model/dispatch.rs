//! What LlamaIndex tells its dispatcher, as it was copied from a process.

use super::framework::RunName;
use super::time::BootTime;
use genspan_common::dispatch::CELLS;

/// Something that the dispatcher was told.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanHit<'a> {
    /// Process (thread group) id in the initial PID namespace.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// When.
    pub time: BootTime,
    /// Context in which the thread runs; none when it runs in none that was entered.
    pub context: Option<u64>,
    /// The function that tells it.
    pub caller: Caller,
    /// Which span it is about, by its id; none when it has none that was read.
    pub id: Option<u128>,
    /// What it is.
    pub what: SpanStep<'a>,
}

/// A function that tells the dispatcher something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its frame.
    pub frame: u64,
    /// Its code object.
    pub code: u64,
    /// `co_flags` of that.
    pub flags: u32,
}

/// What it is that the dispatcher is told. Names are those of CPython's types.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanStep<'a> {
    /// A span begins.
    Enters(Box<SpanStart<'a>>),
    /// Its function returned.
    Exits {
        /// Class of what it returned.
        result: &'a [u8],
        /// The frame of the generator in that, if it is an answer that is streamed.
        stream: Option<u64>,
    },
    /// An exception left its function.
    Drops {
        /// Class of the exception.
        class: &'a [u8],
    },
    /// An event of a model, or of an exception.
    Event {
        /// Class of the event.
        class: &'a [u8],
        /// Class of the exception that it is about.
        exception: &'a [u8],
        /// Of a version in which models have no spans: what is known instead.
        old: Option<Around<'a>>,
    },
}

/// What the frames of an event say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Around<'a> {
    /// Where a model is asked: the innermost frame around the caller that told an event before.
    pub frame: Option<u64>,
    /// Where a generator tells it: a variable that it has in common with the function that made it, by the address
    /// of its cell.
    pub cell: Option<u64>,
    /// Where a model is asked: variables of the caller, a word each. Those that are cells are the caller's alone for
    /// as long as it or a generator that it made is there.
    pub variables: &'a [u8],
}

impl Around<'_> {
    /// The variables as addresses; zero where there is none. Three bits of a reference may say something else.
    #[must_use]
    pub fn addresses(&self) -> [u64; CELLS] {
        let mut words = self.variables.chunks_exact(8);
        std::array::from_fn(|_| {
            let word = words.next().and_then(|word| word.try_into().ok());
            word.map_or(0, u64::from_ne_bytes) & !7
        })
    }
}

/// A span that begins.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanStart<'a> {
    /// Its id, from the beginning.
    pub label: Option<RunName<'a>>,
    /// Id of the span that it belongs to.
    pub parent: Option<u128>,
    /// Of one that belongs to none: the innermost frame around it that told something, or is that of a
    /// generator which was told ([`SpanStep::Exits`]).
    pub around: Option<u64>,
    /// The object whose method it is.
    pub object: Option<u64>,
    /// Class of that.
    pub class: &'a [u8],
    /// What that is derived from; names may be cut.
    pub bases: Vec<&'a [u8]>,
}
