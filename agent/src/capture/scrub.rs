//! Blanks secrets in captured plaintext, in place and without changing its length, so that a
//! recording holds none (invariant 3) and still replays to the same spans.
//!
//! It does not parse HTTP: it looks at lines. The value of any line that begins like a header
//! that carries a secret is blanked, and so are the values of secret parameters in a request
//! line. That also blanks such lines in a body, which harms nobody. State is kept per stream, so
//! a secret may be split over records anywhere.
//!
//! The header blocks of HTTP/2 are compressed, and one byte of them that is changed changes what
//! the next ones mean. So of a connection that carries it nothing is recorded after its preface,
//! nor anything that is not text of one of which it is not known that it carries HTTP/1.
//!
//! The same holds for WebSocket: what clients send is masked, messages may be compressed, and
//! sessions hold secrets in their JSON. Of a connection that was switched to another protocol
//! nothing is recorded after the head that says so; what lies behind it in the same record is
//! blanked.

use std::collections::HashMap;

use crate::model::event::{ConnectionId, Data, Direction};

/// Headers whose value is a secret, in lower case with their colon.
const HEADERS: [&[u8]; 15] = [
    b"authorization:",
    b"proxy-authorization:",
    b"api-key:",
    b"x-api-key:",
    b"x-goog-api-key:",
    b"cookie:",
    b"set-cookie:",
    b"x-auth-token:",
    b"x-amz-security-token:",
    b"openai-api-key:",
    b"x-dashscope-api-key:",
    b"ocp-apim-subscription-key:",
    b"x-functions-key:",
    b"x-csrf-token:",
    b"sec-websocket-protocol:",
];

/// Query parameters whose value is a secret, in lower case with their equals sign.
const PARAMETERS: [&[u8]; 11] = [
    b"key=",
    b"api_key=",
    b"api-key=",
    b"apikey=",
    b"token=",
    b"access_token=",
    b"sig=",
    b"signature=",
    b"password=",
    b"secret=",
    b"client_secret=",
];

/// What a client of HTTP/2 sends first; no secret is in it.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How a response of HTTP/1 begins.
const STATUS_LINE: &[u8] = b"HTTP/1.";

/// What a blanked byte becomes.
const BLANK: u8 = b'*';

/// Longest name that is compared.
const LONGEST: usize = 26;

/// Most streams followed at one time; beyond, all start anew and lines under way are blanked.
const MAX_STREAMS: usize = 65_536;

/// Where one stream stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// In a line, the first bytes of which are in `start`: it may still become a secret header.
    Start,
    /// In a line of no interest, or its first word is over.
    Line,
    /// In the value of a secret header: blank until the line ends.
    Value,
    /// In the value of a secret parameter: blank until `&`, white space or the line's end.
    Parameter,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    state: State,
    /// The last word's bytes in lower case: a header's name or a parameter's.
    word: [u8; LONGEST],
    len: usize,
    /// Whether the line so far could be a request line (parameters count only there).
    query: bool,
    next: u64,
    /// Where the connection stands: seen from the start, headers of the message under way.
    in_head: bool,
    /// Whether the line is empty so far.
    empty: bool,
    /// It may be that of answers.
    answers: bool,
    /// In a status line: how much of it says that the protocol is switched.
    switching: Switching,
}

/// Whether a head says that another protocol follows it (RFC 9110, section 15.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switching {
    No,
    /// So many digits of its status are right.
    Status(usize),
    /// It does, and is not over.
    Head,
    /// It did.
    Over,
}

/// The status that says so.
const SWITCHING: [u8; DIGITS] = *b"101";

/// How many digits it has.
const DIGITS: usize = 3;

impl Stream {
    const fn new(offset: u64) -> Self {
        Self {
            state: State::Start,
            word: [0; LONGEST],
            len: 0,
            query: false,
            next: offset,
            in_head: offset == 0,
            empty: true,
            answers: true,
            switching: Switching::No,
        }
    }

