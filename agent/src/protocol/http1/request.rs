//! The direction of the requests.

use super::exchange::Exchange;
use super::framing::{Framing, Length, Step};
use super::head::{Gathered, ParsedRequest, parse_request};
use super::{
    CHECKED_START, Http1, MAX_FAILED_TURNS, MAX_OPEN_EXCHANGES, MAX_UNSYNCED_BYTES, State, Way,
    skip_line_ends,
};
use crate::model::defect::Defects;
use crate::model::exchange::{ExchangeSink, Interest};
use crate::model::time::BootTime;
use crate::protocol::ExchangeIds;
use crate::protocol::content::RequestBody;
use crate::protocol::detect::{self, Looks, Verdict};

impl Http1 {
    /// Takes a piece.
    pub(super) fn request_data(
        &mut self,
        time: BootTime,
        tid: u32,
        piece: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        let input = self.request_piece(piece, sink);
        self.request.last = time;
        self.follow_request(time, tid, input, ids, sink);
        if self.counters.exchanges == 0 && matches!(self.request.state, State::Resync(_)) {
            self.failed_to_start(piece.len());
        }
    }

    /// Looks at the start of a piece, where things lost are found again. Gives what is left of
    /// it.
    fn request_piece<'a>(&mut self, piece: &'a [u8], sink: &mut impl ExchangeSink) -> &'a [u8] {
        // Of the pieces before this one.
        let last = self.request.last;
        let is_request = || detect::request_line(skip_line_ends(piece)) == Looks::Yes;
        let refused = self
            .open
            .back()
            .is_some_and(|e| e.awaits_continue && e.response_done.is_some());
        match &mut self.request.state {
            State::Resync(_) if is_likely_request(piece) => self.request.state = State::Start,
            State::Body(framing) if framing.is_lost() => {
                if is_request() {
                    self.end_request(last, Defects::NONE, sink);
                    self.request.state = State::Start;
                } else if let Some((rest, next)) = framing.regain(piece) {
                    self.request_body(&piece[..rest], sink);
                    return &piece[next..];
                }
            }
            // The answer to `Expect` was a refusal, so that the body was never sent.
            State::Body(_) if refused && is_request() => {
                self.end_request(last, Defects::REQUEST_CUT, sink);
                self.request.state = State::Start;
            }
            _ => {}
        }
        piece
    }

    fn follow_request(
        &mut self,
        time: BootTime,
        tid: u32,
        mut input: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        while self.follows() {
            match &mut self.request.state {
                State::Resync(_) => {
                    self.counters.resync_bytes += input.len() as u64;
                    return;
                }
                State::Start => {
                    input = skip_line_ends(input);
                    if input.is_empty() {
                        return;
                    }
                    if detect::request_line(input) == Looks::No {
                        self.counters.resyncs += 1;
                        self.request.resync(Defects::NONE);
                    } else {
                        self.midway = None;
                        self.request.begun = (time, tid);
                        self.request.state = State::Head;
                    }
                }
                State::Head => match self.request.head.gather(input) {
                    Gathered::More => {
                        let start = self.request.head.bytes();
                        if start.len() <= CHECKED_START && detect::request_line(start) == Looks::No
                        {
                            self.malformed_request_head();
                        }
                        return;
                    }
                    Gathered::TooLong => self.malformed_request_head(),
                    Gathered::End(n) => {
                        let (last, rest) = input.split_at(n);
                        input = rest;
                        let head = self.request.head.take(last);
                        let parsed = parse_request(&head);
                        self.request.head.give_back(head);
                        match parsed {
                            Some(parsed) => self.begin_exchange(time, parsed, ids, sink),
                            None => self.malformed_request_head(),
                        }
                    }
                },
                State::Body(framing) => match framing.next(&mut input) {
                    Step::Body(bytes) => self.request_body(bytes, sink),
                    Step::More => return,
                    Step::End => {
                        self.request.state = State::Start;
                        self.end_request(time, Defects::NONE, sink);
                    }
                    Step::Malformed => {
                        self.counters.malformed_bodies += 1;
                        self.request.resync(Defects::NONE);
                        self.end_request(time, Defects::REQUEST_MALFORMED, sink);
                    }
                },
            }
        }
    }

    /// Bytes are missing here.
    pub(super) fn request_gap(
        &mut self,
        missing: u64,
        defect: Defects,
        sink: &mut impl ExchangeSink,
    ) {
        self.first = None;
        self.midway = None;
        let State::Body(framing) = &mut self.request.state else {
            self.gap_before_request = true;
            self.counters.resyncs += 1;
            self.request.resync(Defects::NONE);
            return;
        };
        let was_lost = framing.is_lost();
        let step = framing.gap(missing);
        self.gap_before_request |= framing.is_lost() || step.beyond > 0;
        let is_over = matches!(framing, Framing::Length(0));
        let framing_lost = framing.is_lost();
        self.counters.lost_framings += u64::from(framing_lost && !was_lost);
        if let Some(e) = self.open.back_mut() {
            e.request_defects.add(defect);
            if let Some(body) = &mut self.request.body {
                body.gap(e.id, step.body, sink);
            }
        }
        if framing_lost && defect == Defects::REQUEST_GAP {
            // What follows may be of another request.
            self.request.body = None;
        }
        if is_over {
            self.end_request(self.request.last, Defects::NONE, sink);
            if step.beyond == 0 {
                self.request.state = State::Start;
            } else {
                self.counters.resyncs += 1;
                self.request.resync(Defects::NONE);
            }
        }
    }

    /// Ends the request under way, if there is one.
    pub(super) fn end_request(
        &mut self,
        time: BootTime,
        defects: Defects,
        sink: &mut impl ExchangeSink,
    ) {
        let body = self.request.body.take();
        let Some(e) = self.open.back_mut().filter(|e| !e.request_done) else {
            return;
        };
        e.request_done = true;
        e.request_defects.add(defects);
        if let Some(body) = body {
            let whole = e.request_defects.is_none();
            e.request_defects.add(body.finish(whole));
        }
        if e.wanted {
            sink.request_end(e.id, time, e.request_defects);
        }
        if let Some(response_end) = e.response_done {
            if e.wanted {
                sink.response_end(e.id, response_end, e.response_defects);
            }
            self.open.pop_back();
        }
    }

    /// A head is whole.
    fn begin_exchange(
        &mut self,
        time: BootTime,
        parsed: ParsedRequest,
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        self.verdict = Verdict::Http1;
        self.end_lost_responses(time, sink);
        if self.open.len() >= MAX_OPEN_EXCHANGES {
            self.counters.overflowed += self.open.len() as u64;
            self.verdict = Verdict::NotHttp;
            self.end_all(time, false, Defects::RESPONSE_CUT, sink);
            return;
        }
        let ParsedRequest {
            head,
            length,
            expects_continue,
        } = parsed;
        let id = ids.next();
        let (begun, tid) = self.request.begun;
        let interest = sink.request_head(id, self.connection, tid, begun, &head);
        let (wanted, bodies) = (interest != Interest::Unwanted, interest == Interest::Wanted);
        self.counters.exchanges += 1;
        self.counters.wanted += u64::from(bodies);
        self.counters.promising += u64::from(!bodies && sink.expects_calls(&head));
        let connect = head.method == "CONNECT";
        self.open.push_back(Exchange {
            after_gap: std::mem::take(&mut self.gap_before_request),
            head: head.method == "HEAD",
            connect,
            awaits_continue: expects_continue,
            ..Exchange::new(id, begun, wanted)
        });
        let framing = match length {
            _ if connect => None,
            Length::Absent | Length::Known(0) => None,
            Length::Known(n) => Some(Framing::Length(n)),
            Length::Chunked => Some(Framing::chunked()),
            Length::OtherCoding | Length::Conflict => {
                self.counters.malformed_heads += 1;
                self.request.resync(Defects::NONE);
                self.end_request(time, Defects::REQUEST_MALFORMED, sink);
                return;
            }
        };
        match framing {
            Some(framing) => {
                self.request.body = bodies.then(|| RequestBody::new(&head));
                self.request.state = State::Body(framing);
            }
            None => {
                self.request.state = State::Start;
                self.end_request(time, Defects::NONE, sink);
            }
        }
    }

    fn request_body(&mut self, bytes: &[u8], sink: &mut impl ExchangeSink) {
        let Some(e) = self.open.back_mut() else {
            return;
        };
        e.awaits_continue = false;
        if let Some(body) = &mut self.request.body {
            body.data(e.id, bytes, sink);
        }
    }

    fn malformed_request_head(&mut self) {
        self.counters.malformed_heads += 1;
        self.counters.resyncs += 1;
        self.request.resync(Defects::NONE);
    }

    /// No request was seen yet, and this piece did not start one.
    fn failed_to_start(&mut self, len: usize) {
        self.counters.half_seen = 1;
        self.unsynced_bytes += len as u64;
        if self.last_way != Some(Way::Request) {
            self.failed_turns += 1;
        }
        if self.failed_turns >= MAX_FAILED_TURNS || self.unsynced_bytes > MAX_UNSYNCED_BYTES {
            self.verdict = Verdict::NotHttp;
            // Then it was no exchange that was under way.
            self.counters.half_seen = 0;
        }
    }
}

/// Whether a piece starts a request, or at least looks much like it as far as it goes.
fn is_likely_request(piece: &[u8]) -> bool {
    let piece = skip_line_ends(piece);
    match detect::request_line(piece) {
        Looks::Yes => true,
        Looks::No => false,
        Looks::Maybe => {
            let target = piece.iter().position(|b| *b == b' ');
            target.is_some_and(|t| matches!(piece.get(t + 1), Some(b'/' | b'h' | b'*')))
        }
    }
}
