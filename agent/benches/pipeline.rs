//! The pure pipeline on records as the kernel writes them: decoding, reassembly, HTTP/1, HTTP/2 and
//! WebSocket, event streams, lines of JSON and Amazon's frames, provider, spans. One core. `cargo xtask bench pipeline` runs it.

#![allow(missing_docs, reason = "criterion's macros make items without")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use genspan::capture::decode::{self, encode_data};
use genspan::model::event::{ConnectionId, Data, Direction, Event};
use genspan::model::process::ProcessFacts;
use genspan::model::time::BootTime;
use genspan::pipeline::{Limits, Pipeline};
use genspan::redact::{Redactor, Rules, Selection};

const PID: u32 = 4242;
const REQUEST_BODY: usize = 2048;
const ANSWER_BODY: usize = 1024;
const CHUNKS: usize = 100;

/// Records of one exchange, to be sent again and again on one connection.
struct Exchange {
    records: Vec<(Direction, Vec<u8>)>,
}

fn question(stream: bool) -> String {
    let options = if stream {
        r#","stream":true,"stream_options":{"include_usage":true}"#
    } else {
        ""
    };
    let shell = |text: &str| {
        format!(
            r#"{{"messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"{text}"}}],"model":"gpt-4o-mini","temperature":0.7{options}}}"#
        )
    };
    let text = "Tell me about the weather in Hangzhou. ".repeat(64);
    shell(&text[..REQUEST_BODY - shell("").len()])
}

fn request(stream: bool) -> Vec<u8> {
    let body = question(stream);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nAccept: application/json\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\nUser-Agent: OpenAI/Python 2.5.0\r\n\
         X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 2.5.0\r\nX-Stainless-OS: Linux\r\n\
         X-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.12.1\r\n\
         Authorization: Bearer sk-test\r\nX-Stainless-Async: async:asyncio\r\nx-stainless-retry-count: 0\r\n\
         x-stainless-read-timeout: 600\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

fn answer() -> String {
    let shell = |text: &str| {
        format!(
            r#"{{"id":"chatcmpl-x","object":"chat.completion","created":1731368639,"model":"gpt-4o-mini-2024-07-18","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":100,"completion_tokens":80,"total_tokens":180,"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0}}}},"service_tier":"default","system_fingerprint":"fp_1"}}"#
        )
    };
    let text = "It is sunny in Hangzhou today. ".repeat(32);
    shell(&text[..ANSWER_BODY - shell("").len()])
}

fn plain() -> Exchange {
    let body = answer();
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: keep-alive\r\nopenai-processing-ms: 412\r\nx-request-id: req_1\r\n\r\n",
        body.len()
    );
    let answer = [head.into_bytes(), body.into_bytes()].concat();
    Exchange {
        records: vec![
            (Direction::Write, request(false)),
            (Direction::Read, answer),
        ],
    }
}

