//! One stream: an exchange under way (RFC 9113, section 8.1).

use super::start::{Is, Start};
use crate::model::defect::Defects;
use crate::model::exchange::{ExchangeId, ExchangeSink};
use crate::model::time::BootTime;
use crate::protocol::content::{RequestBody, ResponseBody};

/// One of the two messages of an exchange.
pub(super) struct Half<B> {
    /// When it was over, if it is.
    pub(super) done: Option<BootTime>,
    /// Frames of it may have been missed, its end among them.
    pub(super) lost: bool,
    pub(super) defects: Defects,
    /// Its body, when somebody wants it.
    pub(super) body: Option<B>,
}

impl<B> Half<B> {
    const fn new() -> Self {
        Self {
            done: None,
            lost: false,
            defects: Defects::NONE,
            body: None,
        }
    }
}

/// One exchange.
pub(super) struct Stream {
    /// `None` when its request's head could not be read: then nothing is told of it.
    pub(super) id: Option<ExchangeId>,
    /// The sink still wants to hear of it.
    pub(super) wanted: bool,
    pub(super) request: Half<RequestBody>,
    pub(super) response: Half<ResponseBody>,
    /// The final response's head came.
    pub(super) answered: bool,
    /// The start of a response's body of which it is not known yet what it is.
    pub(super) start: Option<Start>,
    /// Time of its latest frame.
    pub(super) last: BootTime,
    /// The newest stream of the connection when its latest frame came.
    pub(super) newest: u32,
}

impl Stream {
    pub(super) const fn new(
        id: Option<ExchangeId>,
        wanted: bool,
        now: BootTime,
        newest: u32,
    ) -> Self {
        Self {
            id,
            wanted,
            request: Half::new(),
            response: Half::new(),
            answered: false,
            start: None,
            last: now,
            newest,
        }
    }

    /// An exchange whose request was not seen: nothing of that is told.
    pub(super) const fn half_seen(
        id: ExchangeId,
        wanted: bool,
        now: BootTime,
        newest: u32,
    ) -> Self {
        let mut stream = Self::new(Some(id), wanted, now, newest);
        stream.request.done = Some(now);
        stream
    }

    /// The exchange, as long as somebody wants to hear of it.
    pub(super) fn told(&self) -> Option<ExchangeId> {
        self.id.filter(|_| self.wanted)
    }

    /// Both messages are over.
    pub(super) const fn is_over(&self) -> bool {
        self.request.done.is_some() && self.response.done.is_some()
    }

    /// Nobody wants to hear of it any more.
    pub(super) fn unwanted(&mut self) {
        self.wanted = false;
        self.request.body = None;
        self.response.body = None;
        self.start = None;
    }

    pub(super) fn request_data(&mut self, bytes: &[u8], sink: &mut impl ExchangeSink) {
        if let (Some(id), Some(body)) = (self.told(), &mut self.request.body) {
            body.data(id, bytes, sink);
        }
    }

    pub(super) fn response_data(
        &mut self,
        time: BootTime,
        bytes: &[u8],
        sink: &mut impl ExchangeSink,
    ) {
        if let Some(start) = &mut self.start {
            start.bytes.extend_from_slice(bytes);
            self.started(time, false, sink);
        } else if let (Some(id), Some(body)) = (self.told(), &mut self.response.body) {
            body.data(id, time, bytes, sink);
        }
    }

    /// Looks at the start of a body.
    fn started(&mut self, time: BootTime, whole: bool, sink: &mut impl ExchangeSink) {
        let Some(start) = self.start.take() else {
            return;
        };
        match start.is(whole) {
            Is::Maybe => self.start = Some(start),
            Is::Body(body) => {
                self.response.body = Some(body);
                self.response_data(time, &start.bytes, sink);
            }
            Is::Other if start.bytes.is_empty() => {}
            Is::Other => self.response.defects.add(Defects::BODY_UNDECODABLE),
        }
    }

    /// Bytes of the request were missed.
    pub(super) fn request_gap(
        &mut self,
        missing: u64,
        defect: Defects,
        sink: &mut impl ExchangeSink,
    ) {
        if self.request.done.is_some() {
            return;
        }
        self.request.defects.add(defect);
        if let (Some(id), Some(body)) = (self.told(), &mut self.request.body) {
            body.gap(id, missing, sink);
        }
    }

    /// Bytes of the response were missed.
    pub(super) fn response_gap(
        &mut self,
        time: BootTime,
        missing: u64,
        defect: Defects,
        sink: &mut impl ExchangeSink,
    ) {
        if self.response.done.is_some() {
            return;
        }
        self.response.defects.add(defect);
        self.started(time, true, sink);
        if let (Some(id), Some(body)) = (self.told(), &mut self.response.body) {
            body.gap(id, time, missing, sink);
        }
    }

    /// The request is over, one way or the other.
    pub(super) fn end_request(
        &mut self,
        time: BootTime,
        defects: Defects,
        sink: &mut impl ExchangeSink,
    ) {
        if self.request.done.is_some() {
            return;
        }
        self.request.done = Some(time);
        self.request.defects.add(defects);
        if let Some(body) = self.request.body.take() {
            let whole = self.request.defects.is_none();
            self.request.defects.add(body.finish(whole));
        }
        if let Some(id) = self.told() {
            sink.request_end(id, time, self.request.defects);
            self.tell_end(id, sink);
        }
    }

    /// The response is over, `whole` or not.
    pub(super) fn end_response(
        &mut self,
        time: BootTime,
        defects: Defects,
        sink: &mut impl ExchangeSink,
    ) {
        if self.response.done.is_some() {
            return;
        }
        self.started(time, true, sink);
        self.response.done = Some(time);
        self.response.defects.add(defects);
        let body = self.response.body.take();
        if let Some(id) = self.told() {
            if let Some(body) = body {
                let whole = self.response.defects.is_none();
                let found = body.finish(id, time, whole, sink);
                self.response.defects.add(found);
            }
            if self.request.done.is_some() {
                self.tell_end(id, sink);
            }
        }
        // Its end was missed: a request that was answered is over.
        if self.request.lost {
            self.end_request(time, Defects::NONE, sink);
        }
    }

    /// A response that was over before its request waits for that.
    fn tell_end(&self, id: ExchangeId, sink: &mut impl ExchangeSink) {
        if let Some(time) = self.response.done {
            sink.response_end(id, time, self.response.defects);
        }
    }

    /// Whatever is not over ends here; `cut` is what a response suffers by that.
    pub(super) fn end(&mut self, time: BootTime, cut: Defects, sink: &mut impl ExchangeSink) {
        let (at, cut) = if self.response.lost {
            // Most likely it was whole long ago; its defects tell of the gap.
            (self.last, Defects::NONE)
        } else {
            (time, cut)
        };
        let request = if self.request.lost {
            Defects::NONE
        } else {
            Defects::REQUEST_CUT
        };
        self.end_request(time, request, sink);
        self.end_response(at, cut, sink);
    }
}
