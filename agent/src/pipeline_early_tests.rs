//! One thread writes, another reads: answers that are told before what they answer.

use super::*;
use crate::model::event::Data;

const ID: ConnectionId = ConnectionId {
    pid: 7,
    ssl: 0x70,
    generation: 1,
};
const WRITER: u32 = 7;
const READER: u32 = 8;

/// A record: direction, time in microseconds, bytes.
type Record = (Direction, u64, Vec<u8>);

fn request(n: usize) -> Vec<u8> {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{n}"}}]}}"#);
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn answer(n: usize) -> Vec<u8> {
    let body = format!(
        r#"{{"id":"chatcmpl-{n}","object":"chat.completion","model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{n}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}}}"#
    );
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The records of some calls, 10 ms each, in the order of their times.
fn calls(count: usize) -> Vec<Record> {
    (0..count)
        .flat_map(|n| {
            let start = 1_000 + 10_000 * n as u64;
            let all = answer(n);
            let (head, body) = all.split_at(60);
            [
                (Direction::Write, start, request(n)),
                (Direction::Read, start + 2_000, head.to_vec()),
                (Direction::Read, start + 3_000, body.to_vec()),
            ]
        })
        .collect()
}

fn run(records: &[Record], reader: u32) -> (Vec<Span>, Counters) {
    let mut pipeline = Pipeline::new(1, Limits::default());
    let mut offsets = [0; 2];
    let mut last = 0;
    for (direction, time, bytes) in records {
        let offset = &mut offsets[*direction as usize];
        last = last.max(time * 1000);
        pipeline.event(&Event::Data(Data {
            connection: ID,
            direction: *direction,
            tid: match direction {
                Direction::Write => WRITER,
                Direction::Read => reader,
            },
            time: BootTime(time * 1000),
            offset: *offset,
            lost_before: false,
            skipped_before: false,
            bytes,
        }));
        *offset += bytes.len() as u64;
    }
    pipeline.event(&Event::Tick {
        time: BootTime(last + EARLY_PATIENCE + 1),
    });
    let spans = pipeline.spans().collect();
    (spans, pipeline.counters().0)
}

#[test]
fn the_answer_is_told_first() {
    let ordered = calls(4);
    let (want, counters) = run(&ordered, WRITER);
    assert_eq!(want.len(), 4);
    assert_eq!(counters.records_early, 0);
    // The same records, two threads.
    assert_eq!(run(&ordered, READER).0, want);
    // Each write told after the first, or all, of its answer.
    for late in [1, 2] {
        let mut records = ordered.clone();
        for call in records.chunks_mut(3) {
            call[..=late].rotate_left(1);
        }
        let (spans, counters) = run(&records, READER);
        assert_eq!(spans, want, "{late}");
        assert_eq!(counters.records_early, 8);
        assert_eq!(counters.http1.half_seen + counters.http1.unrequested, 0);
    }
}

#[test]
fn an_answer_whose_request_nobody_saw() {
    let mut records = calls(2);
    records.remove(0);
    let (spans, counters) = run(&records, READER);
    // The first one is told as far as it was seen.
    assert_eq!(spans.len(), 2);
    assert_eq!(counters.http1.half_seen, 1, "{counters:?}");
    assert_eq!(spans, run(&records, WRITER).0);
}

#[test]
fn what_waits_is_bounded() {
    let mut pipeline = Pipeline::new(1, Limits::default());
    let mut all = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_vec();
    let (mut offset, mut most) = (0, 0);
    for n in 0..10_000 {
        pipeline.event(&Event::Data(Data {
            connection: ID,
            direction: Direction::Read,
            tid: READER,
            time: BootTime(1000 + n),
            offset,
            lost_before: false,
            skipped_before: false,
            bytes: &all,
        }));
        offset += all.len() as u64;
        all = vec![b'x'; 1 << (n % 16)];
        for c in pipeline.connections.values() {
            assert!(c.early.held_bytes() <= MAX_EARLY_BYTES);
            assert!(c.early.len() <= MAX_EARLY_RECORDS);
            most = most.max(c.early.len());
        }
    }
    assert_eq!(most, MAX_EARLY_RECORDS);
    assert!(pipeline.counters().0.stream.bytes > 0);
}