    fn new_line(&mut self) {
        if self.empty {
            self.in_head = false;
        }
        self.switching = match self.switching {
            Switching::Head if self.empty => Switching::Over,
            Switching::Head | Switching::Status(DIGITS) => Switching::Head,
            Switching::Over => Switching::Over,
            _ => Switching::No,
        };
        self.state = State::Start;
        self.len = 0;
        self.query = false;
        self.empty = true;
    }

    fn feed(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.switching == Switching::Over {
                *byte = BLANK;
                continue;
            }
            match *byte {
                b'\n' => {
                    self.new_line();
                    continue;
                }
                b'\r' => continue,
                _ => self.empty = false,
            }
            match self.state {
                State::Value => *byte = BLANK,
                State::Parameter => {
                    if matches!(*byte, b'&' | b' ' | b'\t' | b'"') {
                        self.state = State::Line;
                        self.len = 0;
                    } else {
                        *byte = BLANK;
                    }
                }
                State::Start => {
                    self.push(*byte);
                    if *byte == b':' {
                        let word = self.word();
                        self.state = if HEADERS.contains(&word) {
                            State::Value
                        } else {
                            State::Line
                        };
                        self.len = 0;
                    } else if matches!(*byte, b' ' | b'\t') || self.len == LONGEST {
                        if self.answers && self.in_head && self.word().starts_with(b"http/1.") {
                            self.switching = Switching::Status(0);
                        }
                        self.state = State::Line;
                        self.len = 0;
                    }
                }
                State::Line if matches!(self.switching, Switching::Status(_)) => {
                    self.switching = self.switching.after(*byte);
                }
                State::Line => match *byte {
                    b'?' => {
                        self.query = true;
                        self.len = 0;
                    }
                    b'&' => self.len = 0,
                    b' ' => self.query = false,
                    b if self.query => {
                        self.push(b);
                        if b == b'=' {
                            if PARAMETERS.contains(&self.word()) {
                                self.state = State::Parameter;
                            }
                            self.len = 0;
                        }
                    }
                    _ => {}
                },
            }
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.word.get_mut(self.len) {
            *slot = byte.to_ascii_lowercase();
            self.len += 1;
        }
    }

    fn word(&self) -> &[u8] {
        self.word.get(..self.len).unwrap_or_default()
    }

    /// Bytes are missing before the next ones. What may be the rest of a secret is blanked.
    fn gap(&mut self) {
        self.len = 0;
        self.query = false;
        self.empty = false;
        self.state = match self.state {
            State::Value | State::Parameter => State::Value,
            _ if self.in_head => State::Value,
            _ => State::Line,
        };
    }
}

impl Switching {
    /// After another byte of the status line.
    fn after(self, byte: u8) -> Self {
        let Self::Status(seen) = self else {
            return self;
        };
        match byte {
            b' ' | b'\t' if seen == 0 => self,
            b' ' | b'\t' if seen == DIGITS => Self::Head,
            _ if SWITCHING.get(seen) == Some(&byte) => Self::Status(seen + 1),
            _ => Self::No,
        }
    }
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    /// Not known.
    Unknown,
    /// Not known; it began, in this direction, with what may become a head or HTTP/2's preface.
    Beginning(Direction, Beginning),
    /// Requests go this way.
    Http1(Direction),
    Http2,
    /// What followed upon HTTP/1.
    Switched,
    /// Not known, but it may be a WebSocket.
    Frames,
}

/// The first bytes of a connection, as many as tell what it carries: a head's first word, or the
/// preface, may come in any pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Beginning {
    bytes: [u8; HTTP2_PREFACE.len()],
    len: usize,
}

impl Beginning {
    const fn new() -> Self {
        Self {
            bytes: [0; HTTP2_PREFACE.len()],
            len: 0,
        }
    }

    /// With the next bytes, and what they make of the connection.
    fn with(mut self, direction: Direction, bytes: &[u8]) -> Carries {
        for (slot, byte) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *slot = *byte;
            self.len += 1;
        }
        let seen = self.bytes.get(..self.len).unwrap_or_default();
        if HTTP2_PREFACE == seen {
            Carries::Http2
        } else if HTTP2_PREFACE.starts_with(seen) || may_become_head(seen) {
            Carries::Beginning(direction, self)
        } else if looks_like_head(seen) {
            Carries::http1(direction, seen)
        } else {
            Carries::Unknown
        }
    }
}

