//! Answers: a document, a list of them, or events that are alike, of which the last says how it
//! ended.

use crate::model::call::{CallError, CallResponse, Usage};
use crate::model::exchange::SseEvent;
use crate::provider::body::Body;
use crate::provider::error;
use crate::provider::json::{self, Object, field};
use crate::provider::limits::MAX_CHOICES;
use crate::provider::prompted;
use crate::provider::shape::{Answer, Found, Read, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// Whether it is an answer, or a part of one.
pub(super) fn is_own(root: &Object) -> bool {
    field::str(root, "content").is_some() && root.get("stop").is_some_and(Value::is_boolean)
}

/// Reads the document of a successful exchange.
pub(super) fn read(root: Object, room: &mut Room) -> Answer {
    of(vec![root], room)
}

/// Reads a list of answers: a list of prompts has one.
pub(super) fn read_list(list: Vec<Object>, body: &Body, ended: bool, room: &mut Room) -> Read {
    Read {
        foreign: list.iter().any(|a| !is_own(a)),
        whole: ended && !body.has_hole() && !list.is_empty(),
        answer: of(list, room),
    }
}

fn of(list: Vec<Object>, room: &mut Room) -> Answer {
    let mut answer = Answer {
        too_many: list.len() > MAX_CHOICES,
        ..Answer::default()
    };
    let response = &mut answer.response;
    for mut root in list.into_iter().take(MAX_CHOICES) {
        let mut one = One::default();
        if let Some(said) = field::take_string(&mut root, "content") {
            one.text.push(&said, room);
        }
        one.tell(&root);
        one.ends(&root);
        one.close(response);
    }
    answer
}

/// One answer of several.
#[derive(Debug, Default)]
struct One {
    index: u32,
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

    fn close(self, response: &mut CallResponse) {
        let sum = &mut response.usage;
        for (sum, one) in [
            (&mut sum.input, self.usage.input),
            (&mut sum.output, self.usage.output),
            (&mut sum.cache_read, self.usage.cache_read),
        ] {
            if let Some(one) = one {
                *sum = Some(sum.unwrap_or(0).saturating_add(one));
            }
        }
        response.model = response.model.take().or(self.model);
        let untold = self.over && self.reason.is_none();
        prompted::close(response, self.text, self.reason, mapped);
        if untold && let Some(message) = response.messages.last_mut() {
            message.finish_reason = None;
        }
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
    /// How many answers there are to be.
    wanted: usize,
    all: Vec<One>,
    error: Option<CallError>,
    too_many: bool,
}

impl ContentStream {
    /// Of a call.
    pub(super) fn new(found: &Found) -> Self {
        Self {
            wanted: found.prompts.unwrap_or(1),
            all: Vec::new(),
            error: None,
            too_many: false,
        }
    }

    fn one(&mut self, index: u32) -> Option<&mut One> {
        let at = match self.all.binary_search_by_key(&index, |one| one.index) {
            Ok(at) => at,
            Err(_) if self.all.len() >= MAX_CHOICES => return None,
            Err(at) => {
                let one = One {
                    index,
                    ..One::default()
                };
                self.all.insert(at, one);
                at
            }
        };
        self.all.get_mut(at)
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
        // An event of its own name, whose data may be the error itself.
        let failed = root.get("error").filter(|e| !e.is_null());
        if failed.is_some() || event.event == "error" {
            self.error = Some(match failed {
                Some(failed) => error::of_event(failed),
                None => error::of_event(&Value::Object(root)),
            });
            return Seen::Chunk { output: false };
        }
        let said = field::str(&root, "content").unwrap_or_default();
        let output = !said.is_empty();
        let index = field::int(&root, "index").and_then(|n| u32::try_from(n).ok());
        let Some(one) = self.one(index.unwrap_or(0)) else {
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
        self.all.iter().filter(|one| one.over).count() >= self.wanted
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let this = *self;
        let mut answer = Answer {
            error: this.error,
            too_many: this.too_many,
            ..Answer::default()
        };
        for one in this.all {
            one.close(&mut answer.response);
        }
        answer
    }
}
