//! Spans that wait for their parent. A served request waits for the other end of its connection:
//! a write is seen when it is over, and by then a quick server may have answered what was written.
//! What was made or called waits, where only that can tell, for the answer of the request that it may
//! have been made for.

use super::function::Over;
use super::retry::Attempted;
use super::run::RunOver;
use crate::model::exchange::ExchangeId;
use crate::model::request::HttpRequest;
use crate::model::time::BootTime;
use std::collections::VecDeque;

/// Most that wait at one time; of more, the one that waited longest waits no longer.
pub const MAX_HELD: usize = 4096;

/// Most bytes of those, roughly; likewise.
pub const MAX_HELD_BYTES: usize = 64 << 20;

/// How long they wait for another end, in nanoseconds; they are looked after at every tick.
pub const HELD_FOR: u64 = 50_000_000;

/// How long they wait for an answer, in nanoseconds.
pub const PATIENCE: u64 = 60_000_000_000;

/// What becomes a span.
#[derive(Debug)]
pub(super) enum Told {
    /// A call.
    Call(Box<Attempted>),
    /// A request that is none.
    Request(Box<HttpRequest>),
    /// A run of a framework.
    Run(Box<RunOver>),
    /// A call of a watched function.
    Function(Box<Over>),
}

impl Told {
    pub(super) fn exchange(&self) -> ExchangeId {
        match self {
            Self::Call(attempted) => attempted.call.exchange,
            Self::Request(request) => request.begun.exchange,
            Self::Run(over) => over.facts.exchange,
            Self::Function(over) => over.begun.exchange,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Call(attempted) => attempted.call.connection.pid,
            Self::Request(request) => request.begun.connection.pid,
            Self::Run(over) => over.facts.pid,
            Self::Function(over) => over.begun.connection.pid,
        }
    }

    /// The memory that it holds, roughly.
    fn bytes(&self) -> usize {
        match self {
            Self::Call(attempted) => attempted.call.held_bytes(),
            Self::Request(request) => {
                size_of::<HttpRequest>() + request.path.len() + request.query.len()
            }
            Self::Run(over) => over.bytes(),
            Self::Function(over) => over.bytes(),
        }
    }

    fn end(&self) -> BootTime {
        match self {
            Self::Call(attempted) => attempted.call.end,
            Self::Request(request) => request.end,
            Self::Run(over) => over.end,
            Self::Function(over) => over.end,
        }
    }
}

/// Those that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// With the bytes of each.
    all: VecDeque<(Told, usize)>,
    bytes: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Has one wait; gives those that must go for it.
    pub(super) fn push(&mut self, told: Told) -> Vec<Told> {
        let bytes = told.bytes();
        self.bytes += bytes;
        self.all.push_back((told, bytes));
        let mut out = Vec::new();
        while (self.all.len() > MAX_HELD || self.bytes > MAX_HELD_BYTES)
            && let Some((told, bytes)) = self.all.pop_front()
        {
            self.bytes -= bytes;
            out.push(told);
        }
        out
    }

    /// Those that wait no longer.
    pub(super) fn release(&mut self, over: impl Fn(&Told) -> bool) -> Vec<Told> {
        if !self.all.iter().any(|(told, _)| over(told)) {
            return Vec::new();
        }
        let mut out = Vec::new();
        for (told, bytes) in std::mem::take(&mut self.all) {
            if over(&told) {
                self.bytes -= bytes;
                out.push(told);
            } else {
                self.all.push_back((told, bytes));
            }
        }
        out
    }

    /// Those whose time is over; `awaits_answer` tells of which an answer may yet tell.
    pub(super) fn tick(
        &mut self,
        now: BootTime,
        awaits_answer: impl Fn(ExchangeId) -> bool,
    ) -> Vec<Told> {
        self.release(|told| {
            let waited = now.since(told.end());
            waited > PATIENCE || waited > HELD_FOR && !awaits_answer(told.exchange())
        })
    }
}
