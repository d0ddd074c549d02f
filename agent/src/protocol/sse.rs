//! Event streams (WHATWG HTML, section 9.2.6), cut into events as the bytes come.
//!
//! An event that lies whole in one piece of input and has one data line, which is nearly every
//! one, is given out as it lies there. Everything else is gathered line by line.

use crate::model::defect::Defects;
use crate::model::exchange::SseEvent;
use memchr::memchr2;

/// Most bytes of one event, all its lines together, that are kept; a longer one is dropped.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// Buffers that grew beyond this give their memory back after the event.
pub const KEPT_CAPACITY: usize = 64 << 10;

/// Bytes that tell whether what follows a gap is the start of a field: as many as the longest
/// field name and its colon have.
const FIELD_START: usize = 6;

const BOM: &[u8] = b"\xef\xbb\xbf";

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first byte after the byte order mark; so many bytes of the mark were seen.
    Start(u8),
    /// In the lines of events.
    Lines,
    /// After a gap: events go on at once if a field starts here, else after a blank line.
    AfterGap,
    /// Dropping everything up to a blank line; `true` at the start of a line.
    Skip(bool),
    /// The stream is over.
    Ended,
}

/// Cuts one event stream.
pub struct SseParser {
    state: State,
    /// The line under way, when it did not lie whole in one piece of input.
    line: Vec<u8>,
    /// The last byte was a CR: an LF next belongs to it.
    after_cr: bool,
    /// The event under way did not lie whole in one piece of input: its lines are gathered.
    gathering: bool,
    pending: Pending,
    defects: Defects,
}

/// The event under way, when it did not lie whole in one piece of input.
#[derive(Default)]
struct Pending {
    event: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    comment: Vec<u8>,
    has_comment: bool,
    error: Vec<u8>,
}

