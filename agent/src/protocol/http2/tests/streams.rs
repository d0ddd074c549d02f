//! Many streams at a time, in any order and any pieces.

use super::*;
use std::collections::BTreeMap;

/// A small generator, so that a failure can be seen again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Frames of a stream's message: its head, then what follows it.
struct Message {
    stream: u32,
    fields: Vec<(&'static str, String)>,
    frames: Vec<Vec<u8>>,
}

fn request(n: u32) -> Message {
    let stream = 2 * n + 1;
    Message {
        stream,
        fields: vec![
            (":method", "POST".into()),
            (":scheme", "https".into()),
            (":authority", "h".into()),
            (":path", format!("/v1/{}", n % 3)),
            ("authorization", "Bearer sk-secret".into()),
            ("content-length", format!("{}", n + 10)),
        ],
        frames: vec![
            data(stream, false, format!("question {n} ").as_bytes()),
            frame(0, 8, stream, &[&[3][..], b"padded ", &[0; 3]].concat()),
            data(stream, true, b""),
        ],
    }
}

fn response(n: u32) -> Message {
    let stream = 2 * n + 1;
    let event = |i: u32| data(stream, false, format!("data: {n} {i}\n\n").as_bytes());
    let streamed = n.is_multiple_of(2);
    Message {
        stream,
        fields: vec![
            (":status", "200".into()),
            (
                "content-type",
                if streamed {
                    "text/event-stream"
                } else {
                    "text/plain"
                }
                .into(),
            ),
            ("x-request-id", format!("r{n}")),
        ],
        frames: if streamed {
            let mut frames: Vec<_> = (0..n % 7 + 1).map(event).collect();
            frames.push(data(stream, true, b""));
            frames
        } else {
            vec![
                data(stream, false, format!("answer {n}").as_bytes()),
                data(stream, true, b" whole"),
            ]
        },
    }
}

/// The messages' frames in a random order that keeps each message's own; the heads in their
/// order when `in_order`. Now and then other frames come between.
fn interleaved(messages: Vec<Message>, in_order: bool, random: &mut Random) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let mut waiting: VecDeque<Message> = messages.into();
    let mut open: Vec<(u32, VecDeque<Vec<u8>>)> = Vec::new();
    let mut bytes = Vec::new();
    while !waiting.is_empty() || !open.is_empty() {
        match random.below(8) {
            0 => bytes.extend(frame(6, 0, 0, b"pingpong")),
            1 => bytes.extend(frame(8, 0, 1, &[0, 0, 1, 0])),
            2..=4 if !waiting.is_empty() => {
                let at = if in_order {
                    0
                } else {
                    random.below(waiting.len())
                };
                let message = waiting.remove(at).unwrap();
                let fields: Vec<_> = message
                    .fields
                    .iter()
                    .map(|(n, v)| (*n, v.as_str()))
                    .collect();
                let block = encoder.block(&fields);
                let (a, b) = block.split_at(random.below(block.len()));
                let (b, c) = b.split_at(random.below(b.len() + 1));
                if random.below(2) == 0 {
                    bytes.extend(headers(message.stream, false, &block));
                } else {
                    // With padding, a priority, and two continuations.
                    let payload = [&[2, 0, 0, 0, 0, 16][..], a, &[0; 2]].concat();
                    bytes.extend(frame(1, 0x28, message.stream, &payload));
                    bytes.extend(frame(9, 0, message.stream, b));
                    bytes.extend(frame(9, 4, message.stream, c));
                }
                open.push((message.stream, message.frames.into()));
            }
            _ if !open.is_empty() => {
                let at = random.below(open.len());
                bytes.extend(open[at].1.pop_front().unwrap());
                if open[at].1.is_empty() {
                    open.swap_remove(at);
                }
            }
            _ => {}
        }
    }
    bytes
}

use std::collections::VecDeque;

/// What was told of each exchange, by its path and the order of its request.
fn told(talk: &Talk) -> BTreeMap<u64, Vec<String>> {
    let mut all: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    // Bodies of other exchanges come between: join what belongs together.
    for line in &talk.sink.lines {
        let (id, rest) = line.split_once(' ').unwrap();
        let lines = all.entry(id.parse().unwrap()).or_default();
        let kind = rest.split(' ').next().unwrap();
        match lines.last_mut() {
            Some(last) if kind.ends_with("body") && last.starts_with(&format!("{kind} ")) => {
                last.push_str(&rest[kind.len() + 1..]);
            }
            _ => lines.push(rest.to_owned()),
        }
    }
    all
}

