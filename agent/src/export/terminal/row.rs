//! One call, one line: the columns, and what goes into them.

use super::format::{self, Zone};
use super::style::{Painter, Style};
use super::text;
use crate::model::defect::Defects;
use crate::model::span::{Span, SpanKind, Value};
use crate::vocabulary::{attr, operation, resource};
use serde_json::Value as Json;

/// The columns' widths; zero leaves a column out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    process: usize,
    operation: usize,
    model: usize,
    /// Columns of the terminal; none for a file or pipe.
    pub(super) width: Option<usize>,
}

const TIME: usize = 8;
const TOKENS: usize = 6;
const DURATION: usize = 7;

impl Layout {
    /// For a terminal of so many columns, or for no terminal.
    pub(super) const fn new(width: Option<usize>) -> Self {
        let (process, operation, model) = match width {
            Some(0..90) => (0, 0, 16),
            Some(90..120) => (12, 10, 18),
            Some(_) | None => (18, 10, 24),
        };
        Self {
            process,
            operation,
            model,
            width,
        }
    }

    /// Whether a line fits: one that the terminal breaks cannot be redrawn in place.
    pub(super) fn has_room(&self) -> bool {
        self.width
            .is_none_or(|columns| columns > self.before_notes())
    }

    /// Columns before the notes.
    const fn before_notes(&self) -> usize {
        let mut columns = TIME + 2 + self.model + 2 + 2 * (TOKENS + 1) + 2 * (DURATION + 2) + 1;
        if self.process > 0 {
            columns += self.process + 2;
        }
        if self.operation > 0 {
            columns += self.operation + 2;
        }
        columns
    }
}

/// A line's content, cleaned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) time: String,
    pub(super) process: String,
    pub(super) pid: Option<u32>,
    pub(super) operation: String,
    pub(super) model: String,
    pub(super) tokens_in: String,
    pub(super) tokens_out: String,
    pub(super) first: String,
    pub(super) total: String,
    pub(super) notes: Vec<(Style, String)>,
}

/// The line that names the columns.
pub(super) fn header(layout: &Layout, painter: Painter) -> String {
    let row = Row {
        time: "TIME".to_owned(),
        process: "PROCESS".to_owned(),
        pid: None,
        operation: "CALL".to_owned(),
        model: "MODEL".to_owned(),
        tokens_in: "IN".to_owned(),
        tokens_out: "OUT".to_owned(),
        first: "FIRST".to_owned(),
        total: "TOTAL".to_owned(),
        notes: vec![(Style::Plain, "END".to_owned())],
    };
    let plain = render(&row, layout, Painter { colour: false });
    let mut out = String::new();
    painter.paint(&mut out, Style::Dim, plain.trim_end());
    out.push('\n');
    out
}

/// The row as a line, or two when an error has no room on the first; newline included.
pub(super) fn render(row: &Row, layout: &Layout, painter: Painter) -> String {
    let mut out = String::new();
    let mut put = |style, text: String, gap: &str| {
        painter.paint(&mut out, style, &text);
        out.push_str(gap);
    };
    put(Style::Dim, text::left(&row.time, TIME), "  ");
    if layout.process > 0 {
        put(Style::Plain, process(row, layout.process), "  ");
    }
    if layout.operation > 0 {
        put(
            Style::Plain,
            text::left(&row.operation, layout.operation),
            "  ",
        );
    }
    put(Style::Model, text::left(&row.model, layout.model), "  ");
    put(Style::Plain, text::right(&row.tokens_in, TOKENS), " ");
    put(Style::Plain, text::right(&row.tokens_out, TOKENS), "  ");
    put(Style::Dim, text::right(&row.first, DURATION), "  ");
    put(Style::Bold, text::right(&row.total, DURATION), "");
    notes(&mut out, row, layout, painter);
    let end = out.trim_end_matches(' ').len();
    out.truncate(end);
    out.push('\n');
    out
}

