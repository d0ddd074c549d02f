//! Connections as they are, and as they should not be.

mod gaps;
mod messages;
pub(super) mod peer;

use super::*;
use crate::model::event::ConnectionId;
use crate::protocol::connection::Connection;
use crate::protocol::detect::Verdict;
use crate::protocol::recorder::Recorder;
use crate::stream::GapReason;
use peer::{client, frame};

/// A connection under test, and what it tells.
struct Talk {
    connection: Connection,
    ids: ExchangeIds,
    sink: Recorder,
    now: u64,
}

/// What the client asks for, with a key that nobody may keep.
const REQUEST: &[u8] = b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-1\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

const PLAIN: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: x\r\n\r\n";

/// An agreement on compression.
fn deflating(parameters: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n\r\n"
    )
    .into_bytes()
}

impl Talk {
    fn unseen(role: Role) -> Self {
        let id = ConnectionId {
            pid: 1,
            ssl: 2,
            generation: 3,
        };
        Self {
            connection: Connection::new(id, role),
            ids: ExchangeIds::default(),
            sink: Recorder::default(),
            now: 0,
        }
    }

    /// After its handshake.
    fn opened(role: Role, response: &[u8]) -> Self {
        let mut talk = Self::unseen(role);
        talk.say(Sender::Client, REQUEST);
        talk.say(Sender::Server, response);
        talk.sink.lines.clear();
        talk
    }

    fn direction(&self, sender: Sender) -> Direction {
        match (self.connection.role(), sender) {
            (Role::Client, Sender::Client) | (Role::Server, Sender::Server) => Direction::Write,
            _ => Direction::Read,
        }
    }

    fn say(&mut self, sender: Sender, bytes: &[u8]) {
        self.now += 1;
        let direction = self.direction(sender);
        let (now, ids, sink) = (BootTime(self.now), &mut self.ids, &mut self.sink);
        self.connection.data(direction, now, 7, bytes, ids, sink);
    }

    fn gap(&mut self, sender: Sender, missing: u64) {
        self.now += 1;
        let direction = self.direction(sender);
        let (now, ids, sink) = (BootTime(self.now), &mut self.ids, &mut self.sink);
        self.connection
            .gap(direction, now, missing, GapReason::Lost, ids, sink);
    }

    fn close(&mut self) {
        self.connection
            .closed(BootTime(99), &mut self.ids, &mut self.sink);
    }

    /// What was told since the last time, without the ids.
    fn told(&mut self) -> Vec<String> {
        let line = |line: String| line.split_once(' ').unwrap().1.to_owned();
        self.sink.lines.drain(..).map(line).collect()
    }
}

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// From the handshake to the close, cut in two anywhere, and byte by byte.
#[test]
fn any_split_gives_the_same() {
    let mut deflater = peer::Deflater::new(true);
    for (response, compressed) in [(PLAIN.to_vec(), false), (deflating(""), true)] {
        let mut text = |text: &str| {
            if compressed {
                frame(0xc1, &deflater.message(text.as_bytes()))
            } else {
                frame(0x81, text.as_bytes())
            }
        };
        let server = [
            response,
            text("{\"type\":\"session.created\"}"),
            frame(0x89, b"ping"),
            frame(0x02, &[0; 70]),
            frame(0x8a, b""),
            frame(0x80, &[0; 80]),
            text(&"long ".repeat(50)),
            frame(0x81, b""),
            frame(0x88, &[3, 232, b'b', b'y', b'e']),
        ]
        .concat();
        let told = |cuts: &dyn Fn(&mut Talk)| {
            let mut talk = Talk::unseen(Role::Client);
            talk.say(Sender::Client, REQUEST);
            cuts(&mut talk);
            talk.close();
            talk.told()
        };
        let want = told(&|talk| talk.say(Sender::Server, &server));
        assert_eq!(
            want[..7],
            [
                "> GET /v1/realtime h tid7",
                ">end",
                "< 101",
                "<end",
                "socket",
                "<text {\"type\":\"session.created\"}",
                "<binary 150",
            ]
        );
        assert_eq!(want[8..], ["<text ", "closed Server 1000"]);
        for at in 0..=server.len() {
            let (a, b) = server.split_at(at);
            let got = told(&|talk| {
                talk.say(Sender::Server, a);
                talk.say(Sender::Server, b);
            });
            assert_eq!(got, want, "{at}");
        }
        let got = told(&|talk| server.chunks(1).for_each(|b| talk.say(Sender::Server, b)));
        assert_eq!(got, want);
    }
}

#[test]
fn who_does_not_want_it_is_told_nothing() {
    for role in ROLES {
        let mut talk = Talk::unseen(role);
        talk.sink.unwanted_path = Some("realtime");
        talk.say(Sender::Client, REQUEST);
        talk.say(Sender::Server, PLAIN);
        talk.say(Sender::Client, &client(0x81, b"{}"));
        assert_eq!(talk.connection.verdict(), Verdict::Switched);
        assert_eq!(talk.told(), ["> GET /v1/realtime h tid7"]);
        // Or after a while not any more.
        let mut talk = Talk::opened(role, PLAIN);
        assert_eq!(talk.connection.verdict(), Verdict::WebSocket);
        talk.sink.unwanted_path = Some("enough");
        talk.say(Sender::Client, &client(0x81, b"some"));
        talk.say(Sender::Server, &frame(0x81, b"enough"));
        talk.say(Sender::Client, &client(0x81, b"more"));
        talk.close();
        assert_eq!(talk.told(), [">text some", "<text enough"]);
        assert_eq!(talk.connection.verdict(), Verdict::Switched);
    }
}

#[test]
fn other_switches_are_not_followed() {
    for response in [
        &b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"[..],
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: x-own\r\n\r\n",
    ] {
        let mut talk = Talk::opened(Role::Client, response);
        talk.say(
            Sender::Server,
            &frame(0x81, b"{\"type\":\"session.created\"}"),
        );
        assert_eq!(talk.connection.verdict(), Verdict::Switched);
        assert!(talk.told().is_empty());
    }
}

/// An answer that refuses leaves the connection as it was.
#[test]
fn a_refusal_is_an_answer() {
    let mut talk = Talk::unseen(Role::Client);
    talk.say(Sender::Client, REQUEST);
    talk.say(
        Sender::Server,
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}",
    );
    talk.say(Sender::Client, b"GET /b HTTP/1.1\r\n\r\n");
    assert_eq!(
        talk.told(),
        [
            "> GET /v1/realtime h tid7",
            ">end",
            "< 401",
            "<body {}",
            "<end",
            "> GET /b - tid7",
            ">end",
        ]
    );
    assert_eq!(talk.connection.verdict(), Verdict::Http1);
}

/// Of what came before the switch the counters stay.
#[test]
fn counters() {
    let mut talk = Talk::unseen(Role::Client);
    talk.say(Sender::Client, b"GET /a HTTP/1.1\r\n\r\n");
    talk.say(Sender::Server, b"HTTP/1.1 204 No\r\n\r\n");
    talk.say(Sender::Client, REQUEST);
    talk.say(Sender::Server, PLAIN);
    talk.say(
        Sender::Server,
        &[frame(0x81, b"a"), frame(0x89, b"")].concat(),
    );
    talk.say(Sender::Client, &client(0x82, b"abc"));
    assert_eq!(talk.connection.http1().exchanges, 2);
    assert_eq!(
        talk.connection.websocket(),
        Counters {
            sockets: 1,
            frames: 3,
            messages: 2,
            ..Counters::default()
        }
    );
}