fn want(n: u32) -> Vec<String> {
    let mut lines = vec![
        format!("> POST /v1/{} h tid7", n % 3),
        format!(">body question {n} padded "),
        ">end".to_owned(),
        "< 200".to_owned(),
    ];
    if n.is_multiple_of(2) {
        lines.extend((0..n % 7 + 1).map(|i| format!("<event |{n} {i}|")));
    } else {
        lines.push(format!("<body answer {n} whole"));
    }
    lines.push("<end".to_owned());
    lines
}

fn pieces(bytes: &[u8], most: usize, random: &mut Random) -> Vec<Vec<u8>> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (piece, next) = rest.split_at(rest.len().min(1 + random.below(most)));
        pieces.push(piece.to_vec());
        rest = next;
    }
    pieces
}

#[test]
fn any_interleaving_in_any_pieces_tells_the_same() {
    const STREAMS: u32 = 32;
    for seed in 1..60 {
        let mut random = Random(seed * 0x9e37_79b9);
        let requests = interleaved((0..STREAMS).map(request).collect(), true, &mut random);
        let responses = interleaved((0..STREAMS).map(response).collect(), false, &mut random);
        let mut talk = Talk::new(Http2::new(CONNECTION, Role::Client));
        let most = [1, 3, 17, 1000, 1 << 20][seed as usize % 5];
        for piece in pieces(&[client_preface(), requests].concat(), most, &mut random) {
            talk.say(&Q(piece));
        }
        let start = frame(4, 0, 0, &[0, 5, 0, 1, 0, 0]);
        for piece in pieces(&[start, responses].concat(), most, &mut random) {
            talk.say(&R(piece));
        }
        let told = told(&talk);
        assert_eq!(told.len(), STREAMS as usize);
        for (id, lines) in told {
            assert_eq!(lines, want(id as u32 - 1), "seed {seed}");
        }
        assert_eq!(talk.http.open_streams(), 0);
        let counters = talk.http.counters();
        assert_eq!((counters.exchanges, counters.wanted), (32, 32));
        let clean = Counters {
            exchanges: 32,
            wanted: 32,
            ..Counters::default()
        };
        assert_eq!(counters, clean);
    }
}

/// Both directions in turns: what a conversation tells does not hang on where it is cut.
#[test]
fn any_split_tells_the_same() {
    let (mut client, mut server) = (Encoder::default(), Encoder::default());
    let trailers = server.block(&[("x-trailer", "1")]);
    let mut conversation = vec![
        Q([
            client_preface(),
            headers(1, false, &client.post("/a?key=k")),
        ]
        .concat()),
        R([frame(4, 0, 0, &[]), frame(4, 1, 0, &[])].concat()),
        Q(data(1, true, b"hello")),
        R(headers(1, false, &server.block(&[(":status", "103")]))),
    ];
    conversation.push(R([
        headers(1, false, &server.status("200", "text/event-stream")),
        frame(0, 8, 1, &[&[4][..], b"event: x\nda", &[0; 4]].concat()),
        data(1, false, b"ta: a\n\ndata: b\r"),
        data(1, false, b"\n\r\n"),
        headers(1, true, &trailers),
    ]
    .concat()));
    conversation.push(Q([
        headers(3, true, &client.post("/b")),
        frame(3, 0, 3, &[0, 0, 0, 8]),
    ]
    .concat()));
    let talk_of = |says: &[Say]| {
        let mut talk = Talk::new(Http2::new(CONNECTION, Role::Client));
        for say in says {
            talk.say(say);
        }
        talk.sink.text()
    };
    let all = talk_of(&conversation);
    assert_eq!(
        all,
        "1 > POST /a h tid7\n1 >body hello\n1 >end\n1 < 200\n1 <event x|a|\n1 <event |b|\n1 <end\n\
         2 > POST /b h tid7\n2 >end\n2 <end response_cut"
    );
    for (at, say) in conversation.iter().enumerate() {
        let (Q(bytes) | R(bytes)) = say else { continue };
        for cut in 0..=bytes.len() {
            let part = |b: &[u8]| match say {
                Q(_) => Q(b.to_vec()),
                _ => R(b.to_vec()),
            };
            let mut cut_up = conversation.clone();
            cut_up.splice(at..=at, [part(&bytes[..cut]), part(&bytes[cut..])]);
            assert_eq!(talk_of(&cut_up), all, "step {at} cut at {cut}");
        }
    }
}
