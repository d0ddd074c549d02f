//! Requests and answers, of any bytes or nearly as they should be, on the path of every shape: never
//! a panic, at most one call for an exchange, the same call however its bodies are split, and nothing
//! left over.
#![no_main]

use arbitrary::Arbitrary;
use genspan::model::call::{CallEvent, ModelCall};
use genspan::model::defect::Defects;
use genspan::model::event::ConnectionId;
use genspan::model::exchange::{
    ExchangeId, ExchangeSink, Headers, Interest, RequestHead, ResponseHead, SseEvent,
};
use genspan::model::time::BootTime;
use genspan::provider::{Calls, Limits};
use libfuzzer_sys::fuzz_target;
use std::borrow::Cow;

/// Method and path, by the shapes of the table.
const TARGETS: &[(&str, &str)] = &[
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/responses"),
    ("GET", "/v1/responses/resp_1"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/openai/deployments/m/chat/completions"),
    ("POST", "/v1/messages"),
    ("POST", "/generate"),
    ("POST", "/generate_stream"),
    ("POST", "/"),
    ("POST", "/completion"),
    ("POST", "/infill"),
    ("POST", "/v1/complete"),
    ("POST", "/publishers/anthropic/models/m:streamRawPredict"),
    ("POST", "/api/v1/services/aigc/text-generation/generation"),
    (
        "POST",
        "/api/v1/services/aigc/multimodal-generation/generation",
    ),
    ("POST", "/api/v1/services/aigc/text2image/image-synthesis"),
    (
        "POST",
        "/api/v1/services/embeddings/text-embedding/text-embedding",
    ),
    ("POST", "/api/v1/services/rerank/text-rerank/text-rerank"),
    ("POST", "/api/v1/apps/a/completion"),
    ("GET", "/api/v1/tasks/00000000-0000-4000-8000-000000000001"),
    (
        "POST",
        "/api/v1/tasks/00000000-0000-4000-8000-000000000001/cancel",
    ),
    ("POST", "/v1beta/models/m:generateContent"),
    ("POST", "/v1beta/models/m:streamGenerateContent"),
    ("POST", "/v1beta/models/m:embedContent"),
    ("POST", "/v1beta/models/m:batchEmbedContents"),
    ("POST", "/publishers/google/models/embedding:predict"),
    ("POST", "/api/chat"),
    ("POST", "/api/generate"),
    ("POST", "/api/embed"),
    ("POST", "/model/m/invoke"),
    ("POST", "/model/m/invoke-with-response-stream"),
    ("POST", "/model/m/converse"),
    ("POST", "/model/m/converse-stream"),
    ("POST", "/v2/chat"),
    ("POST", "/v1/chat"),
    ("POST", "/v1/generate"),
    ("POST", "/v2/embed"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/chat-messages"),
    ("POST", "/v1/workflows/run"),
    ("POST", "/mcp"),
    ("POST", "/ml/v1/text/generation"),
    ("POST", "/ml/v1/text/generation_stream"),
    ("POST", "/ml/v1/text/chat_stream"),
    ("POST", "/v1/predictions"),
    ("GET", "/v1/predictions/vdcbnszbj37qhlzgoergjj5dsa"),
    ("POST", "/complete"),
];

const NAMES: &[&str] = &[
    "",
    "error",
    "message_start",
    "content_block_delta",
    "message_delta",
    "result",
    "chunk",
    "response.completed",
];

const COMMENTS: &[&str] = &["", "HTTP_STATUS/200", "HTTP_STATUS/400", "exception"];

const STATUSES: &[u16] = &[200, 201, 302, 400, 429, 500];

/// What requests, answers and events of shapes are like that are told by their members, which no
/// fuzzer finds by luck.
const KNOWN: &[(&str, &str)] = &[
    (
        r#"{"model_id":"m","parameters":{"max_new_tokens":4},"input":""#,
        r#""}"#,
    ),
    (
        r#"{"model_id":"m","results":[{"input_token_count":3,"stop_reason":"eos_token","generated_text":""#,
        r#""}]}"#,
    ),
    (r#"{"version":"v","input":{"prompt":""#, r#""}}"#),
    (
        r#"{"id":"vdcbnszbj37qhlzgoergjj5dsa","status":"succeeded","urls":{"stream":"https://h/v1/streams/a"},"output":""#,
        r#""}"#,
    ),
    (
        r#"{"model":"m","maximum_tokens":4,"stream":true,"prompt":""#,
        r#""}"#,
    ),
    (
        r#"{"type":"stream_chunk","index":1,"completion":""#,
        r#""}"#,
    ),
    (r#"{"text":"a","sampling_params":{"n":2},"rid":""#, r#""}"#),
    (
        r#"{"text":["a","b"],"stream":true,"sampling_params":{"stop":""#,
        r#""}}"#,
    ),
    (
        r#"{"meta_info":{"id":"r1","finish_reason":null,"prompt_tokens":3,"completion_tokens":1},"text":""#,
        r#""}"#,
    ),
    (
        r#"{"index":1,"meta_info":{"id":"r1","finish_reason":{"type":"stop"},"completion_tokens":2},"text":""#,
        r#""}"#,
    ),
    (r#"[{"text":"a","meta_info":{"id":""#, r#""}}]"#),
    (
        r#"{"prompt":["a","b"],"n_predict":4,"n_cmpl":2,"stream":true,"x":""#,
        r#""}"#,
    ),
    (r#"{"input_prefix":"a","input_suffix":""#, r#""}"#),
    (
        r#"{"stop":false,"index":1,"id_slot":0,"tokens_predicted":1,"content":""#,
        r#""}"#,
    ),
    (
        r#"{"stop":true,"stop_type":"eos","tokens_evaluated":3,"content":""#,
        r#""}"#,
    ),
    (
        r#"[{"stop":true,"timings":{"cache_n":1},"content":""#,
        r#""}]"#,
    ),
    (
        r#"{"parameters":{"max_new_tokens":4},"stream":true,"inputs":""#,
        r#""}"#,
    ),
    (
        r#"{"token":{"id":1,"logprob":-0.1,"special":false,"text":""#,
        r#""}}"#,
    ),
    (
        r#"{"token":{"text":"a","logprob":0},"details":{"finish_reason":"length","generated_tokens":2},"generated_text":""#,
        r#""}"#,
    ),
    (r#"[{"generated_text":""#, r#""}]"#),
    (
        r#"{"model":"m","stream":true,"messages":[{"role":"user","content":""#,
        r#""}]}"#,
    ),
    (
        r#"{"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":""#,
        r#""}}]}"#,
    ),
];

/// A body, or the data of an event.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Bytes<'a> {
    Any(&'a [u8]),
    /// One of those that are known, with something of the fuzzer's in it.
    Known(u8, &'a str),
}

impl<'a> Bytes<'a> {
    fn get(self) -> Cow<'a, [u8]> {
        match self {
            Self::Any(bytes) => Cow::Borrowed(bytes),
            Self::Known(which, text) => {
                let (before, after) = KNOWN[usize::from(which) % KNOWN.len()];
                Cow::Owned(format!("{before}{text}{after}").into_bytes())
            }
        }
    }
}

#[derive(Arbitrary, Clone, Debug)]
enum Answer<'a> {
    None,
    Document(Bytes<'a>),
    Events(Vec<(u8, u8, Bytes<'a>)>),
}

#[derive(Arbitrary, Clone, Debug)]
struct Exchange<'a> {
    target: u8,
    /// Another path instead.
    path: Option<&'a str>,
    query: &'a str,
    sse: bool,
    half: bool,
    asked: Bytes<'a>,
    missing: u16,
    status: u8,
    answer: Answer<'a>,
    cut: bool,
}

const CONNECTION: ConnectionId = ConnectionId {
    pid: 1,
    ssl: 2,
    generation: 3,
};

fn begin(calls: &mut Calls, id: ExchangeId, x: &Exchange<'_>) -> Interest {
    if x.half {
        return calls.half_seen(id, CONNECTION, 1, BootTime(id.0));
    }
    let (method, path) = TARGETS[usize::from(x.target) % TARGETS.len()];
    let mut headers = Headers::default();
    if x.sse {
        headers.push("x-dashscope-sse", "enable".to_owned());
        headers.push("anthropic-version", "1".to_owned());
    }
    let head = RequestHead {
        method: method.to_owned(),
        path: x.path.unwrap_or(path).to_owned(),
        query: x.query.to_owned(),
        host: Some("h".to_owned()),
        headers,
        stream: None,
    };
    calls.request_head(id, CONNECTION, 1, BootTime(id.0), &head)
}

/// Whether it was of interest.
fn feed(calls: &mut Calls, id: ExchangeId, x: &Exchange<'_>, step: usize) -> bool {
    if begin(calls, id, x) == Interest::Unwanted {
        return false;
    }
    let at = BootTime(id.0 + 1);
    if !x.half {
        for piece in x.asked.get().chunks(step) {
            calls.request_body(id, 0, piece);
        }
        if x.missing > 0 {
            calls.request_body(id, u64::from(x.missing), b"");
        }
        calls.request_end(id, at, Defects::NONE);
    }
    let head = ResponseHead {
        status: STATUSES[usize::from(x.status) % STATUSES.len()],
        headers: Headers::default(),
    };
    if calls.response_head(id, at, &head) == Interest::Wanted {
        match &x.answer {
            Answer::None => {}
            Answer::Document(bytes) => {
                for piece in bytes.get().chunks(step) {
                    calls.response_body(id, at, 0, piece);
                }
            }
            Answer::Events(events) => {
                for (name, comment, data) in events {
                    let event = SseEvent {
                        event: NAMES[usize::from(*name) % NAMES.len()],
                        data: &data.get(),
                        comment: COMMENTS[usize::from(*comment) % COMMENTS.len()],
                    };
                    calls.response_event(id, at, event);
                }
            }
        }
    }
    let defects = if x.cut {
        Defects::RESPONSE_CUT
    } else {
        Defects::NONE
    };
    calls.response_end(id, at, defects);
    true
}

fn run(exchanges: &[Exchange<'_>], step: usize) -> Vec<ModelCall> {
    let mut calls = Calls::new(Limits {
        text_bytes: 256,
        body_bytes: 4096,
        ..Limits::default()
    });
    let mut begun = 0;
    for (n, x) in exchanges.iter().enumerate() {
        begun += usize::from(feed(&mut calls, ExchangeId(n as u64), x, step));
        assert_eq!(calls.open_calls(), 0);
    }
    calls.flush();
    let told: Vec<ModelCall> = calls
        .drain()
        .filter_map(|e| match e {
            CallEvent::Finished(call) => Some(*call),
            _ => None,
        })
        .collect();
    assert!(told.len() <= begun);
    told
}

fuzz_target!(|exchanges: Vec<Exchange<'_>>| {
    let whole = run(&exchanges, usize::MAX);
    assert_eq!(run(&exchanges, 1), whole);
    assert_eq!(run(&exchanges, 7), whole);
});
