//! Spans as the recordings of real traffic make them, as many as are wanted; where there are no recordings, spans
//! that are as large.

use crate::recordings::{Lab, Stages};
use anyhow::{Result, ensure};
use genspan::model::span::{Resource, Span, SpanKind, Value};
use genspan::model::time::WallTime;
use genspan::vocabulary::attr;
use std::borrow::Cow;
use std::sync::Arc;

/// Processes that they are of.
const PROCESSES: i64 = 4;
/// Every so many recordings one is read: of each provider there are some.
const STEP: usize = 3;
/// So many are made up, each with other words.
const MADE_UP: u64 = 200;
/// Of the alphabet.
const LETTERS: u64 = 26;
/// Texts of names are the same in all calls: those that are not longer than this.
const SHORT: usize = 64;
/// Words of a question and of an answer, on the average.
const WORDS: u64 = 60;

/// Spans with the content that they would have by default, each with an id of its own.
pub(super) struct Spans {
    all: Vec<Span>,
    resources: Vec<Arc<Resource>>,
    next: u64,
}

impl Spans {
    /// Those whose first has this id.
    pub(super) fn from(first: u64) -> Result<Self> {
        let all = match Lab::find() {
            Some(lab) => recorded(&lab)?,
            None => (0..MADE_UP).map(made_up).collect(),
        };
        ensure!(!all.is_empty(), "no spans in the recordings");
        let resource = |pid: i64| {
            Arc::new(Resource {
                attributes: vec![
                    (Cow::Borrowed("service.name"), Value::from("shop")),
                    (Cow::Borrowed("process.pid"), Value::from(pid)),
                ],
            })
        };
        Ok(Self {
            all,
            resources: (1..=PROCESSES).map(resource).collect(),
            next: first,
        })
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Span {
        let id = self.next;
        self.next += 1;
        let at = |length: usize| usize::try_from(id % length as u64).unwrap_or_default();
        let mut span = self.all[at(self.all.len())].clone();
        (span.trace_id, span.span_id) = (u128::from(id), id);
        span.resource = Arc::clone(&self.resources[at(self.resources.len())]);
        // What real calls say is not the same again and again, which would be compressed to nothing.
        let turn = u8::try_from(id / self.all.len() as u64 % LETTERS).unwrap_or_default();
        for (_, value) in &mut span.attributes {
            if let Value::Str(text) = value
                && text.len() > SHORT
            {
                *text = Cow::Owned(turned(text, turn));
            }
        }
        span
    }
}

/// A text of as many letters, each so many places further in the alphabet.
fn turned(text: &str, turn: u8) -> String {
    let letter = |c: char| match c {
        'a'..='z' => char::from(b'a' + (c as u8 - b'a' + turn) % 26),
        'A'..='Z' => char::from(b'A' + (c as u8 - b'A' + turn) % 26),
        other => other,
    };
    text.chars().map(letter).collect()
}

/// Those of the recordings.
fn recorded(lab: &Lab) -> Result<Vec<Span>> {
    let mut all = Vec::new();
    for file in lab.files()?.iter().step_by(STEP) {
        let mut stages = Stages::by_default();
        for exchange in lab.exchanges(file)? {
            all.extend(stages.feed(&exchange, usize::MAX));
        }
        all.extend(stages.finish());
    }
    Ok(all)
}

/// A call with a question and an answer of words that stand nowhere else.
fn made_up(number: u64) -> Span {
    let mut state = number + 1;
    let mut words = || {
        let mut text = String::new();
        for _ in 0..WORDS / 2 + number % WORDS {
            // Knuth's MMIX (The Art of Computer Programming, volume 2, 3.3.4).
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{:x} ", state >> 36));
        }
        text
    };
    let mut message = |role: &str| {
        let content = words();
        Value::from(format!(
            r#"[{{"role":"{role}","parts":[{{"type":"text","content":"{content}"}}]}}]"#
        ))
    };
    let text = |name: &'static str, value: &'static str| (Cow::Borrowed(name), Value::from(value));
    Span {
        trace_id: 1,
        span_id: 1,
        parent_span_id: None,
        trace_state: None,
        name: "chat gpt-4o".to_owned(),
        kind: SpanKind::Client,
        start: WallTime(1_767_323_045_000_000_000),
        end: WallTime(1_767_323_046_000_000_000),
        error: None,
        attributes: vec![
            text(attr::OPERATION_NAME, "chat"),
            text(attr::REQUEST_MODEL, "gpt-4o"),
            text(attr::RESPONSE_MODEL, "gpt-4o-2024-08-06"),
            (Cow::Borrowed(attr::USAGE_INPUT_TOKENS), Value::from(70_i64)),
            (
                Cow::Borrowed(attr::USAGE_OUTPUT_TOKENS),
                Value::from(70_i64),
            ),
            (Cow::Borrowed(attr::INPUT_MESSAGES), message("user")),
            (Cow::Borrowed(attr::OUTPUT_MESSAGES), message("assistant")),
        ],
        events: Vec::new(),
        chunk_gaps: None,
        pid: 4711,
        resource: Arc::default(),
        sampled: true,
    }
}
