//! Request bodies.

use super::{messages, parts, responses_input, tools};
use crate::model::call::{Api, CallRequest, Message, Part};
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads a request's body.
pub(super) fn read(api: Api, mut body: Object, room: &mut Room) -> CallRequest {
    let mut request = common(&body);
    match api {
        Api::Responses => responses(&mut request, &mut body, room),
        Api::Completions => {
            request.max_tokens = field::int(&body, "max_tokens");
            request.messages = prompts(field::take(&mut body, "prompt"), room);
        }
        Api::Embeddings => {
            request.encoding_formats = field::owned(&body, "encoding_format").map(|f| vec![f]);
            request.dimensions = field::int(&body, "dimensions");
        }
        _ => chat(&mut request, &mut body, room),
    }
    request
}

/// What stands in each API's body under the same name.
fn common(body: &Object) -> CallRequest {
    CallRequest {
        model: field::owned(body, "model"),
        stream: field::is_true(body, "stream"),
        temperature: field::float(body, "temperature"),
        top_p: field::float(body, "top_p"),
        frequency_penalty: field::float(body, "frequency_penalty"),
        presence_penalty: field::float(body, "presence_penalty"),
        top_k: field::int(body, "top_k"),
        repetition_penalty: field::float(body, "repetition_penalty"),
        // Mistral's name is the second.
        seed: field::int(body, "seed").or_else(|| field::int(body, "random_seed")),
        choice_count: field::int(body, "n"),
        stop_sequences: stop(body.get("stop")),
        service_tier: field::owned(body, "service_tier"),
        ..CallRequest::default()
    }
}

fn stop(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::String(s) => Some(vec![s.clone()]),
        Value::Array(list) => list.iter().map(|s| Some(s.as_str()?.to_owned())).collect(),
        _ => None,
    }
}

fn chat(request: &mut CallRequest, body: &mut Object, room: &mut Room) {
    request.max_tokens =
        field::int(body, "max_completion_tokens").or_else(|| field::int(body, "max_tokens"));
    request.output_type = format(body.get("response_format")).or_else(|| modality(body));
    request.reasoning_level = field::owned(body, "reasoning_effort")
        .or_else(|| field::owned(field::object(body, "reasoning")?, "effort"));
    let list = field::take_list(body, "messages").unwrap_or_default();
    request.messages = messages::sent(list, room);
    request.tools = tools::offered(field::take_list(body, "tools").unwrap_or_default());
    let functions = field::take_list(body, "functions").unwrap_or_default();
    request.tools.extend(tools::legacy(functions));
}

fn responses(request: &mut CallRequest, body: &mut Object, room: &mut Room) {
    request.max_tokens = field::int(body, "max_output_tokens");
    request.output_type = field::object(body, "text").and_then(|t| format(t.get("format")));
    request.reasoning_level =
        field::object(body, "reasoning").and_then(|r| field::owned(r, "effort"));
    request.previous_response_id = field::owned(body, "previous_response_id");
    request.conversation_id = match body.get("conversation") {
        Some(Value::Object(o)) => field::owned(o, "id"),
        _ => field::owned(body, "conversation"),
    };
    request.prompt = field::object(body, "prompt")
        .and_then(|p| Some((field::owned(p, "id")?, field::owned(p, "version"))));
    request.system_instructions = instructions(field::take(body, "instructions"), room);
    request.compacted = field::list(body, "input").is_some_and(responses_input::has_compaction);
    request.messages = responses_input::read(field::take(body, "input"), room);
    request.tools = tools::offered(field::take_list(body, "tools").unwrap_or_default());
}

/// `instructions`: a text, or (in an answer) a list of messages.
pub(super) fn instructions(value: Option<Value>, room: &mut Room) -> Vec<Part> {
    match value {
        Some(Value::String(text)) => vec![Part::Text(room.keep(text))],
        Some(Value::Array(items)) => items
            .into_iter()
            .filter_map(|mut i| field::take(i.as_object_mut()?, "content"))
            .flat_map(|c| parts::content(c, room))
            .collect(),
        _ => Vec::new(),
    }
}

/// `response_format`, `text.format`: an object with a type, or (old proxies) the type.
fn format(value: Option<&Value>) -> Option<&'static str> {
    let kind = match value? {
        Value::Object(o) => field::str(o, "type")?,
        Value::String(s) => s.as_str(),
        _ => return None,
    };
    match kind {
        "json_object" | "json_schema" | "json" => Some("json"),
        "text" => Some("text"),
        _ => None,
    }
}

/// `modalities` that ask for speech.
fn modality(body: &Object) -> Option<&'static str> {
    let list = field::list(body, "modalities")?;
    list.iter().any(|m| m == "audio").then_some("speech")
}

/// The prompts of a legacy completion, a message each; token ids are no text.
fn prompts(value: Option<Value>, room: &mut Room) -> Vec<Message> {
    let texts = match value {
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    texts
        .into_iter()
        .filter_map(|t| match t {
            Value::String(text) => Some(Message {
                role: "user".to_owned(),
                parts: vec![Part::Text(room.keep(text))],
                ..Message::default()
            }),
            _ => None,
        })
        .collect()
}
