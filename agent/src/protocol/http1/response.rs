//! The direction of the responses.

use super::exchange::Exchange;
use super::framing::{Framing, Length, Step};
use super::head::{Gathered, ParsedResponse, parse_response};
use super::{CHECKED_START, Http1, State, skip_line_ends};
use crate::model::defect::Defects;
use crate::model::exchange::{ExchangeSink, Interest};
use crate::model::time::BootTime;
use crate::protocol::ExchangeIds;
use crate::protocol::content::ResponseBody;
use crate::protocol::detect::{self, Looks, Verdict};
use std::borrow::Cow;

/// Bytes of a status line that are enough to go for it where one may start.
const LIKELY_STATUS: usize = b"HTTP/".len();

impl Http1 {
    /// Takes a piece.
    pub(super) fn response_data(
        &mut self,
        time: BootTime,
        tid: u32,
        piece: &[u8],
        ids: &mut ExchangeIds,
        sink: &mut impl ExchangeSink,
    ) {
        let joined = match self.midway.take() {
            Some(midway) => self.midway_data(midway, (time, tid), piece, ids, sink),
            None => Some(Cow::Borrowed(piece)),
        };
        let Some(piece) = joined.as_deref() else {
            return;
        };
        let mut input = piece;
        if let Some(e) = self.awaiting() {
            e.answered = true;
            input = self.response_piece(time, piece, sink);
        }
        self.response.last = time;
        self.follow_response(time, input, sink);
    }

    /// The exchange that the next response belongs to.
    pub(super) fn awaiting(&mut self) -> Option<&mut Exchange> {
        self.open.front_mut().filter(|e| e.response_done.is_none())
    }

