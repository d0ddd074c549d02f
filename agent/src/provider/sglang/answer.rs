//! Answers that came as one document, and the state of an answer, which are alike.

use crate::model::call::{CallError, Usage};
use crate::provider::body::Body;
use crate::provider::error;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::limits::MAX_CHOICES;
use crate::provider::prompted;
use crate::provider::shape::{Answer, Read};
use crate::provider::text::{Growing, Room};
use serde_json::Value;

/// Reads one answer.
pub(super) fn read(root: Object, room: &mut Room) -> Answer {
    if let Some(error) = failure(&root) {
        return Answer {
            error: Some(error),
            ..Answer::default()
        };
    }
    of([root], room)
}

/// Reads the list of answers that a list of prompts has.
pub(super) fn read_list(body: &Body, ended: bool, room: &mut Room) -> Read {
    let list: Option<Vec<Object>> = serde_json::from_slice(body.head()).ok();
    let whole = ended && !body.has_hole() && list.is_some();
    let list = list.unwrap_or_default();
    Read {
        foreign: list.iter().any(|a| field::object(a, "meta_info").is_none()),
        answer: of(list, room),
        whole,
    }
}

fn of(list: impl IntoIterator<Item = Object>, room: &mut Room) -> Answer {
    let mut answer = Answer::default();
    let response = &mut answer.response;
    for mut root in list {
        if response.messages.len() >= MAX_CHOICES {
            answer.too_many = true;
            break;
        }
        let mut text = Growing::default();
        if let Some(said) = field::take_string(&mut root, "text") {
            text.push(&said, room);
        }
        let Some(info) = field::object(&root, "meta_info") else {
            continue;
        };
        let told = Info::of(info);
        add(&mut response.usage, told.usage);
        response.id = response.id.take().or(told.id);
        answer.error = answer.error.take().or(told.error);
        prompted::close(response, text, told.reason, mapped);
    }
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
        // An object today, a text before.
        let (reason, message) = match info.get("finish_reason") {
            Some(Value::Object(reason)) => (
                field::owned(reason, "type"),
                field::owned(reason, "message"),
            ),
            Some(Value::String(reason)) => (Some(reason.clone()), None),
            _ => (None, None),
        };
        let error = reason.as_deref() == Some("abort");
        Self {
            id: field::owned(info, "id"),
            error: error.then(|| CallError {
                kind: "abort".to_owned(),
                message,
            }),
            reason,
            usage: Usage {
                input: count("prompt_tokens"),
                output: count("completion_tokens"),
                cache_read: count("cached_tokens"),
                reasoning: count("reasoning_tokens"),
                ..Usage::default()
            },
        }
    }
}

/// Adds the counts of one of several answers.
pub(super) fn add(sum: &mut Usage, one: Usage) {
    for (sum, one) in [
        (&mut sum.input, one.input),
        (&mut sum.output, one.output),
        (&mut sum.cache_read, one.cache_read),
        (&mut sum.reasoning, one.reasoning),
    ] {
        if let Some(one) = one {
            *sum = Some(sum.unwrap_or(0).saturating_add(one));
        }
    }
}

/// A finish reason as messages have it.
pub(super) fn mapped(reason: &str) -> &str {
    match reason {
        "abort" => "error",
        other => other,
    }
}

/// What a failed exchange, or an event of one, says.
pub(super) fn failure(root: &Object) -> Option<CallError> {
    let failed = root.get("error").filter(|e| !e.is_null())?;
    Some(error::of_event(failed))
}
