//! What was said in a call (`-v`), and all attributes of its span (`-vv`).

use super::row::string;
use super::style::{Painter, Style};
use super::text;
use crate::model::span::{Span, Value};
use crate::vocabulary::attr;
use serde_json::Value as Json;

/// Messages of the input that are shown: the last ones are what is new in a conversation.
const INPUT_MESSAGES: usize = 6;
/// Lines of one part of a message.
const PART_LINES: usize = 12;
/// Columns when there is no terminal to measure.
const COLUMNS: usize = 120;
const INDENT: usize = 10;
const ROLE: usize = 11;

/// Appends the messages of a call.
pub(super) fn messages(out: &mut String, span: &Span, width: Option<usize>, painter: Painter) {
    let mut page = Page {
        out,
        columns: width.unwrap_or(COLUMNS).saturating_sub(INDENT + ROLE + 2),
        painter,
    };
    if let Some(Json::Array(parts)) = json(span, attr::SYSTEM_INSTRUCTIONS) {
        page.parts("system", &parts);
    }
    if let Some(Json::Array(messages)) = json(span, attr::INPUT_MESSAGES) {
        let hidden = messages.len().saturating_sub(INPUT_MESSAGES);
        if hidden > 0 {
            let s = if hidden == 1 { "" } else { "s" };
            page.line(
                "",
                Style::Dim,
                &format!("… {hidden} earlier message{s}"),
                Style::Dim,
            );
        }
        for message in messages.iter().skip(hidden) {
            page.message(message);
        }
    }
    if let Some(Json::Array(messages)) = json(span, attr::OUTPUT_MESSAGES) {
        for message in &messages {
            page.message(message);
        }
    }
}

/// Appends all attributes, those of the resource too; of messages only what
/// [`messages`] does not show.
pub(super) fn attributes(out: &mut String, span: &Span, width: Option<usize>, painter: Painter) {
    let columns = width.unwrap_or(usize::MAX).saturating_sub(INDENT + 1);
    let mut put = |style, name: &str, value: &str| {
        let name = text::clean(name);
        out.push_str(&" ".repeat(INDENT));
        painter.paint(out, style, &name);
        let room = columns.saturating_sub(text::width(&name) + 3);
        out.push_str(" = ");
        out.push_str(&text::fit(&text::clean(value), room));
        out.push('\n');
    };
    put(Style::Dim, "trace_id", &format!("{:032x}", span.trace_id));
    put(Style::Dim, "span_id", &format!("{:016x}", span.span_id));
    if let Some(parent) = span.parent_span_id {
        put(Style::Dim, "parent_span_id", &format!("{parent:016x}"));
    }
    for (name, value) in &span.attributes {
        let shown = [
            attr::SYSTEM_INSTRUCTIONS,
            attr::INPUT_MESSAGES,
            attr::OUTPUT_MESSAGES,
        ];
        if !shown.contains(&name.as_ref()) {
            put(Style::Model, name, &plain(value));
        }
    }
    for (name, value) in &span.resource.attributes {
        put(Style::Dim, name, &plain(value));
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Str(v) => v.clone().into_owned(),
        Value::Int(v) => v.to_string(),
        Value::Double(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::StrList(v) => format!("[{}]", v.join(", ")),
    }
}

fn json(span: &Span, name: &str) -> Option<Json> {
    serde_json::from_str(string(span, name)?).ok()
}

struct Page<'a> {
    out: &'a mut String,
    columns: usize,
    painter: Painter,
}

impl Page<'_> {
    fn message(&mut self, message: &Json) {
        let role = message.get("role").and_then(Json::as_str).unwrap_or("?");
        if let Some(parts) = message.get("parts").and_then(Json::as_array) {
            self.parts(role, parts);
        }
    }

    /// The role stands at the first line only.
    fn parts(&mut self, role: &str, parts: &[Json]) {
        let style = match role {
            "user" => Style::User,
            "assistant" => Style::Assistant,
            "system" | "developer" => Style::System,
            "tool" => Style::Tool,
            _ => Style::Bold,
        };
        let mut role = role;
        for part in parts {
            let (text, text_style) = part_text(part);
            let (lines, cut) = text::wrap(&text, self.columns, PART_LINES);
            for line in &lines {
                self.line(role, style, line, text_style);
                role = "";
            }
            if cut {
                let all = text.chars().count();
                self.line("", style, &format!("… ({all} characters)"), Style::Dim);
            }
        }
    }

    fn line(&mut self, role: &str, role_style: Style, text: &str, style: Style) {
        self.out.push_str(&" ".repeat(INDENT));
        let role = text::left(&text::clean(role), ROLE);
        self.painter.paint(self.out, role_style, &role);
        self.painter.paint(self.out, style, text);
        let end = self.out.trim_end_matches(' ').len();
        self.out.truncate(end);
        self.out.push('\n');
    }
}

/// A part in words.
fn part_text(part: &Json) -> (String, Style) {
    let field = |name: &str| part.get(name).map(inline).unwrap_or_default();
    match part.get("type").and_then(Json::as_str).unwrap_or("?") {
        "text" => (field("content"), Style::Plain),
        "reasoning" => (field("content"), Style::Dim),
        "tool_call" => {
            let text = format!("→ {}({})", field("name"), field("arguments"));
            (text, Style::Tool)
        }
        "tool_call_response" => (format!("← {}", field("response")), Style::Plain),
        kind @ ("blob" | "file" | "uri") => {
            let name = [field("modality"), kind.to_owned(), field("mime_type")];
            let what = match kind {
                "blob" => {
                    let content = part.get("content").and_then(Json::as_str);
                    format!("{} characters of base64", content.map_or(0, str::len))
                }
                "file" => field("file_id"),
                _ => field("uri"),
            };
            let name: Vec<_> = name.into_iter().filter(|n| !n.is_empty()).collect();
            (format!("[{}: {what}]", name.join(" ")), Style::Dim)
        }
        _ => (part.to_string(), Style::Dim),
    }
}

fn inline(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}
