//! Spans of LlamaIndex that give a stream of somebody else's: a query engine, a synthesizer, a chat engine. They
//! are over when their function returns, and what they gave is known when the stream of the model within them
//! was read.

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

/// Spans that are over but for what their stream says.
#[derive(Debug, Default)]
pub(super) struct Streamed {
    /// By the model whose stream it is, the innermost first, with when they were over.
    of: HashMap<ExchangeId, Vec<(ExchangeId, BootTime)>>,
    /// They, with since when they wait.
    waiting: BTreeSet<(BootTime, ExchangeId)>,
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
        self.of.remove(&id).unwrap_or_default()
    }
}

impl Spans {
    /// A span's function returned what has a stream. Gives whether its end is told later.
    pub(super) fn waits(
        &mut self,
        run: ExchangeId,
        now: BootTime,
        out: &mut Vec<RunEvent>,
    ) -> bool {
        // Where content is not told there is nothing to wait for.
        if !self.contents.kept.is_told(run) {
            return false;
        }
        let Some(stream) = self.stream_in(run) else {
            return false;
        };
        let Some(open) = self.open.get_mut(&run) else {
            return false;
        };
        open.returned = Some(now);
        self.threads.remove(&(open.facts.pid, open.facts.tid, run));
        self.streamed.waiting.insert((now, run));
        self.streamed.of.entry(stream).or_default().push((run, now));
        out.push(RunEvent::Left(run));
        true
    }

    /// The only stream that is read within a span; none when there are several.
    fn stream_in(&self, run: ExchangeId) -> Option<ExchangeId> {
        let mut inside = vec![run];
        let mut found = None;
        while let Some(id) = inside.pop() {
            // One that was told already leaves the others to be looked at.
            let Some(open) = self.open.get(&id) else {
                continue;
            };
            if open.stream.is_some() && found.replace(open.facts.exchange).is_some() {
                return None;
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
