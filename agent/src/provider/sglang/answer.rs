//! Answers that came as one document, and the state of an answer, which are alike.

use crate::model::call::{CallError, Usage};
use crate::provider::error;
use crate::provider::json::field;
use crate::provider::json::{Document, Object};
use crate::provider::prompted::{self, Answers};
use crate::provider::shape::{Answer, Found};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// Reads one answer.
pub(super) fn read(found: &Found, document: Document, room: &mut Room) -> Answer {
    if let Some(error) = error::in_event(&document.root) {
        return Answer {
            error: Some(error),
            ..Answer::default()
        };
    }
    of(found, Answers::one(document), room)
}

/// Reads answers: one, those to several prompts, or several to each.
pub(super) fn of(found: &Found, answers: Answers, room: &mut Room) -> Answer {
    let mut answer = Answer {
        too_many: answers.too_many(),
        ..Answer::default()
    };
    let response = &mut answer.response;
    let mut usage = Vec::new();
    for (index, mut root, cut) in answers.each() {
        let mut text = Growing::default();
        if let Some(said) = field::take_string(&mut root, "text") {
            text.push(&said, room);
        }
        let info = field::object(&root, "meta_info");
        if info.is_none() && !text.seen {
            continue;
        }
        let told = info.map(Info::of).unwrap_or_default();
        usage.push((index, told.usage));
        response.id = response.id.take().or(told.id);
        answer.error = answer.error.take().or(told.error);
        prompted::close(response, text, told.reason, cut, mapped);
    }
    response.usage = prompted::total(&usage, found.samples);
    answer
}

/// What `meta_info` says.
#[derive(Debug, Default)]
pub(super) struct Info {
    pub(super) id: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) error: Option<CallError>,
    pub(super) usage: Usage,
}

impl Info {
    pub(super) fn of(info: &Object) -> Self {
        let count = |key: &str| field::int(info, key).filter(|n| *n >= 0);
        let mut told = Self {
            id: field::owned(info, "id"),
            usage: Usage {
                input: count("prompt_tokens"),
                output: count("completion_tokens"),
                cache_read: count("cached_tokens"),
                reasoning: count("reasoning_tokens"),
                ..Usage::default()
            },
            ..Self::default()
        };
        if let Some(reason) = info.get("finish_reason") {
            told.ends(reason);
        }
        told
    }

    /// Why it ended: an object today, a text before.
    pub(super) fn ends(&mut self, reason: &Value) {
        let (reason, message) = match reason {
            Value::Object(reason) => (
                field::owned(reason, "type"),
                field::str(reason, "message").map(error::bounded),
            ),
            Value::String(reason) => (Some(reason.clone()), None),
            _ => return,
        };
        if reason.as_deref() == Some(ABORT) {
            self.error = Some(CallError {
                kind: ABORT.to_owned(),
                message,
            });
        }
        self.reason = reason;
    }
}

/// How an answer ends that the engine gave up.
const ABORT: &str = "abort";

/// A finish reason as messages have it.
pub(super) fn mapped(reason: &str) -> &str {
    match reason {
        ABORT => "error",
        other => other,
    }
}
