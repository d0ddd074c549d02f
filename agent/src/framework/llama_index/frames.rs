//! Models of LlamaIndex to 0.10.40, which have no spans but events alone: which of these are one model's
//! the frames of the functions that tell them say.

use super::{Bare, COROUTINE, MAX_PARTS, Spans};
use crate::model::defect::Defects;
use crate::model::dispatch::SpanHit;
use crate::model::exchange::ExchangeId;
use crate::model::framework::{Framework, Inside, RunEvent, RunFacts, RunKind, RunLabel};
use crate::model::time::BootTime;

impl Spans {
    /// A model is asked that has no span: the frames around the function that asks it say whether it is
    /// a part of another one.
    pub(super) fn of_frames(
        &mut self,
        hit: &SpanHit<'_>,
        kind: RunKind,
        around: Option<u64>,
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        let (pid, frame) = (hit.pid, hit.caller.frame);
        // What was in this frame is no more.
        if let Some(before) = self.frames.remove(&(pid, frame)) {
            self.left(before, frame, hit.time, out);
        }
        let outer = around.and_then(|around| self.frames.get(&(pid, around)).copied());
        if let Some(outer) = outer
            && let Some(bare) = self.open.get_mut(&outer).and_then(|o| o.bare.as_mut())
            && bare.frames.len() < MAX_PARTS
        {
            bare.frames.push(frame);
            self.frames.insert((pid, frame), outer);
            return;
        }
        let is_async = hit.caller.flags & COROUTINE != 0;
        let facts = RunFacts {
            exchange: next(),
            pid,
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
            frames: vec![frame],
            named: hit.id,
        };
        let run = facts.exchange;
        self.begins(facts, None, Some(bare), out);
        // When the function returns what is to be read, that is not told.
        out.push(RunEvent::Streams(run));
    }

    /// A model that has no span answered the function in this frame.
    pub(super) fn answered(&mut self, hit: &SpanHit<'_>, out: &mut Vec<RunEvent>) {
        let frame = hit.caller.frame;
        let Some(run) = self.frames.get(&(hit.pid, frame)).copied() else {
            return;
        };
        let bare = self.open.get(&run).and_then(|open| open.bare.as_ref());
        // The outermost one is the span.
        if bare.is_some_and(|bare| bare.frames.first() == Some(&frame)) {
            self.ended(run, hit.time, None, Defects::NONE, out);
        }
    }

    /// To 0.10.40: a piece of a stream, or its end, of the generator in this frame.
    pub(super) fn piece(
        &mut self,
        hit: &SpanHit<'_>,
        kind: RunKind,
        is_end: bool,
        out: &mut Vec<RunEvent>,
    ) {
        let key = (hit.pid, hit.caller.frame);
        let mut run = self.frames.get(&key).copied();
        if let Some(before) = run
            && let Some(last) = self.open.get(&before).and_then(|open| open.stream?.last)
            && let Some(new) = self.stream_of(hit, kind)
            && let Some(new) = self.open.get(&new)
            && new.facts.start > last
        {
            // That stream was over, and its frame is another generator's.
            self.ended(before, last, None, Defects::NONE, out);
            run = None;
        }
        let Some(run) = run.or_else(|| self.stream_of(hit, kind)) else {
            return;
        };
        let Some(open) = self.open.get_mut(&run) else {
            return;
        };
        let before = open.generator.replace(key.1);
        let is_begin = |frame| {
            let bare = open.bare.as_ref();
            bare.is_some_and(|bare| bare.frames.contains(&frame))
        };
        if let Some(before) = before.filter(|before| *before != key.1 && !is_begin(*before))
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

    /// The oldest model whose stream this generator may give: one that has the id that this one has,
    /// and of whose generator nothing is known yet.
    fn stream_of(&self, hit: &SpanHit<'_>, kind: RunKind) -> Option<ExchangeId> {
        let all = (hit.pid, ExchangeId(0))..=(hit.pid, ExchangeId(u64::MAX));
        let mut all = self.unread.range(all).map(|(_, id)| *id);
        all.find(|id| {
            self.open.get(id).is_some_and(|open| match &open.bare {
                Some(bare) => bare.named == hit.id && open.facts.kind == kind,
                None => {
                    let told = hit.id.and_then(|id| open.tells.get(&id));
                    open.stream.is_some() && told == Some(&kind)
                }
            })
        })
    }

    /// A frame is another function's by now. A stream that a generator in it gave is over.
    pub(super) fn left(
        &mut self,
        run: ExchangeId,
        frame: u64,
        now: BootTime,
        out: &mut Vec<RunEvent>,
    ) {
        let Some(open) = self.open.get_mut(&run) else {
            return;
        };
        if open.generator == Some(frame) {
            let last = open.stream.and_then(|stream| stream.last);
            self.ended(run, last.unwrap_or(now), None, Defects::NONE, out);
        } else if let Some(bare) = open.bare.as_mut() {
            bare.frames.retain(|known| *known != frame);
        }
    }
}