    /// Looks at the start of a piece, where things lost are found again. Gives what is left of
    /// it.
    fn response_piece<'a>(
        &mut self,
        time: BootTime,
        piece: &'a [u8],
        sink: &mut impl ExchangeSink,
    ) -> &'a [u8] {
        // Of the pieces before this one.
        let last = self.response.last;
        match &mut self.response.state {
            State::Resync(_) if !self.unpaired && is_likely_response(piece) => {
                self.response.state = State::Start;
            }
            State::Body(framing) if framing.is_lost() => {
                if detect::status_line(skip_line_ends(piece)) == Looks::Yes {
                    // Of the latest request, if that was seen.
                    self.end_response(last, Defects::NONE, false, sink);
                    self.lost_responses(time, Defects::RESPONSE_GAP, true, sink);
                    if !self.unpaired {
                        self.response.state = State::Start;
                    }
                } else if let Some((rest, next)) = framing.regain(piece) {
                    self.response_body(time, &piece[..rest], sink);
                    return &piece[next..];
                }
            }
            _ => {}
        }
        piece
    }

    fn follow_response(&mut self, time: BootTime, mut input: &[u8], sink: &mut impl ExchangeSink) {
        while self.follows() {
            match &mut self.response.state {
                State::Resync(_) => {
                    self.counters.resync_bytes += input.len() as u64;
                    return;
                }
                State::Start => {
                    input = skip_line_ends(input);
                    if input.is_empty() {
                        return;
                    }
                    if self.awaiting().is_none() {
                        self.unrequested_response();
                    } else if detect::status_line(input) == Looks::No {
                        self.counters.resyncs += 1;
                        self.response.resync(Defects::NONE);
                    } else {
                        self.response.state = State::Head;
                    }
                }
                State::Head => match self.response.head.gather(input) {
                    Gathered::More => {
                        let start = self.response.head.bytes();
                        if start.len() <= CHECKED_START && detect::status_line(start) == Looks::No {
                            self.counters.resyncs += 1;
                            self.response.resync(Defects::NONE);
                        }
                        return;
                    }
                    Gathered::TooLong => self.malformed_response_head(time, sink),
                    Gathered::End(n) => {
                        let (last, rest) = input.split_at(n);
                        input = rest;
                        let head = self.response.head.take(last);
                        let parsed = parse_response(&head);
                        self.response.head.give_back(head);
                        match parsed {
                            Some(parsed) => self.begin_response(time, parsed, sink),
                            None => self.malformed_response_head(time, sink),
                        }
                    }
                },
                State::Body(framing) => match framing.next(&mut input) {
                    Step::Body(bytes) => self.response_body(time, bytes, sink),
                    Step::More => return,
                    Step::End => {
                        self.response.state = State::Start;
                        self.end_response(time, Defects::NONE, true, sink);
                    }
                    Step::Malformed => {
                        self.counters.malformed_bodies += 1;
                        self.response.resync(Defects::NONE);
                        self.end_response(time, Defects::RESPONSE_MALFORMED, false, sink);
                    }
                },
            }
        }
    }

    /// Bytes are missing here.
    pub(super) fn response_gap(
        &mut self,
        time: BootTime,
        missing: u64,
        defect: Defects,
        sink: &mut impl ExchangeSink,
    ) {
        self.midway = None;
        let State::Body(framing) = &mut self.response.state else {
            self.counters.resyncs += 1;
            self.lost_responses(time, defect, self.open.len() > 1, sink);
            return;
        };
        let was_lost = framing.is_lost();
        let step = framing.gap(missing);
        let is_over = matches!(framing, Framing::Length(0));
        let framing_lost = framing.is_lost();
        self.counters.lost_framings += u64::from(framing_lost && !was_lost);
        // What the kernel leaves out is within one message.
        let doubtful = framing_lost && defect == Defects::RESPONSE_GAP;
        if let Some(e) = self.open.front_mut() {
            e.response_defects.add(defect);
            if let Some(body) = &mut self.response.body {
                body.gap(e.id, time, step.body, sink);
                if doubtful && body.is_events() {
                    sink.response_doubtful(e.id);
                } else if doubtful {
                    self.response.body = None;
                }
            }
        }
        if doubtful && self.open.len() > 1 {
            // The client has asked again, so that all of this response was there.
            self.end_response(self.response.last, Defects::NONE, false, sink);
            self.lost_responses(time, defect, true, sink);
        } else if is_over {
            self.end_response(self.response.last, Defects::NONE, true, sink);
            self.response.state = State::Start;
            if step.beyond > 0 {
                self.response_gap(time, step.beyond, defect, sink);
            }
        }
    }

    /// Bytes are missing where a response begins, or in its head: with them may be missing its
    /// end, requests that followed it, and the heads of their responses.
    ///
    /// A client that does not pipeline sends a request when the response before it is behind it.
    /// So with more than one request under way all responses but the last one's are among what is
    /// missing. Of the last one, its own may be, with further requests after it, unless bytes of
    /// the client were missing before it: then they are of the same time.
    fn lost_responses(
        &mut self,
        time: BootTime,
        defect: Defects,
        several: bool,
        sink: &mut impl ExchangeSink,
    ) {
        let keeps_last = !self.pipelines
            && self
                .open
                .back()
                .is_some_and(|e| (several || e.after_gap) && !e.answered);
        self.unpaired |= self.pipelines;
        self.response
            .resync(if keeps_last { defect } else { Defects::NONE });
        while self.open.len() > usize::from(keeps_last) {
            let end = self.open.get(1).map_or(time, |next| next.begun);
            if self.awaiting().is_none() {
                break;
            }
            self.end_response(end, defect, false, sink);
        }
        if let Some(last) = self.open.back_mut() {
            last.after_gap = false;
        }
    }

    /// A new request begins: a client that does so after bytes were missed has its earlier
    /// responses behind it.
    pub(super) fn end_lost_responses(&mut self, time: BootTime, sink: &mut impl ExchangeSink) {
        let Some(front) = self.open.front() else {
            return;
        };
        if front.half {
            self.response.resync(Defects::NONE);
            self.end_response(self.response.last, Defects::NONE, false, sink);
            return;
        }
        if self.unpaired {
            self.end_all(time, false, Defects::RESPONSE_GAP, sink);
            return;
        }
        if !front.answered {
            return;
        }
        let (time, defects) = match &self.response.state {
            State::Resync(d) if d.is_none() => (time, Defects::RESPONSE_MALFORMED),
            State::Resync(d) => (time, *d),
            State::Body(Framing::UntilClose) => (self.response.last, Defects::RESPONSE_MALFORMED),
            // Ends at its last byte, with the defects it has.
            State::Body(framing) if framing.is_lost() => (time, Defects::RESPONSE_CUT),
            _ => return,
        };
        self.end_all(time, false, defects, sink);
    }

    /// Ends the response under way, or the one that is awaited.
    pub(super) fn end_response(
        &mut self,
        time: BootTime,
        defects: Defects,
        whole: bool,
        sink: &mut impl ExchangeSink,
    ) {
        let body = self.response.body.take();
        let Some(e) = self.open.front_mut() else {
            return;
        };
        e.response_defects.add(defects);
        if let Some(body) = body {
            e.response_defects.add(body.finish(e.id, time, whole, sink));
        }
        if !e.request_done {
            e.response_done = Some(time);
            return;
        }
        if e.wanted {
            sink.response_end(e.id, time, e.response_defects);
        }
        self.open.pop_front();
    }

    /// A head is whole.
    fn begin_response(
        &mut self,
        time: BootTime,
        parsed: ParsedResponse,
        sink: &mut impl ExchangeSink,
    ) {
        self.response.state = State::Start;
        let ParsedResponse { head, length } = parsed;
        let lost_request = self.request.is_lost();
        self.pipelines |= self.open.len() > 1;
        let Some(e) = self.open.front_mut() else {
            return;
        };
        if (100..200).contains(&head.status) && head.status != 101 {
            e.awaits_continue &= head.status != 100;
            return;
        }
        let interest = if e.wanted {
            sink.response_head(e.id, time, &head)
        } else {
            Interest::Unwanted
        };
        e.wanted = interest != Interest::Unwanted;
        let bodies = interest == Interest::Wanted;
        if !bodies && !e.request_done {
            self.request.body = None;
        }
        let switches = head.status == 101 || e.connect && (200..300).contains(&head.status);
        let bodyless = e.head || matches!(head.status, 204 | 304);
        if lost_request && !e.request_done {
            self.end_request(time, Defects::NONE, sink);
            self.request.resync(Defects::NONE);
        }
        if switches {
            self.switch(time, sink);
            return;
        }
        let framing = match length {
            _ if bodyless => None,
            Length::Known(0) => None,
            Length::Known(n) => Some(Framing::Length(n)),
            Length::Chunked => Some(Framing::chunked()),
            Length::Absent | Length::OtherCoding => Some(Framing::UntilClose),
            Length::Conflict => {
                self.counters.malformed_heads += 1;
                self.response.resync(Defects::NONE);
                self.end_response(time, Defects::RESPONSE_MALFORMED, false, sink);
                return;
            }
        };
        match framing {
            Some(framing) => {
                self.response.body = bodies.then(|| ResponseBody::new(&head));
                self.response.state = State::Body(framing);
            }
            None => self.end_response(time, Defects::NONE, true, sink),
        }
    }

    /// From here on the connection carries another protocol.
    fn switch(&mut self, time: BootTime, sink: &mut impl ExchangeSink) {
        self.verdict = Verdict::Switched;
        self.end_request(time, Defects::NONE, sink);
        self.end_response(time, Defects::NONE, true, sink);
        self.end_all(time, false, Defects::RESPONSE_CUT, sink);
    }

    fn response_body(&mut self, time: BootTime, bytes: &[u8], sink: &mut impl ExchangeSink) {
        if let (Some(e), Some(body)) = (self.open.front_mut(), &mut self.response.body) {
            body.data(e.id, time, bytes, sink);
        }
    }

    /// Bytes of a response came, but its request was not seen.
    fn unrequested_response(&mut self) {
        if self.last_way.is_none() {
            self.counters.half_seen = 1;
        } else {
            self.counters.unrequested += 1;
        }
        self.response.resync(Defects::NONE);
    }

    fn malformed_response_head(&mut self, time: BootTime, sink: &mut impl ExchangeSink) {
        self.counters.malformed_heads += 1;
        self.counters.resyncs += 1;
        self.response.resync(Defects::NONE);
        self.end_response(time, Defects::RESPONSE_MALFORMED, false, sink);
    }
}

/// Whether a piece starts a response, or at least looks much like it as far as it goes.
fn is_likely_response(piece: &[u8]) -> bool {
    let piece = skip_line_ends(piece);
    match detect::status_line(piece) {
        Looks::Yes => true,
        Looks::No => false,
        Looks::Maybe => piece.len() >= LIKELY_STATUS,
    }
}
