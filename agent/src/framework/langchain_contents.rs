//! What runs of LangChain are given and give.

use serde_json::Value as Json;

use super::CallerArgument;
use super::contents::{self, Kept, class, counted, plain, said};
use crate::model::call::{CallRequest, CallResponse, Message, Part, Usage};
use crate::model::exchange::ExchangeId;
use crate::model::framework::{RunContents, RunKind};

/// What is copied of the callback manager's method that makes a run manager (`on_chain_start` and its
/// like; `langchain_core/callbacks/manager.py`, the same from 0.1 to 1.x): what the run is given, and
/// how it was called.
pub(super) const GIVEN: [CallerArgument; 5] = [
    // `inputs`, `prompts`, `messages`, `input_str`, `query`; what only copies a manager has no third.
    CallerArgument::new(2, 5),
    // `**kwargs` of chains and models; `parent_run_id` of the others.
    CallerArgument::new(4, 5),
    // `inputs` of a synchronous tool; `**kwargs` of an asynchronous one, and of a retriever.
    CallerArgument::new(5, 6),
    // `**kwargs` of a synchronous tool.
    CallerArgument::new(6, 7),
    // `serialized` of a tool or a retriever.
    CallerArgument::new(1, 6),
];

/// Where in a snapshot these are, behind the ids of the run.
mod at {
    use genspan_common::framework::COPIED_FROM;

    const FIRST: usize = COPIED_FROM as usize;
    pub(super) const GIVEN: usize = FIRST;
    pub(super) const KEYWORDS: usize = FIRST + 1;
    /// `inputs` of a synchronous tool, `**kwargs` of an asynchronous one.
    pub(super) const INPUTS: usize = FIRST + 2;
    /// `**kwargs` of a synchronous tool.
    pub(super) const TOOL_KEYWORDS: usize = FIRST + 3;
    pub(super) const SERIALIZED: usize = FIRST + 4;
    /// Of what a run gives, at its end.
    pub(super) const GOT: usize = 1;
}

/// What a run is, as far as its contents depend on that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of {
    pub(super) kind: RunKind,
    pub(super) is_async: bool,
    /// How many runs were begun together with it, before it; none when that is not known.
    pub(super) position: Option<usize>,
}

/// The contents of runs under way.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) kept: Kept,
}

impl Contents {
    /// What a run is given, or gives.
    pub(super) fn add(&mut self, run: ExchangeId, of: Of, is_begin: bool, values: &[Option<Json>]) {
        let Some(contents) = self.kept.with(run, values) else {
            return;
        };
        // `None` is as nothing: a recording does not tell them apart.
        let value = |at: usize| {
            let value = values.get(at).and_then(Option::as_ref);
            value.filter(|value| !value.is_null())
        };
        if is_begin {
            given(contents, of, value);
        } else if let Some(got) = value(at::GOT) {
            self::got(contents, of, got);
        }
    }

    /// What the model of a run says besides what it is asked and answers.
    pub(super) fn count(&mut self, run: ExchangeId, is_begin: bool, values: &[Option<Json>]) {
        if let Some(contents) = self.kept.with(run, &[]) {
            contents::besides(contents, is_begin, values);
        }
    }
}

fn given<'a>(contents: &mut RunContents, of: Of, value: impl Fn(usize) -> Option<&'a Json>) {
    let text = |value: Option<&Json>, name: &str| {
        let text = value?.get(name)?.as_str()?;
        Some(text.to_owned())
    };
    let own = || value(at::GIVEN);
    match of.kind {
        RunKind::Chain | RunKind::Agent | RunKind::Embedding | RunKind::Reranker => {
            contents.given = own().map(plain);
        }
        RunKind::Completion => {
            asked(&mut contents.request, value(at::KEYWORDS));
            let prompt = own().and_then(|prompts| own_of(prompts, of));
            if let Some(Json::String(prompt)) = prompt {
                contents.request.messages = vec![said("user", prompt)];
            }
        }
        RunKind::Chat => {
            asked(&mut contents.request, value(at::KEYWORDS));
            let messages = own().and_then(|all| own_of(all, of));
            let messages = messages.and_then(Json::as_array).into_iter().flatten();
            contents.request.messages = messages.filter_map(message).collect();
        }
        RunKind::Tool => {
            let (inputs, keywords) = if of.is_async {
                let keywords = value(at::INPUTS);
                (keywords.and_then(|k| k.get("inputs")), keywords)
            } else {
                (value(at::INPUTS), value(at::TOOL_KEYWORDS))
            };
            let inputs = inputs.filter(|inputs| !inputs.is_null());
            contents.given = inputs.or_else(own).map(plain);
            contents.call_id = text(keywords, "tool_call_id");
            contents.description = text(value(at::SERIALIZED), "description");
        }
        RunKind::Retriever => contents.given = own().cloned(),
    }
}