impl Carries {
    /// What it is after a record.
    fn after(self, d: &Data<'_>, bytes: &[u8]) -> Self {
        match self {
            Self::Http1(_) | Self::Http2 | Self::Switched => self,
            _ if looks_like_frame(bytes) => Self::Http2,
            _ if looks_like_message(bytes) => Self::Frames,
            Self::Frames if looks_like_head(bytes) => Self::http1(d.direction, bytes),
            Self::Frames => self,
            Self::Beginning(direction, begun) if direction == d.direction => {
                begun.with(direction, bytes)
            }
            Self::Beginning(..) => self,
            Self::Unknown if d.offset == 0 => Beginning::new().with(d.direction, bytes),
            Self::Unknown if looks_like_head(bytes) => Self::http1(d.direction, bytes),
            Self::Unknown => self,
        }
    }

    /// By a head that goes in a direction.
    fn http1(direction: Direction, head: &[u8]) -> Self {
        let answers = head.starts_with(b"HTTP/");
        Self::Http1(match (direction, answers) {
            (Direction::Write, false) | (Direction::Read, true) => Direction::Write,
            (Direction::Read, false) | (Direction::Write, true) => Direction::Read,
        })
    }
}

/// Blanks secrets in a sequence of records.
#[derive(Debug, Default)]
pub struct Scrubber {
    streams: HashMap<(ConnectionId, Direction), Stream>,
    connections: HashMap<ConnectionId, Carries>,
}

impl Scrubber {
    /// Blanks secrets in `bytes`, the payload of `d`. Gives whether they may be recorded.
    #[must_use]
    pub fn data(&mut self, d: &Data<'_>, bytes: &mut [u8]) -> bool {
        if self.streams.len() >= MAX_STREAMS {
            self.streams.clear();
            self.connections.clear();
        }
        let unknown = Carries::Unknown;
        let carries = self.connections.entry(d.connection).or_insert(unknown);
        *carries = carries.after(d, bytes);
        let text = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
        match carries {
            Carries::Http2 | Carries::Switched | Carries::Frames => return false,
            Carries::Unknown if !bytes.iter().all(text) => return false,
            _ => {}
        }
        // Only an answer switches.
        let answers = *carries != Carries::Http1(d.direction);
        let stream = self
            .streams
            .entry((d.connection, d.direction))
            .or_insert_with(|| Stream::new(d.offset));
        stream.answers = answers;
        if d.offset != stream.next {
            stream.gap();
        } else if looks_like_head(bytes) {
            // A message begins: heads are written and read from the start of a call.
            stream.new_line();
            stream.in_head = true;
        }
        stream.next = d.offset.wrapping_add(bytes.len() as u64);
        stream.feed(bytes);
        if stream.switching == Switching::Over {
            self.connections.insert(d.connection, Carries::Switched);
        }
        true
    }

    /// Forgets a connection.
    pub fn closed(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        self.streams.remove(&(connection, Direction::Write));
        self.streams.remove(&(connection, Direction::Read));
    }

    /// Forgets a process.
    pub fn process_exit(&mut self, pid: u32) {
        self.streams.retain(|(c, _), _| c.pid != pid);
        self.connections.retain(|c, _| c.pid != pid);
    }
}

/// Whether these bytes begin like a frame of HTTP/2 (RFC 9113, section 4.1): a length of 16 KiB at
/// most, a known type, a stream without the reserved bit.
fn looks_like_frame(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0..=0x40, _, 0..=9, _, 0..=0x7f, ..])
}

/// Whether these bytes begin like a frame of WebSocket (RFC 6455, section 5.2) and like no text.
fn looks_like_message(bytes: &[u8]) -> bool {
    matches!(bytes, [0x81 | 0x82 | 0x88..=0x8a | 0xc1, ..])
}

/// Longest method that is recognised.
const LONGEST_METHOD: usize = 7;

fn looks_like_head(bytes: &[u8]) -> bool {
    if bytes.starts_with(STATUS_LINE) {
        return true;
    }
    let word = method(bytes);
    word >= 3 && bytes.get(word) == Some(&b' ')
}

