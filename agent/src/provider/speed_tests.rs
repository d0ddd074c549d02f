//! How fast the hot path is: the best of some batches. Prints, and fails only when something is very wrong. To be run with
//! `--release` for numbers that mean something.

use super::{Calls, Limits};
use crate::model::call::CallEvent;
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::{
    ExchangeId, ExchangeSink, Headers, RequestHead, ResponseHead, SseEvent,
};
use crate::model::time::BootTime;
use serde_json::json;
use std::time::{Duration, Instant};

const CHUNK: &str = r#"{"id":"chatcmpl-ASYMaNc7XmbGRUNREnmvhyyISBHsv","object":"chat.completion.chunk","created":1731368640,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_0ba0d124f1","choices":[{"index":0,"delta":{"content":" unable"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"aB3dE5fG"}"#;

fn begin(calls: &mut Calls, id: u64, body: &[u8]) {
    let head = RequestHead {
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        query: String::new(),
        host: Some("api.openai.com".to_owned()),
        headers: Headers::default(),
        stream: None,
    };
    let connection = ConnectionId {
        pid: 1,
        ssl: 2,
        generation: 3,
    };
    let id = ExchangeId(id);
    calls.request_head(id, connection, 1, BootTime(1), &head);
    calls.request_body(id, 0, body);
    calls.request_end(id, BootTime(2), Defects::NONE);
    let head = ResponseHead {
        status: 200,
        headers: Headers::default(),
    };
    calls.response_head(id, BootTime(3), &head);
}

#[test]
fn a_chunk_of_a_stream() {
    let mut calls = Calls::new(Limits::default());
    begin(&mut calls, 0, br#"{"model":"m","messages":[]}"#);
    let event = SseEvent {
        event: "",
        data: CHUNK.as_bytes(),
        comment: "",
    };
    let rounds = 10_000;
    let batch = || {
        let start = Instant::now();
        for n in 0..rounds {
            calls.response_event(ExchangeId(0), BootTime(n), event);
        }
        start.elapsed() / rounds as u32
    };
    let each = std::iter::repeat_with(batch).take(20).min().unwrap();
    println!("one chunk of {} bytes: {each:?}", CHUNK.len());
    assert!(each < Duration::from_micros(100));
}

#[test]
fn a_plain_call() {
    let texts = ["word ".repeat(100), "other ".repeat(100)];
    let request = json!({"messages":[{"role":"system","content":texts[0]},{"role":"user","content":texts[1]}],
        "model":"m-1","temperature":0.5,"max_tokens":100,"tools":[{"type":"function","function":{"name":"weather",
        "description":"tells it ".repeat(20),"parameters":{"type":"object","properties":{"city":{"type":"string","description":"where ".repeat(40)},
        "unit":{"type":"string","enum":["a","b"]}},"required":["city"]}}}]})
    .to_string();
    let answer = json!({"id":"c","object":"chat.completion","created":1,"model":"m-1-x","choices":[{"index":0,
        "message":{"role":"assistant","content":"answer ".repeat(80),"refusal":null},"logprobs":null,"finish_reason":"stop"}],
        "usage":{"prompt_tokens":30,"completion_tokens":4,"total_tokens":34,"prompt_tokens_details":{"cached_tokens":16,"audio_tokens":0},
        "completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"service_tier":"default","system_fingerprint":"fp_1"})
    .to_string();
    let mut calls = Calls::new(Limits::default());
    let rounds = 500;
    let batch = || {
        let start = Instant::now();
        for n in 0..rounds {
            begin(&mut calls, n, request.as_bytes());
            calls.response_body(ExchangeId(n), BootTime(4), 0, answer.as_bytes());
            calls.response_end(ExchangeId(n), BootTime(5), Defects::NONE);
            let told = calls
                .drain()
                .filter(|e| matches!(e, CallEvent::Finished(_)));
            assert_eq!(told.count(), 1);
        }
        start.elapsed() / rounds as u32
    };
    let each = std::iter::repeat_with(batch).take(20).min().unwrap();
    println!(
        "one call of {} + {} bytes: {each:?}",
        request.len(),
        answer.len()
    );
    assert!(each < Duration::from_millis(2));
}
