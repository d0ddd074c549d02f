//! A call in a form that what a client saw and what the agent told can both be brought into.

use crate::Span;
use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use serde_json::Value;

/// A call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    /// `chat`, `text_completion`, `embeddings`.
    pub operation: String,
    /// Model asked for.
    pub request_model: String,
    /// Model that answered.
    pub model: String,
    /// The provider's id of the answer.
    pub id: String,
    /// The text of each choice.
    pub texts: Vec<String>,
    /// The tools called: name and arguments.
    pub tools: Vec<(String, Value)>,
    /// Why each choice ended.
    pub finish: Vec<String>,
    /// Tokens in.
    pub input: Option<i64>,
    /// Tokens out.
    pub output: Option<i64>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Why it failed; empty when it did not.
    pub error: String,
    /// What could not be seen right.
    pub defects: Vec<String>,
    /// How often it was sent again.
    pub resends: Option<i64>,
}

impl Call {
    /// As the client saw it (`python/live/summary.py`).
    ///
    /// # Errors
    ///
    /// When that is no summary.
    pub fn of_answer(answer: &Value) -> Result<Self> {
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let operation = answer["operation"]
            .as_str()
            .with_context(|| format!("{answer}"))?;
        let chat = matches!(operation, "chat" | "completions");
        Ok(Self {
            operation: match operation {
                "responses" => "chat".to_owned(),
                "completions" => "text_completion".to_owned(),
                other => other.to_owned(),
            },
            request_model: text("request_model"),
            model: text("model"),
            id: text("id"),
            texts: strings(&answer["texts"]),
            tools: array(&answer["tools"])
                .iter()
                .map(|t| (t[0].as_str().unwrap_or_default().to_owned(), t[1].clone()))
                .collect(),
            finish: if chat {
                strings(&answer["finish"])
            } else {
                Vec::new()
            },
            input: answer["input"].as_i64(),
            output: answer["output"].as_i64(),
            stream: answer["stream"].as_bool().unwrap_or_default(),
            ..Self::default()
        })
    }

    /// As the agent told it.
    #[must_use]
    pub fn of_span(span: &Span) -> Self {
        let messages = span.messages(attr::OUTPUT_MESSAGES);
        let parts = messages.iter().flat_map(|m| array(&m["parts"]));
        let tools = parts.filter(|p| p["type"] == "tool_call").map(|p| {
            (
                p["name"].as_str().unwrap_or_default().to_owned(),
                p["arguments"].clone(),
            )
        });
        // A message of the responses API has no reason of its own on the wire.
        let responses = span.text(attr::OPENAI_API_TYPE) == "responses";
        Self {
            operation: span.text(attr::OPERATION_NAME).to_owned(),
            request_model: span.model().to_owned(),
            model: span.text(attr::RESPONSE_MODEL).to_owned(),
            id: span.text(attr::RESPONSE_ID).to_owned(),
            texts: span.texts(attr::OUTPUT_MESSAGES),
            tools: tools.collect(),
            finish: if responses {
                Vec::new()
            } else {
                span.list(attr::RESPONSE_FINISH_REASONS)
            },
            input: span.number(attr::USAGE_INPUT_TOKENS),
            output: span.number(attr::USAGE_OUTPUT_TOKENS),
            stream: span.attribute(attr::REQUEST_STREAM) == true,
            error: span.error().to_owned(),
            defects: span.defects(),
            resends: span.number(attr::HTTP_RESEND_COUNT),
        }
    }

    /// All spans as calls, in the order in which they were told.
    #[must_use]
    pub fn of_spans(spans: &[Span]) -> Vec<Self> {
        spans.iter().map(Self::of_span).collect()
    }

    /// By what was asked, for calls that end in any order.
    #[must_use]
    pub fn sorted(mut calls: Vec<Self>) -> Vec<Self> {
        calls.sort_by(|a, b| (&a.request_model, &a.id).cmp(&(&b.request_model, &b.id)));
        calls
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    array(value)
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