/// Whether more bytes after these may make a head of them.
fn may_become_head(bytes: &[u8]) -> bool {
    let word = method(bytes);
    STATUS_LINE.starts_with(bytes) || (word == bytes.len() && word <= LONGEST_METHOD)
}

/// How many of the first bytes may be a request's method.
fn method(bytes: &[u8]) -> usize {
    let first = bytes.iter().take(LONGEST_METHOD + 1);
    first.take_while(|b| b.is_ascii_uppercase()).count()
}

#[cfg(test)]
mod tests {
    use super::{HTTP2_PREFACE, Scrubber};
    use crate::model::event::{ConnectionId, Data, Direction};
    use crate::model::time::BootTime;

    fn at(offset: u64) -> Data<'static> {
        Data {
            connection: ConnectionId {
                pid: 1,
                ssl: 2,
                generation: 3,
            },
            direction: Direction::Write,
            tid: 1,
            time: BootTime(0),
            offset,
            lost_before: false,
            skipped_before: false,
            bytes: b"",
        }
    }

    fn scrub(pieces: &[&[u8]]) -> Vec<u8> {
        let mut scrubber = Scrubber::default();
        let mut offset = 0;
        let mut out = Vec::new();
        for piece in pieces {
            let mut bytes = piece.to_vec();
            assert!(scrubber.data(&at(offset), &mut bytes));
            offset += bytes.len() as u64;
            out.extend(bytes);
        }
        out
    }

    const REQUEST: &[u8] = b"POST /v1/x?api-version=1&key=abc&z=1 HTTP/1.1\r\nHost: h\r\n\
        Authorization: Bearer sk-1\r\nX-API-Key:abc\r\nAccept: a\r\ncookie: a=b; c=d\r\n\r\n\
        {\"key=\": 1}\nGET /?token=t HTTP/1.1\r\n\r\n";
    const SCRUBBED: &[u8] = b"POST /v1/x?api-version=1&key=***&z=1 HTTP/1.1\r\nHost: h\r\n\
        Authorization:************\r\nX-API-Key:***\r\nAccept: a\r\ncookie:*********\r\n\r\n\
        {\"key=\": 1}\nGET /?token=* HTTP/1.1\r\n\r\n";

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let got = scrub(&[REQUEST]);
        assert_eq!(text(&got), text(SCRUBBED));
        assert_eq!(got.len(), REQUEST.len());
    }

    #[test]
    fn any_split_gives_the_same() {
        for n in 0..=REQUEST.len() {
            let got = scrub(&[&REQUEST[..n], &REQUEST[n..]]);
            assert_eq!(text(&got), text(SCRUBBED), "split at {n}");
        }
        let bytes: Vec<&[u8]> = REQUEST.chunks(1).collect();
        assert_eq!(text(&scrub(&bytes)), text(SCRUBBED));
    }

    #[test]
    fn a_head_in_pieces_makes_what_follows_recordable() {
        for head in [&b"POST / HTTP/1.1\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n"] {
            for size in 1..head.len() {
                let mut pieces: Vec<&[u8]> = head.chunks(size).collect();
                pieces.push(b"\x02\0binary");
                assert_eq!(scrub(&pieces).len(), head.len() + 8, "pieces of {size}");
            }
        }
    }

    #[test]
    fn what_follows_a_gap_in_a_head_is_blanked_to_the_end_of_the_line() {
        let mut scrubber = Scrubber::default();
        let mut head = b"GET / HTTP/1.1\r\nAuthorizat".to_vec();
        assert!(scrubber.data(&at(0), &mut head));
        let mut rest = b"er sk-1\r\nHost: h\r\n\r\n".to_vec();
        assert!(scrubber.data(&at(40), &mut rest));
        assert_eq!(text(&rest), "*******\r\nHost: h\r\n\r\n");
    }

    /// Whether each of these records may be recorded.
    fn recorded(records: &[(Direction, u64, &[u8])]) -> Vec<bool> {
        let mut scrubber = Scrubber::default();
        let one = |(direction, offset, bytes): &(Direction, u64, &[u8])| {
            let data = Data {
                direction: *direction,
                ..at(*offset)
            };
            scrubber.data(&data, &mut bytes.to_vec())
        };
        records.iter().map(one).collect()
    }

    #[test]
    fn of_http2_nothing_is_recorded_after_the_preface() {
        const HEADERS: &[u8] = b"\0\0\x14\x01\x04\0\0\0\x01\x10\x0dauthorization\x03key";
        const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
        let (write, read) = (Direction::Write, Direction::Read);
        let whole = [HTTP2_PREFACE, SETTINGS, HEADERS].concat();
        for at in 0..=whole.len() {
            let (a, b) = whole.split_at(at);
            let got = recorded(&[
                (read, 0, &SETTINGS[..1]),
                (write, 0, a),
                (read, 1, &SETTINGS[1..5]),
                (write, at as u64, b),
                (write, whole.len() as u64, b"any text"),
                (read, 5, b"text"),
            ]);
            assert_eq!(got[1], at < HTTP2_PREFACE.len(), "{at}");
            assert_eq!(got[3..], [false; 3], "{at}");
        }
        // Of a connection that was there before: not its frames, nor what is not text.
        let got = recorded(&[
            (write, 0, b"some text"),
            (read, 0, b"\x87\x04binary"),
            (write, 9, HEADERS),
            (write, 33, b"text"),
        ]);
        assert_eq!(got, [true, false, false, false]);
        // HTTP/1 may carry anything.
        let got = recorded(&[
            (write, 0, b"PUT /a HTTP/1.1\r\n\r\n"),
            (write, 20, HEADERS),
            (read, 0, b"HTTP/1.1 200 OK\r\n\r\n"),
            (read, 20, SETTINGS),
        ]);
        assert_eq!(got, [true; 4]);
    }

    #[test]
    fn of_another_protocol_nothing_is_recorded_after_the_switch() {
        const REQUEST: &[u8] = b"GET /v1/realtime?model=m&client_secret=ek HTTP/1.1\r\nHost: h\r\n\
            Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.ek\r\n\r\n";
        const BLANKED: &[u8] = b"GET /v1/realtime?model=m&client_secret=** HTTP/1.1\r\nHost: h\r\n\
            Sec-WebSocket-Protocol:*************************************\r\n\r\n";
        const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        const FRAME: &[u8] = b"\x81\x20{\"client_secret\":\"ek_1\"}\n\nmore";
        let (write, read) = (Direction::Write, Direction::Read);
        let whole = [HEAD, FRAME].concat();
        for at in 1..whole.len() {
            let mut scrubber = Scrubber::default();
            let mut record = |direction, offset, bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let data = Data {
                    direction,
                    ..super::tests::at(offset)
                };
                scrubber.data(&data, &mut bytes).then_some(bytes)
            };
            let request = record(write, 0, REQUEST).unwrap();
            assert_eq!(text(&request), text(BLANKED));
            let (a, b) = whole.split_at(at);
            let mut kept = record(read, 0, a).unwrap();
            if let Some(more) = record(read, at as u64, b) {
                kept.extend(more);
            }
            let (head, rest) = kept.split_at(HEAD.len());
            assert_eq!(text(head), text(HEAD));
            assert!(rest.iter().all(|b| *b == b'*'), "{at}");
            assert_eq!(record(write, 300, b"\x81\x85abcdtext"), None);
            assert_eq!(record(read, 300, b"HTTP/1.1 200 OK\r\n\r\n"), None);
        }
        // Other answers are as they were.
        let answer = b"HTTP/1.1 1010 No\r\nA: b\r\n\r\nHTTP/1.1 101 said in a body\r\n\r\nmore";
        assert_eq!(text(&scrub(&[answer])), text(answer));
        // Of one that was there before: not what may be a message, nor what follows it.
        let got = recorded(&[
            (read, 0, b"\x81\x5c{\"client_secret\""),
            (read, 20, b":\"ek_1\"}"),
            (write, 0, b"GET / HTTP/1.1\r\n\r\n"),
        ]);
        assert_eq!(got, [false, false, true]);
    }
}
