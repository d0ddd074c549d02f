//! One chunk of a streamed chat completion or legacy completion, borrowed from its event.

use crate::provider::json::borrowed::Str;
use crate::provider::json::field;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A chunk. Anything that is not of the expected type fails the whole of it: then [`lenient`]
/// reads it again, member by member.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) model: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) service_tier: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) system_fingerprint: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    /// Null counts as absent.
    #[serde(borrow, default)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
    /// Padding of any length.
    #[serde(borrow, default)]
    pub(super) obfuscation: Option<Str<'a>>,
    /// All that Writer's completions say.
    #[serde(borrow, default)]
    pub(super) value: Option<Str<'a>>,
    /// Where Groq has its usage.
    #[serde(borrow, default)]
    pub(super) x_groq: Option<Groq<'a>>,
}

/// What Groq says apart.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Groq<'a> {
    #[serde(borrow, default)]
    pub(super) usage: Option<&'a RawValue>,
    /// Why the rest of the stream does not come.
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

/// What a chunk says of one choice.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(borrow, default)]
    pub(super) delta: Option<Delta<'a>>,
    /// Legacy completions have the text here.
    #[serde(borrow, default)]
    pub(super) text: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) usage: Option<&'a RawValue>,
}

/// What is new of a message.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    pub(super) role: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) content: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) refusal: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) reasoning_content: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) reasoning: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<Vec<ToolDelta<'a>>>,
    #[serde(borrow, default)]
    pub(super) function_call: Option<FunctionDelta<'a>>,
    #[serde(borrow, default)]
    pub(super) audio: Option<AudioDelta<'a>>,
}

/// What is new of a tool call.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ToolDelta<'a> {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(borrow, default)]
    pub(super) id: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) function: Option<FunctionDelta<'a>>,
    #[serde(borrow, default)]
    pub(super) custom: Option<CustomDelta<'a>>,
}

/// What is new of a function's call.
#[derive(Debug, Default, Deserialize)]
pub(super) struct FunctionDelta<'a> {
    #[serde(borrow, default)]
    pub(super) name: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) arguments: Option<Str<'a>>,
}

/// What is new of a custom tool's call.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CustomDelta<'a> {
    #[serde(borrow, default)]
    pub(super) name: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(super) input: Option<Str<'a>>,
}

/// What is new of spoken output.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AudioDelta<'a> {
    #[serde(borrow, default)]
    pub(super) transcript: Option<Str<'a>>,
}

fn text<'a>(value: &'a Value, key: &str) -> Option<Str<'a>> {
    value.get(key)?.as_str().map(|s| Str(Cow::Borrowed(s)))
}

fn index(value: &Value) -> Option<u32> {
    field::as_int(value.get("index")?).and_then(|n| u32::try_from(n).ok())
}

/// Reads what has the expected type of a chunk; its usage and its error are read apart.
pub(super) fn lenient(root: &Value) -> Chunk<'_> {
    let choices = root.get("choices").and_then(Value::as_array);
    Chunk {
        id: text(root, "id"),
        model: text(root, "model"),
        service_tier: text(root, "service_tier"),
        system_fingerprint: text(root, "system_fingerprint"),
        choices: choices.map(|list| {
            let objects = list.iter().filter(|c| c.is_object());
            objects.map(choice).collect()
        }),
        usage: None,
        error: None,
        obfuscation: None,
        value: text(root, "value"),
        x_groq: None,
    }
}

fn choice(value: &Value) -> Choice<'_> {
    Choice {
        index: index(value),
        delta: value.get("delta").filter(|d| d.is_object()).map(delta),
        text: text(value, "text"),
        finish_reason: text(value, "finish_reason"),
        usage: None,
    }
}

fn delta(value: &Value) -> Delta<'_> {
    let tools = value.get("tool_calls").and_then(Value::as_array);
    let (content, thought) = match value.get("content") {
        Some(Value::Array(parts)) => joined(parts),
        _ => (text(value, "content"), None),
    };
    Delta {
        role: text(value, "role"),
        content,
        refusal: text(value, "refusal"),
        reasoning_content: thought.or_else(|| text(value, "reasoning_content")),
        reasoning: text(value, "reasoning"),
        tool_calls: tools.map(|list| list.iter().map(tool).collect()),
        function_call: value
            .get("function_call")
            .filter(|f| f.is_object())
            .map(function),
        audio: value.get("audio").map(|a| AudioDelta {
            transcript: text(a, "transcript"),
        }),
    }
}

/// Content in parts, as some compatible servers stream it: texts, and thoughts.
fn joined(parts: &[Value]) -> (Option<Str<'_>>, Option<Str<'_>>) {
    let collect = |kind: &str| {
        let mut all = String::new();
        for part in parts
            .iter()
            .filter(|p| p.get("type").and_then(Value::as_str) == Some(kind))
        {
            match part.get(kind) {
                Some(Value::String(s)) => all.push_str(s),
                Some(Value::Array(inner)) => {
                    all.extend(inner.iter().filter_map(|i| i.get("text")?.as_str()));
                }
                _ => {}
            }
        }
        (!all.is_empty()).then_some(Str(Cow::Owned(all)))
    };
    (collect("text"), collect("thinking"))
}

fn tool(value: &Value) -> ToolDelta<'_> {
    ToolDelta {
        index: index(value),
        id: text(value, "id"),
        function: value
            .get("function")
            .filter(|f| f.is_object())
            .map(function),
        custom: value.get("custom").map(|c| CustomDelta {
            name: text(c, "name"),
            input: text(c, "input"),
        }),
    }
}

fn function(value: &Value) -> FunctionDelta<'_> {
    let arguments = match value.get("arguments") {
        // Arguments that are an object already.
        Some(whole @ (Value::Object(_) | Value::Array(_))) => {
            Some(Str(Cow::Owned(whole.to_string())))
        }
        _ => text(value, "arguments"),
    };
    FunctionDelta {
        name: text(value, "name"),
        arguments,
    }
}
