//! Records of a connection in, spans out: what a loss anywhere does to the calls around it.

use super::*;
use crate::model::process::ProcessFacts;
use crate::model::span::{Attributes, Value};
use crate::protocol::http1;
use crate::vocabulary::attr;

const CONNECTION: ConnectionId = ConnectionId {
    pid: 7,
    ssl: 1,
    generation: 1,
};

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Length,
    Chunked,
    Stream,
    Responses,
}

const KINDS: [Kind; 4] = [Kind::Length, Kind::Chunked, Kind::Stream, Kind::Responses];

/// Bytes that went over the connection at once, and of which exchange they are.
#[derive(Clone, Debug)]
struct Record {
    exchange: usize,
    direction: Direction,
    bytes: Vec<u8>,
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The records of an exchange; everything in them names it.
fn exchange(n: usize, kind: Kind) -> Vec<Record> {
    let (path, body) = match kind {
        Kind::Responses => (
            "responses",
            format!(r#"{{"model":"m-{n}","stream":true,"input":"ask-{n}"}}"#),
        ),
        _ => (
            "chat/completions",
            format!(r#"{{"model":"m-{n}","messages":[{{"role":"user","content":"ask-{n}"}}]}}"#),
        ),
    };
    let head = format!(
        "POST /v1/{path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = format!(
        r#"{{"id":"id-{n}","object":"chat.completion","model":"am-{n}","choices":[{{"index":0,"finish_reason":"stop","message":{{"role":"assistant","content":"say-{n} so-{n}"}}}}],"usage":{{"prompt_tokens":10{n},"completion_tokens":2}}}}"#
    );
    let events =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let delta = |text: &str, more: &str| {
        chunk(&format!(
            "data: {{\"id\":\"id-{n}\",\"object\":\"chat.completion.chunk\",\"model\":\"am-{n}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}{more}}}],\"usage\":{{\"prompt_tokens\":10{n},\"completion_tokens\":2}}}}\n\n"
        ))
    };
    let response = |status: &str, output: &str| {
        format!(
            r#"{{"id":"id-{n}","object":"response","model":"am-{n}","status":"{status}","output":[{output}],"usage":{{"input_tokens":10{n},"output_tokens":2}}}}"#
        )
    };
    let event = |kind: &str, rest: &str| {
        chunk(&format!(
            "event: {kind}\ndata: {{\"type\":\"{kind}\",{rest}}}\n\n"
        ))
    };
    let answers: Vec<String> = match kind {
        Kind::Length => {
            let (a, b) = answer.split_at(answer.len() / 2);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            vec![head, a.to_owned(), b.to_owned()]
        }
        Kind::Chunked => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
            let parts = answer
                .as_bytes()
                .chunks(60)
                .map(|b| chunk(&String::from_utf8_lossy(b)));
            [vec![head], parts.collect(), vec!["0\r\n\r\n".to_owned()]].concat()
        }
        Kind::Stream => vec![
            events.to_owned(),
            delta(&format!("say-{n}"), ""),
            delta(&format!(" so-{n}"), ""),
            delta("", ",\"finish_reason\":\"stop\""),
            chunk("data: [DONE]\n\n"),
            "0\r\n\r\n".to_owned(),
        ],
        Kind::Responses => {
            let item = format!(
                r#"{{"type":"message","role":"assistant","status":"completed","content":[{{"type":"output_text","text":"say-{n} so-{n}"}}]}}"#
            );
            vec![
                events.to_owned(),
                event(
                    "response.created",
                    &format!("\"response\":{}", response("in_progress", "")),
                ),
                event(
                    "response.output_item.added",
                    "\"output_index\":0,\"item\":{\"type\":\"message\",\"role\":\"assistant\",\"status\":\"in_progress\",\"content\":[]}",
                ),
                event(
                    "response.output_text.delta",
                    &format!("\"output_index\":0,\"delta\":\"say-{n}\""),
                ),
                event(
                    "response.output_text.delta",
                    &format!("\"output_index\":0,\"delta\":\" so-{n}\""),
                ),
                event(
                    "response.completed",
                    &format!("\"response\":{}", response("completed", &item)),
                ),
                "0\r\n\r\n".to_owned(),
            ]
        }
    };
    let asked = [head, body].map(|text| (Direction::Write, text));
    let answered = answers.into_iter().map(|text| (Direction::Read, text));
    asked
        .into_iter()
        .chain(answered)
        .map(|(direction, text)| Record {
            exchange: n,
            direction,
            bytes: text.into_bytes(),
        })
        .collect()
}

/// What the pipeline makes of records of which `lost` are missing, and whether the kernel says so.
fn spans(records: &[Record], lost: impl Fn(usize) -> bool, told: bool) -> Vec<Span> {
    let mut pipeline = Pipeline::new(1, Limits::default());
    let facts = ProcessFacts {
        pid: CONNECTION.pid,
        ..ProcessFacts::default()
    };
    pipeline.event(&Event::Process {
        facts: Box::new(facts),
        time: BootTime(1),
    });
    let (mut now, mut offsets, mut missing) = (BootTime(1), [0; 2], [false; 2]);
    for (i, record) in records.iter().enumerate() {
        now = now.plus(GAP_PATIENCE * 2);
        let d = record.direction as usize;
        let offset = offsets[d];
        offsets[d] += record.bytes.len() as u64;
        if lost(i) {
            missing[d] = true;
            continue;
        }
        pipeline.event(&Event::Data(Data {
            connection: CONNECTION,
            direction: record.direction,
            tid: 9,
            time: now,
            offset,
            lost_before: told && std::mem::take(&mut missing[d]),
            skipped_before: false,
            bytes: &record.bytes,
        }));
        now = now.plus(GAP_PATIENCE * 2);
        pipeline.event(&Event::Tick { time: now });
    }
    pipeline.event(&Event::Closed {
        connection: CONNECTION,
        time: now.plus(1),
    });
    pipeline.finish();
    pipeline.spans().collect()
}

fn attribute<'a>(all: &'a Attributes, name: &str) -> Option<&'a Value> {
    all.iter().find(|(n, _)| n == name).map(|(_, v)| v)
}

