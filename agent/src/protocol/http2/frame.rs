//! Frames (RFC 9113, section 4.1): where they begin and end, and what of them is content.

use crate::protocol::detect::{HTTP2_PREFACE, Looks};

/// Octets of a frame's head.
pub(super) const HEAD_BYTES: usize = 9;

/// Largest frame until its receiver says otherwise (RFC 9113, section 4.2).
pub(super) const DEFAULT_MAX_FRAME: u32 = 1 << 14;

/// Largest frame that can be announced.
pub(super) const LARGEST_MAX_FRAME: u32 = (1 << 24) - 1;

/// Streams ahead of the newest one known that a frame may open, where a frame is searched for.
const STREAMS_AHEAD: u32 = 4096;

/// Types of frames (RFC 9113, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    Promise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// An extension; its content is passed over.
    Other(u8),
}

impl Kind {
    const fn of(code: u8) -> Self {
        match code {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::Promise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            code => Self::Other(code),
        }
    }
}

/// Flags of frames.
pub(super) mod flag {
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
    len: u32,
    /// The reserved bit is set.
    reserved: bool,
}

impl Frame {
    fn parse(b: &[u8; HEAD_BYTES]) -> Self {
        let stream = u32::from_be_bytes([b[5], b[6], b[7], b[8]]);
        Self {
            len: u32::from_be_bytes([0, b[0], b[1], b[2]]),
            kind: Kind::of(b[3]),
            flags: b[4],
            stream: stream & 0x7fff_ffff,
            reserved: stream >> 31 != 0,
        }
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether its sender could send it: stream and length fit the type.
    const fn is_valid(&self, max: u32) -> bool {
        let of_stream = self.stream != 0;
        self.len <= max
            && match self.kind {
                Kind::Data | Kind::Headers | Kind::Promise | Kind::Continuation => of_stream,
                Kind::Priority => of_stream && self.len == 5,
                Kind::Reset => of_stream && self.len == 4,
                Kind::Settings => {
                    !of_stream
                        && self.len.is_multiple_of(6)
                        && (!self.has(flag::ACK) || self.len == 0)
                }
                Kind::Ping => !of_stream && self.len == 8,
                Kind::GoAway => !of_stream && self.len >= 8,
                Kind::WindowUpdate => self.len == 4,
                Kind::Other(_) => true,
            }
    }

    /// Octets before the content, besides the length of the padding.
    const fn lead(&self) -> u32 {
        match self.kind {
            Kind::Headers if self.has(flag::PRIORITY) => 5,
            Kind::Promise => 4,
            _ => 0,
        }
    }

    const fn is_padded(&self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers | Kind::Promise) && self.has(flag::PADDED)
    }

    /// Whether it also looks like one where nothing says that a frame begins.
    fn is_plausible(&self, first: bool, expect: &Expect) -> bool {
        let flags = match self.kind {
            Kind::Data => flag::END_STREAM | flag::PADDED,
            Kind::Headers => flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY,
            Kind::Settings | Kind::Ping => flag::ACK,
            Kind::Promise => flag::END_HEADERS | flag::PADDED,
            Kind::Continuation => flag::END_HEADERS,
            _ => 0,
        };
        let known = self.stream <= expect.last.saturating_add(2 * STREAMS_AHEAD);
        let kind = match self.kind {
            // RFC 7838, RFC 8336, RFC 9218.
            Kind::Other(code) => !first && matches!(code, 0xa | 0xc | 0x10),
            // Without its start a block says nothing.
            Kind::Continuation => !first,
            Kind::Promise => !expect.of_client,
            Kind::Data | Kind::Headers => expect.of_client <= (self.stream % 2 == 1),
            _ => true,
        };
        self.is_valid(expect.max) && !self.reserved && self.flags & !flags == 0 && known && kind
    }
}

/// What is known of a direction in which a frame is searched for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expect {
    /// It is the client's.
    pub(super) of_client: bool,
    /// The largest frame.
    pub(super) max: u32,
    /// The newest stream that was seen.
    pub(super) last: u32,
}

/// What the start of a piece looks like, if it looks like frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain<'a> {
    /// The frames fill the piece, none is cut.
    pub(super) whole: bool,
    /// The header block of the first frame, if it is there and whole.
    pub(super) block: Option<&'a [u8]>,
}

/// Looks at the start of a piece.
pub(super) fn chain<'a>(piece: &'a [u8], expect: &Expect) -> Option<Chain<'a>> {
    let mut chain = Chain {
        whole: true,
        block: None,
    };
    let (mut rest, mut first) = (piece, true);
    while !rest.is_empty() {
        let Some((head, payload)) = rest.split_first_chunk::<HEAD_BYTES>() else {
            chain.whole = false;
            return (!first).then_some(chain);
        };
        let frame = Frame::parse(head);
        if !frame.is_plausible(first, expect) {
            return None;
        }
        let Some((payload, next)) = payload.split_at_checked(frame.len as usize) else {
            chain.whole = false;
            return Some(chain);
        };
        if first && frame.kind == Kind::Headers && frame.has(flag::END_HEADERS) {
            chain.block = block(&frame, payload);
        }
        (rest, first) = (next, false);
    }
    (!first).then_some(chain)
}

