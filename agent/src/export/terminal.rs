//! The view for people: a line per call while it runs, a line when it ends, a summary at the
//! exit. On a terminal the running calls are redrawn in place below the finished ones; in a pipe
//! there are finished calls only, and no escape sequences.

mod format;
mod live;
mod messages;
mod row;
mod style;
mod summary;
mod text;

#[cfg(test)]
mod tests;

pub use format::Zone;

use super::{ExportError, Exporter, Loss};
use crate::model::call::CallProgress;
use crate::model::exchange::ExchangeId;
use crate::model::span::Span;
use crate::redact::Redacted;
use live::{FRAME, Live};
use row::Layout;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Instant;
use style::{Painter, Style};
use summary::Summary;

/// Written out when this much text waits, even before a flush.
const BUFFER: usize = 64 * 1024;

/// How wide lines may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// As wide as they come.
    Unlimited,
    /// So many columns.
    Columns(usize),
    /// As the terminal behind this descriptor is at the moment.
    Terminal(RawFd),
}

/// How the view looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Colours.
    pub colour: bool,
    /// Running calls, redrawn in place.
    pub live: bool,
    /// Room for lines.
    pub width: Width,
    /// 0: a line per call; 1: with messages; 2: with all attributes.
    pub verbosity: u8,
    /// Whose time of day.
    pub zone: Zone,
    /// The very first line; what is being traced, for example.
    pub title: Option<String>,
}

impl Options {
    /// As a file, a pipe or a terminal wants it: escape sequences only for a terminal that is
    /// not `TERM=dumb`, colours only without `NO_COLOR`.
    #[must_use]
    pub fn for_output(out: &impl AsFd, verbosity: u8) -> Self {
        let fd = out.as_fd();
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|t| t.is_empty() || t == "dumb");
        let terminal = fd.is_terminal();
        Self {
            colour: terminal && !dumb && !set("NO_COLOR"),
            live: terminal && !dumb,
            width: if terminal {
                Width::Terminal(fd.as_raw_fd())
            } else {
                Width::Unlimited
            },
            verbosity,
            zone: Zone::Local,
            title: None,
        }
    }
}

/// Shows calls to a person.
pub struct Terminal {
    what: String,
    out: Box<dyn Write + Send>,
    options: Options,
    painter: Painter,
    live: Live,
    summary: Summary,
    /// Finished text that is not written yet.
    pending: String,
    /// Lines of running calls on the screen, directly above the cursor.
    drawn: usize,
    drawn_at: Option<Instant>,
    frame: usize,
}

impl Terminal {
    /// Shows on `out`, which messages call `what`.
    #[must_use]
    pub fn new(what: &str, out: Box<dyn Write + Send>, options: Options) -> Self {
        let painter = Painter {
            colour: options.colour,
        };
        let mut pending = String::new();
        if let Some(title) = &options.title {
            painter.paint(&mut pending, Style::Bold, &text::clean(title));
            pending.push('\n');
        }
        pending.push_str(&row::header(&Layout::new(columns(options.width)), painter));
        Self {
            what: what.to_owned(),
            out,
            options,
            painter,
            live: Live::default(),
            summary: Summary::default(),
            pending,
            drawn: 0,
            drawn_at: None,
            frame: 0,
        }
    }

    fn layout(&self) -> Layout {
        Layout::new(columns(self.options.width))
    }

    /// Writes what waits, below it the running calls as they are now.
    fn draw(&mut self, now: Instant) -> Result<(), ExportError> {
        let mut screen = String::new();
        if self.drawn > 0 {
            // Up to the first line of the running calls, and away with all from there.
            screen.push_str(&format!("\r\x1b[{}A\x1b[0J", self.drawn));
        }
        screen.push_str(&self.pending);
        self.pending.clear();
        self.drawn = 0;
        let layout = self.layout();
        if self.options.live && !self.live.is_empty() && layout.has_room() {
            let (lines, count) = self.live.draw(&layout, self.painter, now, self.frame);
            screen.push_str(&lines);
            self.drawn = count;
            self.frame = self.frame.wrapping_add(1);
        }
        self.drawn_at = Some(now);
        // One write per picture, so that none is seen half done.
        self.out
            .write_all(screen.as_bytes())
            .and_then(|()| self.out.flush())
            .map_err(|e| ExportError::io(&self.what, e))
    }

    fn flush_at(&mut self, now: Instant) -> Result<(), ExportError> {
        let moving = self.options.live && (!self.live.is_empty() || self.drawn > 0);
        let due = self
            .drawn_at
            .is_none_or(|at| now.saturating_duration_since(at) >= FRAME);
        if !self.pending.is_empty() || (moving && due) {
            self.draw(now)
        } else {
            Ok(())
        }
    }
}

impl Exporter for Terminal {
    fn span(&mut self, span: &Span) -> Result<(), ExportError> {
        let layout = self.layout();
        if self.options.live {
            self.live.finished(span, Instant::now());
        }
        self.summary.add(span);
        let row = row::of_span(span, self.options.zone);
        self.pending
            .push_str(&row::render(&row, &layout, self.painter));
        if self.options.verbosity >= 1 {
            messages::messages(&mut self.pending, span, layout.width, self.painter);
        }
        if self.options.verbosity >= 2 {
            messages::attributes(&mut self.pending, span, layout.width, self.painter);
        }
        if self.pending.len() >= BUFFER {
            self.draw(Instant::now())?;
        }
        Ok(())
    }

    fn progress(&mut self, progress: &CallProgress) {
        if self.options.live {
            self.live.progress(progress, Instant::now());
        }
    }

    fn progress_over(&mut self, exchange: ExchangeId) {
        self.live.over(exchange);
    }

    fn redacted(&mut self, so_far: &[Redacted]) {
        self.summary.redacted(so_far);
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        self.flush_at(Instant::now())
    }

    fn shutdown(&mut self, losses: &[Loss]) -> Result<(), ExportError> {
        self.live = Live::default();
        let summary = self.summary.render(losses, self.painter);
        self.pending.push_str(&summary);
        self.draw(Instant::now())
    }
}

impl Drop for Terminal {
    /// Leaves no half-drawn lines behind; nobody is left to hear of an error.
    fn drop(&mut self) {
        if self.drawn > 0 {
            self.live = Live::default();
            let _ = self.draw(Instant::now());
        }
    }
}

fn columns(width: Width) -> Option<usize> {
    match width {
        Width::Unlimited => None,
        Width::Columns(n) => Some(n),
        Width::Terminal(fd) => {
            let mut size = libc::winsize {
                ws_row: 0,
                ws_col: 0,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // SAFETY: TIOCGWINSZ writes one `winsize` to where it is told, which lives here; a
            // descriptor that is no terminal, or closed, makes it fail.
            let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
            // A terminal may not know (serial lines, some CI): then the oldest width of all.
            Some(match size.ws_col {
                n if result == 0 && n > 0 => usize::from(n),
                _ => 80,
            })
        }
    }
}
