//! What spans of LlamaIndex are given and give.
//!
//! What is copied are the arguments of a method (`inspect.BoundArguments.arguments`), what it returned,
//! and of a tool what it is. Which span they are of says a part of its id.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::framework::contents::{self, Kept, plain, said};
use crate::model::call::{CallResponse, Message, Part};
use crate::model::exchange::ExchangeId;
use crate::model::framework::{RunContents, RunKind};
use crate::model::snapshot::OMITTED;

/// Where in a snapshot these are.
mod at {
    /// Where a span begins, its arguments; where it ends, its result.
    pub(super) const FIRST: usize = 0;
    /// Where the span of a tool begins: the tool.
    pub(super) const TOOL: usize = 1;
    /// Where an event says it, what a model answered; the first is what it is asked.
    pub(super) const ANSWERED: usize = 1;
}

/// Most tools that one message asks for; more are not copied.
const MAX_CALLS: usize = 64;

/// What a part of a span tells counts where the span itself does not tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Of {
    pub(super) run: ExchangeId,
    pub(super) kind: RunKind,
    pub(super) is_part: bool,
}

/// The contents of spans under way.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) kept: Kept,
    /// Ids of spans by what a snapshot has of them.
    numbers: HashMap<(u32, u32), u128>,
}

impl Contents {
    /// A span of a process has this id.
    pub(super) fn known(&mut self, pid: u32, id: u128) {
        self.numbers.insert((pid, number(id)), id);
    }

    /// It has it no more.
    pub(super) fn unknown(&mut self, pid: u32, id: u128) {
        self.numbers.remove(&(pid, number(id)));
    }

    /// No span of this process, or (none) of any, has an id any more.
    pub(super) fn clear(&mut self, pid: Option<u32>) {
        self.numbers
            .retain(|(of, _), _| pid.is_some_and(|pid| *of != pid));
    }

    /// The id of the span that a snapshot is of, by what the kernel copied of it.
    pub(super) fn id(&self, pid: u32, written: u64) -> Option<u128> {
        let bytes = written.to_ne_bytes();
        let text = std::str::from_utf8(&bytes).ok()?;
        let number = u32::from_str_radix(text, 16).ok()?;
        self.numbers.get(&(pid, number)).copied()
    }

    /// What the model of a span says besides its answer.
    pub(super) fn count(&mut self, run: ExchangeId, values: &[Option<Json>]) {
        if values.iter().any(Option::is_some)
            && let Some(contents) = self.kept.with(run, &[])
        {
            contents::besides(contents, false, values);
        }
    }

    /// What a model that tells events alone is asked (messages, or a text), and what it answered: a response, or of a
    /// completion that is streamed its text until now.
    pub(super) fn of_model(&mut self, run: ExchangeId, values: &[Option<Json>]) {
        let value = |at: usize| values.get(at).and_then(Option::as_ref);
        if let Some(Json::String(text)) = value(at::ANSWERED) {
            let before = self.kept.open.get(&run);
            let before = before.and_then(|(before, _)| super::streamed::text(before));
            let more = text
                .len()
                .saturating_sub(before.map_or(0, |text| text.len()));
            if let Some(contents) = self.kept.with_more(run, more) {
                contents.response.messages = vec![said("assistant", text)];
            }
            return;
        }
        let Some(contents) = self.kept.with(run, values) else {
            return;
        };
        // What the outermost function asks counts.
        if let Some(asked) = value(at::FIRST)
            && contents.request.messages.is_empty()
        {
            asks(contents, asked);
        }
        if let Some(answer) = value(at::ANSWERED) {
            got(contents, RunKind::Chat, answer);
        }
    }

    /// What a span is given, or what it gives.
    pub(super) fn add(&mut self, of: Of, is_begin: bool, values: &[Option<Json>]) {
        // What an object asks itself is what it was asked; of models the parts say more than the whole.
        if of.is_part && !of.kind.is_model() {
            return;
        }
        let Some(contents) = self.kept.with(of.run, values) else {
            return;
        };
        let value = |at: usize| values.get(at).and_then(Option::as_ref);
        if !is_begin {
            if let Some(result) = value(at::FIRST) {
                got(contents, of.kind, result);
            }
            return;
        }
        if let Some(arguments) = value(at::FIRST) {
            given(contents, of.kind, arguments);
        }
        if of.kind == RunKind::Tool {
            let tool = value(at::TOOL);
            let metadata = tool.and_then(|tool| tool.get("_metadata").or(tool.get("metadata")));
            let part = |name: &str| Some(metadata?.get(name)?.as_str()?.to_owned());
            contents.name = part("name");
            contents.description = part("description");
        }
    }
}