/// The fragment of a header block in a frame.
fn block<'a>(frame: &Frame, payload: &'a [u8]) -> Option<&'a [u8]> {
    let (padding, payload) = match (frame.is_padded(), payload) {
        (true, [padding, payload @ ..]) => (usize::from(*padding), payload),
        (true, []) => return None,
        (false, payload) => (0, payload),
    };
    let end = payload.len().checked_sub(padding)?;
    payload.get(frame.lead() as usize..end)
}

/// Where a direction is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the client's preface: so much of it was seen.
    Preface(usize),
    /// Between frames, or in a head of which so many octets were seen.
    Head(usize),
    /// In a frame.
    Payload(Left),
    /// It is not known where the next frame begins.
    Lost,
}

/// What is still to come of a frame.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// The length of its padding comes next.
    pad_length: bool,
    /// What comes before the content.
    lead: u32,
    content: u32,
    padding: u32,
}

/// What comes next in a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// The input is used up.
    More,
    /// A frame begins.
    Begin,
    /// Content of the frame, never empty.
    Content(&'a [u8]),
    /// The frame ends.
    End,
    /// This is no frame: the next one must be searched for.
    Malformed,
}

/// What missing bytes were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Content of the frame under way, so much of it.
    Content(u64),
    /// The frame under way and what came after it.
    Boundary,
}

/// Finds the frames of one direction.
pub(super) struct Reader {
    place: Place,
    head: [u8; HEAD_BYTES],
    frame: Frame,
    /// The largest frame.
    max: u32,
    /// The receiver told the largest frame.
    announced: bool,
}

impl Reader {
    /// At the start of a connection; `preface` tells that it is the client's direction.
    pub(super) const fn new(preface: bool) -> Self {
        Self {
            place: if preface {
                Place::Preface(0)
            } else {
                Place::Head(0)
            },
            head: [0; HEAD_BYTES],
            frame: Frame {
                kind: Kind::Other(0xff),
                flags: 0,
                stream: 0,
                len: 0,
                reserved: false,
            },
            max: DEFAULT_MAX_FRAME,
            announced: false,
        }
    }

    /// Somewhere in a connection whose settings were not seen.
    pub(super) const fn midway() -> Self {
        let mut reader = Self::new(false);
        reader.place = Place::Lost;
        reader.max = LARGEST_MAX_FRAME;
        reader
    }

    /// The receiver takes frames of this size. A smaller one than before counts only from its
    /// acknowledgement on, so the largest counts here.
    pub(super) fn announce(&mut self, max: u32) {
        if (DEFAULT_MAX_FRAME..=LARGEST_MAX_FRAME).contains(&max) {
            self.max = self.max.max(max);
            self.announced = true;
        }
    }

    /// The largest frame where one is searched for.
    pub(super) const fn likely_max(&self) -> u32 {
        if self.announced || self.max == DEFAULT_MAX_FRAME {
            self.max
        } else {
            DEFAULT_MAX_FRAME
        }
    }

    /// The frame under way, or the last one.
    pub(super) const fn frame(&self) -> Frame {
        self.frame
    }

    pub(super) const fn is_lost(&self) -> bool {
        matches!(self.place, Place::Lost)
    }

    /// Content of the frame under way that is still to come.
    pub(super) const fn content_left(&self) -> u32 {
        match self.place {
            Place::Payload(left) => left.content,
            _ => 0,
        }
    }

    /// A frame is under way.
    pub(super) const fn in_frame(&self) -> bool {
        matches!(self.place, Place::Payload(_))
    }

    /// Here a frame begins.
    pub(super) const fn found(&mut self) {
        self.place = Place::Head(0);
    }

