//! Answers: a document, a list of them, or events that are alike, of which the last says how it
//! ended.

use crate::model::call::{CallError, CallResponse, Usage};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::{self, Object, field};
use crate::provider::prompted::{self, Answers};
use crate::provider::shape::{Answer, Found, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde_json::Value;
use std::collections::BTreeMap;

/// Whether it is an answer, or a part of one.
pub(super) fn is_own(root: &Object) -> bool {
    field::str(root, "content").is_some() && root.get("stop").is_some_and(Value::is_boolean)
}

/// Reads an answer, or a list of them: several prompts have one, or several answers to one.
pub(super) fn of(found: &Found, answers: Answers, room: &mut Room) -> Answer {
    let mut answer = Answer {
        too_many: answers.too_many(),
        ..Answer::default()
    };
    let samples = samples(found, answers.count());
    let mut usage = Vec::new();
    for (index, mut root, cut) in answers.each() {
        let mut one = One::default();
        if let Some(said) = field::take_string(&mut root, "content") {
            one.text.push(&said, room);
        }
        one.tell(&root);
        one.ends(&root);
        usage.push((index, one.usage));
        one.close(&mut answer.response, cut);
    }
    answer.response.usage = prompted::total(&usage, samples);
    answer
}

/// How many answers there are to be, if that is known.
fn wanted(found: &Found) -> Option<usize> {
    let samples = usize::try_from(found.samples?).unwrap_or(usize::MAX);
    Some(found.prompts?.max(1).saturating_mul(samples.max(1)))
}

/// How many of so many answers each prompt has, those to one prompt together. A server that does
/// not know `n_cmpl` gives one to each: then, and when some are missing, it is not known.
fn samples(found: &Found, count: usize) -> Option<u32> {
    let sure = found.prompts == Some(1) || found.samples == Some(1);
    found
        .samples
        .filter(|_| sure || wanted(found) == Some(count))
}

/// One answer of several.
#[derive(Debug, Default)]
struct One {
    text: Growing,
    model: Option<String>,
    usage: Usage,
    reason: Option<String>,
    over: bool,
}

impl One {
    /// What is said of it with each part: counts are running totals.
    fn tell(&mut self, root: &Object) {
        let count = |root: &Object, key: &str| field::int(root, key).filter(|n| *n >= 0);
        let usage = &mut self.usage;
        usage.input = count(root, "tokens_evaluated").or(usage.input);
        usage.output = count(root, "tokens_predicted").or(usage.output);
        let timings = field::object(root, "timings");
        let cached = timings.and_then(|timings| count(timings, "cache_n"));
        usage.cache_read = cached.or(usage.cache_read);
        if self.model.is_none() {
            self.model = field::owned(root, "model");
        }
    }

    /// Why it ended. Servers of old say it by a flag for each reason.
    fn ends(&mut self, root: &Object) {
        const FLAGS: [(&str, &str); 3] = [
            ("stopped_eos", "eos"),
            ("stopped_word", "word"),
            ("stopped_limit", "limit"),
        ];
        let kind = field::owned(root, "stop_type").filter(|kind| kind != "none");
        self.reason = kind.or_else(|| {
            let set = FLAGS.iter().find(|(flag, _)| field::is_true(root, flag));
            set.map(|(_, kind)| (*kind).to_owned())
        });
        self.over = true;
    }

    fn close(self, response: &mut CallResponse, cut: bool) {
        response.model = response.model.take().or(self.model);
        prompted::close(response, self.text, self.reason, cut, mapped);
    }
}

/// A finish reason as messages have it.
fn mapped(reason: &str) -> &str {
    match reason {
        "eos" | "word" => "stop",
        "limit" => "length",
        other => other,
    }
}

/// An answer under way.
#[derive(Debug)]
pub(super) struct ContentStream {
    found: Found,
    all: BTreeMap<u32, One>,
    error: Option<CallError>,
    too_many: bool,
}

impl ContentStream {
    /// Of a call.
    pub(super) fn new(found: &Found) -> Self {
        Self {
            found: found.clone(),
            all: BTreeMap::new(),
            error: None,
            too_many: false,
        }
    }
}

impl Stream for ContentStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Seen::Nothing;
        }
        let Some(root) = json::read(data).map(|d| d.root) else {
            return Seen::Broken;
        };
        let failed = error::in_event(&root);
        if failed.is_some() || event.event == "error" {
            // A line `error: {…}` of a server before September 2025 has the error itself.
            self.error = failed.or_else(|| Some(error::of_event(&Value::Object(root))));
            return Seen::Chunk { output: false };
        }
        let said = field::str(&root, "content").unwrap_or_default();
        let output = !said.is_empty();
        let index = field::int(&root, "index").and_then(|n| u32::try_from(n).ok());
        let Some(one) = prompted::one_of(&mut self.all, index.unwrap_or(0)) else {
            self.too_many = true;
            return Seen::Chunk { output };
        };
        one.text.push(said, room);
        one.tell(&root);
        if field::is_true(&root, "stop") {
            one.ends(&root);
        }
        Seen::Chunk { output }
    }

    fn is_over(&self) -> bool {
        let over = self.all.values().filter(|one| one.over).count();
        wanted(&self.found).is_some_and(|wanted| over >= wanted)
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let this = *self;
        let mut answer = Answer {
            error: this.error,
            too_many: this.too_many,
            ..Answer::default()
        };
        let usage: Vec<_> = this.all.iter().map(|(n, one)| (*n, one.usage)).collect();
        for one in this.all.into_values() {
            let cut = !one.over;
            one.close(&mut answer.response, cut);
        }
        let samples = samples(&this.found, usage.len());
        answer.response.usage = prompted::total(&usage, samples);
        answer
    }
}
