//! HTTP/2 (RFC 9113) as it goes over one connection, in both directions.
//!
//! Each direction is a row of frames, whose header blocks are decoded in their order even when
//! nobody wants them, because each may change what the next ones mean. The exchanges are the
//! streams. Nothing here can fail: what cannot be followed is counted and searched past.
//!
//! After missed bytes the next frame is searched for at the start of a piece, as the process read
//! or wrote it. Of the blocks from then on that is told which is certain ([`hpack`]); of a request
//! whose method or path is not certain only the response is.

mod frame;
mod head;
mod hpack;
mod huffman;
mod request;
mod response;
mod start;
mod static_table;
mod stream;

pub use head::MAX_HEADER_LIST_BYTES;
pub use hpack::MAX_TABLE_BYTES;

use super::detect::Looks;
use super::http1::STALE_AFTER;
use super::{ExchangeIds, Role};
use crate::model::defect::Defects;
use crate::model::event::{ConnectionId, Direction};
use crate::model::exchange::ExchangeSink;
use crate::model::time::BootTime;
use crate::stream::GapReason;
use frame::{Expect, Frame, Kind, Missing, Reader, Step, flag};
use head::Fields;
use hpack::Decoder;
use std::collections::BTreeMap;
use std::fmt;
use stream::Stream;

/// Most streams under way at one time; those beyond are not told.
pub const MAX_STREAMS: usize = 1024;

/// Longest header block; a longer one is dropped, and the table with it.
pub const MAX_BLOCK_BYTES: usize = 256 << 10;

/// Newer streams after which a stream whose end may have been missed is taken for over.
const PATIENCE: u32 = 64;

/// A buffer that grew beyond this gives its memory back after the block.
const KEPT_CAPACITY: usize = 16 << 10;

/// Settings (RFC 9113, section 6.5.2).
const SETTINGS_MAX_FRAME_SIZE: u16 = 5;

/// Octets of one setting.
const SETTING_BYTES: usize = 6;

/// What one connection carried, and what of it could not be followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Exchanges whose request's head was read.
    pub exchanges: u64,
    /// Those the sink wanted.
    pub wanted: u64,
    /// Others with whom calls may be expected.
    pub promising: u64,
    /// Exchanges of gRPC among them.
    pub grpc: u64,
    /// Exchanges whose request was not seen, or not its method or path.
    pub half_seen: u64,
    /// Requests whose method or path is in a part of the header table that was not seen.
    pub unknown_heads: u64,
    /// Fields that are in such a part.
    pub unknown_fields: u64,
    /// Responses that the server pushed; they are not told.
    pub pushed: u64,
    /// Streams that either side reset.
    pub resets: u64,
    /// Things that are no frames.
    pub malformed_frames: u64,
    /// Header blocks and heads that broke the rules.
    pub malformed_heads: u64,
    /// Header blocks or lists over the limit.
    pub oversized_heads: u64,
    /// Times that the next frame had to be searched for.
    pub resyncs: u64,
    /// Bytes dropped in that search.
    pub resync_bytes: u64,
    /// Streams that were not told because more were under way than a connection may have.
    pub overflowed: u64,
}

/// Kinds of messages: requests go one way, responses the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Request,
    Response,
}

/// A header block under way.
#[derive(Clone, Copy)]
struct Block {
    stream: u32,
    end_stream: bool,
    /// It announces a pushed response.
    promise: bool,
    /// Of its first byte.
    time: BootTime,
    /// Of its first byte.
    tid: u32,
    /// Some of it is not there.
    broken: bool,
}

/// One direction.
struct Side {
    reader: Reader,
    hpack: Decoder,
    block: Option<Block>,
    /// Of the block under way, when it does not lie whole in one piece.
    fragments: Vec<u8>,
    /// Of the control frame under way: as much as is of interest.
    control: Vec<u8>,
    /// Time and thread of the first byte of the frame under way.
    begun: (BootTime, u32),
    /// A head of a frame is under way.
    in_head: bool,
}

impl Side {
    const fn new(reader: Reader) -> Self {
        Self {
            reader,
            hpack: Decoder::new(),
            block: None,
            fragments: Vec::new(),
            control: Vec::new(),
            begun: (BootTime(0), 0),
            in_head: false,
        }
    }
}

