//! Request bodies.

use crate::model::call::{Api, CallRequest, Message, Part, ToolDefinition};
use crate::provider::content::{IMAGE, at_url, definition};
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::limits::{MAX_ITEMS, MAX_MESSAGES, MAX_TOOLS};
use crate::provider::openai::{messages, parts, tools};
use crate::provider::text::Room;
use serde_json::Value;

/// Reads a request's body. `connectors` and `documents` are not looked at: they may hold tokens,
/// and are of no use.
pub(super) fn read(api: Api, mut body: Object, room: &mut Room) -> CallRequest {
    let mut request = CallRequest {
        model: field::owned(&body, "model"),
        ..CallRequest::default()
    };
    match api {
        Api::CohereEmbed => embed(&mut request, &mut body, room),
        Api::CohereRerank => rerank(&mut request, &mut body, room),
        _ => {
            generation(&mut request, &body);
            match api {
                Api::CohereChat => chat(&mut request, &mut body, room),
                Api::CohereChatV1 => chat_v1(&mut request, &mut body, room),
                _ => {
                    let prompt = field::take_string(&mut body, "prompt");
                    request.messages.extend(prompt.map(|p| said(p, room)));
                }
            }
        }
    }
    request
}

/// What chat in both versions and generation have in common.
fn generation(request: &mut CallRequest, body: &Object) {
    request.stream = field::is_true(body, "stream");
    request.temperature = field::float(body, "temperature");
    request.top_p = field::float(body, "p");
    request.top_k = field::int(body, "k");
    request.frequency_penalty = field::float(body, "frequency_penalty");
    request.presence_penalty = field::float(body, "presence_penalty");
    request.max_tokens = field::int(body, "max_tokens");
    request.seed = field::int(body, "seed");
    request.choice_count = field::int(body, "num_generations");
    request.conversation_id = field::owned(body, "conversation_id");
    request.stop_sequences = field::list(body, "stop_sequences").and_then(|list| {
        list.iter()
            .map(|s| Some(s.as_str()?.to_owned()))
            .collect::<Option<Vec<_>>>()
    });
    request.output_type =
        field::object(body, "response_format").and_then(|f| match field::str(f, "type")? {
            "json_object" => Some("json"),
            "text" => Some("text"),
            _ => None,
        });
}

fn chat(request: &mut CallRequest, body: &mut Object, room: &mut Room) {
    let mut list = field::take_list(body, "messages").unwrap_or_default();
    for message in list.iter_mut().filter_map(Value::as_object_mut) {
        plan_first(message);
    }
    request.messages = messages::sent(list, room);
    request.tools = tools::offered(field::take_list(body, "tools").unwrap_or_default());
}

/// What the model says before it calls tools is what others call reasoning.
pub(super) fn plan_first(message: &mut Object) {
    if let Some(plan) = field::take(message, "tool_plan") {
        message.insert("reasoning_content".to_owned(), plan);
    }
}

fn chat_v1(request: &mut CallRequest, body: &mut Object, room: &mut Room) {
    let preamble = field::take_string(body, "preamble").filter(|p| !p.is_empty());
    let preamble = preamble.map(|p| Part::Text(room.keep(p)));
    request.system_instructions.extend(preamble);
    let history = field::take_list(body, "chat_history").unwrap_or_default();
    let skip = history.len().saturating_sub(MAX_MESSAGES);
    for turn in history.into_iter().skip(skip) {
        if let Value::Object(turn) = turn {
            request.messages.extend(past(turn, room));
        }
    }
    let results = tool_results(body, room);
    if !results.is_empty() {
        request.messages.push(Message {
            role: "tool".to_owned(),
            parts: results,
            ..Message::default()
        });
    }
    // With tool results it may be empty.
    let message = field::take_string(body, "message").filter(|m| !m.is_empty());
    request.messages.extend(message.map(|m| said(m, room)));
    request.tools = field::take_list(body, "tools")
        .unwrap_or_default()
        .into_iter()
        .take(MAX_TOOLS)
        .filter_map(tool_v1)
        .collect();
}

