//! Trace context that a request carried.

/// The form in which it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `traceparent` (W3C Trace Context).
    Traceparent,
    /// `b3`, or the `x-b3-…` headers (Zipkin).
    B3,
}

/// Trace context: the span that sent the request, as the request says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagated {
    /// Trace id; not zero.
    pub trace: u128,
    /// Id of the span that sent the request; not zero.
    pub span: u64,
    /// `tracestate`, as sent.
    pub state: Option<String>,
    /// The form in which it came.
    pub format: Format,
}
