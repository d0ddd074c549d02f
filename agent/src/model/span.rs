//! Finished spans, ready for any exporter.

use super::gaps::ChunkGaps;
use super::time::WallTime;
use std::borrow::Cow;
use std::sync::Arc;

/// A span's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A call made.
    Client,
    /// A call served.
    Server,
    /// Work inside a process.
    Internal,
}

/// An attribute's value. JSON documents (messages) are [`Value::Str`]s, as on OTLP.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Str(Cow<'static, str>),
    /// Signed integer.
    Int(i64),
    /// Floating point; finite.
    Double(f64),
    /// Truth value.
    Bool(bool),
    /// List of texts.
    StrList(Vec<String>),
}

impl From<&'static str> for Value {
    fn from(v: &'static str) -> Self {
        Self::Str(Cow::Borrowed(v))
    }
}
impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::Str(Cow::Owned(v))
    }
}
impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}
impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Double(v)
    }
}
impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}
impl From<Vec<String>> for Value {
    fn from(v: Vec<String>) -> Self {
        Self::StrList(v)
    }
}

/// Attributes in the order in which they were set; names come from the vocabulary table.
pub type Attributes = Vec<(Cow<'static, str>, Value)>;

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// Name.
    pub name: Cow<'static, str>,
    /// When.
    pub time: WallTime,
    /// Attributes.
    pub attributes: Attributes,
}

/// What a span's resource says; shared by all spans of a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// Attributes.
    pub attributes: Attributes,
}

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Trace id; not zero.
    pub trace_id: u128,
    /// Span id; not zero.
    pub span_id: u64,
    /// Parent's span id.
    pub parent_span_id: Option<u64>,
    /// `tracestate` of the trace (W3C Trace Context).
    pub trace_state: Option<String>,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: SpanKind,
    /// Start.
    pub start: WallTime,
    /// End; not before the start.
    pub end: WallTime,
    /// `Some` (possibly empty) message when the status is ERROR, else UNSET.
    pub error: Option<String>,
    /// Attributes.
    pub attributes: Attributes,
    /// Events.
    pub events: Vec<SpanEvent>,
    /// Times between the chunks of a streamed answer; they become a metric, not an attribute.
    pub chunk_gaps: Option<Box<ChunkGaps>>,
    /// Process that it belongs to, for views.
    pub pid: u32,
    /// Resource.
    pub resource: Arc<Resource>,
    /// Whether it is told. One that is not is measured all the same.
    pub sampled: bool,
}

impl Span {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v)
    }
}