/// A line of an event stream, taken apart.
enum Line<'a> {
    Event(&'a [u8]),
    Data(&'a [u8]),
    Comment(&'a [u8]),
    /// An error in a field of its own. Never empty.
    Error(&'a [u8]),
    Other,
}

impl Default for SseParser {
    fn default() -> Self {
        Self {
            state: State::Start(0),
            line: Vec::new(),
            after_cr: false,
            gathering: false,
            pending: Pending::default(),
            defects: Defects::NONE,
        }
    }
}

impl SseParser {
    /// At the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives out the events that they complete.
    pub fn feed(&mut self, mut input: &[u8], out: &mut impl FnMut(SseEvent<'_>)) {
        while !input.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if input[0] == b'\n' {
                    input = &input[1..];
                    continue;
                }
            }
            input = match self.state {
                State::Start(seen) => self.start(seen, input),
                State::Lines => self.lines(input, out),
                State::AfterGap => self.after_gap(input),
                State::Skip(line_start) => self.skip(line_start, input),
                State::Ended => return,
            };
        }
    }

    /// Bytes are missing here: the event they belong to is dropped.
    pub fn gap(&mut self) {
        self.forget();
        self.after_cr = false;
        if self.state != State::Ended {
            self.state = State::AfterGap;
        }
    }

    /// The stream is over. An event whose blank line is missing is given out all the same, as
    /// servers forget it; of a stream that is not `whole` its unfinished line is left out.
    pub fn finish(&mut self, whole: bool, out: &mut impl FnMut(SseEvent<'_>)) {
        if self.state == State::Lines {
            if whole && !self.line.is_empty() {
                let line = std::mem::take(&mut self.line);
                self.take_line(&line);
            }
            self.dispatch(out);
        }
        self.forget();
        self.state = State::Ended;
    }

    /// What was wrong so far.
    #[must_use]
    pub const fn defects(&self) -> Defects {
        self.defects
    }

    /// Bytes kept for the event under way.
    #[must_use]
    pub fn buffered(&self) -> usize {
        let p = &self.pending;
        self.line.len() + p.event.len() + p.data.len() + p.comment.len() + p.error.len()
    }

    /// Passes over a byte order mark, which may come in pieces.
    fn start<'a>(&mut self, seen: u8, input: &'a [u8]) -> &'a [u8] {
        let seen = usize::from(seen);
        if BOM.get(seen) == Some(&input[0]) {
            self.state = match seen + 1 {
                n if n == BOM.len() => State::Lines,
                n => State::Start(n as u8),
            };
            return &input[1..];
        }
        self.line.extend_from_slice(&BOM[..seen]);
        self.gathering = seen > 0;
        self.state = State::Lines;
        input
    }

    fn lines<'a>(&mut self, input: &'a [u8], out: &mut impl FnMut(SseEvent<'_>)) -> &'a [u8] {
        if !self.gathering
            && let Some(rest) = self.whole_event(input, out)
        {
            return rest;
        }
        self.gathering = true;
        let Some((line, rest, cr)) = next_line(input) else {
            self.gather(input);
            return &[];
        };
        self.after_cr = cr;
        if !self.line.is_empty() {
            self.gather(line);
            if self.state != State::Lines {
                // Too long: this was the end of a line that is skipped.
                self.state = State::Skip(true);
                return rest;
            }
            let mut line = std::mem::take(&mut self.line);
            self.take_line(&line);
            line.clear();
            self.line = line;
        } else if line.is_empty() {
            self.dispatch(out);
        } else if self.buffered() + line.len() > MAX_EVENT_BYTES {
            self.over_limit(true);
        } else {
            self.take_line(line);
        }
        rest
    }

    /// An event that lies whole in the input with at most one line of a kind, given out without
    /// a copy. `None` when it does not, and nothing was taken.
    fn whole_event<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut impl FnMut(SseEvent<'_>),
    ) -> Option<&'a [u8]> {
        let (mut event, mut data, mut comment, mut error) = (None, None, None, None);
        let mut rest = input;
        loop {
            let (line, after, cr) = next_line(rest)?;
            // Whether an LF belongs to this CR is known here unless the input ends.
            rest = match after {
                [b'\n', after @ ..] if cr => after,
                after => after,
            };
            if line.is_empty() {
                self.after_cr = cr && after.is_empty();
                break;
            }
            match take_apart(line) {
                // As with separate lines, the last one counts.
                Line::Event(v) if !has_status(v) => event = Some(v),
                Line::Data(v) if data.is_none() => data = Some(v),
                Line::Comment(v) if comment.is_none() => comment = Some(v),
                Line::Error(v) => error = Some(v),
                Line::Other => {}
                _ => return None,
            }
        }
        if input.len() - rest.len() > MAX_EVENT_BYTES {
            return None;
        }
        if let Some(data) = data {
            out(SseEvent {
                event: text(event.unwrap_or_default()),
                data,
                comment: text(comment.unwrap_or_default()),
            });
        } else if let Some(data) = error {
            out(SseEvent {
                event: ERROR,
                data,
                comment: text(comment.unwrap_or_default()),
            });
        }
        Some(rest)
    }

    /// Keeps the start or the middle of a line.
    fn gather(&mut self, part: &[u8]) {
        if self.buffered() + part.len() > MAX_EVENT_BYTES {
            self.over_limit(false);
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn over_limit(&mut self, line_start: bool) {
        self.defects.add(Defects::EVENT_OVER_LIMIT);
        self.forget();
        self.state = State::Skip(line_start);
    }

    /// Takes a line, not empty and without its end, into the event under way.
    fn take_line(&mut self, line: &[u8]) {
        let p = &mut self.pending;
        match take_apart(line) {
            Line::Event(value) => {
                let (name, status) = split_status(value);
                p.event.clear();
                p.event.extend_from_slice(name);
                if let Some(status) = status {
                    p.add_comment(status);
                }
            }
            Line::Data(value) => {
                if p.has_data {
                    p.data.push(b'\n');
                }
                p.has_data = true;
                p.data.extend_from_slice(value);
            }
            Line::Comment(value) => p.add_comment(value),
            Line::Error(value) => {
                p.error.clear();
                p.error.extend_from_slice(value);
            }
            Line::Other => {}
        }
    }

    /// A blank line: gives out the event if it has data, or else an error.
    fn dispatch(&mut self, out: &mut impl FnMut(SseEvent<'_>)) {
        let p = &self.pending;
        if p.has_data {
            out(SseEvent {
                event: text(&p.event),
                data: &p.data,
                comment: text(&p.comment),
            });
        } else if !p.error.is_empty() {
            out(SseEvent {
                event: ERROR,
                data: &p.error,
                comment: text(&p.comment),
            });
        }
        self.forget();
    }

    /// Drops the event under way.
    fn forget(&mut self) {
        let p = &mut self.pending;
        for buffer in [
            &mut self.line,
            &mut p.event,
            &mut p.data,
            &mut p.comment,
            &mut p.error,
        ] {
            buffer.clear();
            buffer.shrink_to(KEPT_CAPACITY);
        }
        p.has_data = false;
        p.has_comment = false;
        self.gathering = false;
    }

    /// Decides by the first bytes after a gap whether a field starts here.
    fn after_gap<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        for (i, b) in input.iter().enumerate() {
            self.line.push(*b);
            if starts_field(&self.line) {
                self.state = State::Lines;
                if self.line.len() == i + 1 {
                    // Whole in this piece: no need for the copy.
                    self.line.clear();
                    return input;
                }
                self.gathering = true;
                return &input[i + 1..];
            }
            if matches!(b, b'\n' | b'\r') || self.line.len() == FIELD_START {
                self.line.clear();
                self.state = State::Skip(false);
                return &input[i..];
            }
        }
        &[]
    }

    fn skip<'a>(&mut self, line_start: bool, input: &'a [u8]) -> &'a [u8] {
        let Some((line, rest, cr)) = next_line(input) else {
            self.state = State::Skip(false);
            return &[];
        };
        self.after_cr = cr;
        self.state = if line_start && line.is_empty() {
            State::Lines
        } else {
            State::Skip(true)
        };
        rest
    }
}

impl Pending {
    fn add_comment(&mut self, value: &[u8]) {
        if self.has_comment {
            self.comment.push(b'\n');
        }
        self.has_comment = true;
        self.comment.extend_from_slice(value);
    }
}

/// The first line without its end, what comes after it, and whether it ended with a CR, of which
/// an LF may follow.
fn next_line(input: &[u8]) -> Option<(&[u8], &[u8], bool)> {
    let end = memchr2(b'\n', b'\r', input)?;
    Some((&input[..end], &input[end + 1..], input[end] == b'\r'))
}

fn take_apart(line: &[u8]) -> Line<'_> {
    let after = |name: &[u8]| {
        let rest = line.strip_prefix(name)?;
        match rest {
            [] => Some(rest),
            [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
            _ => None,
        }
    };
    match line.first() {
        Some(b'd') => after(b"data").map_or(Line::Other, Line::Data),
        Some(b'e') => match after(b"event") {
            Some(value) => Line::Event(value),
            None => after(b"error")
                .filter(|value| value.starts_with(b"{"))
                .map_or(Line::Other, Line::Error),
        },
        Some(b':') => Line::Comment(match line {
            [_, b' ', value @ ..] | [_, value @ ..] => value,
            [] => line,
        }),
        // `id`, `retry` and unknown fields: nobody needs them.
        _ => Line::Other,
    }
}

fn starts_field(bytes: &[u8]) -> bool {
    const FIELDS: [&[u8]; 6] = [b":", b"id:", b"data:", b"event:", b"retry:", b"error:"];
    FIELDS.iter().any(|f| bytes.starts_with(f))
}

/// The name of an event that has no data but an error: `error: {…}` is how llama.cpp's server said it
/// until September 2025. By the standard it is an unknown field, and beside data it counts as one.
const ERROR: &str = "error";

/// DashScope glues a comment to the event's name: `event:response.created:HTTP_STATUS/200`.
const STATUS: &[u8] = b":HTTP_STATUS";

fn has_status(value: &[u8]) -> bool {
    split_status(value).1.is_some()
}

/// The event's name, and the comment that is glued to it.
fn split_status(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memmem::find(value, STATUS) {
        Some(at) => (&value[..at], Some(&value[at + 1..])),
        None => (value, None),
    }
}

/// As text; empty when it is not UTF-8.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
