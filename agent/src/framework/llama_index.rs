//! LlamaIndex: what llama-index-core, and what is built on it, tells its dispatcher.
//!
//! Every span of it comes by three methods, whether anybody listens or not: it begins, its function
//! returned, an exception left its function. Ids name what belongs to what. What an object does by
//! calling itself (`retrieve` and `_retrieve`, `predict` and `complete`) is part of the same span.
//!
//! A streamed model is over for the dispatcher when its generator is made. Its real end is an event.
//! To 0.10.37 models have no spans but events alone, and these name the span that the thread began
//! last, which may be over: there the frames of the functions that tell events, and their variables, say what
//! is what.

mod contents;
mod frames;
mod kinds;
mod streamed;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{Before, Hook};
use crate::model::defect::Defects;
#[cfg(doc)]
use crate::model::dispatch::Around;
use crate::model::dispatch::{SpanHit, SpanStart, SpanStep};
use crate::model::exchange::ExchangeId;
use crate::model::framework::{Framework, Inside, RunEvent, RunFacts, RunHit, RunKind, RunStep};
use crate::model::snapshot::{Snapshot, Subject};
use crate::model::time::BootTime;
use genspan_common::dispatch::{CELLS, hook};
use kinds::Told;

/// The functions that are watched, the most important first.
pub const HOOKS: [Hook; 4] = [
    Hook {
        function: "llama_index_instrumentation.dispatcher:Dispatcher.span_enter",
        before: &[Before::named(
            "llama_index.core.instrumentation.dispatcher:Dispatcher.span_enter",
        )],
        arguments: &["id_", "instance", "parent_id", "bound_args"],
        callers: &[],
        contents: 4,
        depths: &[],
        what: hook::ENTERS,
        number: 0,
        without: "no span is seen",
    },
    Hook {
        function: "llama_index_instrumentation.dispatcher:Dispatcher.span_exit",
        before: &[Before::named(
            "llama_index.core.instrumentation.dispatcher:Dispatcher.span_exit",
        )],
        arguments: &["id_", "result"],
        callers: &[],
        contents: 2,
        depths: &[],
        what: hook::EXITS,
        number: 0,
        without: "spans are told as over with what they belong to, or not at all",
    },
    Hook {
        function: "llama_index_instrumentation.dispatcher:Dispatcher.span_drop",
        before: &[Before::named(
            "llama_index.core.instrumentation.dispatcher:Dispatcher.span_drop",
        )],
        arguments: &["id_", "err"],
        callers: &[],
        contents: 2,
        depths: &[],
        what: hook::DROPS,
        number: 0,
        without: "spans that an exception ends are told late or as unfinished, and without it",
    },
    Hook {
        function: "llama_index_instrumentation.dispatcher:Dispatcher.event",
        before: &[Before::named(
            "llama_index.core.instrumentation.dispatcher:Dispatcher.event",
        )],
        arguments: &["event", "span_id"],
        callers: &[],
        contents: 2,
        depths: &[],
        what: hook::EVENT,
        number: 0,
        without: "streamed models are told as over when their stream begins, and to 0.10.37 no \
                  model is seen that no span is around",
    },
];

/// Spans under way that are followed; of more, the oldest are given up.
pub const MAX_RUNS: usize = 16_384;

/// Spans that are over and whose ids are remembered: what they left running may name them.
pub const MAX_PAST: usize = 8192;

/// How long after what may have been the end of a stream it is taken for that, in nanoseconds.
pub const SETTLED: u64 = 1_000_000_000;

/// Parts of one span that are known by their ids; of more nothing is known.
const MAX_PARTS: usize = 1024;

/// Bits of `co_flags`: a generator, a coroutine, an asynchronous generator.
const GENERATOR: u32 = 0x20;
const COROUTINE: u32 = 0x80;
const ASYNC_GENERATOR: u32 = 0x200;

/// A span of LlamaIndex, by its own id: one of ours, or a part of one.
#[derive(Clone, Debug)]
struct Link {
    run: ExchangeId,
    /// It is a part of that and has none of its own.
    is_part: bool,
    /// Whose method it is.
    object: Option<u64>,
    kind: RunKind,
    method: String,
    /// The id of what it belongs to.
    above: Option<u128>,
    /// It is over, as far as the dispatcher was told.
    is_over: bool,
}

