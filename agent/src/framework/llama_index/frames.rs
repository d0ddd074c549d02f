//! Models of LlamaIndex to 0.10.37, which tell events alone: which of these are one model's the frames of the
//! functions that tell them say. The generator of a stream has variables in common with the function that asked for
//! it, so that it is known whose it is.

use super::streamed::MAX_WITHIN;
use super::{Bare, COROUTINE, MAX_PARTS, Spans};
use crate::model::defect::Defects;
use crate::model::dispatch::{Around, SpanHit};
use crate::model::exchange::ExchangeId;
use crate::model::framework::{Framework, Inside, RunEvent, RunFacts, RunKind, RunLabel};
use crate::model::snapshot::Snapshot;
use crate::model::time::BootTime;

impl Spans {
    /// A model is asked that has no span: the frames around the function that asks it say whether it is
    /// a part of another one.
    pub(super) fn of_frames(
        &mut self,
        hit: &SpanHit<'_>,
        kind: RunKind,
        around: &Around<'_>,
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        let outer = around
            .frame
            .and_then(|around| self.frames.get(&(hit.pid, around)).copied())
            .filter(|outer| self.open.get(outer).is_some_and(|o| o.bare.is_some()));
        if let Some(outer) = outer {
            self.asked_by(outer, hit, around, out);
            return;
        }
        let is_async = hit.caller.flags & COROUTINE != 0;
        let facts = RunFacts {
            exchange: next(),
            pid: hit.pid,
            tid: hit.tid,
            start: hit.time,
            context: hit.context,
            framework: Framework::LlamaIndex,
            run: 0,
            // That of its thread, or of its context.
            parent: None,
            kind,
            name: None,
            inside: if is_async {
                Inside::Context
            } else {
                Inside::Thread
            },
            is_generator: true,
            label: RunLabel::None,
            subject: None,
        };
        let bare = Bare {
            within: self.around(hit),
        };
        let run = facts.exchange;
        // What was in its frame is over before it begins.
        self.is_new(hit, out);
        self.begins(facts, None, Some(bare), out);
        self.asked_by(run, hit, around, out);
        // When the function returns what is to be read, that is not told.
        out.push(RunEvent::Streams(run));
    }

    /// A function asks the model of a span.
    pub(super) fn asks(&mut self, hit: &SpanHit<'_>, around: &Around<'_>, out: &mut Vec<RunEvent>) {
        let link = hit.id.and_then(|id| self.ids.get(&(hit.pid, id)));
        if let Some(run) = link.map(|link| link.run) {
            self.asked_by(run, hit, around, out);
        }
    }

    /// The function in whose frame this is told asks this model.
    fn asked_by(
        &mut self,
        run: ExchangeId,
        hit: &SpanHit<'_>,
        around: &Around<'_>,
        out: &mut Vec<RunEvent>,
    ) {
        let frame = hit.caller.frame;
        self.is_new(hit, out);
        let Some(open) = self.open.get_mut(&run) else {
            return;
        };
        if open.frames.len() < MAX_PARTS {
            if open.frames.is_empty() {
                open.variables = around.addresses();
            }
            open.frames.push(frame);
            self.frames.insert((hit.pid, frame), run);
        }
    }

    /// A function is new in its frame: what was there is no more.
    fn is_new(&mut self, hit: &SpanHit<'_>, out: &mut Vec<RunEvent>) {
        let frame = hit.caller.frame;
        if let Some(before) = self.frames.remove(&(hit.pid, frame)) {
            self.left(before, frame, hit.time, out);
        }
    }

    /// A span that is around the function that tells this: of those that the one is within that its thread began last,
    /// the innermost that this thread, or this context, is in.
    fn around(&self, hit: &SpanHit<'_>) -> Option<ExchangeId> {
        let mut next = hit.id;
        for _ in 0..MAX_WITHIN {
            let link = self.ids.get(&(hit.pid, next?))?;
            let is_around = |run| {
                let open = self.open.get(run);
                open.is_some_and(|open| match open.facts.inside {
                    Inside::Thread => open.facts.tid == hit.tid,
                    Inside::Context => hit.context.is_some() && open.facts.context == hit.context,
                    Inside::Nowhere => false,
                })
            };
            if !link.is_over && is_around(&link.run) {
                return Some(link.run);
            }
            next = link.above;
        }
        None
    }