fn text<'a>(span: &'a Span, name: &str) -> &'a str {
    match attribute(&span.attributes, name) {
        Some(Value::Str(text)) => text,
        _ => "",
    }
}

/// Every exchange that a span says something of.
fn named(span: &Span) -> Vec<usize> {
    let all = format!("{:?}", span.attributes);
    let mut found: Vec<usize> = (0..3)
        .filter(|n| {
            let marks = ["m", "ask", "am", "id", "say", "so"].map(|mark| format!("{mark}-{n}"));
            let tokens = format!("Int(10{n})");
            marks
                .iter()
                .chain([&tokens])
                .any(|m| all.contains(m.as_str()))
        })
        .collect();
    found.dedup();
    found
}

fn is_whole(span: &Span, n: usize) -> bool {
    text(span, attr::REQUEST_MODEL) == format!("m-{n}")
        && text(span, attr::RESPONSE_MODEL) == format!("am-{n}")
        && text(span, attr::RESPONSE_ID) == format!("id-{n}")
        && text(span, attr::INPUT_MESSAGES).contains(&format!("ask-{n}"))
        && text(span, attr::OUTPUT_MESSAGES).contains(&format!("say-{n} so-{n}"))
        && attribute(&span.attributes, attr::USAGE_INPUT_TOKENS)
            == Some(&Value::Int(100 + n as i64))
        && attribute(&span.attributes, attr::DEFECTS).is_none()
        && span.error.is_none()
}

/// The ranges of records that are lost: all that lie together, of both directions or of one.
fn losses(records: &[Record]) -> impl Iterator<Item = Vec<bool>> {
    let len = records.len();
    (0..len).flat_map(move |from| {
        (from + 1..=len).flat_map(move |to| {
            [None, Some(Direction::Write), Some(Direction::Read)].map(|only| {
                let lost = |i: usize| only.is_none_or(|d| records[i].direction == d);
                (0..len)
                    .map(|i| (from..to).contains(&i) && lost(i))
                    .collect()
            })
        })
    })
}

