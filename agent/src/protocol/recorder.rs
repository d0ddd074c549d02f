//! A sink for tests: tells what it was told, bytes that follow each other joined.

use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::{
    ExchangeId, ExchangeSink, Interest, RequestHead, ResponseHead, SseEvent,
};
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Message, Payload, Sender, WebSocketSink};

/// Records calls as lines.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) lines: Vec<String>,
    /// Paths that contain this are unwanted by their request.
    pub(crate) unwanted_path: Option<&'static str>,
    /// Responses with this status are unwanted.
    pub(crate) unwanted_status: Option<u16>,
    /// Times are told as well.
    pub(crate) times: bool,
}

impl Recorder {
    /// What was told so far.
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }

    fn tell(&mut self, id: ExchangeId, time: Option<BootTime>, what: &str) {
        let at = match time.filter(|_| self.times) {
            Some(t) => format!("@{}", t.0),
            None => String::new(),
        };
        self.lines.push(format!("{}{at} {what}", id.0));
    }

    fn body(&mut self, id: ExchangeId, kind: &str, missing: u64, bytes: &[u8]) {
        let start = format!("{} {kind} ", id.0);
        if missing > 0 {
            self.lines.push(format!("{start}<{missing}>"));
        } else {
            match self.lines.last() {
                Some(last) if last.starts_with(&start) => {}
                _ => self.lines.push(start),
            }
        }
        let text: String = bytes.iter().map(|b| char::from(*b)).collect();
        if let Some(last) = self.lines.last_mut() {
            last.push_str(&text);
        }
    }

    fn end(&mut self, id: ExchangeId, time: BootTime, kind: &str, defects: Defects) {
        let names: Vec<&str> = defects.names().collect();
        self.tell(
            id,
            Some(time),
            format!("{kind} {}", names.join(",")).trim_end(),
        );
    }
}

impl ExchangeSink for Recorder {
    fn half_seen(&mut self, id: ExchangeId, _: ConnectionId, tid: u32, time: BootTime) -> Interest {
        self.tell(id, Some(time), &format!("half-seen tid{tid}"));
        Interest::Wanted
    }

    fn request_head(
        &mut self,
        id: ExchangeId,
        _: ConnectionId,
        tid: u32,
        time: BootTime,
        head: &RequestHead,
    ) -> Interest {
        let host = head.host.as_deref().unwrap_or("-");
        let what = format!("> {} {} {host} tid{tid}", head.method, head.path);
        self.tell(id, Some(time), &what);
        match self.unwanted_path {
            Some(p) if head.path.contains(p) => Interest::Unwanted,
            _ => Interest::Wanted,
        }
    }

    fn request_body(&mut self, id: ExchangeId, missing: u64, bytes: &[u8]) {
        self.body(id, ">body", missing, bytes);
    }

    fn request_end(&mut self, id: ExchangeId, time: BootTime, defects: Defects) {
        self.end(id, time, ">end", defects);
    }

    fn response_head(&mut self, id: ExchangeId, time: BootTime, head: &ResponseHead) -> Interest {
        self.tell(id, Some(time), &format!("< {}", head.status));
        if self.unwanted_status == Some(head.status) {
            Interest::Unwanted
        } else {
            Interest::Wanted
        }
    }

    fn response_body(&mut self, id: ExchangeId, _: BootTime, missing: u64, bytes: &[u8]) {
        self.body(id, "<body", missing, bytes);
    }

    fn response_event(&mut self, id: ExchangeId, time: BootTime, e: SseEvent<'_>) {
        let data = String::from_utf8_lossy(e.data);
        let what = format!("<event {}|{data}|{}", e.event, e.comment);
        self.tell(id, Some(time), &what);
    }

    fn response_doubtful(&mut self, id: ExchangeId) {
        self.tell(id, None, "<doubtful");
    }

    fn response_end(&mut self, id: ExchangeId, time: BootTime, defects: Defects) {
        self.end(id, time, "<end", defects);
    }
}

impl WebSocketSink for Recorder {
    fn socket_opened(&mut self, id: ExchangeId, time: BootTime) -> Interest {
        self.tell(id, Some(time), "socket");
        Interest::Wanted
    }

    fn socket_half_seen(
        &mut self,
        id: ExchangeId,
        _: ConnectionId,
        tid: u32,
        time: BootTime,
    ) -> Interest {
        self.tell(id, Some(time), &format!("half-seen socket tid{tid}"));
        Interest::Wanted
    }

    fn socket_message(&mut self, id: ExchangeId, m: &Message<'_>) -> Interest {
        let way = match m.sender {
            Sender::Client => '>',
            Sender::Server => '<',
        };
        let mut what = match m.payload {
            Payload::Text(text) => format!("{way}text {}", String::from_utf8_lossy(text)),
            Payload::Binary => format!("{way}binary {}", m.length),
        };
        if !m.whole {
            what.push_str(&format!(" … of {}", m.length));
        }
        if self.times {
            what.push_str(&format!(" from {} by {}", m.begun.0, m.tid));
        }
        self.tell(id, Some(m.time), &what);
        if self.unwanted_path.is_some_and(|u| what.contains(u)) {
            Interest::Unwanted
        } else {
            Interest::Wanted
        }
    }

    fn socket_gap(&mut self, id: ExchangeId, sender: Sender) {
        self.tell(id, None, &format!("gap {sender:?}"));
    }

    fn socket_closed(&mut self, id: ExchangeId, time: BootTime, ending: Ending) {
        let how = match ending.close {
            Some((sender, status)) => format!("closed {sender:?} {status}"),
            None if ending.server_ended => "closed by the server".to_owned(),
            None => "closed".to_owned(),
        };
        self.tell(id, Some(time), &how);
    }
}
