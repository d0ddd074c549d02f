//! What a recording itself says of a call, for calls of which no peer makes a span. Written apart
//! from the agent, after the conventions and the providers' documentation.

mod alephalpha;
mod anthropic;
mod asked;
mod bedrock;
mod cohere;
mod dashscope;
mod gemini;
mod ollama;
mod openai;
mod replicate;
mod tgi;
mod voyage;
mod watsonx;

use super::Exchange;
use super::seen::Seen;
use genspan::vocabulary::attr;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a span must say.
#[derive(Clone, Debug, Default)]
pub struct Must {
    /// Its name.
    pub name: String,
    /// Its status is an error.
    pub failed: bool,
    /// What its status says, where the answer says it.
    pub message: Option<String>,
    /// Attributes; those without a value must not be there.
    pub attributes: BTreeMap<&'static str, Option<Value>>,
    /// Texts, reasoning and calls of tools of each message of the answer.
    pub output: Option<Vec<Vec<Value>>>,
    /// Role and texts, reasoning, calls and answers of tools of each message of the input.
    pub input: Option<Vec<Value>>,
    /// Instructions that are no message, as parts.
    pub system: Option<Vec<Value>>,
    /// Tools: type, name, description, parameters.
    pub tools: Option<Vec<Value>>,
    /// Structured attributes that are compared as they are.
    pub whole: bool,
}

/// What a time is, no recording says.
const FREE: [&str; 1] = [attr::RESPONSE_TIME_TO_FIRST_CHUNK];

impl Must {
    /// A call of this operation and model.
    fn call(x: &Exchange, operation: &str, model: Option<&str>) -> Self {
        let mut must = Self {
            name: model.map_or(operation.to_owned(), |m| format!("{operation} {m}")),
            failed: x.status >= 400,
            ..Self::default()
        };
        let (host, port) = x.host.split_once(':').unwrap_or((&x.host, "443"));
        must.set(attr::OPERATION_NAME, Some(json!(operation)));
        must.set(attr::REQUEST_MODEL, model.map(|m| json!(m)));
        must.set(attr::SERVER_ADDRESS, Some(json!(host)));
        must.set(
            attr::SERVER_PORT,
            port.parse::<u16>().ok().map(|p| json!(p)),
        );
        must
    }

    /// Demands an attribute, or that it is not there. Null is as nothing.
    fn set(&mut self, name: &'static str, value: Option<Value>) {
        self.attributes.insert(name, value.filter(|v| !v.is_null()));
    }

    /// The same where zero is as nothing, too.
    fn set_nonzero(&mut self, name: &'static str, value: Option<Value>) {
        self.set(name, value.filter(|v| v.as_f64() != Some(0.0)));
    }

    /// Finish reasons, if there are any.
    fn set_reasons(&mut self, reasons: impl IntoIterator<Item = Value>) {
        let list: Vec<Value> = reasons.into_iter().filter(|r| !r.is_null()).collect();
        let list = (!list.is_empty()).then(|| json!(list));
        self.set(attr::RESPONSE_FINISH_REASONS, list);
    }

    /// Demands the counts of tokens that are a part of others.
    fn set_parts(&mut self, usage: &Value, cached: &[&str], reasoning: &[&str]) {
        self.set_nonzero(attr::USAGE_CACHE_READ, first(usage, cached).cloned());
        self.set_nonzero(attr::USAGE_REASONING, first(usage, reasoning).cloned());
    }

    /// Demands the kind of an error: the first of some places of the answer that has a word, else
    /// the status; xAI has a sentence there. None where nothing failed.
    fn set_error(&mut self, x: &Exchange, answer: &Value, places: &[&str]) {
        let mut said = places.iter().filter_map(|p| answer.pointer(p)?.as_str());
        let is_word = |w: &&str| !w.contains(' ') && !w.bytes().all(|b| b.is_ascii_digit());
        let word = said.find(is_word);
        let kind = word.map_or_else(|| x.status.to_string(), str::to_owned);
        self.set(attr::ERROR_TYPE, (x.status >= 400).then(|| json!(kind)));
    }

    /// Demands these messages of the input.
    fn asks(&mut self, messages: &[(&str, Vec<Value>)]) {
        let all = messages.iter();
        let all = all.map(|(role, parts)| json!({"role": role, "parts": parts}));
        self.input = Some(all.collect());
    }

    /// Whether an attribute is compared.
    #[must_use]
    pub fn judges(&self, name: &str) -> bool {
        self.attributes.contains_key(name) || (self.whole && !FREE.contains(&name))
    }

