//! JSON lines: one finished span per line.

use super::{ExportError, Exporter, Loss};
use crate::model::span::{Attributes, Span, SpanEvent, SpanKind, Value};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use std::io::Write;

/// Written out when this many bytes wait, even before a flush.
const BUFFER: usize = 64 * 1024;
/// A buffer that one huge span has grown beyond this is given back.
const KEEP: usize = 1024 * 1024;

/// Writes each span as one line of JSON.
pub struct JsonLines {
    what: String,
    out: Box<dyn Write + Send>,
    buffer: Vec<u8>,
}

impl JsonLines {
    /// Writes to `out`, which messages call `what`. `out` needs no buffer of its own.
    #[must_use]
    pub fn new(what: &str, out: Box<dyn Write + Send>) -> Self {
        Self {
            what: what.to_owned(),
            out,
            buffer: Vec::new(),
        }
    }

    fn write_out(&mut self) -> Result<(), ExportError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = self
            .out
            .write_all(&self.buffer)
            .and_then(|()| self.out.flush());
        self.buffer.clear();
        if self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        }
        result.map_err(|e| ExportError::io(&self.what, e))
    }
}

impl Exporter for JsonLines {
    fn span(&mut self, span: &Span) -> Result<(), ExportError> {
        write_line(&mut self.buffer, span);
        if self.buffer.len() >= BUFFER {
            self.write_out()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        self.write_out()
    }

    fn shutdown(&mut self, _losses: &[Loss]) -> Result<(), ExportError> {
        self.write_out()
    }
}

/// Appends the line of a span, newline included.
pub fn write_line(out: &mut Vec<u8>, span: &Span) {
    let start = out.len();
    // Neither a write into memory nor a map with text keys can fail.
    if serde_json::to_writer(&mut *out, &Line(span)).is_err() {
        out.truncate(start);
        return;
    }
    out.push(b'\n');
}

struct Line<'a>(&'a Span);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("trace_id", &Hex128(span.trace_id))?;
        map.serialize_entry("span_id", &Hex64(span.span_id))?;
        map.serialize_entry("parent_span_id", &span.parent_span_id.map(Hex64))?;
        if let Some(state) = &span.trace_state {
            map.serialize_entry("trace_state", state)?;
        }
        map.serialize_entry("name", &span.name)?;
        map.serialize_entry("kind", kind(span.kind))?;
        map.serialize_entry("start_time_unix_nano", &Decimal(span.start.0))?;
        map.serialize_entry("end_time_unix_nano", &Decimal(span.end.0))?;
        map.serialize_entry("status", &Status(span.error.as_deref()))?;
        map.serialize_entry("attributes", &Map(&span.attributes))?;
        map.serialize_entry("events", &Events(&span.events))?;
        // The model has no links so far; the field is part of the format.
        map.serialize_entry("links", &[(); 0])?;
        map.serialize_entry("resource", &Map(&span.resource.attributes))?;
        map.end()
    }
}

const fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Client => "CLIENT",
        SpanKind::Server => "SERVER",
        SpanKind::Internal => "INTERNAL",
    }
}

struct Hex128(u128);

impl Serialize for Hex128 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex(&self.0.to_be_bytes(), serializer)
    }
}

struct Hex64(u64);

impl Serialize for Hex64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex(&self.0.to_be_bytes(), serializer)
    }
}

fn hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    let text = text.get(..bytes.len() * 2).unwrap_or_default();
    serializer.serialize_str(str::from_utf8(text).unwrap_or_default())
}

/// An integer that JSON readers would round, as text.
struct Decimal(u64);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

struct Status<'a>(Option<&'a str>);

impl Serialize for Status<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        let code = if self.0.is_some() { "ERROR" } else { "UNSET" };
        map.serialize_entry("code", code)?;
        map.serialize_entry("message", self.0.unwrap_or(""))?;
        map.end()
    }
}

struct Map<'a>(&'a Attributes);

impl Serialize for Map<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, Typed(value))))
    }
}

struct Typed<'a>(&'a Value);

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Str(v) => serializer.serialize_str(v),
            Value::Int(v) => serializer.serialize_i64(*v),
            Value::Double(v) => serializer.serialize_f64(*v),
            Value::Bool(v) => serializer.serialize_bool(*v),
            Value::StrList(v) => v.serialize(serializer),
        }
    }
}

struct Events<'a>(&'a [SpanEvent]);

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for event in self.0 {
            list.serialize_element(&Event(event))?;
        }
        list.end()
    }
}

struct Event<'a>(&'a SpanEvent);

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("name", &self.0.name)?;
        map.serialize_entry("time_unix_nano", &Decimal(self.0.time.0))?;
        map.serialize_entry("attributes", &Map(&self.0.attributes))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::test_support::{START, Sink, resource, span};
    use crate::model::time::WallTime;
    use std::borrow::Cow;

    fn line(span: &Span) -> String {
        let mut out = Vec::new();
        write_line(&mut out, span);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_field_in_the_documented_form() {
        let mut s = span(
            0x00b9_c7c9_89f9_7918,
            vec![
                (Cow::Borrowed("text"), Value::from("a\"\n\u{1b}é")),
                (Cow::Borrowed("int"), Value::from(-3)),
                (Cow::Borrowed("double"), Value::from(1.0)),
                (Cow::Borrowed("bool"), Value::from(true)),
                (
                    Cow::Borrowed("list"),
                    Value::from(vec!["stop".to_owned(), String::new()]),
                ),
            ],
            resource("shop", 4242),
        );
        s.parent_span_id = Some(0xff);
        s.error = Some("went wrong".to_owned());
        s.events.push(SpanEvent {
            name: Cow::Borrowed("e"),
            time: WallTime(START + 1),
            attributes: vec![(Cow::Borrowed("k"), Value::from(u32::MAX as i64))],
        });
        assert_eq!(
            line(&s),
            concat!(
                r#"{"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"00b9c7c989f97918","#,
                r#""parent_span_id":"00000000000000ff","name":"chat gpt-4o","kind":"CLIENT","#,
                r#""start_time_unix_nano":"1767323045250000000","#,
                r#""end_time_unix_nano":"1767323046750000000","#,
                r#""status":{"code":"ERROR","message":"went wrong"},"#,
                r#""attributes":{"text":"a\"\n\u001bé","int":-3,"double":1.0,"bool":true,"#,
                r#""list":["stop",""]},"#,
                r#""events":[{"name":"e","time_unix_nano":"1767323045250000001","#,
                r#""attributes":{"k":4294967295}}],"#,
                r#""links":[],"resource":{"service.name":"shop","process.pid":4242}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn without_parent_or_error() {
        let text = line(&span(1, vec![], resource("shop", 1)));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(json["parent_span_id"].is_null());
        assert_eq!(json["status"]["code"], "UNSET");
        assert_eq!(json["attributes"], serde_json::json!({}));
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn seen_after_a_flush_and_when_much_waits() {
        let sink = Sink::default();
        let mut out = JsonLines::new("pipe", Box::new(sink.clone()));
        let s = span(1, vec![], resource("shop", 1));
        out.span(&s).unwrap();
        assert_eq!(sink.text(), "");
        out.flush().unwrap();
        assert_eq!(sink.text(), line(&s));
        while sink.text().lines().count() < 10 {
            out.span(&s).unwrap();
        }
        assert!(sink.text().ends_with('\n'));
    }
}
