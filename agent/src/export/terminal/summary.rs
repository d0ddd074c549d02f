//! What it all came to.

use super::format;
use super::row::int;
use super::style::{Painter, Style};
use super::text;
use crate::export::Loss;
use crate::model::span::{Span, SpanKind};
use crate::redact::Redacted;
use crate::vocabulary::attr;

/// Sums over the spans seen.
#[derive(Debug, Default)]
pub(super) struct Summary {
    calls: u64,
    served: u64,
    requests: u64,
    errors: u64,
    tokens_in: u64,
    tokens_out: u64,
    redacted: Vec<Redacted>,
}

impl Summary {
    /// What was served counts apart: where both ends are traced, its tokens are those of a call.
    /// So do requests that are no calls.
    pub(super) fn add(&mut self, span: &Span) {
        self.errors += u64::from(span.error.is_some());
        if span.attribute(attr::HTTP_REQUEST_METHOD).is_some() {
            self.requests += 1;
            return;
        }
        if span.kind == SpanKind::Server {
            self.served += 1;
            return;
        }
        self.calls += 1;
        self.tokens_in += int(span, attr::USAGE_INPUT_TOKENS).unwrap_or(0);
        self.tokens_out += int(span, attr::USAGE_OUTPUT_TOKENS).unwrap_or(0);
    }

    /// What was redacted so far.
    pub(super) fn redacted(&mut self, so_far: &[Redacted]) {
        self.redacted = so_far.to_vec();
    }

    /// The last lines.
    pub(super) fn render(&self, losses: &[Loss], painter: Painter) -> String {
        let mut out = String::new();
        painter.paint(&mut out, Style::Bold, &format::counted(self.calls, "call"));
        if self.served > 0 {
            out.push_str(&format!(" · {} served", format::count(self.served)));
        }
        if self.requests > 0 {
            let requests = format::counted(self.requests, "other request");
            out.push_str(&format!(" · {requests}"));
        }
        if self.errors > 0 {
            out.push_str(" · ");
            let errors = format::counted(self.errors, "error");
            painter.paint(&mut out, Style::Error, &errors);
        }
        if self.tokens_in + self.tokens_out > 0 {
            out.push_str(&format!(
                " · {} tokens in, {} out",
                format::count(self.tokens_in),
                format::count(self.tokens_out)
            ));
        }
        out.push('\n');
        if !self.redacted.is_empty() {
            let counted = |r: &Redacted| format!("{} {}", format::count(r.count), r.rule);
            let all: Vec<String> = self.redacted.iter().map(counted).collect();
            out.push_str(&format!("redacted: {}\n", all.join(", ")));
        }
        for loss in losses.iter().filter(|l| l.count > 0) {
            let line = format!(
                "lost: {} {}",
                format::count(loss.count),
                text::clean(&loss.name)
            );
            painter.paint(&mut out, Style::Warning, &line);
            out.push('\n');
        }
        out
    }
}
