//! A session's settings, as the server tells them; and those of one response, which go before.

use crate::model::call::{CallRequest, Part, ToolDefinition};
use crate::provider::json::{Object, field};
use crate::provider::openai::tools;
use crate::provider::text::Room;
use serde_json::Value;

/// What holds for each response until it is changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Config {
    /// The model that the server says answers.
    pub(super) model: Option<String>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    seed: Option<i64>,
    presence_penalty: Option<f64>,
    repetition_penalty: Option<f64>,
    max_tokens: Option<i64>,
    output_type: Option<&'static str>,
    reasoning_level: Option<String>,
    instructions: Vec<Part>,
    tools: Vec<ToolDefinition>,
}

impl Config {
    /// Takes what an object says: a session's, or a response's. Of the rest of a session nothing
    /// is read: it has secrets in it (`client_secret`).
    pub(super) fn take(&mut self, o: &mut Object, text_bytes: usize) {
        set(&mut self.model, field::owned(o, "model"));
        set(&mut self.temperature, field::float(o, "temperature"));
        set(&mut self.top_p, field::float(o, "top_p"));
        set(&mut self.top_k, field::int(o, "top_k"));
        set(&mut self.seed, field::int(o, "seed"));
        set(
            &mut self.presence_penalty,
            field::float(o, "presence_penalty"),
        );
        set(
            &mut self.repetition_penalty,
            field::float(o, "repetition_penalty"),
        );
        set(&mut self.output_type, output_type(o));
        let effort = field::object(o, "reasoning").and_then(|r| field::owned(r, "effort"));
        set(&mut self.reasoning_level, effort);
        for key in [
            "max_tokens",
            "max_response_output_tokens",
            "max_output_tokens",
        ] {
            if field::is_set(o, key) {
                // `inf` is no limit.
                self.max_tokens = field::int(o, key);
            }
        }
        if let Some(text) = field::take_string(o, "instructions") {
            self.instructions.clear();
            if !text.is_empty() {
                self.instructions
                    .push(Part::Text(Room(text_bytes).keep(text)));
            }
        }
        if let Some(list) = field::take_list(o, "tools") {
            self.tools = tools::offered(list);
            let room = Room(text_bytes);
            // Descriptions count as text: more than there is room for are not kept.
            let mut size = 0;
            self.tools.retain(|tool| {
                size += tool.definition.to_string().len();
                size <= room.0
            });
        }
    }

    /// The request of a response that is made under it.
    pub(super) fn request(self, model: Option<String>) -> CallRequest {
        CallRequest {
            model: model.or(self.model),
            stream: true,
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            seed: self.seed,
            presence_penalty: self.presence_penalty,
            repetition_penalty: self.repetition_penalty,
            max_tokens: self.max_tokens,
            output_type: self.output_type,
            reasoning_level: self.reasoning_level,
            system_instructions: self.instructions,
            tools: self.tools,
            ..CallRequest::default()
        }
    }
}

fn set<T>(old: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *old = new;
    }
}

/// `modalities` of old, `output_modalities` since.
fn output_type(o: &Object) -> Option<&'static str> {
    let list = field::list(o, "output_modalities").or_else(|| field::list(o, "modalities"))?;
    let has = |what: &str| list.iter().any(|m| m.as_str() == Some(what));
    if has("audio") {
        Some("speech")
    } else {
        has("text").then_some("text")
    }
}

/// The settings that a client asks for one response, and what it is to answer in place of the
/// conversation.
pub(super) fn input_of(response: &mut Object) -> Option<Vec<Value>> {
    field::take_list(response, "input")
}