/// A turn of the history.
fn past(mut turn: Object, room: &mut Room) -> Option<Message> {
    let role = match field::take_string(&mut turn, "role")?.as_str() {
        "USER" => "user".to_owned(),
        "CHATBOT" => "assistant".to_owned(),
        "SYSTEM" => "system".to_owned(),
        "TOOL" => "tool".to_owned(),
        other => other.to_owned(),
    };
    let text = field::take_string(&mut turn, "message").filter(|t| !t.is_empty());
    let mut parts: Vec<Part> = text.into_iter().map(|t| Part::Text(room.keep(t))).collect();
    parts.extend(tool_calls(&mut turn));
    parts.extend(tool_results(&mut turn, room));
    (!parts.is_empty()).then_some(Message {
        role,
        parts,
        ..Message::default()
    })
}

/// Calls of tools in the first version: without an id.
pub(super) fn tool_calls(holder: &mut Object) -> Vec<Part> {
    field::take_list(holder, "tool_calls")
        .unwrap_or_default()
        .into_iter()
        .take(MAX_ITEMS)
        .filter_map(|call| match call {
            Value::Object(mut call) => Some(Part::ToolCall {
                id: None,
                name: field::take_string(&mut call, "name")?,
                arguments: field::take(&mut call, "parameters"),
            }),
            _ => None,
        })
        .collect()
}

fn tool_results(holder: &mut Object, room: &mut Room) -> Vec<Part> {
    field::take_list(holder, "tool_results")
        .unwrap_or_default()
        .into_iter()
        .take(MAX_ITEMS)
        .filter_map(|result| match result {
            Value::Object(mut result) => Some(Part::ToolCallResponse {
                id: None,
                response: crate::provider::content::response(
                    field::take(&mut result, "outputs"),
                    room,
                ),
            }),
            _ => None,
        })
        .collect()
}

/// A tool of the first version, which describes its parameters in a way of its own.
fn tool_v1(tool: Value) -> Option<ToolDefinition> {
    let Value::Object(mut tool) = tool else {
        return None;
    };
    let name = field::take_string(&mut tool, "name")?;
    let mut more = Object::new();
    for (key, ours) in [
        ("description", "description"),
        ("parameter_definitions", "parameters"),
    ] {
        if let Some(value) = field::take(&mut tool, key) {
            more.insert(ours.to_owned(), value);
        }
    }
    Some(definition("function", name, more))
}

fn embed(request: &mut CallRequest, body: &mut Object, room: &mut Room) {
    request.dimensions = field::int(body, "output_dimension");
    request.encoding_formats = field::list(body, "embedding_types").and_then(|list| {
        list.iter()
            .map(|s| Some(s.as_str()?.to_owned()))
            .collect::<Option<Vec<_>>>()
    });
    let mut said = Vec::new();
    for key in ["texts", "images"] {
        let list = field::take_list(body, key).unwrap_or_default();
        for value in list.into_iter().take(MAX_MESSAGES) {
            match value {
                Value::String(text) if key == "texts" => said.push(Part::Text(room.keep(text))),
                Value::String(url) => said.push(at_url(url, IMAGE, room)),
                _ => {}
            }
        }
    }
    let inputs = field::take_list(body, "inputs").unwrap_or_default();
    for input in inputs.into_iter().take(MAX_MESSAGES) {
        if let Value::Object(mut input) = input
            && let Some(content) = field::take(&mut input, "content")
        {
            said.extend(parts::content(content, room));
        }
    }
    request.messages = said.into_iter().map(of_user).collect();
}

fn rerank(request: &mut CallRequest, body: &mut Object, room: &mut Room) {
    let documents = field::list(body, "documents").map(<[Value]>::len);
    request.documents = documents.and_then(|n| i64::try_from(n).ok());
    request.top_n = field::int(body, "top_n");
    let query = field::take_string(body, "query");
    request.messages.extend(query.map(|q| said(q, room)));
}

/// A message of the user's that is only text.
fn said(text: String, room: &mut Room) -> Message {
    of_user(Part::Text(room.keep(text)))
}

fn of_user(part: Part) -> Message {
    Message {
        role: "user".to_owned(),
        parts: vec![part],
        ..Message::default()
    }
}
