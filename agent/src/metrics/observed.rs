//! What a span says that metrics need, read in one pass over its attributes.

use crate::model::defect::Defects;
use crate::model::span::{Span, Value};
use crate::vocabulary::{attr, metric};

/// Attributes that become labels of calls' metrics, in the order in which they are written.
const LABELS: [&str; 8] = [
    attr::OPERATION_NAME,
    attr::PROVIDER_NAME,
    attr::REQUEST_MODEL,
    attr::RESPONSE_MODEL,
    attr::SERVER_ADDRESS,
    attr::SERVER_PORT,
    attr::OPENAI_RESPONSE_SERVICE_TIER,
    attr::OPENAI_RESPONSE_SYSTEM_FINGERPRINT,
];

/// Modalities in the order of the span's attributes, and what they are as a label.
pub(super) const MODALITIES: [&str; 3] = ["text", "image", "audio"];

/// Counts of tokens: all, and of each modality.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tokens {
    pub(super) all: Option<u64>,
    pub(super) by_modality: [Option<u64>; 3],
}

/// What a span says.
#[derive(Debug, Default)]
pub(super) struct Observed<'a> {
    pub(super) operation: Option<&'a str>,
    /// By the places of [`LABELS`].
    labels: [Option<&'a Value>; LABELS.len()],
    pub(super) error: Option<&'a Value>,
    /// Agent, tool or workflow.
    pub(super) run: Option<(&'static str, &'a Value)>,
    pub(super) first_chunk: Option<f64>,
    /// The same of the first token, by the engine that made it.
    pub(super) engine_first: Option<f64>,
    /// Seconds for each token after that, likewise.
    pub(super) engine_each: Option<f64>,
    pub(super) input: Tokens,
    pub(super) output: Tokens,
    pub(super) cache_read: Tokens,
    pub(super) cache_write: Tokens,
    pub(super) reasoning: Tokens,
    /// The beginning was not seen: no time since it is known.
    pub(super) midway: bool,
    /// Parts of the answer were not seen: times between its parts are not known.
    pub(super) gap: bool,
}

impl<'a> Observed<'a> {
    pub(super) fn of(span: &'a Span) -> Self {
        let mut seen = Self::default();
        for (name, value) in &span.attributes {
            seen.attribute(name, value);
        }
        seen
    }

    fn attribute(&mut self, name: &str, value: &'a Value) {
        if let Some(at) = LABELS.iter().position(|label| *label == name) {
            self.labels[at] = Some(value);
            if let (attr::OPERATION_NAME, Value::Str(text)) = (name, value) {
                self.operation = Some(text);
            }
            return;
        }
        match name {
            attr::ERROR_TYPE => self.error = Some(value),
            metric::AGENT_NAME => self.run = Some((metric::AGENT_NAME, value)),
            metric::TOOL_NAME => self.run = Some((metric::TOOL_NAME, value)),
            metric::WORKFLOW_NAME => self.run = Some((metric::WORKFLOW_NAME, value)),
            attr::RESPONSE_TIME_TO_FIRST_CHUNK => self.first_chunk = seconds(value),
            attr::ENGINE_TIME_TO_FIRST_TOKEN => self.engine_first = seconds(value),
            attr::ENGINE_TIME_PER_OUTPUT_TOKEN => self.engine_each = seconds(value),
            attr::USAGE_INPUT_TOKENS => self.input.all = count(value),
            attr::USAGE_OUTPUT_TOKENS => self.output.all = count(value),
            attr::USAGE_CACHE_READ => self.cache_read.all = count(value),
            attr::USAGE_CACHE_WRITE => self.cache_write.all = count(value),
            attr::USAGE_REASONING => self.reasoning.all = count(value),
            attr::DEFECTS => {
                if let Value::StrList(names) = value {
                    let has = |d: Defects| d.names().all(|n| names.iter().any(|name| name == n));
                    self.midway = has(Defects::ATTACHED_MIDWAY);
                    self.gap = has(Defects::RESPONSE_GAP);
                }
            }
            _ => {
                for (names, tokens) in [
                    (attr::USAGE_INPUT_BY_MODALITY, &mut self.input),
                    (attr::USAGE_OUTPUT_BY_MODALITY, &mut self.output),
                    (attr::USAGE_CACHE_READ_BY_MODALITY, &mut self.cache_read),
                ] {
                    if let Some(at) = names.iter().position(|n| *n == name) {
                        tokens.by_modality[at] = count(value);
                    }
                }
            }
        }
    }

    /// The labels that the span has.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&'static str, &'a Value)> + '_ {
        let named = LABELS.into_iter().zip(self.labels);
        named.filter_map(|(name, value)| Some((name, value?)))
    }
}

/// A time.
const fn seconds(value: &Value) -> Option<f64> {
    match value {
        Value::Double(seconds) => Some(*seconds),
        _ => None,
    }
}

/// A count that a provider told; none has less than nothing.
fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}