/// The events of a stream. Distinct ones differ in more than their text: the price when each must be
/// parsed.
fn events(distinct: bool) -> Vec<String> {
    let mut number = 0;
    let mut delta = |delta: &str, finish: &str| {
        number += u32::from(distinct);
        format!(
            r#"data: {{"id":"chatcmpl-{number}","object":"chat.completion.chunk","created":1731368639,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_1","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],"usage":null}}

"#
        )
    };
    let mut events = vec![delta(r#"{"role":"assistant","content":""}"#, "null")];
    for _ in 0..CHUNKS {
        events.push(delta(r#"{"content":" sunny"}"#, "null"));
    }
    events.push(delta("{}", r#""stop""#));
    events.push(r#"data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":1731368639,"model":"gpt-4o-mini-2024-07-18","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":80,"total_tokens":180}}

"#.to_owned());
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn streamed(distinct: bool) -> Exchange {
    let mut records = vec![
        (Direction::Write, request(true)),
        (
            Direction::Read,
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
              Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
                .to_vec(),
        ),
    ];
    for event in events(distinct) {
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        records.push((Direction::Read, chunk.into_bytes()));
    }
    records.push((Direction::Read, b"0\r\n\r\n".to_vec()));
    Exchange { records }
}

/// A streamed call whose answer comes in parts of another form than events of a stream: as many as
/// the other has.
fn parted(path: &str, body: &str, kind: &str, parts: &[Vec<u8>]) -> Exchange {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut records = vec![
        (Direction::Write, request.into_bytes()),
        (Direction::Read, head.into_bytes()),
    ];
    for part in parts {
        let size = format!("{:x}\r\n", part.len());
        let chunk = [size.as_bytes(), part, b"\r\n"].concat();
        records.push((Direction::Read, chunk));
    }
    records.push((Direction::Read, b"0\r\n\r\n".to_vec()));
    Exchange { records }
}

/// A text of as many bytes as the question of the others has.
fn weather() -> String {
    let text = "Tell me about the weather in Hangzhou. ".repeat(64);
    text[..REQUEST_BODY - 64].to_owned()
}

/// A chat of Ollama's, which streams lines of JSON.
fn lines() -> Exchange {
    let line = |text: &str, end: &str| {
        format!(
            r#"{{"model":"llama3.2","created_at":"2026-11-23T08:00:00.000000Z","message":{{"role":"assistant","content":"{text}"}},{end}}}"#
        ) + "\n"
    };
    let mut parts = vec![line(" sunny", r#""done":false"#).into_bytes(); CHUNKS + 3];
    let end = r#""done":true,"done_reason":"stop","prompt_eval_count":100,"eval_count":80"#;
    parts.push(line("", end).into_bytes());
    let body = format!(
        r#"{{"model":"llama3.2","messages":[{{"role":"user","content":"{}"}}]}}"#,
        weather()
    );
    parted("/api/chat", &body, "application/x-ndjson", &parts)
}

/// A message of Amazon's event streams.
fn amazon_frame(name: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (key, value) in [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ] {
        headers.push(key.len() as u8);
        headers.extend(key.bytes());
        headers.push(7);
        headers.extend((value.len() as u16).to_be_bytes());
        headers.extend(value.bytes());
    }
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_be_bytes()
    };
    let total = 12 + headers.len() + payload.len() + 4;
    let mut frame = (total as u32).to_be_bytes().to_vec();
    frame.extend((headers.len() as u32).to_be_bytes());
    frame.extend(crc(&frame));
    frame.extend(headers);
    frame.extend(payload.bytes());
    frame.extend(crc(&frame));
    frame
}

/// A call of Bedrock's converse, which streams Amazon's frames.
fn amazon() -> Exchange {
    let delta = amazon_frame(
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"text":" sunny"},"p":"abcdefghijklmnopqrstuvwxyzABCDEFGH"}"#,
    );
    let mut parts = vec![amazon_frame("messageStart", r#"{"role":"assistant"}"#)];
    parts.extend(std::iter::repeat_n(delta, CHUNKS));
    for (name, payload) in [
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("messageStop", r#"{"stopReason":"end_turn"}"#),
        (
            "metadata",
            r#"{"metrics":{"latencyMs":412},"usage":{"inputTokens":100,"outputTokens":80,"totalTokens":180}}"#,
        ),
    ] {
        parts.push(amazon_frame(name, payload));
    }
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":[{{"text":"{}"}}]}}]}}"#,
        weather()
    );
    let path = "/model/anthropic.claude-3-haiku/converse-stream";
    parted(path, &body, "application/vnd.amazon.eventstream", &parts)
}

/// A frame of HTTP/2; its stream is set each time that it is sent.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}

/// A header block whose fields are in the table already, at these places, and one that is new
/// each time, its value not to be added: as it is from the second call on.
fn block(known: &[u8], name: u8, value: &str) -> Vec<u8> {
    let mut block: Vec<u8> = known.iter().map(|place| 0x80 | place).collect();
    block.extend([0x0f, name - 15, value.len() as u8]);
    block.extend(value.bytes());
    block
}

/// The same call over HTTP/2, with the first records of the connection.
fn http2(stream: bool) -> (Vec<(Direction, Vec<u8>)>, Exchange) {
    let literal = |name: &str, value: &str| {
        let mut field = vec![0x40, name.len() as u8];
        field.extend(name.bytes());
        field.push(value.len() as u8);
        field.extend(value.bytes());
        field
    };
    let fields = [
        (":path", "/v1/chat/completions"),
        (":authority", "api.openai.com"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("user-agent", "OpenAI/Python 2.5.0"),
        ("x-stainless-lang", "python"),
        ("x-stainless-package-version", "2.5.0"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-arch", "x64"),
        ("x-stainless-runtime", "CPython"),
        ("x-stainless-runtime-version", "3.12.1"),
        ("x-stainless-async", "async:asyncio"),
        ("x-stainless-retry-count", "0"),
        ("x-stainless-read-timeout", "600"),
        ("content-type", "application/json"),
    ];
    let table = |fields: &[(&str, &str)]| -> Vec<u8> {
        let all = fields.iter().rev().map(|(n, v)| literal(n, v));
        all.collect::<Vec<_>>().concat()
    };
    let kind = if stream {
        "text/event-stream; charset=utf-8"
    } else {
        "application/json"
    };
    let answers = [
        ("content-type", kind),
        ("openai-processing-ms", "412"),
        ("x-request-id", "req_1"),
    ];
    // Requests of nobody's, which fill the tables.
    let fill = |start: &[u8], fields: &[(&str, &str)]| {
        let mut frame = frame(1, 5, &[start, &table(fields)].concat());
        frame[8] = 1;
        frame
    };
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let start = vec![
        (
            Direction::Write,
            [
                &preface[..],
                &frame(4, 0, &[]),
                &fill(&[0x82, 0x84], &fields),
            ]
            .concat(),
        ),
        (
            Direction::Read,
            [frame(4, 0, &[]), fill(&[0x88], &answers)].concat(),
        ),
    ];
    let question = question(stream);
    let mut known = vec![3, 7];
    known.extend(62..62 + fields.len() as u8);
    let mut records = vec![
        (
            Direction::Write,
            frame(1, 4, &block(&known, 28, &question.len().to_string())),
        ),
        (Direction::Write, frame(0, 1, question.as_bytes())),
    ];
    let date = "Mon, 23 Nov 2026 08:00:00 GMT";
    let head = frame(1, 4, &block(&[8, 62, 63, 64], 33, date));
    if stream {
        records.push((Direction::Read, head));
        records.extend(
            events(false)
                .iter()
                .map(|e| (Direction::Read, frame(0, 0, e.as_bytes()))),
        );
        records.push((Direction::Read, frame(0, 1, &[])));
    } else {
        let answer = frame(0, 1, answer().as_bytes());
        records.push((Direction::Read, head));
        records.push((Direction::Read, answer));
    }
    (start, Exchange { records })
}

/// A frame of WebSocket, masked when it is the client's.
fn ws_frame(client: bool, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = if client { 0x80 } else { 0 };
    let mut frame = vec![first];
    if payload.len() < 126 {
        frame.push(mask | payload.len() as u8);
    } else {
        frame.push(mask | 126);
        frame.extend((payload.len() as u16).to_be_bytes());
    }
    let key = [0x12, 0x34, 0x56, 0x78];
    if client {
        frame.extend(key);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    } else {
        frame.extend(payload);
    }
    frame
}

/// A response of the Realtime API with as many chunks as the streamed call has, with the first
/// records of the connection. Compressed, each message stands for itself, so that it can be sent
/// again.
fn websocket(compressed: bool) -> (Vec<(Direction, Vec<u8>)>, Exchange) {
    let agreed = if compressed {
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
    } else {
        ""
    };
    let request = b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: api.openai.com\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n{agreed}\r\n");
    let start = vec![
        (Direction::Write, request.to_vec()),
        (Direction::Read, answer.into_bytes()),
    ];
    let message = |direction, text: &str| {
        let client = direction == Direction::Write;
        let frame = if compressed {
            let mut state = flate2::Compress::new(flate2::Compression::default(), false);
            let mut out = Vec::with_capacity(text.len() + 64);
            let flush = flate2::FlushCompress::Sync;
            let done = state.compress_vec(text.as_bytes(), &mut out, flush);
            assert!(done.is_ok() && out.ends_with(&[0, 0, 0xff, 0xff]));
            out.truncate(out.len() - 4);
            ws_frame(client, 0xc1, &out)
        } else {
            ws_frame(client, 0x81, text.as_bytes())
        };
        (direction, frame)
    };
    let item = format!(
        r#"{{"type":"conversation.item.create","item":{{"type":"message","role":"user","content":[{{"type":"input_text","text":"{}"}}]}}}}"#,
        "Tell me about the weather in Hangzhou. ".repeat(48)
    );
    let mut records = vec![
        message(Direction::Write, &item),
        message(Direction::Write, r#"{"type":"response.create"}"#),
        message(
            Direction::Read,
            r#"{"type":"response.created","event_id":"event_1","response":{"object":"realtime.response","id":"resp_1","status":"in_progress","output":[],"conversation_id":"conv_1"}}"#,
        ),
    ];
    for _ in 0..CHUNKS {
        records.push(message(
            Direction::Read,
            r#"{"type":"response.output_text.delta","event_id":"event_9876543210","response_id":"resp_1","item_id":"item_9876543210","output_index":0,"content_index":0,"delta":" sunny"}"#,
        ));
    }
    records.push(message(
        Direction::Read,
        r#"{"type":"response.done","event_id":"event_2","response":{"object":"realtime.response","id":"resp_1","status":"completed","output":[{"id":"item_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"It is sunny."}]}],"conversation_id":"conv_1","usage":{"total_tokens":180,"input_tokens":100,"output_tokens":80,"input_token_details":{"text_tokens":100,"audio_tokens":0},"output_token_details":{"text_tokens":80,"audio_tokens":0}}}}"#,
    ));
    (start, Exchange { records })
}

/// Feeds exchanges, one after the other on one connection, as raw records.
struct Feed {
    pipeline: Pipeline,
    exchange: Exchange,
    record: Vec<Vec<u8>>,
    offsets: [u64; 2],
    time: u64,
    /// The stream of the next exchange, over HTTP/2.
    stream: Option<u32>,
}

/// Where a record's payload begins.
const PAYLOAD: usize = size_of::<genspan_common::event::DataHeader>();

impl Feed {
    fn new(exchange: Exchange) -> Self {
        let mut pipeline = Pipeline::new(1, Limits::default());
        let facts = ProcessFacts {
            pid: PID,
            service_name: "bench".into(),
            ..Default::default()
        };
        pipeline.event(&Event::Process {
            facts: Box::new(facts),
            time: BootTime(0),
        });
        let record = exchange
            .records
            .iter()
            .map(|(direction, bytes)| {
                encode_data(&Data {
                    connection: ConnectionId {
                        pid: PID,
                        ssl: 0x7f00,
                        generation: 1,
                    },
                    direction: *direction,
                    tid: PID,
                    time: BootTime(0),
                    offset: 0,
                    lost_before: false,
                    skipped_before: false,
                    bytes,
                })
            })
            .collect();
        Self {
            pipeline,
            exchange,
            record,
            offsets: [0; 2],
            time: 1,
            stream: None,
        }
    }

    fn redacting(mut self, redactor: Redactor) -> Self {
        self.pipeline = self.pipeline.with_redactor(redactor);
        self
    }

    /// Over HTTP/2.
    fn http2(stream: bool) -> Self {
        let (start, exchange) = http2(stream);
        let mut feed = Self::new(Exchange { records: start });
        feed.once();
        let Self {
            pipeline,
            offsets,
            time,
            ..
        } = feed;
        Self {
            pipeline,
            offsets,
            time,
            stream: Some(3),
            ..Self::new(exchange)
        }
    }

    /// Over WebSocket.
    fn websocket(compressed: bool) -> Self {
        let (start, exchange) = websocket(compressed);
        let mut feed = Self::new(Exchange { records: start });
        feed.once();
        let Self {
            pipeline,
            offsets,
            time,
            ..
        } = feed;
        Self {
            pipeline,
            offsets,
            time,
            ..Self::new(exchange)
        }
    }

    /// One exchange; gives the number of spans, which must be one.
    fn once(&mut self) -> usize {
        for ((direction, bytes), record) in self.exchange.records.iter().zip(&mut self.record) {
            self.time += 1000;
            record[16..24].copy_from_slice(&self.time.to_ne_bytes());
            let offset = &mut self.offsets[*direction as usize];
            record[40..48].copy_from_slice(&offset.to_ne_bytes());
            *offset += bytes.len() as u64;
            if let Some(stream) = self.stream {
                record[PAYLOAD + 5..PAYLOAD + 9].copy_from_slice(&stream.to_be_bytes());
            }
            if let Ok(event) = decode::data(black_box(record)) {
                self.pipeline.event(&event);
            }
        }
        // Streams run out, after a thousand million calls.
        self.stream = self.stream.map(|stream| stream + 2);
        self.pipeline.spans().map(black_box).count()
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap_or("0");
    line.split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or_default()
}

fn calls(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    let mut feed = Feed::new(plain());
    group.throughput(Throughput::Elements(1));
    group.bench_function("plain_call", |b| b.iter(|| assert_eq!(feed.once(), 1)));
    for (name, rules) in [
        ("plain_call_redact_none", Rules::none()),
        (
            "plain_call_redact_all",
            Rules {
                rules: vec![Selection::All],
                ..Rules::none()
            },
        ),
    ] {
        let redactor = Redactor::new(&rules).unwrap_or_default();
        let mut feed = Feed::new(plain()).redacting(redactor);
        group.bench_function(name, |b| b.iter(|| assert_eq!(feed.once(), 1)));
    }
    group.throughput(Throughput::Elements(CHUNKS as u64 + 4));
    for (name, exchange) in [
        ("streamed_chunk", streamed(false)),
        ("streamed_chunk_distinct", streamed(true)),
        ("streamed_chunk_lines", lines()),
        ("streamed_chunk_amazon", amazon()),
    ] {
        let mut feed = Feed::new(exchange);
        group.bench_function(name, |b| b.iter(|| assert_eq!(feed.once(), 1)));
    }
    let mut feed = Feed::http2(false);
    group.throughput(Throughput::Elements(1));
    group.bench_function("plain_call_http2", |b| {
        b.iter(|| assert_eq!(feed.once(), 1));
    });
    let mut feed = Feed::http2(true);
    group.throughput(Throughput::Elements(CHUNKS as u64 + 4));
    group.bench_function("streamed_chunk_http2", |b| {
        b.iter(|| assert_eq!(feed.once(), 1));
    });
    for (name, compressed) in [
        ("streamed_chunk_websocket", false),
        ("streamed_chunk_websocket_compressed", true),
    ] {
        let mut feed = Feed::websocket(compressed);
        group.bench_function(name, |b| b.iter(|| assert_eq!(feed.once(), 1)));
    }
    group.finish();
}

/// Not a timing: a million calls must leave memory where it was.
#[expect(clippy::print_stdout, reason = "the figure is the result")]
fn memory(_: &mut Criterion) {
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let mut feed = Feed::new(plain());
    for _ in 0..10_000 {
        feed.once();
    }
    let before = resident_kib();
    for _ in 0..1_000_000 {
        feed.once();
    }
    let after = resident_kib();
    println!("memory over a million calls: {before} KiB before, {after} KiB after");
    assert!(
        after < before + 1024,
        "memory grew from {before} to {after} KiB"
    );
}

criterion_group!(benches, calls, memory);
criterion_main!(benches);
