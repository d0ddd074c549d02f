//! One side of a WebSocket: its bytes into frames, its frames into messages.

use super::Counters;
use super::extension::{Deflate, Extensions};
use super::find::Finder;
use super::frame::{self, Frame, Head, Kind, MAX_HEAD, Mask};
use super::inflate::Inflate;
use crate::model::time::BootTime;
use crate::model::websocket::{Payload, Sender};

/// Most bytes kept of a text; of a longer one the beginning is told, and how long it is.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// A buffer that grew beyond this gives its memory back after the message.
const KEPT_CAPACITY: usize = 64 << 10;

/// The status of a close frame that has none (RFC 6455, section 7.4.1), or of which it was missed.
const NO_STATUS: u16 = 1005;

/// What a side said.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Message {
        payload: Payload<'a>,
        length: u64,
        whole: bool,
        /// Time and thread of its first byte.
        begun: (BootTime, u32),
    },
    /// Messages are missing.
    Gap,
    /// It closes the WebSocket, with this status.
    Close(u16),
}

enum State {
    /// In a frame's head, of which some bytes may be there.
    Head,
    /// In a payload that has at least one byte more.
    Payload(Frame),
    /// Searching for a frame.
    Lost(Finder),
    /// It closed the WebSocket: nothing more can come.
    Closed,
}

/// The message under way.
struct Open {
    text: bool,
    compressed: bool,
    length: u64,
    whole: bool,
    /// What comes next of it is not to be appended to what is kept.
    sealed: bool,
    /// It cannot be inflated further.
    broken: bool,
    begun: (BootTime, u32),
}

/// One side.
pub(super) struct Side {
    sender: Sender,
    extensions: Extensions,
    state: State,
    head: [u8; MAX_HEAD],
    have: usize,
    /// Time and thread of the first byte of the frame under way.
    begun: (BootTime, u32),
    open: Option<Open>,
    /// What is kept of the message under way.
    kept: Vec<u8>,
    /// Compressed bytes, unmasked.
    scratch: Vec<u8>,
    /// The status of a close frame under way.
    status: Vec<u8>,
    inflate: Option<Box<Inflate>>,
    /// What was said before is not all known, for the next message.
    unseen: bool,
}

impl Side {
    /// From its first frame on.
    pub(super) fn new(sender: Sender, extensions: Extensions) -> Self {
        Self {
            sender,
            extensions,
            state: State::Head,
            head: [0; MAX_HEAD],
            have: 0,
            begun: (BootTime(0), 0),
            open: None,
            kept: Vec::new(),
            scratch: Vec::new(),
            status: Vec::new(),
            inflate: None,
            unseen: extensions == Extensions::Unseen,
        }
    }

    /// Of which it is not known where a frame begins.
    pub(super) fn searching(finder: Finder, sender: Sender, extensions: Extensions) -> Self {
        Self {
            state: State::Lost(finder),
            unseen: true,
            ..Self::new(sender, extensions)
        }
    }

    /// Bytes kept now, without the windows.
    pub(super) fn buffered(&self) -> usize {
        let searched = match &self.state {
            State::Lost(finder) => finder.buffered(),
            _ => 0,
        };
        searched + self.kept.len() + self.scratch.len()
    }

