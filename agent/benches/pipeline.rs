//! The pure pipeline on records as the kernel writes them: decoding, reassembly, HTTP, SSE,
//! provider, spans. One core. `cargo xtask bench pipeline` runs it.

#![allow(missing_docs, reason = "criterion's macros make items without")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use genspan::capture::decode::{self, encode_data};
use genspan::model::event::{ConnectionId, Data, Direction, Event};
use genspan::model::process::ProcessFacts;
use genspan::model::time::BootTime;
use genspan::pipeline::{Limits, Pipeline};

const PID: u32 = 4242;
const REQUEST_BODY: usize = 2048;
const ANSWER_BODY: usize = 1024;
const CHUNKS: usize = 100;

/// Records of one exchange, to be sent again and again on one connection.
struct Exchange {
    records: Vec<(Direction, Vec<u8>)>,
}

fn request(stream: bool) -> Vec<u8> {
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
    let body = shell(&text[..REQUEST_BODY - shell("").len()]);
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

fn plain() -> Exchange {
    let shell = |text: &str| {
        format!(
            r#"{{"id":"chatcmpl-x","object":"chat.completion","created":1731368639,"model":"gpt-4o-mini-2024-07-18","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":100,"completion_tokens":80,"total_tokens":180,"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0}}}},"service_tier":"default","system_fingerprint":"fp_1"}}"#
        )
    };
    let text = "It is sunny in Hangzhou today. ".repeat(32);
    let body = shell(&text[..ANSWER_BODY - shell("").len()]);
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

fn streamed() -> Exchange {
    let chunk = |data: String| {
        let event = format!("data: {data}\n\n");
        format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
    };
    let delta = |delta: &str, finish: &str| {
        chunk(format!(
            r#"{{"id":"chatcmpl-x","object":"chat.completion.chunk","created":1731368639,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_1","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],"usage":null}}"#
        ))
    };
    let mut records = vec![
        (Direction::Write, request(true)),
        (
            Direction::Read,
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
              Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
                .to_vec(),
        ),
        (
            Direction::Read,
            delta(r#"{"role":"assistant","content":""}"#, "null"),
        ),
    ];
    for _ in 0..CHUNKS {
        records.push((Direction::Read, delta(r#"{"content":" sunny"}"#, "null")));
    }
    records.push((Direction::Read, delta("{}", r#""stop""#)));
    records.push((
        Direction::Read,
        chunk(r#"{"id":"chatcmpl-x","object":"chat.completion.chunk","created":1731368639,"model":"gpt-4o-mini-2024-07-18","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":80,"total_tokens":180}}"#.to_owned()),
    ));
    records.push((Direction::Read, chunk("[DONE]".to_owned())));
    records.push((Direction::Read, b"0\r\n\r\n".to_vec()));
    Exchange { records }
}

/// Feeds exchanges, one after the other on one connection, as raw records.
struct Feed {
    pipeline: Pipeline,
    exchange: Exchange,
    record: Vec<Vec<u8>>,
    offsets: [u64; 2],
    time: u64,
}

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
            if let Ok(event) = decode::data(black_box(record)) {
                self.pipeline.event(&event);
            }
        }
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
    let mut feed = Feed::new(streamed());
    group.throughput(Throughput::Elements(CHUNKS as u64 + 4));
    group.bench_function("streamed_chunk", |b| b.iter(|| assert_eq!(feed.once(), 1)));
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