/// Calls one after the other on one connection, of which any records that lie together are lost:
/// no call gets anything of another, and those of which nothing was lost are whole.
#[test]
fn a_loss_anywhere_harms_only_what_it_hit() {
    let mut tried = 0;
    for kinds in KINDS.iter().flat_map(|a| KINDS.map(|b| [*a, b, *a])) {
        let records: Vec<Record> = kinds
            .iter()
            .enumerate()
            .flat_map(|(n, k)| exchange(n, *k))
            .collect();
        for lost in losses(&records) {
            // That the kernel says nothing makes a difference to the reassembly only.
            for told in [true, false]
                .into_iter()
                .take(1 + usize::from(kinds[0] == kinds[1]))
            {
                let spans = spans(&records, |i| lost[i], told);
                let what = || {
                    let lost: Vec<usize> = (0..lost.len()).filter(|i| lost[*i]).collect();
                    format!("{kinds:?}, lost {lost:?}, told {told}: {spans:#?}")
                };
                for span in &spans {
                    assert!(named(span).len() < 2, "mixed: {}", what());
                }
                for n in 0..kinds.len() {
                    let hit = |(i, r): (usize, &Record)| r.exchange == n && lost[i];
                    if records.iter().enumerate().any(hit) {
                        continue;
                    }
                    let of: Vec<&Span> = spans.iter().filter(|s| named(s) == [n]).collect();
                    assert!(
                        of.len() == 1 && is_whole(of[0], n),
                        "{n} is not whole: {}",
                        what()
                    );
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 10_000);
}

/// A client that does not wait for answers before it asks again: what is lost cannot be known,
/// but nothing is told of the wrong call.
#[test]
fn pipelined_calls_are_never_mixed() {
    for kind in KINDS {
        let all: Vec<Record> = (0..3).flat_map(|n| exchange(n, kind)).collect();
        let (asked, answered): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|r| r.direction == Direction::Write);
        let records = [asked, answered].concat();
        assert_eq!(spans(&records, |_| false, true).len(), 3);
        for lost in losses(&records) {
            // When nothing shows that the client did not wait, it is taken for one that did.
            let first_answer = records
                .iter()
                .rposition(|r| r.direction == Direction::Read && r.exchange == 0);
            if lost.iter().position(|l| *l) <= first_answer {
                continue;
            }
            for span in spans(&records, |i| lost[i], true) {
                assert!(named(&span).len() < 2, "{kind:?}, {lost:?}: {span:#?}");
            }
        }
    }
}

/// The agent comes in the middle of a stream: what is left of it is told, however it is cut, and
/// the call after it is whole.
#[test]
fn attached_in_the_middle_of_a_stream() {
    for kind in [Kind::Stream, Kind::Responses] {
        let first = exchange(0, kind);
        // Without its request, its head, and its first event.
        let left: Vec<u8> = first[4..].iter().flat_map(|r| r.bytes.clone()).collect();
        let run = |step: usize| {
            let pieces = left.chunks(step).map(|bytes| Record {
                exchange: 0,
                direction: Direction::Read,
                bytes: bytes.to_vec(),
            });
            let records: Vec<Record> = pieces.chain(exchange(1, kind)).collect();
            let mut spans = spans(&records, |_| false, true);
            assert_eq!(spans.len(), 2, "{kind:?} {step}");
            assert!(is_whole(&spans[1], 1));
            spans.remove(0)
        };
        let whole = run(left.len());
        assert_eq!(named(&whole), [0]);
        assert_eq!(whole.name, "chat");
        let told = |name: &str| attribute(&whole.attributes, name);
        let list = |text: &str| Some(Value::from(vec![text.to_owned()]));
        assert_eq!(told(attr::RESPONSE_FINISH_REASONS), list("stop").as_ref());
        assert_eq!(told(attr::USAGE_INPUT_TOKENS), Some(&Value::Int(100)));
        assert_eq!(told(attr::DEFECTS), list("attached_midway").as_ref());
        for absent in [
            attr::REQUEST_MODEL,
            attr::REQUEST_STREAM,
            attr::SERVER_ADDRESS,
            attr::INPUT_MESSAGES,
            attr::RESPONSE_TIME_TO_FIRST_CHUNK,
        ] {
            assert_eq!(told(absent), None);
        }
        for step in 1..left.len() {
            assert_eq!(run(step).attributes, whole.attributes, "{kind:?} {step}");
        }
    }
}

/// Nothing comes after a loss in the middle of an answer: it is told all the same.
#[test]
fn a_call_whose_end_was_lost_is_told_after_a_while() {
    let records = exchange(0, Kind::Stream);
    let mut pipeline = Pipeline::new(1, Limits::default());
    let mut offsets = [0; 2];
    for (i, record) in records.iter().enumerate().take(6) {
        let offset = offsets[record.direction as usize];
        offsets[record.direction as usize] += record.bytes.len() as u64;
        if i == 4 {
            continue;
        }
        pipeline.event(&Event::Data(Data {
            connection: CONNECTION,
            direction: record.direction,
            tid: 9,
            time: BootTime(i as u64),
            offset,
            lost_before: i == 5,
            skipped_before: false,
            bytes: &record.bytes,
        }));
    }
    let silent = http1::STALE_AFTER + 5;
    pipeline.event(&Event::Tick {
        time: BootTime(silent),
    });
    assert_eq!(pipeline.spans().count(), 0);
    pipeline.event(&Event::Tick {
        time: BootTime(silent + 1),
    });
    let spans: Vec<Span> = pipeline.spans().collect();
    assert_eq!(text(&spans[0], attr::RESPONSE_ID), "id-0");
    assert_eq!(spans[0].end.0, 5);
    assert_eq!(pipeline.counters().0.http1.stale, 1);
}

#[test]
fn the_protocol_stage_keeps_what_the_provider_stage_reads() {
    for name in provider::request_headers().chain(provider::response_headers()) {
        let kept = crate::protocol::headers::kept_name(name.as_bytes());
        assert_eq!(kept, Some(name));
    }
}