/// The name gives way to the pid, not the other way round.
fn process(row: &Row, columns: usize) -> String {
    let Some(pid) = row.pid else {
        return text::left(&row.process, columns);
    };
    let pid = format!("/{pid}");
    let name = text::fit(&row.process, columns.saturating_sub(pid.len()));
    text::left(&format!("{name}{pid}"), columns)
}

fn notes(out: &mut String, row: &Row, layout: &Layout, painter: Painter) {
    const SEPARATOR: &str = " · ";
    const INDENT: usize = TIME + 2;
    let all: usize = row
        .notes
        .iter()
        .map(|(_, n)| text::width(n) + SEPARATOR.chars().count())
        .sum();
    let mut room = usize::MAX;
    if let Some(columns) = layout.width {
        // The last column stays free: a character in it makes some terminals wrap.
        room = columns.saturating_sub(layout.before_notes() + 2);
        let failed = row.notes.iter().any(|(style, _)| *style == Style::Error);
        if failed && all > room + SEPARATOR.chars().count() {
            out.push('\n');
            out.push_str(&" ".repeat(INDENT - 2));
            room = columns.saturating_sub(INDENT + 1);
        }
    }
    out.push_str("  ");
    for (i, (style, note)) in row.notes.iter().enumerate() {
        if i > 0 {
            if room <= SEPARATOR.chars().count() + 1 {
                return;
            }
            painter.paint(out, Style::Dim, SEPARATOR);
            room -= SEPARATOR.chars().count();
        }
        let note = text::fit(note, room);
        painter.paint(out, *style, &note);
        room -= text::width(&note);
    }
}

/// A function's operation.
const FUNCTION: &str = "function";

/// What a finished span has to say.
pub(super) fn of_span(span: &Span, zone: Zone) -> Row {
    let requested = string(span, attr::REQUEST_MODEL);
    let answered = string(span, attr::RESPONSE_MODEL);
    // Where no model is asked, a tool is.
    let tool = string(span, attr::TOOL_NAME);
    // And where none is, a page.
    let page = string(span, attr::URL_PATH).or(string(span, attr::URL_FULL));
    // And where none is, a function runs.
    let function = string(span, attr::CODE_FUNCTION_NAME);
    let own = span.kind == SpanKind::Internal && function.is_some();
    let total = span.end.0.saturating_sub(span.start.0);
    Row {
        time: format::time_of_day(span.start, zone),
        process: process_name(span),
        pid: Some(span.pid),
        operation: string(span, attr::OPERATION_NAME).map_or_else(
            || match own {
                true => FUNCTION.to_owned(),
                false => text::clean(&span.name).into_owned(),
            },
            |o| label(o).to_owned(),
        ),
        model: text::clean(
            requested
                .or(answered)
                .or(tool)
                .or(page)
                .or(function.filter(|_| own))
                .unwrap_or("-"),
        )
        .into_owned(),
        tokens_in: tokens(span, attr::USAGE_INPUT_TOKENS),
        tokens_out: tokens(span, attr::USAGE_OUTPUT_TOKENS),
        first: match span.attribute(attr::RESPONSE_TIME_TO_FIRST_CHUNK) {
            Some(Value::Double(seconds)) => format::duration((seconds * 1e9) as u64),
            _ => String::new(),
        },
        // Of one that was seen from the middle on it is not known.
        total: match is_half_seen(span) {
            true => "-".to_owned(),
            false => format::duration(total),
        },
        notes: span_notes(span, requested, answered),
    }
}

/// An operation as its column has room for.
pub(super) fn label(name: &str) -> &str {
    match name {
        operation::TEXT_COMPLETION => "completion",
        operation::FETCH_RESPONSE => "fetch",
        other => other,
    }
}

