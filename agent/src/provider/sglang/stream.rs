//! Streamed answers.

use super::answer::{self, Info};
use super::said::Said;
use crate::model::call::{CallError, Usage};
use crate::model::exchange::SseEvent;
use crate::provider::error;
use crate::provider::json::borrowed::Str;
use crate::provider::json::{self, Object, field};
use crate::provider::prompted;
use crate::provider::shape::{Answer, Found, Seen, Stream};
use crate::provider::text::Room;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// An event, borrowed.
#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    meta_info: Meta<'a>,
    /// Which answer of several it is of.
    #[serde(default)]
    index: u32,
}

/// What is read of `meta_info`: what else it has, probabilities of tokens for example, is passed
/// over unread.
#[derive(Debug, Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(default)]
    prompt_tokens: Option<i64>,
    #[serde(default)]
    completion_tokens: Option<i64>,
    #[serde(default)]
    cached_tokens: Option<i64>,
    #[serde(default)]
    reasoning_tokens: Option<i64>,
}

impl Meta<'_> {
    fn info(&self) -> Info {
        let count = |count: Option<i64>| count.filter(|n| *n >= 0);
        let mut info = Info {
            usage: Usage {
                input: count(self.prompt_tokens),
                output: count(self.completion_tokens),
                cache_read: count(self.cached_tokens),
                reasoning: count(self.reasoning_tokens),
                ..Usage::default()
            },
            ..Info::default()
        };
        let reason = self.finish_reason.map(RawValue::get);
        if let Some(Ok(reason)) = reason.map(serde_json::from_str) {
            info.ends(&reason);
        }
        info
    }
}

/// One answer of several.
#[derive(Debug, Default)]
struct One {
    said: Said,
    /// As it was told last: counts are running totals.
    info: Info,
}

/// An answer under way.
#[derive(Debug)]
pub(super) struct GenerateStream {
    samples: Option<u32>,
    all: BTreeMap<u32, One>,
    id: Option<String>,
    error: Option<CallError>,
    too_many: bool,
    over: bool,
}

impl GenerateStream {
    /// Of a call.
    pub(super) fn new(found: &Found) -> Self {
        Self {
            samples: found.samples,
            all: BTreeMap::new(),
            id: None,
            error: None,
            too_many: false,
            over: false,
        }
    }

    fn part(&mut self, index: u32, text: Option<&str>, info: Info, room: &mut Room) -> Seen {
        let output = text.is_some_and(|text| !text.is_empty());
        let Some(one) = prompted::one_of(&mut self.all, index) else {
            self.too_many = true;
            return Seen::Chunk { output };
        };
        one.info = info;
        if text.is_none_or(|text| one.said.take(text, room)) {
            Seen::Chunk { output }
        } else {
            Seen::Broken
        }
    }

    /// An event that is not quite as it should be.
    fn odd(&mut self, data: &[u8], room: &mut Room) -> Seen {
        let Some(root) = json::read(data).map(|d| d.root) else {
            return Seen::Broken;
        };
        if let Some(failed) = error::in_event(&root) {
            self.error = Some(failed);
            return Seen::Chunk { output: false };
        }
        let Some(info) = field::object(&root, "meta_info") else {
            return Seen::Broken;
        };
        let mut info = Info::of(info);
        if self.id.is_none() {
            self.id = info.id.take();
        }
        let index = field::int(&root, "index").and_then(|n| u32::try_from(n).ok());
        self.part(index.unwrap_or(0), field::str(&root, "text"), info, room)
    }
}

impl Stream for GenerateStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Seen::Nothing;
        }
        if data == b"[DONE]" {
            self.over = true;
            return Seen::Nothing;
        }
        let Ok(read) = serde_json::from_slice::<Event<'_>>(data) else {
            return self.odd(data, room);
        };
        if self.id.is_none() {
            let id = read.meta_info.id.as_deref().filter(|id| !id.is_empty());
            self.id = id.map(str::to_owned);
        }
        let info = read.meta_info.info();
        self.part(read.index, read.text.as_deref(), info, room)
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn id_in<'a>(&self, root: &'a Object) -> Option<&'a str> {
        field::nonempty(field::object(root, "meta_info")?, "id")
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let this = *self;
        let mut answer = Answer {
            error: this.error,
            too_many: this.too_many,
            ..Answer::default()
        };
        let response = &mut answer.response;
        response.id = this.id;
        let usage: Vec<_> = this
            .all
            .iter()
            .map(|(n, one)| (*n, one.info.usage))
            .collect();
        response.usage = prompted::total(&usage, this.samples);
        let cut = !this.over || answer.error.is_some();
        for One { said, info } in this.all.into_values() {
            answer.error = answer.error.take().or(info.error);
            prompted::close(response, said.into_text(), info.reason, cut, answer::mapped);
        }
        answer
    }
}