/// What of a UUID is copied with a snapshot: see `genspan_common::dispatch::NUMBER_FROM_END`.
const fn number(id: u128) -> u32 {
    (id >> 16) as u32
}

fn given(contents: &mut RunContents, kind: RunKind, arguments: &Json) {
    let Some(all) = arguments.as_object() else {
        return;
    };
    // That of which it is a method was not copied; nor was what a step of a workflow is given to work with. The
    // arguments themselves are the first for which there is room.
    let is_told = |(name, value): &(&String, &Json)| *name != "self" && *value != OMITTED;
    let mut own = all.iter().filter(is_told);
    match kind {
        RunKind::Embedding => {}
        RunKind::Chat | RunKind::Completion => {
            if contents.request.messages.is_empty() {
                // A function whose decorator does not keep its names has them in these.
                let places = [all.get("kwargs"), Some(arguments)].into_iter().flatten();
                let named = places.flat_map(|all| ["messages", "prompt"].map(|name| all.get(name)));
                let first = all.get("args").and_then(|args| args.get(0));
                for asked in named.chain([first]).flatten() {
                    if contents.request.messages.is_empty() {
                        asks(contents, asked);
                    }
                }
            }
        }
        RunKind::Tool => {
            let (args, keywords) = (all.get("args"), all.get("kwargs"));
            contents.given = match (args, keywords) {
                (None, Some(all)) | (Some(all), None) => Some(plain(all)),
                (None, None) => own.next().map(|(_, only)| shown(only)),
                (Some(_), Some(_)) => Some(plain(arguments)),
            };
        }
        RunKind::Retriever => contents.given = own.next().map(|(_, query)| shown(query)),
        RunKind::Chain | RunKind::Agent | RunKind::Reranker => {
            let mut all: Vec<_> = own.collect();
            contents.given = if all.len() == 1 {
                all.pop().map(|(_, only)| shown(only))
            } else {
                let all = all.into_iter();
                Some(all.map(|(name, v)| (name.clone(), shown(v))).collect())
            };
        }
    }
}

/// Messages, or a text, that a model is asked.
fn asks(contents: &mut RunContents, asked: &Json) {
    let messages = &mut contents.request.messages;
    match asked {
        Json::Array(all) => messages.extend(all.iter().filter_map(message)),
        Json::String(prompt) => messages.push(said("user", prompt)),
        _ => {}
    }
}

fn got(contents: &mut RunContents, kind: RunKind, result: &Json) {
    match kind {
        RunKind::Embedding => {}
        RunKind::Chat | RunKind::Completion => {
            let is_whole = result.get("message").is_some() || result.get("text").is_some();
            let response = &mut contents.response;
            if is_whole {
                *response = answered(result);
            } else if let Json::String(text) = result
                && response.messages.is_empty()
                && !is_stream(result)
            {
                response.messages.push(said("assistant", text));
            }
        }
        _ if is_stream(result) || result.is_null() => {}
        RunKind::Tool => contents.got = Some(of_tool(result)),
        RunKind::Chain | RunKind::Agent | RunKind::Retriever | RunKind::Reranker => {
            contents.got = Some(shown(result));
        }
    }
}

/// Whether it is to be read yet.
fn is_stream(result: &Json) -> bool {
    match result {
        Json::String(text) => text == "<generator>" || text == "<async_generator>",
        other => class(other).is_some_and(|class| class.contains("Streaming")),
    }
}

/// The class of an instance, without its module.
fn class(value: &Json) -> Option<&str> {
    contents::class(value)?.rsplit('.').next()
}

/// A question as its text, nodes as documents, an answer as its text; anything else as it is.
fn shown(value: &Json) -> Json {
    if let Json::Array(items) = value {
        return items.iter().map(shown).collect();
    }
    let text = |name: &str| value.get(name).filter(|text| text.is_string());
    match class(value) {
        Some("QueryBundle") => text("query_str").map(plain),
        Some("NodeWithScore") => Some(document(value)),
        Some("ChatMessage") => said_in(value).map(Json::String),
        Some("ChatResponse") => value.get("message").and_then(said_in).map(Json::String),
        Some("CompletionResponse") => text("text").map(plain),
        Some(_) => text("response").map(plain).or_else(|| {
            // What an agent of the newer kind gives.
            value.get("response").and_then(said_in).map(Json::String)
        }),
        None => None,
    }
    .unwrap_or_else(|| plain(value))
}

