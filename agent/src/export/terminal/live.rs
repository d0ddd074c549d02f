//! The calls that are running, redrawn in place.

use super::format;
use super::row::{Layout, Row, label, render};
use super::style::{Painter, Style};
use super::text;
use crate::model::call::CallProgress;
use crate::model::exchange::ExchangeId;
use crate::model::span::Span;
use crate::vocabulary::operation;
use std::time::{Duration, Instant};

/// Lines of running calls that are drawn.
const LINES: usize = 8;
/// Running calls that are remembered.
const CALLS: usize = 1024;
/// A call that says nothing for so long is taken for over.
const STALE: Duration = Duration::from_secs(15 * 60);
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Time of one picture of the spinner, and the least time between two drawings.
pub(super) const FRAME: Duration = Duration::from_millis(100);

struct Call {
    progress: CallProgress,
    heard: Instant,
}

impl Call {
    /// Elapsed nanoseconds: those of the last word, and what has passed since.
    fn elapsed(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.heard).as_nanos();
        let told = self.progress.now.since(self.progress.start);
        told.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// The running calls, oldest first.
#[derive(Default)]
pub(super) struct Live {
    calls: Vec<Call>,
    /// The pipeline says when a call is over, so nothing is left to guess.
    told_ends: bool,
}

impl Live {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn progress(&mut self, progress: &CallProgress, now: Instant) {
        let known = self
            .calls
            .iter_mut()
            .find(|c| c.progress.exchange == progress.exchange);
        if let Some(call) = known {
            call.progress.clone_from(progress);
            call.heard = now;
            return;
        }
        self.calls
            .retain(|c| now.saturating_duration_since(c.heard) < STALE);
        if self.calls.len() >= CALLS {
            self.calls.remove(0);
        }
        let progress = progress.clone();
        self.calls.push(Call {
            progress,
            heard: now,
        });
    }

    pub(super) fn over(&mut self, exchange: ExchangeId) {
        self.told_ends = true;
        self.calls.retain(|c| c.progress.exchange != exchange);
    }

    /// A span came. Unless told otherwise, the running call of that process that is closest to
    /// it in length was the one.
    pub(super) fn finished(&mut self, span: &Span, now: Instant) {
        if self.told_ends {
            return;
        }
        let length = span.end.0.saturating_sub(span.start.0);
        let closest = self
            .calls
            .iter()
            .enumerate()
            .filter(|(_, c)| c.progress.pid == span.pid)
            .min_by_key(|(_, c)| c.elapsed(now).abs_diff(length))
            .map(|(at, _)| at);
        if let Some(at) = closest {
            self.calls.remove(at);
        }
    }

    /// The lines, and how many they are.
    pub(super) fn draw(
        &self,
        layout: &Layout,
        painter: Painter,
        now: Instant,
        frame: usize,
    ) -> (String, usize) {
        let mut out = String::new();
        let mut lines = 0;
        // The newest calls are the ones to watch when there are too many.
        let hidden = self.calls.len().saturating_sub(LINES);
        for call in self.calls.iter().skip(hidden) {
            let line = render(&row(call, now, frame), layout, painter);
            lines += line.matches('\n').count();
            out.push_str(&line);
        }
        if hidden > 0 {
            let calls = format::counted(hidden as u64, "more call");
            painter.paint(&mut out, Style::Dim, &format!("  … and {calls} running"));
            out.push('\n');
            lines += 1;
        }
        (out, lines)
    }
}

fn row(call: &Call, now: Instant, frame: usize) -> Row {
    let p = &call.progress;
    let spinner = SPINNER.get(frame % SPINNER.len()).copied();
    let state = match p.first_chunk {
        None => "waiting".to_owned(),
        Some(_) => format::counted(p.chunks, "chunk"),
    };
    Row {
        time: spinner.unwrap_or_default().to_owned(),
        process: String::new(),
        pid: Some(p.pid),
        operation: label(operation::name(p.operation)).to_owned(),
        model: text::clean(p.model.as_deref().unwrap_or("-")).into_owned(),
        first: p
            .first_chunk
            .map(|at| format::duration(at.since(p.start)))
            .unwrap_or_default(),
        total: format::duration(call.elapsed(now)),
        notes: vec![(Style::Dim, state)],
        ..Row::default()
    }
}
