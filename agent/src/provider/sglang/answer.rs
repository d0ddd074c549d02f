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
    of(vec![root], 1, room)
}

/// Reads a list of answers: those to several prompts, or `samples` to each.
pub(super) fn read_list(
    list: Vec<Object>,
    samples: u32,
    body: &Body,
    ended: bool,
    room: &mut Room,
) -> Read {
    Read {
        foreign: list.iter().any(|a| field::object(a, "meta_info").is_none()),
        whole: ended && !body.has_hole() && !list.is_empty(),
        answer: of(list, samples, room),
    }
}

fn of(list: Vec<Object>, samples: u32, room: &mut Room) -> Answer {
    let mut answer = Answer {
        too_many: list.len() > MAX_CHOICES,
        ..Answer::default()
    };
    let response = &mut answer.response;
    for (index, mut root) in (0..).zip(list.into_iter().take(MAX_CHOICES)) {
        let mut text = Growing::default();
        if let Some(said) = field::take_string(&mut root, "text") {
            text.push(&said, room);
        }
        let Some(info) = field::object(&root, "meta_info") else {
            continue;
        };
        let told = Info::of(info);
        add(&mut response.usage, told.usage, index, samples);
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

/// Adds the counts of one of several answers. Those to one prompt stand together, and each counts
/// the prompt anew.
pub(super) fn add(sum: &mut Usage, one: Usage, index: u32, samples: u32) {
    let again = !index.is_multiple_of(samples.max(1));
    let input = |count: Option<i64>| count.filter(|_| !again);
    for (sum, one) in [
        (&mut sum.input, input(one.input)),
        (&mut sum.output, one.output),
        (&mut sum.cache_read, input(one.cache_read)),
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
        ABORT => "error",
        other => other,
    }
}

/// What a failed exchange, or an event of one, says.
pub(super) fn failure(root: &Object) -> Option<CallError> {
    let failed = root.get("error").filter(|e| !e.is_null())?;
    Some(error::of_event(failed))
}