/// A stream that is read.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// A piece of it was told as such.
    progressed: bool,
    /// What may have been its end.
    last: Option<BootTime>,
}

/// A span under way.
#[derive(Debug)]
struct Open {
    facts: RunFacts,
    /// The ids by which it is known, its own first.
    ids: Vec<u128>,
    /// Of those, what tells its end by an event that is to come, of a model of this kind.
    tells: BTreeMap<u128, RunKind>,
    stream: Option<Stream>,
    /// To 0.10.37: the frame of the generator that gives its stream.
    generator: Option<u64>,
    /// Since when it is over but for the text of the stream that it gave.
    returned: Option<BootTime>,
    /// Those that belong to it and are under way.
    children: BTreeSet<ExchangeId>,
    /// Of a model that has events alone: what it is within, if that is known.
    bare: Option<Bare>,
    /// To 0.10.37: the frames of the functions that asked the model, the outermost first, and variables of that:
    /// see [`Around::variables`].
    frames: Vec<u64>,
    variables: [u64; CELLS],
}

impl Open {
    /// Whether it is done by the function of a span, which does not return before it is over.
    fn is_called_by(&self, around: &RunFacts) -> bool {
        let is_within = match (around.inside, self.facts.inside) {
            (Inside::Thread, Inside::Thread) => self.facts.tid == around.tid,
            (Inside::Context, Inside::Context) => {
                around.context.is_some() && self.facts.context == around.context
            }
            _ => false,
        };
        // One with events alone may have a stream that nobody reads yet.
        is_within && self.stream.is_none() && self.returned.is_none() && self.bare.is_none()
    }
}

/// A model of which events are told, and no span.
#[derive(Clone, Copy, Debug)]
struct Bare {
    /// The innermost span around the function that asked it.
    within: Option<ExchangeId>,
}

/// The spans of all processes.
#[derive(Debug, Default)]
pub struct Spans {
    open: BTreeMap<ExchangeId, Open>,
    ids: HashMap<(u32, u128), Link>,
    /// Ids of what is over, in the order in which it was.
    past: VecDeque<(u32, u128)>,
    /// To 0.10.37: models that are asked, or whose stream is read, by process and frame.
    frames: HashMap<(u32, u64), ExchangeId>,
    /// Those whose stream may be over.
    settling: BTreeSet<ExchangeId>,
    /// Those that their functions do, by process and thread.
    threads: BTreeSet<(u32, u32, ExchangeId)>,
    /// Those that may give a stream of whose generator nothing is known yet, by process.
    unread: BTreeSet<(u32, ExchangeId)>,
    contents: contents::Contents,
    streamed: streamed::Streamed,
    /// Spans given up because there were too many.
    pub refused: u64,
}