fn span_notes(
    span: &Span,
    requested: Option<&str>,
    answered: Option<&str>,
) -> Vec<(Style, String)> {
    let mut notes = Vec::new();
    if let Some(message) = &span.error {
        let kind = string(span, attr::ERROR_TYPE).unwrap_or("error");
        let text = if message.is_empty() || message == kind {
            format!("✗ {}", text::clean(kind))
        } else {
            format!("✗ {}: {}", text::clean(kind), text::clean(message))
        };
        notes.push((Style::Error, text));
    }
    if let Some(Value::StrList(reasons)) = span.attribute(attr::RESPONSE_FINISH_REASONS) {
        let as_wished = reasons.iter().all(|r| r == "stop" || r == "tool_calls");
        let style = if as_wished {
            Style::Good
        } else {
            Style::Warning
        };
        notes.push((style, text::clean(&reasons.join(", ")).into_owned()));
    }
    if let Some(status) = int(span, attr::HTTP_RESPONSE_STATUS_CODE) {
        notes.push((Style::Plain, status.to_string()));
    }
    if span.kind == SpanKind::Server {
        notes.push((Style::Dim, "served".to_owned()));
    }
    let calls = tool_calls(span);
    if calls > 0 {
        notes.push((Style::Tool, format::counted(calls, "tool call")));
    }
    for (name, what) in [
        (attr::USAGE_CACHE_READ, "cached"),
        (attr::USAGE_REASONING, "reasoning"),
    ] {
        if let Some(n @ 1..) = int(span, name) {
            notes.push((Style::Dim, format!("{} {what}", format::count(n))));
        }
    }
    if let (Some(requested), Some(answered)) = (requested, answered)
        && requested != answered
    {
        notes.push((Style::Dim, format!("→ {}", text::clean(answered))));
    }
    if let Some(n @ 1..) = int(span, attr::HTTP_RESEND_COUNT) {
        let word = if n == 1 { "retry" } else { "retries" };
        notes.push((Style::Warning, format!("{n} {word}")));
    }
    if let Some(Value::StrList(defects)) = span.attribute(attr::DEFECTS) {
        if is_half_seen(span) {
            notes.push((Style::Warning, "seen from the middle".to_owned()));
        }
        let others: Vec<&str> = defects
            .iter()
            .map(String::as_str)
            .filter(|d| !is_midway(d))
            .collect();
        if !others.is_empty() {
            notes.push((Style::Warning, format!("seen with {}", others.join(", "))));
        }
    }
    notes
}

/// Whether its beginning was before the agent's: then its duration is not known.
fn is_half_seen(span: &Span) -> bool {
    match span.attribute(attr::DEFECTS) {
        Some(Value::StrList(defects)) => defects.iter().any(|d| is_midway(d)),
        _ => false,
    }
}

fn is_midway(defect: &str) -> bool {
    Defects::ATTACHED_MIDWAY.names().any(|name| name == defect)
}

/// A text attribute.
pub(super) fn string<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    match span.attribute(name) {
        Some(Value::Str(v)) => Some(v),
        _ => None,
    }
}

/// A count attribute.
pub(super) fn int(span: &Span, name: &str) -> Option<u64> {
    match span.attribute(name) {
        Some(Value::Int(v)) => u64::try_from(*v).ok(),
        _ => None,
    }
}

fn tokens(span: &Span, name: &str) -> String {
    int(span, name).map_or_else(|| "-".to_owned(), format::count)
}

fn process_name(span: &Span) -> String {
    [
        resource::SERVICE_NAME,
        resource::PROCESS_EXECUTABLE_NAME,
        resource::PROCESS_RUNTIME_NAME,
    ]
    .iter()
    .find_map(|name| {
        let attributes = &span.resource.attributes;
        attributes.iter().find_map(|(n, v)| match v {
            Value::Str(v) if n == name && !v.is_empty() => Some(text::clean(v).into_owned()),
            _ => None,
        })
    })
    .unwrap_or_default()
}

fn tool_calls(span: &Span) -> u64 {
    let messages = string(span, attr::OUTPUT_MESSAGES)
        .and_then(|json| serde_json::from_str::<Vec<Json>>(json).ok())
        .unwrap_or_default();
    messages
        .iter()
        .filter_map(|m| m.get("parts")?.as_array())
        .flatten()
        .filter(|part| part.get("type").and_then(Json::as_str) == Some("tool_call"))
        .count() as u64
}