    /// A model that has no span answered the function in this frame.
    pub(super) fn answered(&mut self, hit: &SpanHit<'_>, out: &mut Vec<RunEvent>) {
        let frame = hit.caller.frame;
        let Some(run) = self.frames.get(&(hit.pid, frame)).copied() else {
            return;
        };
        let open = self.open.get(&run).filter(|open| open.bare.is_some());
        // The outermost one is the span.
        if open.is_some_and(|open| open.frames.first() == Some(&frame)) {
            self.ended(run, hit.time, None, Defects::NONE, out);
        }
    }

    /// A piece of a stream, or its end, of the generator in this frame, which has this cell in common with the function
    /// that made it.
    pub(super) fn piece(
        &mut self,
        hit: &SpanHit<'_>,
        (kind, cell): (RunKind, Option<u64>),
        is_end: bool,
        out: &mut Vec<RunEvent>,
    ) {
        let key = (hit.pid, hit.caller.frame);
        let known = self.frames.get(&key).copied();
        let known = known.filter(|known| self.has_made(*known, cell));
        // A completion's stream has no certain end: its frame and its variables may both be another's by now.
        let newer = self
            .stream_of(hit.pid, cell)
            .filter(|new| Some(*new) > known);
        let run = newer.or(known);
        if known.is_none() || run != known {
            self.is_new(hit, out);
        }
        let Some(run) = run else {
            return;
        };
        let Some(open) = self.open.get_mut(&run) else {
            return;
        };
        let before = open.generator.replace(key.1);
        if let Some(before) = before.filter(|before| *before != key.1)
            && !open.frames.contains(&before)
            && self.frames.get(&(key.0, before)) == Some(&run)
        {
            self.frames.remove(&(key.0, before));
        }
        self.frames.insert(key, run);
        self.unread.remove(&(key.0, run));
        let stream = open.stream.get_or_insert_default();
        if !is_end {
            stream.progressed = true;
        } else if kind == RunKind::Completion && !stream.progressed {
            // Each piece of a completion is told as if it were the last.
            stream.last = Some(hit.time);
            self.settling.insert(run);
        } else {
            self.ended(run, hit.time, None, Defects::NONE, out);
        }
    }

    /// Whether the outermost function that asked this model made the generator that has this cell.
    fn has_made(&self, run: ExchangeId, cell: Option<u64>) -> bool {
        let open = self.open.get(&run);
        open.zip(cell)
            .is_some_and(|(open, cell)| open.variables.contains(&cell))
    }

    /// The model whose stream the generator with this cell gives, and of whose generator nothing is known yet. What
    /// a function leaves of its variables another one may have later: so it is the newest.
    fn stream_of(&self, pid: u32, cell: Option<u64>) -> Option<ExchangeId> {
        let all = (pid, ExchangeId(0))..=(pid, ExchangeId(u64::MAX));
        let mut all = self.unread.range(all).rev().map(|(_, id)| *id);
        all.find(|id| self.has_made(*id, cell))
    }

    /// A frame is another function's by now. A stream that a generator in it gave is over.
    fn left(&mut self, run: ExchangeId, frame: u64, now: BootTime, out: &mut Vec<RunEvent>) {
        let Some(open) = self.open.get_mut(&run) else {
            return;
        };
        if open.generator == Some(frame) {
            let last = open.stream.and_then(|stream| stream.last);
            self.ended(run, last.unwrap_or(now), None, Defects::NONE, out);
        } else {
            open.frames.retain(|known| *known != frame);
        }
    }

    /// The model that is asked, or whose stream is read, by the function in this frame.
    pub(super) fn asked_in(&self, pid: u32, frame: u64) -> Option<ExchangeId> {
        let run = self.frames.get(&(pid, frame)).copied()?;
        let open = self.open.get(&run)?;
        open.facts.kind.is_model().then_some(run)
    }

    /// What the model is asked, or answered, of the function in this frame.
    pub(super) fn of_model(&mut self, found: &Snapshot, frame: u64, wanted: bool) {
        if let Some(run) = self.asked_in(found.pid, frame) {
            self.contents.of_model(run, &found.values);
            if !wanted {
                self.contents.kept.leave_out(run);
            }
        }
    }
}