/// That of a run among those that are begun together.
fn own_of(all: &Json, of: Of) -> Option<&Json> {
    let all = all.as_array()?;
    match all.as_slice() {
        [only] => Some(only),
        several => several.get(of.position?),
    }
}

fn got(contents: &mut RunContents, of: Of, got: &Json) {
    match of.kind {
        RunKind::Chain | RunKind::Agent | RunKind::Embedding | RunKind::Reranker => {
            contents.got = Some(plain(got));
        }
        RunKind::Completion | RunKind::Chat => contents.response = answered(got, of),
        RunKind::Tool => {
            let is_message = class(got).is_some_and(|class| class.ends_with("ToolMessage"));
            let content = got.get("content").filter(|_| is_message);
            contents.got = Some(plain(content.unwrap_or(got)));
        }
        RunKind::Retriever => {
            let all = got.as_array().into_iter().flatten();
            contents.got = Some(all.map(document).collect());
        }
    }
}

/// A document that a retriever found: its id and score, where it has them, and its text.
fn document(found: &Json) -> Json {
    let metadata = found.get("metadata");
    let of_metadata = |names: [&str; 2]| {
        let found = names.into_iter().find_map(|name| metadata?.get(name));
        found.filter(|value| !value.is_null()).cloned()
    };
    let id = found.get("id").filter(|id| !id.is_null()).cloned();
    let all = [
        ("id", id.or_else(|| of_metadata(["id", "_id"]))),
        ("score", of_metadata(["score", "relevance_score"])),
        ("content", found.get("page_content").map(plain)),
    ];
    let all = all.into_iter();
    all.filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// What was asked of a model beside its messages (`invocation_params`).
fn asked(request: &mut CallRequest, keywords: Option<&Json>) {
    let Some(given) = keywords.and_then(|k| k.get("invocation_params")) else {
        return;
    };
    let first = |names: &[&str]| {
        let mut all = names.iter().filter_map(|name| given.get(*name));
        all.find(|value| !value.is_null())
    };
    let float = |name: &str| first(&[name]).and_then(Json::as_f64);
    let int = |names: &[&str]| first(names).and_then(Json::as_i64);
    let model = first(&["model", "model_name", "model_id", "engine"]);
    request.model = model.and_then(Json::as_str).map(str::to_owned);
    request.stream = first(&["stream"]) == Some(&Json::Bool(true));
    request.temperature = float("temperature");
    request.top_p = float("top_p");
    request.frequency_penalty = float("frequency_penalty");
    request.presence_penalty = float("presence_penalty");
    request.top_k = int(&["top_k"]);
    request.max_tokens = int(&["max_tokens", "max_completion_tokens", "max_output_tokens"]);
    request.seed = int(&["seed"]);
    request.choice_count = int(&["n"]);
    let stop = first(&["stop"]).and_then(Json::as_array);
    let stop = stop.map(|all| all.iter().filter_map(Json::as_str).map(str::to_owned));
    request.stop_sequences = stop.map(Iterator::collect);
}

/// What a model answered: of the one prompt that a run has, each choice. It is an `LLMResult`, which may
/// be that of all prompts that were given together, or of one that was streamed the choice itself
/// (`GenerationChunk`).
fn answered(result: &Json, of: Of) -> CallResponse {
    let mut response = CallResponse::default();
    let prompts = result.get("generations");
    let own = match prompts {
        Some(prompts) => own_of(prompts, of).and_then(Json::as_array),
        None => None,
    };
    let alone = prompts.is_none().then_some(result);
    let choices = own.into_iter().flatten().chain(alone);
    // Of several prompts this tells what all of them took.
    let is_only = prompts
        .and_then(Json::as_array)
        .is_some_and(|all| all.len() == 1);
    let whole = result
        .get("llm_output")
        .filter(|output| is_only && output.is_object());
    for choice in choices {
        let said_by = choice.get("message");
        let metadata = said_by.and_then(|m| m.get("response_metadata"));
        let part = |names: &[&str]| {
            let of = [choice.get("generation_info"), metadata];
            let all = of.into_iter().flatten();
            let mut found = all.flat_map(|of| names.iter().filter_map(|name| of.get(*name)));
            found.find_map(Json::as_str).map(str::to_owned)
        };
        let reason = part(&["finish_reason", "stop_reason", "done_reason"]);
        let model = part(&["model_name", "model", "model_id"]);
        response.model = response.model.take().or(model);
        response.id = response.id.take().or_else(|| part(&["id"]));
        let text = choice.get("text").and_then(Json::as_str);
        let answer = said_by.and_then(message);
        let answer = answer.or_else(|| Some(said("assistant", text?)));
        if let Some(mut answer) = answer {
            answer.finish_reason.clone_from(&reason);
            response.messages.push(answer);
        }
        response.finish_reasons.extend(reason);
        let usage = said_by.and_then(|m| m.get("usage_metadata"));
        if let Some(usage) = usage.filter(|usage| usage.is_object()) {
            response.usage = counted(usage);
        }
    }
    if let Some(whole) = whole {
        let model = whole.get("model_name").and_then(Json::as_str);
        response.model = response.model.or_else(|| model.map(str::to_owned));
        let usage = whole.get("token_usage").filter(|usage| usage.is_object());
        if let Some(usage) = usage.filter(|_| response.usage == Usage::default()) {
            response.usage = counted(usage);
        }
    }
    response
}

/// A message (`BaseMessage`); none of what is no such one.
fn message(given: &Json) -> Option<Message> {
    let text = |name: &str| given.get(name).and_then(Json::as_str).map(str::to_owned);
    let kind = text("type")?;
    let content = given.get("content")?;
    // Those that are put together of pieces have the names of these.
    let role = match kind
        .trim_end_matches("MessageChunk")
        .trim_end_matches("Message")
    {
        "human" | "Human" => "user".to_owned(),
        "ai" | "AI" => "assistant".to_owned(),
        "system" | "System" => "system".to_owned(),
        "tool" | "function" | "Tool" | "Function" => "tool".to_owned(),
        "chat" | "Chat" => text("role")?,
        other => other.to_owned(),
    };
    let mut parts = Vec::new();
    if role == "tool" {
        parts.push(Part::ToolCallResponse {
            id: text("tool_call_id"),
            response: plain(content),
        });
    } else {
        match content {
            Json::String(text) if text.is_empty() => {}
            Json::String(text) => parts.push(Part::Text(text.as_str().into())),
            Json::Array(items) => parts.extend(items.iter().map(part)),
            _ => {}
        }
        let calls = given.get("tool_calls").and_then(Json::as_array);
        for call in calls.into_iter().flatten() {
            let text = |name: &str| call.get(name).and_then(Json::as_str).map(str::to_owned);
            if let Some(name) = text("name") {
                parts.push(Part::ToolCall {
                    id: text("id"),
                    name,
                    arguments: call.get("args").map(plain),
                });
            }
        }
    }
    Some(Message {
        role,
        name: text("name"),
        parts,
        finish_reason: None,
    })
}

/// A part of a message's content.
fn part(given: &Json) -> Part {
    let text = |name: &str| given.get(name).and_then(Json::as_str);
    if let Json::String(text) = given {
        return Part::Text(text.as_str().into());
    }
    match text("type") {
        Some("text") => text("text").map(|text| Part::Text(text.into())),
        Some("image_url") => {
            let url = given.get("image_url");
            let url = url.and_then(|url| url.as_str().or_else(|| url.get("url")?.as_str()));
            // What is in it is as large as a picture, and was cut.
            let url = url.filter(|url| !url.starts_with("data:"));
            url.map(|url| Part::Uri {
                modality: "image",
                mime_type: None,
                uri: url.to_owned(),
            })
        }
        _ => None,
    }
    .unwrap_or_else(|| Part::Other(plain(given)))
}

#[cfg(test)]
#[path = "langchain_contents_tests.rs"]
mod tests;
