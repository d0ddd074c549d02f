//! What something begins in: the function, run or request that its thread is in, or that its context
//! leads to.

use super::lineage::Found;
use super::{Parents, Source};
use crate::model::exchange::ExchangeId;
use crate::model::request::Begun;

/// What it is of which is asked in what it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A request.
    Request,
    /// A run, or a function's call: none of these is part of a stream that is read.
    Other,
}

/// To which served request one that is made belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enclosing {
    /// To this one, by this rule.
    Request(ExchangeId, Source),
    /// Only an answer that was not given yet can tell.
    Later,
    /// To none, as far as can be told.
    Nobody,
}

impl Parents {
    /// The served request that a request belongs to which the process makes.
    ///
    /// By the context of the program, which knows; where there is none by its thread, unless that
    /// serves several requests at a time.
    pub(super) fn enclosing(&self, begun: &Begun, asked: Asked) -> Enclosing {
        let pid = begun.connection.pid;
        if let Some(carried) = &begun.propagated {
            let same = |id: &ExchangeId| {
                let told = self.nodes.get(id).and_then(|n| n.begun.propagated.as_ref());
                told.is_some_and(|t| (t.trace, t.span) == (carried.trace, carried.span))
            };
            let mut passing = self.threads.served_by(pid).filter(same);
            return match (passing.next(), passing.next()) {
                (Some(served), None) => Enclosing::Request(served, Source::PassedOn),
                _ => Enclosing::Nobody,
            };
        }
        let inside = self.inside(begun, asked);
        match self.lineage.of_call(begun.exchange) {
            Found::Request(served) => match inside {
                Some((id, source)) if !self.is_later(served, id) => Enclosing::Request(id, source),
                _ => Enclosing::Request(served, self.by_context(begun.exchange)),
            },
            // A run knows for what it was begun, or will.
            Found::Later | Found::Nobody if matches!(inside, Some((_, Source::Run))) => inside
                .map_or(Enclosing::Nobody, |(id, source)| {
                    Enclosing::Request(id, source)
                }),
            Found::Later => Enclosing::Later,
            Found::Nobody => match inside {
                Some((id, source)) => Enclosing::Request(id, source),
                None => Enclosing::Nobody,
            },
            Found::Unknown => match self.around(begun, asked) {
                Some((id, source)) => Enclosing::Request(id, source),
                None => Enclosing::Nobody,
            },
        }
    }

    /// What a thread was doing when something began on it. A function that it is in is certain,
    /// whatever else the thread serves; but a request that it began to handle within that function
    /// is nearer.
    pub(super) fn around(&self, begun: &Begun, asked: Asked) -> Option<(ExchangeId, Source)> {
        let (pid, tid) = (begun.connection.pid, begun.tid);
        let inside = self.inside(begun, asked);
        let served = self.threads.handles(pid, tid);
        let served = served.filter(|id| inside.is_none_or(|(f, _)| self.is_later(*id, f)));
        served.map(|id| (id, Source::Thread)).or(inside)
    }

    /// The innermost function or run in which something began: the coroutine that it is made in, else
    /// that which its thread is in, or that of its context, or that in which its context was made,
    /// whichever began last.
    pub(super) fn inside(&self, begun: &Begun, asked: Asked) -> Option<(ExchangeId, Source)> {
        let counts = |id: ExchangeId| {
            let run = self.nodes.get(&id).and_then(|node| node.run);
            asked == Asked::Request || run.is_none_or(|run| !run.streams)
        };
        let thread = self.calls.around(begun, counts);
        let context = self.lineage.run_of(begun.exchange, counts);
        // A coroutine that is among the frames is nearer than what its task was made in.
        let maker = self.maker(begun.exchange);
        let maker = maker.filter(|_| !self.calls.is_in_generator(begun));
        let all = [maker, context, thread].into_iter().flatten();
        let id = all.reduce(|last, id| if self.is_later(last, id) { last } else { id })?;
        let is_run = self.nodes.get(&id).is_some_and(|node| node.run.is_some());
        let source = if is_run {
            Source::Run
        } else {
            Source::Function
        };
        Some((id, source))
    }
}