    /// The next piece.
    pub(super) fn piece(
        &mut self,
        piece: &[u8],
        at: (BootTime, u32),
        counters: &mut Counters,
        say: &mut dyn FnMut(Said<'_>),
    ) {
        let State::Lost(finder) = &mut self.state else {
            self.follow(piece, at, counters, say);
            return;
        };
        let found = finder.piece(piece, at);
        counters.resync_bytes += finder.take_dropped();
        if let Some(found) = found {
            self.state = State::Head;
            self.have = 0;
            // What came until here was not told.
            say(Said::Gap);
            self.follow(&found.bytes, found.begun, counters, say);
        }
    }

    /// Bytes are missing here.
    pub(super) fn gap(
        &mut self,
        missing: u64,
        counters: &mut Counters,
        say: &mut dyn FnMut(Said<'_>),
    ) {
        match &mut self.state {
            State::Closed => {}
            State::Lost(finder) => finder.gap(),
            State::Head => self.lose(counters, say),
            State::Payload(frame) => {
                let within = missing.min(frame.left);
                frame.skip(within);
                let frame = *frame;
                if frame.is_control() {
                    self.status = NO_STATUS.to_be_bytes().to_vec();
                } else {
                    self.hole(within);
                }
                if frame.left == 0 {
                    self.end_frame(frame, counters, say);
                }
                if missing > within && !matches!(self.state, State::Closed) {
                    self.lose(counters, say);
                }
            }
        }
    }

    /// The side will say nothing more: a message under way is told as far as it came.
    pub(super) fn end(&mut self, counters: &mut Counters, say: &mut dyn FnMut(Said<'_>)) {
        self.cut(counters, say);
        self.state = State::Closed;
    }

    fn follow(
        &mut self,
        mut input: &[u8],
        at: (BootTime, u32),
        counters: &mut Counters,
        say: &mut dyn FnMut(Said<'_>),
    ) {
        while !input.is_empty() {
            match &mut self.state {
                State::Head => {
                    if self.have == 0 {
                        self.begun = at;
                    }
                    input = self.read_head(input, counters, say);
                }
                State::Payload(frame) => {
                    let (bytes, mask) = frame.take(&mut input);
                    let frame = *frame;
                    self.payload(&frame, bytes, mask, counters);
                    if frame.left == 0 {
                        self.end_frame(frame, counters, say);
                    }
                }
                // Only a piece may begin with a frame.
                State::Lost(_) => {
                    counters.resync_bytes += input.len() as u64;
                    return;
                }
                State::Closed => {
                    counters.unfollowed_bytes += input.len() as u64;
                    return;
                }
            }
        }
    }

    /// Takes bytes of a head; gives what is left of the input.
    fn read_head<'a>(
        &mut self,
        input: &'a [u8],
        counters: &mut Counters,
        say: &mut dyn FnMut(Said<'_>),
    ) -> &'a [u8] {
        let take = (MAX_HEAD - self.have).min(input.len());
        self.head[self.have..self.have + take].copy_from_slice(&input[..take]);
        let compresses = self.extensions != Extensions::None;
        let bytes = &self.head[..self.have + take];
        match frame::head(bytes, self.sender, compresses) {
            Head::Short => {
                self.have += take;
                &[]
            }
            Head::Malformed => {
                counters.malformed_frames += 1;
                self.lose(counters, say);
                input
            }
            Head::Whole(frame, len) => {
                let rest = &input[len - self.have..];
                self.have = 0;
                counters.frames += 1;
                self.begin_frame(frame, rest, counters, say)
            }
        }
    }

    /// A head is whole; gives what is left of the input.
    fn begin_frame<'a>(
        &mut self,
        frame: Frame,
        input: &'a [u8],
        counters: &mut Counters,
        say: &mut dyn FnMut(Said<'_>),
    ) -> &'a [u8] {
        if matches!(frame.kind, Kind::Text | Kind::Binary) {
            if self.open.is_some() {
                // Its end never came.
                counters.malformed_frames += 1;
                self.cut(counters, say);
            }
            // Most messages are one frame that lies whole in one piece.
            if let Some(text) = whole(&frame, input) {
                say(Said::Message {
                    payload: Payload::Text(text),
                    length: frame.left,
                    whole: true,
                    begun: self.begun,
                });
                return &input[text.len()..];
            }
            self.open = Some(Open {
                text: frame.kind == Kind::Text,
                compressed: frame.compressed,
                length: 0,
                whole: true,
                sealed: false,
                broken: false,
                begun: self.begun,
            });
        } else if frame.kind == Kind::Continuation && self.open.is_none() {
            counters.malformed_frames += 1;
        }
        self.status.clear();
        if frame.left == 0 {
            self.end_frame(frame, counters, say);
        } else {
            self.state = State::Payload(frame);
        }
        input
    }

    /// Bytes of a payload.
    fn payload(&mut self, frame: &Frame, bytes: &[u8], mut mask: Mask, counters: &mut Counters) {
        if frame.is_control() {
            if frame.kind == Kind::Close {
                let missing = 2usize.saturating_sub(self.status.len());
                mask.append(&bytes[..bytes.len().min(missing)], &mut self.status);
            }
            return;
        }
        let Some(open) = &mut self.open else { return };
        if open.compressed {
            if !open.broken {
                self.scratch.clear();
                mask.append(bytes, &mut self.scratch);
                let inflate = self.inflate.get_or_insert_with(|| {
                    Box::new(if self.unseen {
                        Inflate::unseen()
                    } else {
                        Inflate::new()
                    })
                });
                let mut out = |bytes: &[u8]| keep(open, &mut self.kept, bytes);
                let result = inflate.push(&self.scratch, &mut out);
                if result.is_err() {
                    counters.undecodable += 1;
                    self.break_off();
                }
            }
            return;
        }
        let length = bytes.len() as u64;
        open.length = open.length.saturating_add(length);
        if open.text && !open.sealed {
            let room = MAX_MESSAGE_BYTES - self.kept.len();
            if room < bytes.len() {
                (open.sealed, open.whole) = (true, false);
            }
            mask.append(&bytes[..bytes.len().min(room)], &mut self.kept);
        }
    }

    /// Bytes of the message under way are missing.
    fn hole(&mut self, missing: u64) {
        let Some(open) = &mut self.open else { return };
        if open.compressed {
            self.break_off();
        } else {
            open.length = open.length.saturating_add(missing);
            (open.whole, open.sealed) = (false, true);
        }
    }

    /// The message under way cannot be inflated further, and what follows it may refer to it.
    fn break_off(&mut self) {
        if let Some(open) = &mut self.open {
            (open.whole, open.broken, open.sealed) = (false, true, true);
            if self.inflate.take().is_some_and(|i| !i.is_certain()) {
                self.kept.clear();
            }
            self.unseen = true;
        }
    }

    fn end_frame(&mut self, frame: Frame, counters: &mut Counters, say: &mut dyn FnMut(Said<'_>)) {
        self.state = State::Head;
        if frame.kind == Kind::Close {
            self.cut(counters, say);
            let status = self.status.first_chunk().map(|b| u16::from_be_bytes(*b));
            say(Said::Close(status.unwrap_or(NO_STATUS)));
            self.state = State::Closed;
        } else if frame.fin && !frame.is_control() {
            self.end_message(true, counters, say);
        }
    }

    /// The message under way will not become whole.
    fn cut(&mut self, counters: &mut Counters, say: &mut dyn FnMut(Said<'_>)) {
        if let Some(open) = &mut self.open {
            open.whole = false;
            if open.compressed && !open.broken {
                self.break_off();
            }
            self.end_message(false, counters, say);
        }
    }

    /// The message under way is over; `fin` says that its last frame came.
    fn end_message(&mut self, fin: bool, counters: &mut Counters, say: &mut dyn FnMut(Said<'_>)) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let mut certain = true;
        if open.compressed && fin && !open.broken {
            match self.end_inflating(&mut open) {
                Some(sure) => certain = sure,
                None => {
                    counters.undecodable += 1;
                    (self.inflate, self.unseen) = (None, true);
                    open.whole = false;
                }
            }
        }
        if open.compressed && self.stands_alone() {
            (self.inflate, self.unseen) = (None, false);
        }
        if !certain && open.text {
            counters.uncertain += 1;
            say(Said::Gap);
        } else {
            counters.over_limit += u64::from(self.kept.len() == MAX_MESSAGE_BYTES && open.sealed);
            let payload = if open.text {
                Payload::Text(&self.kept)
            } else {
                Payload::Binary
            };
            say(Said::Message {
                payload,
                length: open.length,
                whole: open.whole,
                begun: open.begun,
            });
        }
        self.kept.clear();
        self.kept.shrink_to(KEPT_CAPACITY);
        self.scratch.clear();
        self.scratch.shrink_to(KEPT_CAPACITY);
    }

    /// Ends the deflate data of a message; tells whether it is certain, `None` when it is broken.
    fn end_inflating(&mut self, open: &mut Open) -> Option<bool> {
        let inflate = self.inflate.get_or_insert_with(|| Box::new(Inflate::new()));
        let mut out = |bytes: &[u8]| keep(open, &mut self.kept, bytes);
        inflate.end(&mut out).ok()
    }

    /// Whether each message is compressed for itself.
    const fn stands_alone(&self) -> bool {
        let Extensions::Deflate(Deflate {
            client_no_takeover,
            server_no_takeover,
        }) = self.extensions
        else {
            return false;
        };
        match self.sender {
            Sender::Client => client_no_takeover,
            Sender::Server => server_no_takeover,
        }
    }

    /// Where the next frame begins is not known any more.
    fn lose(&mut self, counters: &mut Counters, say: &mut dyn FnMut(Said<'_>)) {
        self.cut(counters, say);
        counters.losses += 1;
        self.inflate = None;
        self.unseen = !self.stands_alone();
        self.have = 0;
        self.state = State::Lost(Finder::new(self.sender, self.extensions));
        say(Said::Gap);
    }
}

/// The payload of a frame that is a whole text as it is, when all of it is there.
fn whole<'a>(frame: &Frame, input: &'a [u8]) -> Option<&'a [u8]> {
    let fits = frame.kind == Kind::Text && frame.fin && !frame.compressed && frame.is_plain();
    let len = usize::try_from(frame.left).ok()?;
    (fits && len > 0 && len <= MAX_MESSAGE_BYTES)
        .then(|| input.get(..len))
        .flatten()
}

/// Keeps what a message was inflated to.
fn keep(open: &mut Open, kept: &mut Vec<u8>, bytes: &[u8]) {
    open.length = open.length.saturating_add(bytes.len() as u64);
    if !open.text || open.sealed {
        return;
    }
    let room = MAX_MESSAGE_BYTES - kept.len();
    if room < bytes.len() {
        (open.sealed, open.whole) = (true, false);
    }
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