/// A node that was found: its id, its score, its text.
fn document(found: &Json) -> Json {
    let node = found.get("node");
    let of_node = |names: [&str; 2]| names.into_iter().find_map(|name| node?.get(name));
    let other = || node?.get("text_resource")?.get("text");
    let all = [
        ("id", of_node(["id_", "node_id"])),
        ("score", found.get("score")),
        ("content", of_node(["text", "content"]).or_else(other)),
    ];
    let all = all
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let all = all.filter(|(_, value)| !value.is_null());
    all.map(|(name, value)| (name.to_owned(), plain(value)))
        .collect()
}

/// What a tool gives (`ToolOutput`).
fn of_tool(result: &Json) -> Json {
    if let Some(content @ Json::String(_)) = result.get("content") {
        return content.clone();
    }
    match said_in(result) {
        Some(text) => Json::String(text),
        None => plain(result.get("raw_output").unwrap_or(result)),
    }
}

/// The texts of a message or of what else has blocks.
fn said_in(message: &Json) -> Option<String> {
    if let Some(Json::String(text)) = message.get("content") {
        return Some(text.clone());
    }
    let blocks = message.get("blocks")?.as_array()?;
    let texts = blocks.iter().filter_map(|b| b.get("text")?.as_str());
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// A text, or a member of an enumeration of texts.
fn word(value: &Json) -> Option<&str> {
    let own = || value.get("_value_").or_else(|| value.get("value"));
    value.as_str().or_else(|| own()?.as_str())
}

/// A message (`ChatMessage`); none of what is no such one.
fn message(given: &Json) -> Option<Message> {
    let role = word(given.get("role")?)?.to_owned();
    let more = given.get("additional_kwargs");
    let mut parts = Vec::new();
    if role == "tool" || role == "function" {
        let id = more.and_then(|more| more.get("tool_call_id"));
        let text = said_in(given);
        parts.push(Part::ToolCallResponse {
            id: id.and_then(Json::as_str).map(str::to_owned),
            response: text.map_or(Json::Null, Json::String),
        });
    } else {
        match given.get("content") {
            Some(Json::String(text)) if !text.is_empty() => {
                parts.push(Part::Text(text.as_str().into()));
            }
            Some(Json::Array(items)) => parts.extend(items.iter().map(block)),
            _ => {}
        }
        let blocks = given.get("blocks").and_then(Json::as_array);
        parts.extend(blocks.into_iter().flatten().map(block));
        let calls = more.and_then(|more| more.get("tool_calls")?.as_array());
        let calls = calls.into_iter().flatten().take(MAX_CALLS);
        parts.extend(calls.filter_map(tool_call));
    }
    Some(Message {
        role,
        name: None,
        parts,
        finish_reason: None,
    })
}

/// A block of a message.
fn block(given: &Json) -> Part {
    let text = |name: &str| Some(given.get(name)?.as_str()?.to_owned());
    if let Some(text) = text("text").or_else(|| given.as_str().map(str::to_owned)) {
        return Part::Text(text.as_str().into());
    }
    match text("tool_name") {
        Some(name) => Part::ToolCall {
            id: text("tool_call_id"),
            name,
            arguments: given.get("tool_kwargs").map(parsed),
        },
        None => Part::Other(plain(given)),
    }
}

/// A tool that a model asks for, as a client of OpenAI's has it.
fn tool_call(given: &Json) -> Option<Part> {
    let function = given.get("function")?;
    let name = function.get("name")?.as_str()?.to_owned();
    let id = given.get("id").and_then(Json::as_str).map(str::to_owned);
    let arguments = function.get("arguments").map(parsed);
    Some(Part::ToolCall {
        id,
        name,
        arguments,
    })
}

/// Arguments that may be written as JSON.
fn parsed(arguments: &Json) -> Json {
    let parsed = arguments
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok());
    parsed.unwrap_or_else(|| plain(arguments))
}

/// What a model answered (`ChatResponse`, `CompletionResponse`).
fn answered(result: &Json) -> CallResponse {
    let mut response = CallResponse::default();
    let text = || Some(said("assistant", result.get("text")?.as_str()?));
    let answer = result.get("message").and_then(message).or_else(text);
    response.messages.extend(answer);
    let raw = result.get("raw").filter(|raw| raw.is_object());
    let part = |name: &str| Some(raw?.get(name)?.as_str()?.to_owned());
    response.model = part("model");
    response.id = part("id");
    let usage = raw.and_then(|raw| raw.get("usage"));
    let counts = usage.filter(|usage| usage.is_object());
    if let Some(counts) = counts.or_else(|| result.get("additional_kwargs")) {
        response.usage = contents::counted(counts);
    }
    response
}

#[cfg(test)]
#[path = "contents_tests.rs"]
mod tests;