impl Spans {
    /// Whether nothing is waited for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settling.is_empty() && self.streamed.is_empty()
    }

    /// The dispatcher is told something. `next` names a span, if one begins.
    pub fn hit(
        &mut self,
        hit: &SpanHit<'_>,
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        match &hit.what {
            SpanStep::Enters(start) => self.enters(hit, start, next, out),
            SpanStep::Exits { result, stream } => self.exits(hit, (result, *stream), out),
            SpanStep::Drops { class } => self.drops(hit, class, out),
            SpanStep::Event {
                class,
                exception,
                old,
            } => {
                let class = super::class_of(class);
                let Some(event) = kinds::event(&class) else {
                    return;
                };
                let is_piece = old.is_some() && from_generator(hit) && event != Told::Fails;
                // To 0.10.40 an event names the span that began last in its thread, whoever's that is.
                let is_others = old.is_some() && !self.is_where_named(hit);
                if !is_piece && !is_others && self.of_a_span(hit, event, exception, out) {
                    if let (Some(around), Told::Starts(_)) = (old, event) {
                        self.asks(hit, around, out);
                    }
                    return;
                }
                match (old, event) {
                    (Some(around), Told::Starts(kind)) if !is_piece => {
                        self.of_frames(hit, kind, around, next, out);
                    }
                    (Some(of), Told::Progresses(kind)) if is_piece => {
                        self.piece(hit, (kind, of.cell), false, out);
                    }
                    (Some(of), Told::Ends(kind)) if is_piece => {
                        self.piece(hit, (kind, of.cell), true, out);
                    }
                    (Some(_), Told::Ends(_)) => self.answered(hit, out),
                    _ => {}
                }
            }
        }
    }

    /// An exception passes a frame that told something.
    pub fn raised(&mut self, hit: &RunHit<'_>, out: &mut Vec<RunEvent>) {
        let RunStep::Raised { owner, class, .. } = &hit.what else {
            return;
        };
        let Some(id) = self.frames.get(&(hit.pid, *owner)).copied() else {
            return;
        };
        let Some(open) = self.open.get(&id) else {
            return;
        };
        let first = open.bare.and_then(|_| open.frames.first());
        let class = super::class_of(class);
        let is_end = if open.generator == Some(*owner) {
            // Of a stream that is read to its end, or left.
            let ends = ["StopIteration", "StopAsyncIteration", "GeneratorExit"];
            ends.contains(&class.as_str())
        } else if first == Some(owner) && class != "StopAsyncIteration" {
            class == "GeneratorExit"
        } else {
            // That is the end of a loop: of a generator, most likely, which is where the function was.
            return;
        };
        let error = Some(class).filter(|_| !is_end);
        self.ended(id, hit.time, error, Defects::NONE, out);
    }

    /// What a span is given, or gives: kept where it is `wanted`, but for what is no content.
    pub fn values(&mut self, found: &Snapshot, wanted: bool) {
        let Subject::Span { hook, id } = found.subject else {
            return;
        };
        if hook == hook::EVENT {
            return self.of_model(found, id, wanted);
        }
        let id = self.contents.id(found.pid, id);
        let Some(link) = id.and_then(|id| self.ids.get(&(found.pid, id))) else {
            return;
        };
        // The kind is that of the span, which is also told of its parts. What a stream gave is told after
        // its function returned.
        let is_wanted = |open: &&Open| !link.is_over || open.stream.is_some();
        if let Some(open) = self.open.get(&link.run).filter(is_wanted) {
            let of = contents::Of {
                run: link.run,
                kind: open.facts.kind,
                is_part: link.is_part,
            };
            self.contents.add(of, hook == hook::ENTERS, &found.values);
            if !wanted {
                self.contents.kept.leave_out(link.run);
            }
        }
    }

    /// What the model of a span says besides what it is asked and answers, where that is not wanted. Of its parts
    /// the outermost that says anything counts.
    pub fn counts(&mut self, found: &Snapshot) {
        let Subject::Counts { hook, of } = found.subject else {
            return;
        };
        if hook == hook::EVENT {
            if let Some(run) = self.asked_in(found.pid, of) {
                self.contents.count(run, &found.values);
            }
            return;
        }
        let id = self.contents.id(found.pid, of);
        let Some(link) = id.and_then(|id| self.ids.get(&(found.pid, id))) else {
            return;
        };
        let is_wanted = |open: &&Open| !link.is_over || open.stream.is_some();
        let open = self.open.get(&link.run).filter(is_wanted);
        if open.is_some_and(|open| open.facts.kind.is_model()) {
            self.contents.count(link.run, &found.values);
        }
    }

    /// Contents of spans that were not kept because there were too many.
    #[must_use]
    pub const fn contents_refused(&self) -> u64 {
        self.contents.kept.refused
    }

    /// Nothing happened until now.
    pub fn tick(&mut self, now: BootTime, out: &mut Vec<RunEvent>) {
        let due: Vec<_> = self
            .settling
            .iter()
            .filter_map(|id| {
                let last = self.open.get(id)?.stream?.last?;
                (now.since(last) > SETTLED).then_some((*id, last))
            })
            .collect();
        for (id, last) in due {
            self.ended(id, last, None, Defects::NONE, out);
        }
        self.read_in_vain(now, out);
    }

    /// A process is gone, or (none) nothing more will come: its spans do not end any more.
    pub fn stop(&mut self, pid: Option<u32>, now: BootTime, out: &mut Vec<RunEvent>) {
        let all = self.open.iter().rev();
        let ids: Vec<_> = all
            .filter(|(_, open)| pid.is_none_or(|pid| open.facts.pid == pid))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.give_up(id, now, out);
        }
        self.contents.clear(pid);
        match pid {
            Some(pid) => {
                self.frames.retain(|(of, _), _| *of != pid);
                self.ids.retain(|(of, _), _| *of != pid);
                self.past.retain(|(of, _)| *of != pid);
            }
            None => {
                self.frames.clear();
                self.ids.clear();
                self.past.clear();
            }
        }
    }

    fn enters(
        &mut self,
        hit: &SpanHit<'_>,
        start: &SpanStart<'_>,
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        let Some(id) = hit.id else {
            return;
        };
        if self.ids.contains_key(&(hit.pid, id)) {
            // The same bytecode once more: it is specialised, or was interrupted.
            return;
        }
        let what = kinds::Called::of(id, start);
        let parent = start.parent.and_then(|id| self.ids.get(&(hit.pid, id)));
        if let Some(above) = parent
            && above.object.is_some()
            && above.object == start.object
            && !above.is_over
            && what.is_part_of(above.kind, &above.method)
            && let Some(open) = self.open.get_mut(&above.run)
            && open.ids.len() < MAX_PARTS
        {
            let link = Link {
                run: above.run,
                is_part: true,
                object: start.object,
                kind: what.kind,
                method: what.method,
                above: start.parent,
                is_over: false,
            };
            open.ids.push(id);
            self.contents.known(hit.pid, id);
            self.ids.insert((hit.pid, id), link);
            return;
        }
        let parent = parent.map(|above| above.run);
        let is_async = hit.caller.flags & COROUTINE != 0;
        let inside = if is_async || what.is_future {
            Inside::Context
        } else {
            Inside::Thread
        };
        if start.parent.is_none() && inside == Inside::Thread {
            self.passed_by(hit, out);
        }
        let run = next();
        let facts = RunFacts {
            exchange: run,
            pid: hit.pid,
            tid: hit.tid,
            start: hit.time,
            context: hit.context,
            framework: Framework::LlamaIndex,
            run: id,
            parent,
            kind: what.kind,
            name: what.name,
            inside,
            is_generator: false,
            label: what.label,
            subject: what.subject,
        };
        let link = Link {
            run,
            is_part: false,
            object: start.object,
            kind: what.kind,
            method: what.method,
            above: start.parent,
            is_over: false,
        };
        if facts.kind.is_model()
            && let Some(frame) = start.around
        {
            self.streamed.asked((hit.pid, frame), run);
        }
        self.begins(facts, Some((id, link)), None, out);
    }

    /// A function begins a span that belongs to none. Within another one's it would name that, which is
    /// kept by thread and task or by context: so what this thread was in, in this context, is over.
    fn passed_by(&mut self, hit: &SpanHit<'_>, out: &mut Vec<RunEvent>) {
        let (first, last) = (ExchangeId(0), ExchangeId(u64::MAX));
        let all = (hit.pid, hit.tid, first)..=(hit.pid, hit.tid, last);
        let is_over = |id: &ExchangeId| {
            let open = self.open.get(id);
            // Who reads a stream may do anything.
            open.is_some_and(|open| open.stream.is_none() && open.facts.context == hit.context)
        };
        let all = self.threads.range(all).map(|(_, _, id)| *id);
        let over: Vec<_> = all.filter(is_over).collect();
        for id in over.into_iter().rev() {
            self.ended(id, hit.time, None, Defects::END_LATE, out);
        }
    }

    fn begins(
        &mut self,
        facts: RunFacts,
        link: Option<(u128, Link)>,
        bare: Option<Bare>,
        out: &mut Vec<RunEvent>,
    ) {
        if self.open.len() >= MAX_RUNS
            && let Some(oldest) = self.open.keys().next().copied()
        {
            self.refused += 1;
            self.give_up(oldest, facts.start, out);
        }
        let (run, pid) = (facts.exchange, facts.pid);
        out.push(RunEvent::Began(Box::new(facts.clone())));
        let around = facts.parent.or(bare.and_then(|bare| bare.within));
        if let Some(parent) = around.and_then(|parent| self.open.get_mut(&parent)) {
            parent.children.insert(run);
        }
        let open = Open {
            facts,
            ids: link.iter().map(|(id, _)| *id).collect(),
            tells: BTreeMap::new(),
            stream: None,
            generator: None,
            returned: None,
            children: BTreeSet::new(),
            bare,
            frames: Vec::new(),
            variables: [0; CELLS],
        };
        if open.bare.is_some() {
            self.unread.insert((pid, run));
        } else if open.facts.inside == Inside::Thread {
            self.threads.insert((pid, open.facts.tid, run));
        }
        self.open.insert(run, open);
        if let Some((id, link)) = link {
            self.contents.known(pid, id);
            self.ids.insert((pid, id), link);
        }
    }

    fn exits(
        &mut self,
        hit: &SpanHit<'_>,
        (result, stream): (&[u8], Option<u64>),
        out: &mut Vec<RunEvent>,
    ) {
        let Some(link) = self.over(hit) else {
            return;
        };
        if link.is_part {
            return;
        }
        let Some(open) = self.open.get_mut(&link.run) else {
            return;
        };
        let is_stream = link.kind.is_model() && kinds::is_generator(result);
        if !is_stream || open.tells.is_empty() {
            if kinds::has_stream(result) && self.waits(link.run, stream, hit.time, out) {
                return;
            }
            self.ended(link.run, hit.time, None, Defects::NONE, out);
            return;
        }
        open.stream = Some(Stream::default());
        if open.generator.is_none() {
            self.unread.insert((hit.pid, link.run));
        }
        out.push(RunEvent::Streams(link.run));
    }

    fn drops(&mut self, hit: &SpanHit<'_>, class: &[u8], out: &mut Vec<RunEvent>) {
        if let Some(link) = self.over(hit)
            && !link.is_part
        {
            let error = Some(super::class_of(class));
            self.ended(link.run, hit.time, error, Defects::NONE, out);
        }
    }

    /// A span is over, as the dispatcher is told.
    fn over(&mut self, hit: &SpanHit<'_>) -> Option<Link> {
        let id = hit.id?;
        let link = self.ids.get_mut(&(hit.pid, id))?;
        // Told twice.
        if std::mem::replace(&mut link.is_over, true) {
            return None;
        }
        Some(link.clone())
    }

    /// Whether something is told where the span that it names is under way: in its thread, or in its context.
    fn is_where_named(&self, hit: &SpanHit<'_>) -> bool {
        let link = hit.id.and_then(|id| self.ids.get(&(hit.pid, id)));
        let open = link.and_then(|link| self.open.get(&link.run));
        open.is_none_or(|open| match open.facts.inside {
            Inside::Thread => open.facts.tid == hit.tid,
            Inside::Context => open.facts.context == hit.context,
            Inside::Nowhere => true,
        })
    }

    /// An event that names a span that it is about. Gives whether it is.
    fn of_a_span(
        &mut self,
        hit: &SpanHit<'_>,
        event: Told,
        exception: &[u8],
        out: &mut Vec<RunEvent>,
    ) -> bool {
        let Some((id, link)) = hit
            .id
            .and_then(|id| Some((id, self.ids.get(&(hit.pid, id))?)))
        else {
            return false;
        };
        let run = link.run;
        let Some(open) = self.open.get_mut(&run).filter(|o| o.facts.kind.is_model()) else {
            return false;
        };
        match event {
            Told::Starts(kind) => {
                // After its function returned, it is another one's that names what was last.
                if open.stream.is_some() {
                    return false;
                }
                open.tells.insert(id, kind);
            }
            Told::Progresses(_) => {
                let Some(stream) = &mut open.stream else {
                    return true;
                };
                stream.progressed = true;
                stream.last = None;
                self.settling.remove(&run);
            }
            Told::Ends(kind) => {
                let Some(stream) = &mut open.stream else {
                    open.tells.remove(&id);
                    return true;
                };
                if !from_generator(hit) {
                    return false;
                }
                if kind == RunKind::Completion && !stream.progressed && open.tells.contains_key(&id)
                {
                    // To 0.10.40 each piece of a completion is told as if it were the last.
                    stream.last = Some(hit.time);
                    self.settling.insert(run);
                    return true;
                }
                open.tells.remove(&id);
                if open.tells.is_empty() {
                    self.ended(run, hit.time, None, Defects::NONE, out);
                }
            }
            Told::Fails => {
                if open.stream.is_some() {
                    let error = error_of(exception);
                    self.ended(run, hit.time, error, Defects::NONE, out);
                }
            }
        }
        true
    }

    /// A span ends without telling.
    fn give_up(&mut self, id: ExchangeId, now: BootTime, out: &mut Vec<RunEvent>) {
        let open = self.open.get(&id);
        let last = open.and_then(|open| open.returned.or(open.stream?.last));
        match last {
            Some(last) => self.ended(id, last, None, Defects::NONE, out),
            None => self.ended(id, now, None, Defects::UNFINISHED, out),
        }
    }

    /// A span is over, and what belongs to it and did not tell its end: what its own function called was
    /// over before it, at whatever depth, and that was not seen.
    fn ended(
        &mut self,
        id: ExchangeId,
        end: BootTime,
        error: Option<String>,
        defects: Defects,
        out: &mut Vec<RunEvent>,
    ) {
        let mut over = vec![id];
        let mut next = 0;
        // Of one whose end nobody saw that of what it called may come yet.
        let closes = !defects.has(Defects::UNFINISHED);
        while closes && let Some(open) = over.get(next).and_then(|id| self.open.get(id)) {
            next += 1;
            let called = |child: &&ExchangeId| {
                let child = self.open.get(child);
                child.is_some_and(|child| child.is_called_by(&open.facts))
            };
            over.extend(open.children.iter().filter(called));
        }
        for child in over.drain(1..).rev() {
            self.over_alone(child, end, None, Defects::END_LATE, out);
        }
        self.over_alone(id, end, error, defects, out);
    }

    /// A span is over, whatever belongs to it.
    fn over_alone(
        &mut self,
        id: ExchangeId,
        end: BootTime,
        error: Option<String>,
        defects: Defects,
        out: &mut Vec<RunEvent>,
    ) {
        let Some(open) = self.open.remove(&id) else {
            return;
        };
        let facts = &open.facts;
        let pid = facts.pid;
        self.settling.remove(&id);
        self.threads.remove(&(pid, facts.tid, id));
        self.unread.remove(&(pid, id));
        for run in &open.ids {
            if let Some(link) = self.ids.get_mut(&(pid, *run)) {
                link.is_over = true;
                self.past.push_back((pid, *run));
            }
        }
        while self.past.len() > MAX_PAST
            && let Some(past) = self.past.pop_front()
        {
            self.contents.unknown(past.0, past.1);
            self.ids.remove(&past);
        }
        for frame in open.frames.iter().chain(&open.generator) {
            if self.frames.get(&(pid, *frame)) == Some(&id) {
                self.frames.remove(&(pid, *frame));
            }
        }
        let around = facts.parent.or(open.bare.and_then(|bare| bare.within));
        if let Some(parent) = around.and_then(|parent| self.open.get_mut(&parent)) {
            parent.children.remove(&id);
        }
        let contents = self.contents.kept.take(id, error.is_some());
        let read = self.streamed.over(id, open.returned);
        let said = contents
            .as_ref()
            // What is no stream may have been asked on the way.
            .filter(|_| open.stream.is_some())
            .and_then(|contents| streamed::text(contents));
        if let Some(contents) = contents {
            out.push(RunEvent::Contents {
                exchange: id,
                contents,
            });
        }
        out.push(RunEvent::Ended {
            exchange: id,
            end,
            error,
            defects,
        });
        for (id, since) in read {
            self.read(id, since, said.as_deref(), out);
        }
    }
}

/// Whether the function that tells it gives a stream.
const fn from_generator(hit: &SpanHit<'_>) -> bool {
    hit.caller.flags & (GENERATOR | ASYNC_GENERATOR) != 0
}

/// What an exception says of the end of a stream: who no longer wants it closes it.
fn error_of(class: &[u8]) -> Option<String> {
    Some(super::class_of(class)).filter(|class| class != "GeneratorExit")
}

#[cfg(test)]
#[path = "llama_index_tests.rs"]
mod tests;