    /// What it demands of an attribute.
    #[must_use]
    pub fn wants(&self, name: &str) -> Option<&Value> {
        self.attributes.get(name)?.as_ref()
    }
}

/// The span of an exchange, if it is a model's.
#[must_use]
pub fn of(x: &Exchange) -> Option<Must> {
    let readers: [fn(&Exchange) -> Option<Must>; 12] = [
        alephalpha::of,
        anthropic::of,
        bedrock::of,
        cohere::of,
        dashscope::of,
        gemini::of,
        ollama::of,
        replicate::of,
        tgi::of,
        voyage::of,
        watsonx::of,
        openai::of,
    ];
    let mut must = readers.iter().find_map(|read| read(x))?;
    must.message = refusal(x);
    Some(must)
}

/// What a refusal says for people, in the places where providers have it.
fn refusal(x: &Exchange) -> Option<String> {
    const PLACES: [&str; 4] = ["/error/message", "/message", "/error", "/detail"];
    let answer = x.answer();
    let mut said = PLACES.iter().filter_map(|p| answer.pointer(p)?.as_str());
    said.next().filter(|_| x.status >= 400).map(str::to_owned)
}

/// Texts, reasoning and calls of tools of a span's answer.
#[must_use]
pub fn said(seen: &Seen) -> Vec<Vec<Value>> {
    let messages = seen.attributes.get(attr::OUTPUT_MESSAGES);
    let messages = messages.and_then(Value::as_array).into_iter().flatten();
    let parts = messages.map(|m| m["parts"].as_array().cloned().unwrap_or_default());
    telling(parts.collect())
}

/// Messages in the form in which they are compared: what says nothing is left out, and what was
/// said together is in one order.
#[must_use]
pub fn telling(messages: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    let told = messages.into_iter().map(plain);
    told.filter(|parts| !parts.is_empty()).collect()
}

/// The same of messages with their roles, which are those of an input.
#[must_use]
pub fn heard(messages: &Value) -> Vec<Value> {
    let all = messages.as_array().into_iter().flatten();
    all.map(|message| {
        let parts = message["parts"].as_array().cloned().unwrap_or_default();
        json!({"role": message["role"], "parts": plain(parts)})
    })
    .filter(|message| message["parts"] != json!([]))
    .collect()
}

/// Instructions in the form in which they are compared.
#[must_use]
pub fn instructed(parts: &Value) -> Vec<Value> {
    plain(parts.as_array().cloned().unwrap_or_default())
}

/// Tools in the form in which they are compared: what is not said of them is left out.
#[must_use]
pub fn offered(tools: &Value) -> Vec<Value> {
    const KNOWN: [&str; 4] = ["type", "name", "description", "parameters"];
    let all = tools.as_array().into_iter().flatten();
    all.map(|tool| {
        let members = tool.as_object().into_iter().flatten();
        let told = members.filter(|(k, v)| KNOWN.contains(&k.as_str()) && !v.is_null());
        told.map(|(k, v)| (k.clone(), v.clone())).collect()
    })
    .collect()
}

/// The parts of a message that are compared, in one order.
fn plain(mut parts: Vec<Value>) -> Vec<Value> {
    const KNOWN: [&str; 4] = ["reasoning", "text", "tool_call", "tool_call_response"];
    let rank = |p: &Value| KNOWN.iter().position(|k| p["type"] == *k);
    parts.retain(|p| rank(p).is_some() && p["content"] != "");
    parts.sort_by_key(rank);
    for part in &mut parts {
        // Calls without an id, and without arguments.
        if let Some(part) = part.as_object_mut() {
            part.retain(|_, v| !v.is_null());
        }
    }
    parts
}

/// The first of some places that says something.
fn first<'a>(value: &'a Value, places: &[&str]) -> Option<&'a Value> {
    let mut said = places.iter().filter_map(|p| value.pointer(p));
    said.find(|v| !v.is_null())
}

/// A text as a part.
fn text(content: &Value) -> Value {
    json!({"type": "text", "content": content})
}

/// A call of a tool as a part; one without an id has none.
fn tool_call(id: &Value, name: &Value, arguments: &Value) -> Value {
    let mut part = json!({"type": "tool_call", "name": name, "arguments": arguments});
    if let Some(id) = Some(id).filter(|id| !id.is_null()) {
        part["id"] = id.clone();
    }
    part
}

/// Arguments that are a document in a text; what is none stays a text.
fn arguments(text: &Value) -> Value {
    let parsed = text.as_str().and_then(|t| serde_json::from_str(t).ok());
    parsed.unwrap_or_else(|| text.clone())
}
