//! Request bodies of generating content.

use super::{names, parts};
use crate::model::call::{CallRequest, Message, Part, ToolDefinition};
use crate::provider::content::definition;
use crate::provider::json::{Object, field};
use crate::provider::limits::{MAX_MESSAGES, MAX_TOOLS};
use crate::provider::text::Room;
use serde_json::Value;

/// Reads a request's body. The model is in the path.
pub(super) fn read(body: Object, room: &mut Room) -> CallRequest {
    let mut body = names::camel(body);
    let mut request = match field::take(&mut body, "generationConfig") {
        Some(Value::Object(config)) => settings(&names::camel(config)),
        _ => CallRequest::default(),
    };
    request.system_instructions = instructions(field::take(&mut body, "systemInstruction"), room);
    request.messages = messages(field::take(&mut body, "contents"), room);
    request.tools = tools(field::take(&mut body, "tools"));
    request
}

fn settings(config: &Object) -> CallRequest {
    let thinking = field::object(config, "thinkingConfig").cloned();
    let thinking = thinking.map(names::camel);
    CallRequest {
        temperature: field::float(config, "temperature"),
        top_p: field::float(config, "topP"),
        top_k: field::int(config, "topK"),
        frequency_penalty: field::float(config, "frequencyPenalty"),
        presence_penalty: field::float(config, "presencePenalty"),
        max_tokens: field::int(config, "maxOutputTokens"),
        seed: field::int(config, "seed"),
        choice_count: field::int(config, "candidateCount"),
        stop_sequences: stop(config),
        output_type: modality(config).or_else(|| format(config)),
        reasoning_level: thinking.and_then(|t| field::owned(&t, "thinkingLevel")),
        ..CallRequest::default()
    }
}

fn stop(config: &Object) -> Option<Vec<String>> {
    let list = field::list(config, "stopSequences")?;
    list.iter().map(|s| Some(s.as_str()?.to_owned())).collect()
}

/// `responseModalities` other than text; the number of audio is not that of token counts.
fn modality(config: &Object) -> Option<&'static str> {
    let list = field::list(config, "responseModalities")?;
    let any = |name: &str, number: i64| {
        let mut same = list.iter().map(|m| match m.as_str() {
            Some(text) => text.eq_ignore_ascii_case(name),
            None => m.as_i64() == Some(number),
        });
        same.any(|s| s)
    };
    if any("IMAGE", 2) {
        Some("image")
    } else if any("AUDIO", 3) {
        Some("speech")
    } else {
        any("TEXT", 1).then_some("text")
    }
}

fn format(config: &Object) -> Option<&'static str> {
    match field::str(config, "responseMimeType")? {
        "application/json" => Some("json"),
        // One word of a list.
        "text/plain" | "text/x.enum" => Some("text"),
        _ => None,
    }
}

/// A content, or (proxies) a text.
fn instructions(value: Option<Value>, room: &mut Room) -> Vec<Part> {
    match value {
        Some(Value::String(text)) => vec![Part::Text(room.keep(text))],
        Some(Value::Object(mut content)) => parts::of(&mut content, room),
        _ => Vec::new(),
    }
}

/// A list of contents, or a single one.
fn messages(value: Option<Value>, room: &mut Room) -> Vec<Message> {
    let list = parts::list(value);
    let skip = list.len().saturating_sub(MAX_MESSAGES);
    list.into_iter()
        .skip(skip)
        .map(|mut content| Message {
            role: role(field::str(&content, "role"), "user"),
            parts: parts::of(&mut content, room),
            ..Message::default()
        })
        .filter(|m| !m.parts.is_empty())
        .collect()
}

/// A role in the words of the conventions; `unsaid` when there is none.
pub(super) fn role(role: Option<&str>, unsaid: &str) -> String {
    match role.unwrap_or_default() {
        "" => unsaid,
        "model" => "assistant",
        "function" => "tool",
        other => other,
    }
    .to_owned()
}

/// The client's tools are functions; of the provider's own only the name is kept: their settings
/// may hold keys.
fn tools(value: Option<Value>) -> Vec<ToolDefinition> {
    let mut all = Vec::new();
    for mut tool in parts::list(value) {
        all.extend(functions(field::take(&mut tool, "functionDeclarations")));
        let own = tool.iter().filter(|(_, v)| v.is_object() || v.is_array());
        all.extend(own.map(|(kind, _)| definition(kind, kind.clone(), Object::new())));
        if all.len() >= MAX_TOOLS {
            break;
        }
    }
    all.truncate(MAX_TOOLS);
    all
}

fn functions(value: Option<Value>) -> Vec<ToolDefinition> {
    parts::list(value)
        .into_iter()
        .take(MAX_TOOLS)
        .filter_map(|mut function| {
            let name = field::take_string(&mut function, "name")?;
            let mut more = Object::new();
            for (key, ours) in [
                ("description", "description"),
                ("parameters", "parameters"),
                ("parametersJsonSchema", "parameters"),
            ] {
                if let Some(value) = field::take(&mut function, key) {
                    more.insert(ours.to_owned(), value);
                }
            }
            Some(definition("function", name, more))
        })
        .collect()
}
