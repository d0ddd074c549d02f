//! What the own APIs of inference servers have in common: a prompt goes in, texts come out.

use super::body::Body;
use super::json::{Document, Object, field, partial};
use super::limits::{MAX_CHOICES, MAX_MESSAGES, MAX_NAME_BYTES};
use super::shape::{Answer, Found, Read, Shape, read_document};
use super::text::{Growing, Room};
use crate::model::call::{CallResponse, Message, Part, Usage};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most sequences at which an answer is to stop.
const MAX_STOPS: usize = 64;

/// A prompt, or several, as messages of a user. Tokens say nothing to people and are left out.
pub(super) fn prompts(value: Option<Value>, room: &mut Room) -> Vec<Message> {
    let texts = match value {
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    texts
        .into_iter()
        .take(MAX_MESSAGES)
        .filter_map(|text| match text {
            Value::String(text) => Some(text),
            // llama.cpp's prompts with pictures.
            Value::Object(mut parts) => field::take_string(&mut parts, "prompt_string"),
            _ => None,
        })
        .map(|text| Message {
            role: "user".to_owned(),
            parts: vec![Part::Text(room.keep(text))],
            ..Message::default()
        })
        .collect()
}

/// The answers of a document, as far as they came.
#[derive(Debug)]
pub(super) struct Answers {
    list: Vec<Object>,
    /// Nothing is missing. Otherwise the last one may be a part.
    whole: bool,
}

impl Answers {
    /// A document that is one answer.
    pub(super) fn one(document: Document) -> Self {
        Self {
            list: vec![document.root],
            whole: document.whole,
        }
    }

    /// A document that is a list of them: a list of prompts has one, and some servers answer a
    /// single prompt so. None when the body is no list.
    fn listed(body: &Body) -> Option<Self> {
        if body.head().trim_ascii_start().first() != Some(&b'[') {
            return None;
        }
        let parsed = partial::parse(body.head());
        let Some(Value::Array(all)) = parsed.value else {
            let (list, whole) = (Vec::new(), false);
            return Some(Self { list, whole });
        };
        let count = all.len();
        let objects = all.into_iter().filter_map(|one| match one {
            Value::Object(one) => Some(one),
            _ => None,
        });
        let list: Vec<Object> = objects.collect();
        let whole = parsed.whole && !body.has_hole() && list.len() == count;
        Some(Self { list, whole })
    }

    /// They are none of a shape: none is there, or one that is there as a whole is another's.
    fn are_foreign(&self, is_own: impl Fn(&Object) -> bool) -> bool {
        let parts = usize::from(!self.whole && self.list.len() > 1);
        let sure = self.list.len() - parts;
        sure == 0 || self.list.iter().take(sure).any(|one| !is_own(one))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// More than are followed.
    pub(super) fn too_many(&self) -> bool {
        self.list.len() > MAX_CHOICES
    }

    /// Each of those that are followed, with its place, and whether it may have been cut.
    pub(super) fn each(self) -> impl Iterator<Item = (u32, Object, bool)> {
        let last = self.list.len().saturating_sub(1);
        let whole = self.whole;
        let all = self.list.into_iter().enumerate().take(MAX_CHOICES);
        (0..)
            .zip(all)
            .map(move |(index, (at, one))| (index, one, !whole && at == last))
    }
}

/// Reads a body that is an answer, or a list of them.
pub(super) fn document<S: Shape>(
    shape: &S,
    found: &Found,
    body: &Body,
    ended: bool,
    room: &mut Room,
    read: impl FnOnce(&Found, Answers, &mut Room) -> Answer,
) -> Read {
    let Some(answers) = Answers::listed(body) else {
        return read_document(shape, found, body, ended, room);
    };
    Read {
        whole: answers.whole,
        foreign: answers.are_foreign(|one| shape.is_answer(found, one)),
        answer: read(found, answers, room),
    }
}

/// The one of several answers under way that has this index. None when it is one too many.
pub(super) fn one_of<T: Default>(all: &mut BTreeMap<u32, T>, index: u32) -> Option<&mut T> {
    if all.len() >= MAX_CHOICES && !all.contains_key(&index) {
        return None;
    }
    Some(all.entry(index).or_default())
}

/// The usage of several answers together, each with its index. Those to one prompt stand together,
/// and each counts the prompt anew; when it is not known how many those are, nothing is said of
/// what was read.
pub(super) fn total(all: &[(u32, Usage)], samples: Option<u32>) -> Usage {
    let add = |sum: &mut Option<i64>, one: Option<i64>| {
        if let Some(one) = one {
            *sum = Some(sum.unwrap_or(0).saturating_add(one));
        }
    };
    let mut sum = Usage::default();
    for (index, one) in all {
        add(&mut sum.output, one.output);
        add(&mut sum.reasoning, one.reasoning);
        let first = match samples {
            Some(samples) => index.is_multiple_of(samples.max(1)),
            None => all.len() == 1,
        };
        if first {
            add(&mut sum.input, one.input);
            add(&mut sum.cache_read, one.cache_read);
        }
    }
    sum
}

/// Where an answer is to stop: one text or several.
pub(super) fn stops(value: Option<&Value>) -> Option<Vec<String>> {
    let short = |text: &Value| {
        let text = text.as_str().filter(|t| t.len() <= MAX_NAME_BYTES);
        text.map(str::to_owned)
    };
    match value? {
        text @ Value::String(_) => short(text).map(|t| vec![t]),
        Value::Array(list) => {
            let all: Vec<String> = list.iter().take(MAX_STOPS).filter_map(short).collect();
            Some(all).filter(|all| !all.is_empty())
        }
        _ => None,
    }
}

/// An answer's text, with the reason for which it ended: as it was said, and as messages have it.
/// Not every server gives one: then only that it was cut is known.
pub(super) fn close(
    response: &mut CallResponse,
    text: Growing,
    reason: Option<String>,
    cut: bool,
    mapped: impl Fn(&str) -> &str,
) {
    let told = match &reason {
        Some(reason) => Some(mapped(reason).to_owned()),
        None => cut.then(|| "error".to_owned()),
    };
    let mut parts = Vec::new();
    if !text.is_empty() {
        parts.push(Part::Text(text.into_text()));
    }
    response.messages.push(Message {
        role: "assistant".to_owned(),
        parts,
        finish_reason: told,
        ..Message::default()
    });
    response.finish_reasons.extend(reason);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_answers_are_followed() {
        let mut all: BTreeMap<u32, u8> = BTreeMap::new();
        let most = u32::try_from(MAX_CHOICES).unwrap();
        // Whatever their indices are.
        for n in (0..most).map(|n| u32::MAX - 7 * n) {
            assert!(one_of(&mut all, n).is_some());
        }
        assert_eq!(one_of(&mut all, 3), None);
        *one_of(&mut all, u32::MAX).unwrap() = 1;
        assert_eq!((all.len(), all[&u32::MAX]), (MAX_CHOICES, 1));
    }

    #[test]
    fn a_prompt_counts_once() {
        let one = |index: u32, input: i64| {
            let usage = Usage {
                input: Some(input),
                cache_read: Some(input - 1),
                output: Some(i64::MAX / 4),
                ..Usage::default()
            };
            (index, usage)
        };
        let four = [one(0, 3), one(1, 3), one(2, 5), one(3, 5)];
        for (all, samples, input) in [
            (&four[..], Some(1), Some(16)),
            (&four, Some(0), Some(16)),
            (&four, Some(2), Some(8)),
            (&four, Some(u32::MAX), Some(3)),
            (&four, None, None),
            // The first of them was not seen.
            (&four[1..2], Some(2), None),
            (&four[1..2], None, Some(3)),
            (&[], None, None),
        ] {
            let sum = total(all, samples);
            assert_eq!(sum.input, input, "{samples:?}");
            let cached = sum.cache_read.is_some();
            assert_eq!(
                (cached, sum.output.is_some()),
                (input.is_some(), !all.is_empty())
            );
        }
        let huge = total(&[one(0, i64::MAX), one(1, i64::MAX)], Some(1));
        assert_eq!(huge.input, Some(i64::MAX));
    }
}
