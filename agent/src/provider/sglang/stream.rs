//! Streamed answers.

use super::answer::{self, Info};
use crate::model::call::{CallError, CallResponse, Usage};
use crate::model::exchange::SseEvent;
use crate::provider::json::borrowed::Str;
use crate::provider::json::{self, field};
use crate::provider::limits::MAX_CHOICES;
use crate::provider::prompted;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde::Deserialize;
use serde_json::value::RawValue;

/// An event, borrowed.
#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    meta_info: &'a RawValue,
    /// Which of several prompts it answers.
    #[serde(default)]
    index: u32,
}

/// Whether texts come whole or in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Manner {
    /// Not known yet.
    #[default]
    Unknown,
    /// Each event has the text so far.
    Whole,
    /// Each event has what is new.
    Pieces,
}

/// One answer of those to several prompts.
#[derive(Debug, Default)]
struct One {
    index: u32,
    text: Growing,
    manner: Manner,
    /// The last that was told: counts are running totals.
    info: Option<Box<str>>,
}

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct GenerateStream {
    all: Vec<One>,
    id: Option<String>,
    error: Option<CallError>,
    too_many: bool,
    over: bool,
}

impl One {
    /// Takes a text; false when it fits neither manner.
    fn say(&mut self, said: &str, room: &mut Room) -> bool {
        if self.text.is_empty() || said.is_empty() {
            self.text.push(said, room);
            return true;
        }
        // What was dropped for want of room cannot be compared: it goes on as it was.
        let goes_on = said.starts_with(self.text.as_str());
        match (self.manner, goes_on) {
            (Manner::Unknown | Manner::Whole, true) => {
                self.manner = Manner::Whole;
                self.text.replace(said, room);
            }
            (Manner::Unknown, false) | (Manner::Pieces, _) => {
                self.manner = Manner::Pieces;
                self.text.push(said, room);
            }
            (Manner::Whole, false) => {
                self.text.replace(said, room);
                return false;
            }
        }
        true
    }
}

impl GenerateStream {
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
        let text = std::str::from_utf8(data).unwrap_or_default();
        let Ok(read) = serde_json::from_str::<Event<'_>>(text) else {
            let failed = json::read(data).and_then(|d| answer::failure(&d.root));
            let Some(failed) = failed else {
                return Seen::Broken;
            };
            self.error = Some(failed);
            return Seen::Chunk { output: false };
        };
        if self.id.is_none() {
            let info = json::read(read.meta_info.get().as_bytes());
            self.id = info.and_then(|d| field::owned(&d.root, "id"));
        }
        let Some(one) = self.one(read.index) else {
            self.too_many = true;
            return Seen::Chunk { output: true };
        };
        one.info = Some(read.meta_info.get().into());
        let said = read.text.as_deref();
        let fits = said.is_none_or(|said| one.say(said, room));
        match (fits, said) {
            (false, _) => Seen::Broken,
            (true, said) => Seen::Chunk {
                output: said.is_some_and(|s| !s.is_empty()),
            },
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn id_in<'a>(&self, root: &'a json::Object) -> Option<&'a str> {
        field::nonempty(field::object(root, "meta_info")?, "id")
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let this = *self;
        let mut response = CallResponse {
            id: this.id,
            ..CallResponse::default()
        };
        let (mut usage, mut error) = (Usage::default(), this.error);
        for one in this.all {
            let info = one.info.and_then(|info| json::read(info.as_bytes()));
            let told = info.map(|d| Info::of(&d.root)).unwrap_or_default();
            answer::add(&mut usage, told.usage);
            error = error.or(told.error);
            prompted::close(&mut response, one.text, told.reason, answer::mapped);
        }
        response.usage = usage;
        Answer {
            response,
            error,
            too_many: this.too_many,
            ..Answer::default()
        }
    }
}
