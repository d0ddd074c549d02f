use super::super::http2::encoded::{Encoder, client_preface, data, frame, headers};
use super::super::recorder::Recorder;
use super::*;

struct Talk {
    connection: Connection,
    ids: ExchangeIds,
    sink: Recorder,
    now: u64,
}

impl Talk {
    fn new(role: Role) -> Self {
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

    fn say(&mut self, direction: Direction, bytes: &[u8]) {
        self.now += 1;
        let (now, ids, sink) = (BootTime(self.now), &mut self.ids, &mut self.sink);
        self.connection.data(direction, now, 7, bytes, ids, sink);
    }

    fn gap(&mut self, direction: Direction) {
        let (now, ids, sink) = (BootTime(self.now), &mut self.ids, &mut self.sink);
        self.connection
            .gap(direction, now, 5, GapReason::Lost, ids, sink);
    }
}

const ROLES: [(Role, Direction, Direction); 2] = [
    (Role::Client, Direction::Write, Direction::Read),
    (Role::Server, Direction::Read, Direction::Write),
];

/// The server speaks before, in the middle of, or after the client's preface, in any pieces.
#[test]
fn the_preface_hands_over_what_came_before() {
    let mut q = Encoder::default();
    let mut r = Encoder::default();
    let server = frame(4, 0, 0, &[0, 5, 0, 1, 0, 0]);
    let client = [client_preface(), headers(1, true, &q.post("/a"))].concat();
    let answer = headers(1, true, &r.status("200", "text/plain"));
    for (role, to, from) in ROLES {
        for at in 0..=24 {
            for step in [1, 2, 7, 100] {
                let mut talk = Talk::new(role);
                if at > 0 {
                    talk.say(to, &client[..at]);
                }
                for piece in server.chunks(step) {
                    talk.say(from, piece);
                }
                for piece in client[at..].chunks(step) {
                    talk.say(to, piece);
                }
                talk.say(from, &answer);
                assert_eq!(talk.connection.verdict(), Verdict::Http2);
                assert_eq!(
                    talk.sink.text(),
                    "1 > POST /a h tid7\n1 >end\n1 < 200\n1 <end"
                );
                assert_eq!(talk.connection.http2().resyncs, 0);
                assert_eq!(talk.connection.http1(), http1::Counters::default());
            }
        }
    }
}

#[test]
fn http1_stays_what_it_is() {
    for (role, to, from) in ROLES {
        let mut talk = Talk::new(role);
        talk.say(to, b"PUT /a HTTP/1.1\r\nContent-Length: 22\r\n\r\n");
        // Even when what it carries looks like frames.
        talk.say(to, &headers(1, true, &Encoder::default().post("/b"))[..22]);
        talk.say(from, b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n");
        talk.say(from, &frame(6, 0, 0, &[0; 8]));
        assert_eq!(talk.connection.verdict(), Verdict::Http1);
        assert!(talk.sink.text().ends_with("1 <end"), "{}", talk.sink.text());
        assert_eq!(talk.connection.http1().exchanges, 1);
    }
}

#[test]
fn frames_are_recognised_midway() {
    let mut q = Encoder::default();
    q.block(&[("server", "before")]);
    let post = headers(9, false, &q.post("/a"));
    for (role, to, from) in ROLES {
        // By a request, which is told.
        let mut talk = Talk::new(role);
        talk.say(from, &data(7, false, b"data: x\n\n"));
        talk.say(from, b"the middle of something");
        talk.say(to, &post);
        assert_eq!(talk.connection.verdict(), Verdict::Http2);
        let half = "1 half-seen tid7\n1 <event |x|\n";
        assert_eq!(talk.sink.text(), format!("{half}2 > POST /a h tid7"));
        // By frames in both directions; what was kept is read then.
        let mut talk = Talk::new(role);
        for _ in 0..5 {
            talk.say(to, &frame(8, 0, 7, &[0, 0, 1, 0]));
            talk.say(from, b"the middle of something");
            assert_eq!(talk.connection.verdict(), Verdict::Undecided);
        }
        talk.say(from, &data(7, false, b"data: x\n\n"));
        assert_eq!(talk.connection.verdict(), Verdict::Http2);
        talk.say(to, &post);
        assert_eq!(talk.sink.text(), format!("{half}2 > POST /a h tid7"));
        // Not by one direction alone, nor by what was before a gap.
        let mut talk = Talk::new(role);
        talk.say(to, &frame(8, 0, 7, &[0, 0, 1, 0]));
        talk.gap(to);
        talk.say(from, &data(7, false, b"data: x\n\n"));
        assert_eq!(talk.connection.verdict(), Verdict::Undecided);
    }
}

#[test]
fn what_is_kept_has_a_bound() {
    let mut talk = Talk::new(Role::Client);
    for _ in 0..20_000 {
        talk.say(Direction::Write, &frame(8, 0, 7, &[0, 0, 1, 0]));
        let early = talk.connection.early.as_ref().unwrap();
        assert!(early.bytes <= MAX_EARLY_BYTES);
    }
    // And what comes after it is recognised all the same.
    talk.say(
        Direction::Write,
        &headers(9, true, &Encoder::default().post("/a")),
    );
    assert_eq!(talk.sink.text(), "1 > POST /a h tid7\n1 >end");
}
