//! The content of a call as attributes: messages, instructions, tools; or only how much it is.

use super::attributes::Set;
use super::json::{Cut, prefix, render};
use super::mcp;
use crate::model::call::{Message, ModelCall, Operation, Part, ToolDefinition};
use crate::model::process::ContentPolicy;
use crate::vocabulary::attr;
use crate::vocabulary::field::ORIGINAL_LENGTH;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Texts are not cut below this many characters to make an attribute fit: then messages go.
const SHORTEST: usize = 16;

/// All of it.
pub(super) fn full(set: &mut Set<'_>, call: &ModelCall, policy: &ContentPolicy) {
    let max = policy.max_message_chars;
    let (instructions, tools) = context(call);
    messages(set, attr::SYSTEM_INSTRUCTIONS, instructions, max);
    messages(set, attr::INPUT_MESSAGES, sent(call), max);
    messages(set, attr::OUTPUT_MESSAGES, &call.response.messages, max);
    definitions(set, tools, true);
    mcp::content(set, call, max);
}

/// How much it is, and which tools are offered.
pub(super) fn sizes(set: &mut Set<'_>, call: &ModelCall) {
    let (instructions, tools) = context(call);
    if !instructions.is_empty() {
        let chars: u64 = instructions.iter().map(chars).sum();
        set.add(attr::SYSTEM_INSTRUCTIONS_CHARS, signed(chars));
    }
    for (list, count, size) in [
        (
            sent(call),
            attr::INPUT_MESSAGES_COUNT,
            attr::INPUT_MESSAGES_CHARS,
        ),
        (
            call.response.messages.as_slice(),
            attr::OUTPUT_MESSAGES_COUNT,
            attr::OUTPUT_MESSAGES_CHARS,
        ),
    ] {
        if !list.is_empty() {
            let all: u64 = list.iter().flat_map(|m| &m.parts).map(chars).sum();
            set.add(count, signed(list.len() as u64));
            set.add(size, signed(all));
        }
    }
    definitions(set, tools, false);
    mcp::sizes(set, call);
}

/// Instructions and tools: of a fetched response they are in the answer.
fn context(call: &ModelCall) -> (&[Part], &[ToolDefinition]) {
    match call.operation {
        Operation::FetchResponse => (&call.response.system_instructions, &call.response.tools),
        _ => (&call.request.system_instructions, &call.request.tools),
    }
}

fn sent(call: &ModelCall) -> &[Message] {
    match call.operation {
        Operation::FetchResponse | Operation::Embeddings => &[],
        _ => &call.request.messages,
    }
}

pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Characters of a value: of a text its own, of anything else those of its JSON.
pub(super) fn json_chars(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::String(text) => text.chars().count() as u64,
        other => other.to_string().chars().count() as u64,
    }
}

/// Characters of a part's content.
fn chars(part: &Part) -> u64 {
    match part {
        Part::Text(text) | Part::Reasoning(text) | Part::Blob { content: text, .. } => text.chars(),
        Part::ToolCall { arguments, .. } => arguments.as_ref().map_or(0, json_chars),
        Part::ToolCallResponse { response, .. } => json_chars(response),
        Part::File { .. } | Part::Uri { .. } => 0,
        Part::Other(value) => json_chars(value),
    }
}

/// A list whose texts have at most `max` characters, made to fit the attribute's limit: texts
/// are cut shorter, then what was said first goes.
pub(super) fn messages<T>(set: &mut Set<'_>, name: &'static str, items: &[T], max: usize)
where
    for<'a> Cut<'a, T>: Serialize,
{
    if items.is_empty() {
        return;
    }
    let mut text = render(items, max);
    if let Some(limit) = set.limit {
        let mut max = max.min(limit);
        while !fits(&text, limit) && max > SHORTEST {
            max = (max / 2).max(SHORTEST);
            text = render(items, max);
        }
        if !fits(&text, limit) {
            let skip = fewest(items.len(), |n| fits(&render(&items[n..], max), limit));
            text = render(&items[skip..], max);
        }
        if !fits(&text, limit) {
            return;
        }
    }
    set.add_fitting(name, text);
}

/// The tools, with or without what they are described by; of too many, the last ones go.
fn definitions(set: &mut Set<'_>, tools: &[ToolDefinition], described: bool) {
    if tools.is_empty() {
        return;
    }
    let whole: Vec<Value> = if described {
        tools.iter().map(|t| t.definition.clone()).collect()
    } else {
        tools.iter().map(named).collect()
    };
    let mut text = Value::Array(whole).to_string();
    if let Some(limit) = set.limit.filter(|l| !fits(&text, *l)) {
        let short: Vec<Value> = tools.iter().map(named).collect();
        let some = |dropped: usize| Value::from(&short[..short.len() - dropped]).to_string();
        text = some(fewest(short.len(), |dropped| fits(&some(dropped), limit)));
        if !fits(&text, limit) {
            return;
        }
    }
    set.add_fitting(attr::TOOL_DEFINITIONS, text);
}

/// A value as JSON. Of what has more than `max` characters the beginning of its JSON is told, as a
/// text; what does not fit the attribute's limit even so is left out: half of it is no JSON.
pub(super) fn document(set: &mut Set<'_>, name: &'static str, value: &Value, max: usize) {
    let mut text = value.to_string();
    let start = prefix(&text, max);
    if start.len() < text.len() {
        let chars = text.chars().count() as u64;
        text = json!({"content": start, (ORIGINAL_LENGTH): chars}).to_string();
    }
    if fits(&text, set.limit.unwrap_or(usize::MAX)) {
        set.add_fitting(name, text);
    }
}

fn named(tool: &ToolDefinition) -> Value {
    let mut map = Map::new();
    map.insert("type".to_owned(), Value::from(tool.kind.as_str()));
    if let Some(name) = &tool.name {
        map.insert("name".to_owned(), Value::from(name.as_str()));
    }
    Value::Object(map)
}

fn fits(text: &str, limit: usize) -> bool {
    prefix(text, limit).len() == text.len()
}

/// The fewest of `len` to leave out for `enough`; all, when nothing is.
fn fewest(len: usize, enough: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
