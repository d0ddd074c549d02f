//! Frames, messages, gaps and ends in both directions, after a handshake or without one: nothing
//! panics, every WebSocket is closed exactly once, what is told of a message is bounded, memory
//! stays bounded, the same messages come however the bytes are split, and the provider stage holds
//! nothing when it is over: what began is over too.
#![no_main]

use arbitrary::Arbitrary;
use genspan::model::call::CallEvent;
use genspan::model::defect::Defects;
use genspan::model::event::{ConnectionId, Direction};
use genspan::model::exchange::{
    ExchangeId, ExchangeSink, Interest, RequestHead, ResponseHead, SseEvent,
};
use genspan::model::time::BootTime;
use genspan::model::websocket::{Ending, Message, Payload, Sender, WebSocketSink};
use genspan::protocol::connection::Connection;
use genspan::protocol::websocket::{Extensions, MAX_MESSAGE_BYTES, MAX_SEARCH_BYTES, WebSocket};
use genspan::protocol::{ExchangeIds, Role};
use genspan::provider::{Calls, Limits};
use genspan::stream::GapReason;
use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;

#[derive(Arbitrary, Clone, Debug)]
enum Step<'a> {
    Bytes(bool, &'a [u8]),
    /// A frame as it should be: its first byte, its payload.
    Frame(bool, u8, &'a [u8]),
    /// A text of one frame: one of the events, with something of the fuzzer's in it.
    Event(bool, u8, &'a str),
    Gap(bool, u16),
    HugeGap(bool, u64),
}

/// What the providers' events are like.
const EVENTS: &[(&str, &str)] = &[
    (
        r#"{"type":"session.created","session":{"model":""#,
        r#""}}"#,
    ),
    (
        r#"{"type":"session.updated","session":{"instructions":""#,
        r#""}}"#,
    ),
    (r#"{"type":"response.create","event_id":""#, r#""}"#),
    (
        r#"{"type":"response.create","response":{"input":[{"role":"user","content":[{"type":"text","text":""#,
        r#""}]}]}}"#,
    ),
    (r#"{"type":"response.created","response":{"id":""#, r#""}}"#),
    (
        r#"{"type":"response.output_text.delta","response_id":"","delta":""#,
        r#""}"#,
    ),
    (
        r#"{"type":"response.audio.delta","response_id":""#,
        r#"","delta":"AAAA"}"#,
    ),
    (
        r#"{"type":"response.output_item.added","item":{"type":"function_call","name":""#,
        r#""}}"#,
    ),
    (
        r#"{"type":"response.done","response":{"status":"completed","id":""#,
        r#""}}"#,
    ),
    (r#"{"type":"input_audio_buffer.append","audio":""#, r#""}"#),
    (
        r#"{"type":"input_audio_buffer.committed","item_id":""#,
        r#""}"#,
    ),
    (r#"{"type":"input_text_buffer.append","text":""#, r#""}"#),
    (r#"{"type":"input_text_buffer.commit","x":""#, r#""}"#),
    (
        r#"{"type":"conversation.item.create","item":{"role":"user","content":[{"type":"input_text","text":""#,
        r#""}]}}"#,
    ),
    (
        r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"","transcript":""#,
        r#""}"#,
    ),
    (
        r#"{"type":"error","error":{"event_id":"","code":""#,
        r#""}}"#,
    ),
    (
        r#"{"header":{"action":"run-task","task_id":"t","streaming":"duplex"},"payload":{"task":"asr","model":""#,
        r#""}}"#,
    ),
    (
        r#"{"header":{"action":"run-task","task_id":"t"},"payload":{"task_group":"aigc","task":"text-generation","model":""#,
        r#""}}"#,
    ),
    (
        r#"{"header":{"action":"continue-task","task_id":"t"},"payload":{"input":{"text":""#,
        r#""}}}"#,
    ),
    (
        r#"{"header":{"event":"result-generated","task_id":"t"},"payload":{"output":{"sentence":{"text":""#,
        r#""}}}}"#,
    ),
    (
        r#"{"header":{"event":"result-generated","task_id":"t"},"payload":{"output":{"finish_reason":"null","text":""#,
        r#""}}}"#,
    ),
    (
        r#"{"header":{"event":"task-failed","task_id":"t","error_code":""#,
        r#""}}"#,
    ),
    (
        r#"{"header":{"event":"task-finished","task_id":"t","x":""#,
        r#""},"payload":{}}"#,
    ),
];

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Start {
    /// With a handshake; compressed, and how.
    Handshake(Option<u8>),
    /// Without one.
    Unseen,
}

fn frame(client: bool, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = if client { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..=125 => frame.push(mask | n as u8),
        n => {
            frame.push(mask | 126);
            frame.extend((n as u16).to_be_bytes());
        }
    }
    let key = if client { [1, 2, 3, 4] } else { [0; 4] };
    if client {
        frame.extend(key);
    }
    let payload = payload.iter().take(0xffff);
    frame.extend(payload.zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    frame
}

/// Hears what a reader tells, and hands it to the provider stage.
struct Sink {
    calls: Calls,
    /// Messages without their times, joined: what must not depend on splits.
    messages: Vec<(Sender, Vec<u8>, u64, bool)>,
    gaps: usize,
    open: bool,
    closed: usize,
}

impl Sink {
    fn new() -> Self {
        Self {
            calls: Calls::new(Limits::default()),
            messages: Vec::new(),
            gaps: 0,
            open: false,
            closed: 0,
        }
    }
}

impl ExchangeSink for Sink {
    fn half_seen(&mut self, _: ExchangeId, _: ConnectionId, _: u32, _: BootTime) -> Interest {
        Interest::Unwanted
    }

    fn request_head(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        tid: u32,
        time: BootTime,
        head: &RequestHead,
    ) -> Interest {
        self.calls.request_head(id, connection, tid, time, head)
    }

    fn request_body(&mut self, id: ExchangeId, missing: u64, bytes: &[u8]) {
        self.calls.request_body(id, missing, bytes);
    }

    fn request_end(&mut self, id: ExchangeId, time: BootTime, defects: Defects) {
        self.calls.request_end(id, time, defects);
    }

    fn response_head(&mut self, id: ExchangeId, time: BootTime, head: &ResponseHead) -> Interest {
        self.calls.response_head(id, time, head)
    }

    fn response_body(&mut self, id: ExchangeId, time: BootTime, missing: u64, bytes: &[u8]) {
        self.calls.response_body(id, time, missing, bytes);
    }

    fn response_event(&mut self, id: ExchangeId, time: BootTime, event: SseEvent<'_>) {
        self.calls.response_event(id, time, event);
    }

    fn response_doubtful(&mut self, id: ExchangeId) {
        self.calls.response_doubtful(id);
    }

    fn response_end(&mut self, id: ExchangeId, time: BootTime, defects: Defects) {
        self.calls.response_end(id, time, defects);
    }
}

impl WebSocketSink for Sink {
    fn socket_opened(&mut self, id: ExchangeId, time: BootTime) -> Interest {
        assert!(!self.open);
        let interest = self.calls.socket_opened(id, time);
        self.open = interest == Interest::Wanted;
        interest
    }

    fn socket_half_seen(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        tid: u32,
        time: BootTime,
    ) -> Interest {
        assert!(!self.open);
        self.open = true;
        self.calls.socket_half_seen(id, connection, tid, time)
    }

    fn socket_message(&mut self, id: ExchangeId, message: &Message<'_>) -> Interest {
        assert!(self.open);
        let text = match message.payload {
            Payload::Text(text) => {
                assert!(text.len() <= MAX_MESSAGE_BYTES && text.len() as u64 <= message.length);
                assert!(!message.whole || text.len() as u64 == message.length);
                text.to_vec()
            }
            Payload::Binary => Vec::new(),
        };
        let told = (message.sender, text, message.length, message.whole);
        self.messages.push(told);
        let interest = self.calls.socket_message(id, message);
        self.open = interest == Interest::Wanted;
        interest
    }

    fn socket_gap(&mut self, id: ExchangeId, sender: Sender) {
        assert!(self.open);
        self.gaps += 1;
        self.calls.socket_gap(id, sender);
    }

    fn socket_closed(&mut self, id: ExchangeId, time: BootTime, ending: Ending) {
        assert!(self.open);
        self.open = false;
        self.closed += 1;
        self.calls.socket_closed(id, time, ending);
    }
}

const REQUEST: &[&[u8]] = &[
    b"GET /v1/realtime?model=m HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    b"GET /api-ws/v1/inference HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
];

fn direction(server: bool, client: bool) -> Direction {
    if server == client {
        Direction::Read
    } else {
        Direction::Write
    }
}

/// Runs the steps, bytes in pieces of `size`.
fn run(server: bool, start: Start, path: bool, steps: &[Step<'_>], size: usize) -> Sink {
    let role = if server { Role::Server } else { Role::Client };
    let id = ConnectionId {
        pid: 1,
        ssl: 1,
        generation: 1,
    };
    let (mut ids, mut sink) = (ExchangeIds::default(), Sink::new());
    let mut connection = Connection::new(id, role);
    let mut now = 0;
    if let Start::Handshake(compressed) = start {
        let parameters = match compressed {
            None => String::new(),
            Some(n) => {
                let of_client = ["", "; client_no_context_takeover"][usize::from(n & 1)];
                let of_server = ["", "; server_no_context_takeover"][usize::from(n >> 1 & 1)];
                format!("Sec-WebSocket-Extensions: permessage-deflate{of_client}{of_server}\r\n")
            }
        };
        let answer = format!("HTTP/1.1 101 S\r\nUpgrade: websocket\r\n{parameters}\r\n");
        let (to, from) = (direction(server, true), direction(server, false));
        let request = REQUEST[usize::from(path)];
        connection.data(to, BootTime(0), 1, request, &mut ids, &mut sink);
        connection.data(from, BootTime(0), 1, answer.as_bytes(), &mut ids, &mut sink);
        assert!(sink.open);
    }
    for step in steps {
        now += 1;
        let time = BootTime(now);
        let (client, bytes) = match step {
            Step::Gap(client, n) => {
                let (d, n, reason) = (direction(server, *client), u64::from(*n), GapReason::Lost);
                connection.gap(d, time, n, reason, &mut ids, &mut sink);
                continue;
            }
            Step::HugeGap(client, n) => {
                let (d, reason) = (direction(server, *client), GapReason::Missing);
                connection.gap(d, time, *n, reason, &mut ids, &mut sink);
                continue;
            }
            Step::Bytes(client, bytes) => (*client, bytes.to_vec()),
            Step::Frame(client, first, payload) => (*client, frame(*client, *first, payload)),
            Step::Event(client, which, text) => {
                let (before, after) = EVENTS[usize::from(*which) % EVENTS.len()];
                let event = format!("{before}{text}{after}");
                (*client, frame(*client, 0x81, event.as_bytes()))
            }
        };
        for piece in bytes.chunks(size.max(1)) {
            connection.data(
                direction(server, client),
                time,
                1,
                piece,
                &mut ids,
                &mut sink,
            );
        }
    }
    connection.closed(BootTime(now + 1), &mut ids, &mut sink);
    assert!(!sink.open);
    assert_eq!(sink.calls.open_calls(), 0);
    let mut begun = HashSet::new();
    for event in sink.calls.drain() {
        match event {
            CallEvent::Began(call) => assert!(begun.insert(call.exchange)),
            CallEvent::Over { exchange, .. } => {
                begun.remove(&exchange);
            }
            _ => {}
        }
    }
    assert!(begun.is_empty());
    sink
}

/// The reader alone: what it buffers is bounded.
fn bounded(steps: &[Step<'_>]) {
    let (mut ids, mut sink) = (ExchangeIds::default(), Nobody);
    let extensions = Extensions::Deflate(Default::default());
    let mut socket = WebSocket::new(ExchangeId(0), Role::Client, extensions, true);
    for step in steps {
        let (client, bytes) = match step {
            Step::Bytes(client, bytes) => (*client, bytes.to_vec()),
            Step::Frame(client, first, payload) => (*client, frame(*client, *first, payload)),
            Step::Gap(client, n) => {
                let missing = u64::from(*n);
                socket.gap(
                    direction(false, *client),
                    BootTime(1),
                    missing,
                    &mut ids,
                    &mut sink,
                );
                continue;
            }
            _ => continue,
        };
        let direction = direction(false, client);
        socket.data(direction, BootTime(1), 1, &bytes, &mut ids, &mut sink);
        let most = 2 * (MAX_MESSAGE_BYTES + MAX_SEARCH_BYTES + bytes.len());
        assert!(socket.buffered() <= most);
    }
    socket.closed(BootTime(2), &mut ids, &mut sink);
}

/// Wants everything.
struct Nobody;

impl WebSocketSink for Nobody {
    fn socket_message(&mut self, _: ExchangeId, _: &Message<'_>) -> Interest {
        Interest::Wanted
    }
}

fuzz_target!(|input: (bool, Start, bool, u8, Vec<Step<'_>>)| {
    let (server, start, path, size, steps) = input;
    let whole = run(server, start, path, &steps, usize::MAX);
    let wild = steps.iter().any(|s| {
        matches!(s, Step::Bytes(..) | Step::Gap(..) | Step::HugeGap(..))
            || matches!(s, Step::Frame(_, first, _) if first & 0x70 != 0)
    });
    let pieces = run(server, start, path, &steps, usize::from(size));
    // Only a piece may begin with a frame that is searched for.
    if !wild && start != Start::Unseen && whole.gaps == 0 {
        assert_eq!(whole.messages, pieces.messages);
        assert_eq!(whole.closed, pieces.closed);
    }
    bounded(&steps);
});
