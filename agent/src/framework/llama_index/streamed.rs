//! Spans of LlamaIndex that give a stream of somebody else's: a query engine, a synthesizer, a chat engine. They
//! are over when their function returns, and what they gave is known when the stream of the model within them
//! was read; or, where the model is asked for it by who reads, that of the model that their generator asks.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value as Json;

use super::Spans;
use crate::model::call::Part;
use crate::model::defect::Defects;
use crate::model::exchange::ExchangeId;
use crate::model::framework::{RunContents, RunEvent};
use crate::model::time::BootTime;

/// How long a span waits for who reads its stream, in nanoseconds.
pub(super) const PATIENCE: u64 = 60_000_000_000;

/// How far up a span is looked for around another one.
pub(super) const MAX_WITHIN: usize = 64;

/// Spans that are over but for what their stream says.
#[derive(Debug, Default)]
pub(super) struct Streamed {
    /// By the model whose stream it is, the innermost first, with when they were over.
    of: HashMap<ExchangeId, Vec<(ExchangeId, BootTime)>>,
    /// They, with since when they wait.
    waiting: BTreeSet<(BootTime, ExchangeId)>,
    /// Of those the ones whose model was not asked yet: by process and frame of the generator that will, the
    /// innermost first.
    unasked: HashMap<(u32, u64), Vec<(ExchangeId, BootTime)>>,
    /// By which generator these are known.
    generators: HashMap<ExchangeId, (u32, u64)>,
}

impl Streamed {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A span is over, since when it waited if it did. Gives those that waited for its stream.
    pub(super) fn over(
        &mut self,
        id: ExchangeId,
        since: Option<BootTime>,
    ) -> Vec<(ExchangeId, BootTime)> {
        if let Some(since) = since {
            self.waiting.remove(&(since, id));
        }
        if let Some(generator) = self.generators.remove(&id)
            && let Some(all) = self.unasked.get_mut(&generator)
        {
            all.retain(|(other, _)| *other != id);
            if all.is_empty() {
                self.unasked.remove(&generator);
            }
        }
        self.of.remove(&id).unwrap_or_default()
    }

    /// A model is asked by a generator: it is the one whose stream those gave that wait for it.
    pub(super) fn asked(&mut self, generator: (u32, u64), model: ExchangeId) {
        if let Some(all) = self.unasked.remove(&generator) {
            for (run, _) in &all {
                self.generators.remove(run);
            }
            self.of.entry(model).or_default().extend(all);
        }
    }
}

impl Spans {
    /// A span's function returned what has a stream, which the generator of this frame gives. Gives whether its
    /// end is told later.
    pub(super) fn waits(
        &mut self,
        run: ExchangeId,
        generator: Option<u64>,
        now: BootTime,
        out: &mut Vec<RunEvent>,
    ) -> bool {
        // Where content is not told there is nothing to wait for.
        if !self.contents.kept.is_told(run) {
            return false;
        }
        let streams = self.streams_in(run);
        let Some(open) = self.open.get_mut(&run) else {
            return false;
        };
        let key = generator.map(|frame| (open.facts.pid, frame));
        let model = match (streams.as_slice(), key) {
            ([model], _) => Some(*model),
            ([], Some(_)) => None,
            _ => return false,
        };
        open.returned = Some(now);
        self.threads.remove(&(open.facts.pid, open.facts.tid, run));
        self.streamed.waiting.insert((now, run));
        out.push(RunEvent::Left(run));
        if let Some(model) = model {
            self.streamed.of.entry(model).or_default().push((run, now));
        } else if let Some(key) = key {
            self.is_unasked(run, key, now, out);
        }
        true
    }

    /// The model whose stream a span gave is asked by this generator, when that is read. Others that wait for one
    /// in its place, and are not within the span, wait in vain: their generator is no more.
    fn is_unasked(
        &mut self,
        run: ExchangeId,
        generator: (u32, u64),
        now: BootTime,
        out: &mut Vec<RunEvent>,
    ) {
        let before = self.streamed.unasked.remove(&generator).unwrap_or_default();
        let (mut own, gone): (Vec<_>, Vec<_>) = before
            .into_iter()
            .partition(|(other, _)| self.is_within(*other, run));
        own.push((run, now));
        self.streamed.generators.insert(run, generator);
        self.streamed.unasked.insert(generator, own);
        for (other, since) in gone {
            self.streamed.generators.remove(&other);
            self.read(other, since, None, out);
        }
    }

    /// Whether a span belongs to another one, at whatever depth.
    fn is_within(&self, run: ExchangeId, around: ExchangeId) -> bool {
        let mut next = Some(run);
        for _ in 0..MAX_WITHIN {
            let Some(open) = next.and_then(|id| self.open.get(&id)) else {
                return false;
            };
            if open.facts.parent == Some(around) {
                return true;
            }
            next = open.facts.parent;
        }
        false
    }

    /// The streams that are read within a span: of more than one the first two.
    fn streams_in(&self, run: ExchangeId) -> Vec<ExchangeId> {
        let mut inside = vec![run];
        let mut found = Vec::new();
        while let Some(id) = inside.pop()
            && found.len() < 2
        {
            // One that was told already leaves the others to be looked at.
            let Some(open) = self.open.get(&id) else {
                continue;
            };
            // A model that has events alone, and did not tell its answer, gave a stream.
            if open.stream.is_some() || open.bare.is_some() {
                found.push(open.facts.exchange);
            }
            inside.extend(&open.children);
        }
        found
    }

    /// The stream that a span gave was read, or is no more: what it said.
    pub(super) fn read(
        &mut self,
        run: ExchangeId,
        since: BootTime,
        said: Option<&str>,
        out: &mut Vec<RunEvent>,
    ) {
        if self.open.get(&run).and_then(|open| open.returned) != Some(since) {
            return;
        }
        if let Some(said) = said {
            let said = Json::from(said);
            if let Some(contents) = self.contents.kept.with(run, &[Some(said.clone())]) {
                contents.got = Some(said);
            }
        }
        self.over_alone(run, since, None, Defects::NONE, out);
    }

    /// Those that nobody reads are told without.
    pub(super) fn read_in_vain(&mut self, now: BootTime, out: &mut Vec<RunEvent>) {
        while let Some((since, run)) = self.streamed.waiting.first().copied()
            && now.since(since) > PATIENCE
        {
            self.streamed.waiting.pop_first();
            self.read(run, since, None, out);
        }
    }
}

/// What a model said, as one text.
pub(super) fn text(contents: &RunContents) -> Option<String> {
    let [message] = &contents.response.messages[..] else {
        return None;
    };
    let texts = message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.kept.as_str()),
        _ => None,
    });
    let text: String = texts.collect();
    (!text.is_empty()).then_some(text)
}