/// One connection.
pub struct Http2 {
    connection: ConnectionId,
    role: Role,
    request: Side,
    response: Side,
    streams: BTreeMap<u32, Stream>,
    /// The oldest and the newest stream whose request was seen.
    seen: Option<(u32, u32)>,
    counters: Counters,
}

impl fmt::Debug for Http2 {
    /// No bytes of the connection.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2")
            .field("connection", &self.connection)
            .field("role", &self.role)
            .field("streams", &self.streams.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Http2 {
    /// For a connection from its first byte on, the client's preface.
    #[must_use]
    pub const fn new(connection: ConnectionId, role: Role) -> Self {
        Self {
            connection,
            role,
            request: Side::new(Reader::new(true)),
            response: Side::new(Reader::new(false)),
            streams: BTreeMap::new(),
            seen: None,
            counters: Counters {
                exchanges: 0,
                wanted: 0,
                promising: 0,
                grpc: 0,
                half_seen: 0,
                unknown_heads: 0,
                unknown_fields: 0,
                pushed: 0,
                resets: 0,
                malformed_frames: 0,
                malformed_heads: 0,
                oversized_heads: 0,
                resyncs: 0,
                resync_bytes: 0,
                overflowed: 0,
            },
        }
    }

    /// For a connection whose start was not seen.
    #[must_use]
    pub fn midway(connection: ConnectionId, role: Role) -> Self {
        let mut http = Self::new(connection, role);
        for side in [&mut http.request, &mut http.response] {
            side.reader = Reader::midway();
            side.hpack.lose();
        }
        http
    }

    /// What a piece looks like when nothing is known of its connection: [`Looks::Yes`] says that
    /// it is HTTP/2 whatever the other direction carries, [`Looks::Maybe`] that it is if that
    /// looks so too.
    #[must_use]
    pub fn looks(role: Role, direction: Direction, piece: &[u8]) -> Looks {
        frame::looks(piece, way(role, direction) == Way::Request)
    }

    /// Takes the next bytes of a direction. A call is a piece: frames are found again only at
    /// the start of one, so the pieces should be those that the process read or wrote.
    pub fn data(
        &mut self,
        direction: Direction,
        time: BootTime,
        tid: u32,
        bytes: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        let way = way(self.role, direction);
        if self.side(way).reader.is_lost() {
            if frame::chain(bytes, &self.expect(way)).is_none() {
                self.counters.resync_bytes += bytes.len() as u64;
                return;
            }
            self.side(way).reader.found();
        }
        self.follow(way, time, tid, bytes, ids, sink);
    }

    /// Bytes of a direction are missing here.
    pub fn gap(
        &mut self,
        direction: Direction,
        time: BootTime,
        missing: u64,
        reason: GapReason,
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        let way = way(self.role, direction);
        if missing == 0 || self.side(way).reader.is_lost() {
            return;
        }
        let defect = match (way, reason) {
            (Way::Request, GapReason::Skipped) => Defects::REQUEST_OVER_LIMIT,
            (Way::Request, _) => Defects::REQUEST_GAP,
            (Way::Response, GapReason::Skipped) => Defects::RESPONSE_OVER_LIMIT,
            (Way::Response, _) => Defects::RESPONSE_GAP,
        };
        let side = self.side(way);
        let frame = side.reader.frame();
        match side.reader.gap(missing) {
            Missing::Boundary => {
                self.counters.resyncs += 1;
                self.lose(way, time, missing, defect, sink);
            }
            Missing::Content(missed) => {
                match (frame.kind, &mut side.block) {
                    (Kind::Data, _) => {
                        if let Some(stream) = self.streams.get_mut(&frame.stream)
                            && missed > 0
                        {
                            match way {
                                Way::Request => stream.request_gap(missed, defect, sink),
                                Way::Response => stream.response_gap(time, missed, defect, sink),
                            }
                        }
                    }
                    (_, Some(block)) => block.broken |= missed > 0,
                    // Of a control frame: what it says is not known.
                    _ => side.control.clear(),
                }
                // It may end with the gap.
                let (_, tid) = self.side(way).begun;
                self.follow(way, time, tid, &[], ids, sink);
            }
        }
    }

    /// The peer ended its direction.
    pub fn end_of_stream(&mut self, time: BootTime, sink: &mut impl ExchangeSink) {
        match self.role {
            Role::Client => {
                let cut = Defects::RESPONSE_CUT.with(Defects::SERVER_ENDED);
                self.end_all(time, cut, sink);
            }
            Role::Server => {
                for stream in self.streams.values_mut() {
                    stream.end_request(time, Defects::REQUEST_CUT, sink);
                }
                self.streams.retain(|_, stream| !stream.is_over());
            }
        }
    }

    /// The connection is gone: everything under way ends.
    pub fn closed(&mut self, time: BootTime, sink: &mut impl ExchangeSink) {
        self.end_all(time, Defects::RESPONSE_CUT, sink);
    }

    /// Time goes by: a stream of which bytes are missing is over when nothing comes of it for
    /// long.
    pub fn tick(&mut self, now: BootTime, sink: &mut impl ExchangeSink) {
        self.streams.retain(|_, stream| {
            let stale = stream.response.lost && now.since(stream.last) > STALE_AFTER;
            if stale {
                stream.end(now, Defects::NONE, sink);
            }
            !stale
        });
    }

    /// What was seen so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Which end of the connection the traced process is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Streams under way.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes of unfinished header blocks and header tables kept now; bodies are never kept here.
    #[must_use]
    pub fn buffered(&self) -> usize {
        let of = |side: &Side| side.fragments.len() + side.control.len() + side.hpack.size();
        of(&self.request) + of(&self.response)
    }

    fn side(&mut self, way: Way) -> &mut Side {
        match way {
            Way::Request => &mut self.request,
            Way::Response => &mut self.response,
        }
    }

    /// What is known where a frame is searched for.
    fn expect(&mut self, way: Way) -> Expect {
        Expect {
            of_client: way == Way::Request,
            max: self.side(way).reader.likely_max(),
            last: self.seen.map_or(u32::MAX, |(_, newest)| newest),
        }
    }

    fn follow(
        &mut self,
        way: Way,
        time: BootTime,
        tid: u32,
        mut input: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        loop {
            let side = self.side(way);
            if !side.in_head && !side.reader.in_frame() && !input.is_empty() {
                side.begun = (time, tid);
                side.in_head = true;
            }
            match side.reader.next(&mut input) {
                Step::More => return,
                Step::Begin => {
                    side.in_head = false;
                    self.begin_frame(way);
                }
                Step::Content(bytes) => self.content(way, time, bytes, ids, sink),
                Step::End => self.end_frame(way, time, ids, sink),
                Step::Malformed => {
                    self.counters.malformed_frames += 1;
                    self.counters.resyncs += 1;
                    self.counters.resync_bytes += input.len() as u64;
                    let defect = match way {
                        Way::Request => Defects::REQUEST_MALFORMED,
                        Way::Response => Defects::RESPONSE_MALFORMED,
                    };
                    self.lose(way, time, 0, defect, sink);
                    return;
                }
            }
        }
    }

    fn begin_frame(&mut self, way: Way) {
        let side = self.side(way);
        let frame = side.reader.frame();
        side.control.clear();
        let continues = frame.kind == Kind::Continuation;
        let expected = side
            .block
            .is_some_and(|b| continues && b.stream == frame.stream);
        if (side.block.is_some() || continues) && !expected {
            // RFC 9113, section 6.10: nothing may come between the parts of a block.
            self.drop_block(way);
            return;
        }
        if matches!(frame.kind, Kind::Headers | Kind::Promise) {
            let (time, tid) = side.begun;
            side.block = Some(Block {
                stream: frame.stream,
                end_stream: frame.kind == Kind::Headers && frame.has(flag::END_STREAM),
                promise: frame.kind == Kind::Promise,
                time,
                tid,
                broken: false,
            });
        }
    }

    /// A block is not decoded: the table is not known from here on.
    fn drop_block(&mut self, way: Way) {
        self.counters.malformed_heads += 1;
        let side = self.side(way);
        side.block = None;
        side.fragments.clear();
        side.hpack.lose();
    }

    fn content(
        &mut self,
        way: Way,
        time: BootTime,
        bytes: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        let newest = self.newest();
        let side = self.side(way);
        let frame = side.reader.frame();
        match frame.kind {
            Kind::Data => {
                let at = (time, side.begun.1);
                match (self.streams.get_mut(&frame.stream), way) {
                    (Some(stream), Way::Request) => stream.request_data(bytes, sink),
                    (Some(stream), Way::Response) => {
                        (stream.last, stream.newest) = (time, newest);
                        stream.response_data(time, bytes, sink);
                    }
                    (None, Way::Request) => {}
                    (None, Way::Response) => {
                        self.unrequested_data(frame.stream, at, bytes, ids, sink);
                    }
                }
            }
            Kind::Headers | Kind::Promise | Kind::Continuation => {
                let Some(block) = &mut side.block else { return };
                let last = frame.has(flag::END_HEADERS) && side.reader.content_left() == 0;
                if last && side.fragments.is_empty() && !block.broken {
                    let block = *block;
                    side.block = None;
                    self.block(way, block, bytes, time, ids, sink);
                } else if side.fragments.len() + bytes.len() > MAX_BLOCK_BYTES {
                    block.broken = true;
                    side.fragments.clear();
                } else if !block.broken {
                    side.fragments.extend_from_slice(bytes);
                }
            }
            Kind::Settings => {
                side.control.extend_from_slice(bytes);
                let settings = side.control.len() / SETTING_BYTES * SETTING_BYTES;
                let settings: Vec<u8> = side.control.drain(..settings).collect();
                for setting in settings.chunks_exact(SETTING_BYTES) {
                    self.setting(way, setting);
                }
            }
            Kind::GoAway => {
                let wanted = 8_usize.saturating_sub(side.control.len()).min(bytes.len());
                side.control.extend_from_slice(&bytes[..wanted]);
            }
            _ => {}
        }
    }

    /// What the receiver of the other direction lets its peer do. The size of the header table
    /// is no more than an allowance: what the peer makes of it, it says in its blocks, and that
    /// is followed there up to [`MAX_TABLE_BYTES`].
    fn setting(&mut self, way: Way, setting: &[u8]) {
        let [a, b, value @ ..] = setting else { return };
        let Ok(value) = value.try_into().map(u32::from_be_bytes) else {
            return;
        };
        if u16::from_be_bytes([*a, *b]) == SETTINGS_MAX_FRAME_SIZE {
            let other = match way {
                Way::Request => &mut self.response,
                Way::Response => &mut self.request,
            };
            other.reader.announce(value);
        }
    }

    fn end_frame(
        &mut self,
        way: Way,
        time: BootTime,
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        let side = self.side(way);
        let frame = side.reader.frame();
        match frame.kind {
            Kind::Data if frame.has(flag::END_STREAM) => {
                self.end_message(way, frame.stream, time, sink);
            }
            Kind::Headers | Kind::Promise | Kind::Continuation if frame.has(flag::END_HEADERS) => {
                // Otherwise it was decoded where it lay.
                if let Some(block) = side.block.take() {
                    let fragments = std::mem::take(&mut side.fragments);
                    self.block(way, block, &fragments, time, ids, sink);
                    let side = self.side(way);
                    side.fragments = fragments;
                    side.fragments.clear();
                    side.fragments.shrink_to(KEPT_CAPACITY);
                }
            }
            Kind::Reset => self.reset(way, frame, time, sink),
            Kind::GoAway => self.go_away(way, time, sink),
            _ => {}
        }
    }

    /// A header block is there.
    fn block(
        &mut self,
        way: Way,
        block: Block,
        bytes: &[u8],
        time: BootTime,
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        let side = self.side(way);
        if block.broken {
            // Too long, or with a gap in it.
            side.hpack.lose();
            self.counters.oversized_heads += u64::from(bytes.is_empty());
            self.broken_head(way, block, sink);
            return;
        }
        let mut fields = Fields::default();
        let decoded = side.hpack.decode(bytes, &mut |field| fields.add(field));
        self.counters.unknown_fields += fields.unknown;
        self.counters.oversized_heads += u64::from(fields.is_oversized());
        if decoded.is_err() {
            self.counters.malformed_heads += 1;
            self.broken_head(way, block, sink);
        } else if block.promise {
            self.counters.pushed += 1;
        } else {
            match way {
                Way::Request => self.request_block(block, fields, time, ids, sink),
                Way::Response => self.response_block(block, fields, time, ids, sink),
            }
        }
    }

    /// A head could not be read; the message may go on.
    fn broken_head(&mut self, way: Way, block: Block, sink: &mut impl ExchangeSink) {
        if block.promise {
            return;
        }
        match way {
            Way::Request => self.broken_request(block, sink),
            Way::Response => self.broken_response(block, sink),
        }
    }

    /// A message ends where its sender says so.
    fn end_message(&mut self, way: Way, number: u32, time: BootTime, sink: &mut impl ExchangeSink) {
        if let Some(stream) = self.streams.get_mut(&number) {
            match way {
                Way::Request => stream.end_request(time, Defects::NONE, sink),
                Way::Response => stream.end_response(time, Defects::NONE, sink),
            }
            self.forget_if_over(number);
        }
    }

    /// Either side gave a stream up (RFC 9113, section 6.4). After a whole response that only
    /// says that the rest of the request is not needed.
    fn reset(&mut self, way: Way, frame: Frame, time: BootTime, sink: &mut impl ExchangeSink) {
        if let Some(mut stream) = self.streams.remove(&frame.stream) {
            self.counters.resets += 1;
            let cut = match way {
                Way::Request => Defects::RESPONSE_CUT,
                Way::Response => Defects::RESPONSE_CUT.with(Defects::SERVER_ENDED),
            };
            stream.end(time, cut, sink);
        }
    }

    /// The server will not look at the streams after the one it names (RFC 9113, section 6.8).
    fn go_away(&mut self, way: Way, time: BootTime, sink: &mut impl ExchangeSink) {
        let side = self.side(way);
        let Some(last) = side.control.first_chunk::<4>() else {
            return;
        };
        let last = u32::from_be_bytes(*last) & 0x7fff_ffff;
        if way == Way::Response && side.control.len() == 8 {
            let mut refused = self.streams.split_off(&last.saturating_add(1));
            for stream in refused.values_mut() {
                stream.end(
                    time,
                    Defects::RESPONSE_CUT.with(Defects::SERVER_ENDED),
                    sink,
                );
            }
        }
    }

    /// It is not known where in a direction things are.
    fn lose(
        &mut self,
        way: Way,
        time: BootTime,
        missing: u64,
        defect: Defects,
        sink: &mut impl ExchangeSink,
    ) {
        let side = self.side(way);
        side.block = None;
        side.fragments.clear();
        side.control.clear();
        side.in_head = false;
        side.hpack.lose();
        for stream in self.streams.values_mut() {
            match way {
                Way::Request => {
                    stream.request_gap(missing.max(1), defect, sink);
                    stream.request.lost = true;
                    // Its answer is over already: that it was not is all that kept it.
                    if stream.response.done.is_some() {
                        stream.end_request(time, Defects::NONE, sink);
                    }
                }
                Way::Response => {
                    stream.response_gap(time, missing.max(1), defect, sink);
                    stream.response.lost = true;
                }
            }
        }
        self.streams.retain(|_, stream| !stream.is_over());
    }

    fn newest(&self) -> u32 {
        self.seen.map_or(0, |(_, newest)| newest)
    }

    fn forget_if_over(&mut self, number: u32) {
        if self.streams.get(&number).is_some_and(Stream::is_over) {
            self.streams.remove(&number);
        }
    }

    fn end_all(&mut self, time: BootTime, cut: Defects, sink: &mut impl ExchangeSink) {
        for stream in std::mem::take(&mut self.streams).values_mut() {
            stream.end(time, cut, sink);
        }
    }
}

/// Whether these bytes may be the first of a server.
#[must_use]
pub fn may_be_settings(bytes: &[u8]) -> bool {
    frame::may_be_settings(bytes)
}

/// Whether these bytes are the first of a server, most likely: those of a client are its preface, and
/// what it says of settings later is nearly always an acknowledgement.
#[must_use]
pub fn is_server_preface(bytes: &[u8]) -> bool {
    bytes.len() >= frame::HEAD_BYTES && frame::may_be_settings(bytes)
}

fn way(role: Role, direction: Direction) -> Way {
    match (role, direction) {
        (Role::Client, Direction::Write) | (Role::Server, Direction::Read) => Way::Request,
        (Role::Client, Direction::Read) | (Role::Server, Direction::Write) => Way::Response,
    }
}

/// The sender's side, for tests of what stands above.
#[cfg(test)]
pub(super) use tests::encoder as encoded;

#[cfg(test)]
mod tests;