    /// Goes on in the input.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        loop {
            match self.place {
                Place::Lost => {
                    *input = &[];
                    return Step::More;
                }
                Place::Preface(seen) => {
                    let part = take(input, HTTP2_PREFACE.len() - seen);
                    if HTTP2_PREFACE.get(seen..seen + part.len()) != Some(part) {
                        self.place = Place::Lost;
                        return Step::Malformed;
                    }
                    let seen = seen + part.len();
                    if seen < HTTP2_PREFACE.len() {
                        self.place = Place::Preface(seen);
                        return Step::More;
                    }
                    self.place = Place::Head(0);
                }
                Place::Head(seen) => {
                    let part = take(input, HEAD_BYTES - seen);
                    self.head[seen..seen + part.len()].copy_from_slice(part);
                    let seen = seen + part.len();
                    if seen < HEAD_BYTES {
                        self.place = Place::Head(seen);
                        return Step::More;
                    }
                    return self.begin();
                }
                Place::Payload(mut left) => {
                    let step = left.next(input);
                    self.place = match step {
                        Step::End => Place::Head(0),
                        Step::Malformed => Place::Lost,
                        _ => Place::Payload(left),
                    };
                    return step;
                }
            }
        }
    }

    fn begin<'a>(&mut self) -> Step<'a> {
        let frame = Frame::parse(&self.head);
        let lead = frame.lead();
        let before = lead + u32::from(frame.is_padded());
        let content = frame.len.checked_sub(before);
        match content {
            Some(content) if frame.is_valid(self.max) => {
                self.frame = frame;
                self.place = Place::Payload(Left {
                    pad_length: frame.is_padded(),
                    lead,
                    content,
                    padding: 0,
                });
                Step::Begin
            }
            _ => {
                self.place = Place::Lost;
                Step::Malformed
            }
        }
    }

    /// Bytes are missing here.
    pub(super) fn gap(&mut self, missing: u64) -> Missing {
        let Place::Payload(left) = &mut self.place else {
            self.place = Place::Lost;
            return Missing::Boundary;
        };
        let before = u64::from(left.lead) + u64::from(left.pad_length);
        let after = before + u64::from(left.content) + u64::from(left.padding);
        if missing > after {
            self.place = Place::Lost;
            return Missing::Boundary;
        }
        let content = u64::from(left.content);
        if left.pad_length || missing < before {
            // What of the rest is padding, or where the content begins, is not worth keeping.
            let rest = u32::try_from(after - missing).unwrap_or_default();
            *left = Left {
                pad_length: false,
                lead: 0,
                content: 0,
                padding: rest,
            };
            return Missing::Content(content);
        }
        let missed = (missing - before).min(content);
        let padding = u64::from(left.padding) - (missing - before - missed);
        *left = Left {
            pad_length: false,
            lead: 0,
            content: u32::try_from(content - missed).unwrap_or_default(),
            padding: u32::try_from(padding).unwrap_or_default(),
        };
        Missing::Content(missed)
    }
}

impl Left {
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        if self.pad_length {
            let [padding] = take(input, 1) else {
                return Step::More;
            };
            self.pad_length = false;
            self.padding = u32::from(*padding);
            let Some(content) = self.content.checked_sub(self.padding) else {
                return Step::Malformed;
            };
            self.content = content;
        }
        self.lead -= len(take(input, self.lead as usize));
        if self.lead > 0 {
            return Step::More;
        }
        if self.content > 0 {
            let content = take(input, self.content as usize);
            self.content -= len(content);
            return if content.is_empty() {
                Step::More
            } else {
                Step::Content(content)
            };
        }
        self.padding -= len(take(input, self.padding as usize));
        if self.padding > 0 {
            return Step::More;
        }
        Step::End
    }
}

/// The next so many bytes, or as many as there are.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (part, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    part
}

/// The length of what was taken out of a frame, whose length is of 24 bits.
fn len(part: &[u8]) -> u32 {
    u32::try_from(part.len()).unwrap_or(u32::MAX)
}

/// Whether a piece looks like the start of frames where nothing is known of the connection, and
/// how sure that is.
pub(super) fn looks(piece: &[u8], of_client: bool) -> Looks {
    let expect = Expect {
        of_client,
        max: DEFAULT_MAX_FRAME,
        last: u32::MAX,
    };
    match chain(piece, &expect) {
        None => Looks::No,
        Some(chain) if of_client && chain.whole && chain.block.is_some_and(is_request) => {
            Looks::Yes
        }
        Some(chain) if chain.whole => Looks::Maybe,
        Some(_) => Looks::No,
    }
}

/// Whether these bytes may be the start of the server's preface, a `SETTINGS` frame of any length
/// that is not an acknowledgement (RFC 9113, section 3.4).
pub(super) fn may_be_settings(bytes: &[u8]) -> bool {
    const MOST: u8 = 2;
    let fits = |(at, byte): (usize, &u8)| match at {
        1 => *byte < MOST,
        2 => true,
        3 => *byte == 4,
        _ => *byte == 0,
    };
    bytes.iter().take(HEAD_BYTES).enumerate().all(fits)
}

/// Whether a block is a request's: nothing else begins so.
fn is_request(block: &[u8]) -> bool {
    use super::hpack::{Decoder, Name};
    let mut decoder = Decoder::new();
    decoder.lose();
    let (mut method, mut fields) = (false, 0);
    let decoded = decoder.decode(block, &mut |field| {
        method |= fields < 4 && field.name == Name::Method && field.value.is_some();
        fields += 1;
    });
    decoded.is_ok() && method && fields >= 3
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
