//! The stage as a whole: calls in, spans out.

use super::{Spans, span};
use crate::model::call::{
    Api, CallError, CallEvent, CallRequest, CallResponse, Message, ModelCall, Operation, Part,
    RetryHint, Text, ToolDefinition, Usage,
};
use crate::model::defect::Defects;
use crate::model::event::{ConnectionId, Direction};
use crate::model::exchange::{ExchangeId, Role};
use crate::model::mcp::{McpRequest, McpResponse};
use crate::model::process::{ContentPolicy, ProcessFacts};
use crate::model::propagated::{Format, Propagated};
use crate::model::span::{Span, Value};
use crate::model::time::{BootTime, ClockOffset, WallTime};
use crate::vocabulary::attr;
use serde_json::{Value as Json, json};

const SECOND: u64 = 1_000_000_000;

fn message(role: &str, part: Part, finish: Option<&str>) -> Message {
    Message {
        role: role.to_owned(),
        name: None,
        parts: vec![part],
        finish_reason: finish.map(str::to_owned),
    }
}

pub(super) fn call() -> ModelCall {
    ModelCall {
        exchange: ExchangeId(1),
        connection: ConnectionId {
            pid: 9,
            ssl: 1,
            generation: 2,
        },
        role: Role::Client,
        tid: 10,
        operation: Operation::Chat,
        api: Api::ChatCompletions,
        provider: "openai",
        server_address: Some("h".to_owned()),
        server_port: Some(443),
        peer: None,
        local: None,
        start: BootTime(10 * SECOND),
        first_chunk: None,
        end: BootTime(12 * SECOND),
        request: CallRequest {
            model: Some("m".to_owned()),
            messages: vec![message("user", Part::Text("héllo wörld".into()), None)],
            tools: vec![ToolDefinition {
                kind: "function".to_owned(),
                name: Some("f".to_owned()),
                definition: json!({"type":"function","name":"f","description":"secret"}),
            }],
            ..CallRequest::default()
        },
        response: CallResponse {
            status: Some(200),
            finish_reasons: vec!["stop".to_owned()],
            messages: vec![message(
                "assistant",
                Part::Text("x".repeat(100).into()),
                Some("stop"),
            )],
            usage: Usage {
                input: Some(0),
                output: Some(4),
                cache_read: Some(0),
                ..Usage::default()
            },
            ..CallResponse::default()
        },
        error: None,
        polls: 0,
        retry: None,
        propagated: None,
        defects: Defects::NONE,
    }
}

fn stage(content: ContentPolicy) -> Spans {
    let mut spans = Spans::new(5);
    spans.clock(ClockOffset(1000));
    spans.process(&ProcessFacts {
        pid: 9,
        service_name: "s".to_owned(),
        content,
        ..ProcessFacts::default()
    });
    spans
}

pub(super) fn finished(spans: &mut Spans, call: ModelCall) -> Vec<Span> {
    spans.call(CallEvent::Finished(Box::new(call)));
    spans.drain().collect()
}

fn one(content: ContentPolicy, call: ModelCall) -> Span {
    let mut all = finished(&mut stage(content), call);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn json_of(span: &Span, name: &str) -> Json {
    match span.attribute(name) {
        Some(Value::Str(text)) => serde_json::from_str(text).unwrap(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_span_says_what_the_call_was() {
    let span = one(ContentPolicy::default(), call());
    assert_eq!(span.name, "chat m");
    assert_eq!(span.start, WallTime(10 * SECOND + 1000));
    assert_eq!(span.end, WallTime(12 * SECOND + 1000));
    assert_eq!((span.error.as_deref(), span.parent_span_id), (None, None));
    assert_eq!(
        span.attribute(attr::USAGE_INPUT_TOKENS),
        Some(&Value::Int(0))
    );
    assert_eq!(span.attribute(attr::USAGE_CACHE_READ), None);
    assert_eq!(span.attribute(attr::SERVER_PORT), Some(&Value::Int(443)));
    assert_eq!(span.attribute(attr::DEFECTS), None);
    assert_eq!(
        json_of(&span, attr::INPUT_MESSAGES),
        json!([{"role":"user","parts":[{"type":"text","content":"héllo wörld"}]}])
    );
}

#[test]
fn a_tool_of_an_mcp_server() {
    let mut ran = call();
    ran.operation = Operation::ExecuteTool;
    ran.api = Api::Mcp;
    ran.request = CallRequest {
        mcp: Some(Box::new(McpRequest {
            method: "tools/call",
            id: Some("7".to_owned()),
            session_id: Some("s-1".to_owned()),
            protocol_version: Some("2025-06-18".to_owned()),
            tool: Some("clock".to_owned()),
            arguments: Some(json!({"tz":"UTC"})),
            ..McpRequest::default()
        })),
        ..CallRequest::default()
    };
    ran.response = CallResponse {
        mcp: Some(Box::new(McpResponse {
            code: Some(-32602),
            result: Some(json!({"content":[]})),
            ..McpResponse::default()
        })),
        ..CallResponse::default()
    };
    let span = one(ContentPolicy::default(), ran.clone());
    assert_eq!(span.name, "tools/call clock");
    let text = |name: &str| match span.attribute(name) {
        Some(Value::Str(text)) => Some(text.to_string()),
        _ => None,
    };
    for (name, want) in [
        (attr::OPERATION_NAME, Some("execute_tool")),
        (attr::PROVIDER_NAME, None),
        (attr::MCP_METHOD_NAME, Some("tools/call")),
        (attr::MCP_SESSION_ID, Some("s-1")),
        (attr::MCP_PROTOCOL_VERSION, Some("2025-06-18")),
        (attr::JSONRPC_REQUEST_ID, Some("7")),
        (attr::RPC_RESPONSE_STATUS_CODE, Some("-32602")),
        (attr::TOOL_NAME, Some("clock")),
        (attr::NETWORK_TRANSPORT, Some("tcp")),
        (attr::TOOL_CALL_ARGUMENTS, Some(r#"{"tz":"UTC"}"#)),
        (attr::TOOL_CALL_RESULT, Some(r#"{"content":[]}"#)),
    ] {
        assert_eq!(text(name).as_deref(), want, "{name}");
    }
    let policy = ContentPolicy {
        on_spans: false,
        ..ContentPolicy::default()
    };
    let bare = one(policy, ran.clone());
    assert_eq!(bare.attribute(attr::TOOL_CALL_ARGUMENTS), None);
    assert_eq!(bare.attribute(attr::TOOL_CALL_RESULT), None);
    ran.operation = Operation::Mcp;
    let mcp = ran.request.mcp.as_mut().unwrap();
    (mcp.method, mcp.tool) = ("tools/list", None);
    let span = one(ContentPolicy::default(), ran);
    assert_eq!(span.name, "tools/list");
    assert_eq!(span.attribute(attr::OPERATION_NAME), None);
}

#[test]
fn content_is_left_out_and_told_again() {
    let content = ContentPolicy {
        on_events: true,
        ..ContentPolicy::default()
    };
    let mut stage = stage(content);
    for shed in [false, true, false] {
        stage.shed_content(shed);
        let span = finished(&mut stage, call()).remove(0);
        let told = span.attribute(attr::INPUT_MESSAGES).is_some();
        assert_eq!(told, !shed);
        let sizes = span.attribute(attr::INPUT_MESSAGES_CHARS).is_some();
        assert_eq!(sizes, shed);
        assert!(span.attribute(attr::USAGE_INPUT_TOKENS).is_some());
        // There is an event as before, with or without it.
        let event = &span.events[0];
        let told = event
            .attributes
            .iter()
            .any(|(name, _)| name == attr::INPUT_MESSAGES);
        assert_eq!(told, !shed);
    }
}

#[test]
fn without_content_only_sizes_are_told() {
    let policy = ContentPolicy {
        on_spans: false,
        ..ContentPolicy::default()
    };
    let mut failed = call();
    failed.error = Some(CallError {
        kind: "k".to_owned(),
        message: Some("quotes the input".to_owned()),
    });
    let span = one(policy, failed);
    assert_eq!(span.error.as_deref(), Some(""));
    assert_eq!(span.attribute(attr::ERROR_TYPE), Some(&"k".into()));
    assert_eq!(span.attribute(attr::INPUT_MESSAGES), None);
    assert_eq!(
        span.attribute(attr::INPUT_MESSAGES_COUNT),
        Some(&Value::Int(1))
    );
    assert_eq!(
        span.attribute(attr::INPUT_MESSAGES_CHARS),
        Some(&Value::Int(11))
    );
    assert_eq!(
        span.attribute(attr::OUTPUT_MESSAGES_CHARS),
        Some(&Value::Int(100))
    );
    assert_eq!(
        json_of(&span, attr::TOOL_DEFINITIONS),
        json!([{"type":"function","name":"f"}])
    );
    assert!(!format!("{span:?}").contains("llo"));
}

#[test]
fn a_process_of_which_nothing_is_known_tells_no_content() {
    let mut spans = Spans::new(5);
    let all = finished(&mut spans, call());
    assert_eq!(all[0].attribute(attr::INPUT_MESSAGES), None);
}

#[test]
fn long_texts_are_cut_and_say_how_long_they_were() {
    let policy = ContentPolicy {
        max_message_chars: 5,
        ..ContentPolicy::default()
    };
    let mut long = call();
    long.response.messages[0].parts = vec![
        Part::Text(Text {
            kept: "abc".to_owned(),
            dropped: 7,
        }),
        Part::ToolCall {
            id: None,
            name: "f".to_owned(),
            arguments: Some(json!({"city":"Lyon"})),
        },
        Part::ToolCall {
            id: Some("i".to_owned()),
            name: "f".to_owned(),
            arguments: Some(json!([1])),
        },
        Part::Other(json!({"type":"t","x":["abcdefgh"]})),
    ];
    let span = one(policy, long);
    let input = json_of(&span, attr::INPUT_MESSAGES);
    assert_eq!(
        input[0]["parts"][0],
        json!({"type":"text","content":"héllo","genspan.original_length":11})
    );
    let output = json_of(&span, attr::OUTPUT_MESSAGES);
    assert_eq!(
        output[0]["parts"],
        json!([
            {"type":"text","content":"abc","genspan.original_length":10},
            {"type":"tool_call","name":"f","arguments":"{\"cit","genspan.original_length":15},
            {"type":"tool_call","id":"i","name":"f","arguments":[1]},
            {"type":"t","x":["abcde"],"genspan.original_length":8},
        ])
    );
}

#[test]
fn an_attribute_limit_leaves_valid_json() {
    for limit in 0..400 {
        let policy = ContentPolicy {
            max_attribute_chars: Some(limit),
            on_events: true,
            ..ContentPolicy::default()
        };
        let mut many = call();
        for n in 0..5 {
            let part = Part::Text(format!("message {n} é").into());
            many.request.messages.push(message("user", part, None));
        }
        let span = one(policy, many);
        assert_eq!(span.events.len(), 1);
        for (name, value) in span.attributes.iter().chain(&span.events[0].attributes) {
            let Value::Str(text) = value else { continue };
            assert!(text.chars().count() <= limit, "{name} at {limit}");
            if name.ends_with("messages") || name.ends_with("definitions") {
                serde_json::from_str::<Vec<Json>>(text).unwrap();
            }
        }
    }
    let policy = ContentPolicy {
        max_attribute_chars: Some(150),
        ..ContentPolicy::default()
    };
    let mut many = call();
    for n in 0..5 {
        many.request
            .messages
            .push(message("user", Part::Text(format!("{n}").into()), None));
    }
    let kept = json_of(&one(policy, many), attr::INPUT_MESSAGES);
    let last = kept.as_array().unwrap().last().unwrap();
    assert_eq!(last["parts"][0]["content"], "4");
}

#[test]
fn ids_are_the_same_again_and_join_a_trace() {
    let policy = ContentPolicy::default;
    let (a, b) = (one(policy(), call()), one(policy(), call()));
    assert_eq!((a.trace_id, a.span_id), (b.trace_id, b.span_id));
    let mut other = call();
    other.exchange = ExchangeId(2);
    let c = one(policy(), other);
    assert!(c.trace_id != a.trace_id && c.span_id != a.span_id);
    let mut joined = call();
    joined.propagated = Some(Propagated {
        trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
        span: 0xb7ad_6b71_6920_3331,
        state: Some("a=1".to_owned()),
        format: Format::Traceparent,
    });
    let d = one(policy(), joined);
    assert_eq!(d.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    assert_eq!(d.parent_span_id, Some(0xb7ad_6b71_6920_3331));
}

/// An attempt that failed, or (`may_retry` false) the last one.
fn attempt(n: u32, start: u64, end: u64, may_retry: bool) -> ModelCall {
    let mut c = call();
    c.exchange = ExchangeId(u64::from(n) + 100 + start);
    c.start = BootTime(start * SECOND);
    c.end = BootTime(end * SECOND);
    c.retry = Some(RetryHint {
        attempt: n,
        may_retry,
        within: 11 * SECOND,
        fingerprint: 77,
    });
    c.error = may_retry.then(|| CallError {
        kind: "503".to_owned(),
        message: None,
    });
    c
}

fn begun(spans: &mut Spans, call: &ModelCall) {
    spans.call(CallEvent::Retrying {
        pid: 9,
        exchange: call.exchange,
        attempt: call.retry.as_ref().unwrap().attempt,
        fingerprint: 77,
        start: call.start,
    });
}

#[test]
fn attempts_of_one_call_are_one_span() {
    let mut spans = stage(ContentPolicy::default());
    assert!(finished(&mut spans, attempt(0, 10, 11, true)).is_empty());
    let second = attempt(1, 12, 13, true);
    begun(&mut spans, &second);
    assert!(finished(&mut spans, second).is_empty());
    let third = attempt(2, 15, 100, false);
    begun(&mut spans, &third);
    spans.tick(BootTime(90 * SECOND));
    assert!(!spans.has_spans());
    let all = finished(&mut spans, third);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].start, WallTime(10 * SECOND + 1000));
    assert_eq!(all[0].end, WallTime(100 * SECOND + 1000));
    assert_eq!(
        all[0].attribute(attr::HTTP_RESEND_COUNT),
        Some(&Value::Int(2))
    );
    assert_eq!(all[0].error, None);
    spans.flush();
    assert!(!spans.has_spans());
}

#[test]
fn an_attempt_that_is_not_followed_is_told_in_time() {
    let mut spans = stage(ContentPolicy::default());
    finished(&mut spans, attempt(0, 10, 11, true));
    spans.tick(BootTime(22 * SECOND));
    assert!(!spans.has_spans());
    spans.tick(BootTime(22 * SECOND + 1));
    assert_eq!(spans.drain().next().unwrap().error.as_deref(), Some(""));
    // A retry after that stands alone.
    let late = attempt(1, 30, 31, false);
    begun(&mut spans, &late);
    assert_eq!(finished(&mut spans, late).len(), 1);
    finished(&mut spans, attempt(0, 40, 41, true));
    spans.process_exit(9);
    assert_eq!(spans.drain().count(), 1);
    finished(&mut spans, attempt(0, 50, 51, true));
    spans.flush();
    assert_eq!(spans.drain().count(), 1);
}

#[test]
fn waiting_attempts_are_bounded() {
    let mut spans = stage(ContentPolicy::default());
    for _ in 0..super::retry::MAX_WAITING {
        assert!(finished(&mut spans, attempt(0, 10, 11, true)).is_empty());
    }
    assert_eq!(finished(&mut spans, attempt(0, 10, 11, true)).len(), 1);
    assert_eq!(spans.counters().retries_evicted, 1);
}

/// A request that was made and may belong to one that is not answered yet is told when it is; or
/// after a while.
#[test]
fn a_call_waits_for_the_answer_that_tells_its_parent() {
    for answered in [true, false] {
        let mut spans = stage(ContentPolicy::default());
        let mut served = span::begun(&call());
        (served.role, served.exchange) = (Role::Server, ExchangeId(1000));
        served.connection.ssl += 1;
        spans.lineage().copied(9, 1, Some(0x10), 0x20);
        spans.call(CallEvent::Began(Box::new(served.clone())));
        let asked = call();
        spans
            .lineage()
            .flows(asked.connection, Direction::Write, Some(0x20));
        spans.call(CallEvent::Began(Box::new(span::begun(&asked))));
        let end = asked.end.0;
        assert!(finished(&mut spans, asked).is_empty());
        spans.tick(BootTime(end + 59 * SECOND));
        assert!(!spans.has_spans());
        if answered {
            let way = Direction::Write;
            spans.lineage().flows(served.connection, way, Some(0x20));
            spans.answers(served.connection);
        } else {
            spans.tick(BootTime(end + 61 * SECOND));
        }
        let told: Vec<Span> = spans.drain().collect();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].parent_span_id.is_some(), answered);
        let source = Some(Value::from("context".to_owned())).filter(|_| answered);
        assert_eq!(told[0].attribute(attr::PARENT_SOURCE), source.as_ref());
        assert_eq!(spans.counters().parents_given_up, u64::from(!answered));
    }
}

/// Calls that wait for that hold no more than so much.
#[test]
fn calls_that_wait_are_bounded_in_bytes() {
    const SIZE: usize = 1 << 20;
    let mut spans = stage(ContentPolicy::default());
    let mut served = span::begun(&call());
    (served.role, served.exchange) = (Role::Server, ExchangeId(1000));
    served.connection.ssl += 1;
    spans.lineage().copied(9, 1, Some(0x10), 0x20);
    spans.call(CallEvent::Began(Box::new(served)));
    let fit = super::held::MAX_HELD_BYTES / SIZE - 1;
    let mut told = 0;
    for n in 1..=fit + 3 {
        let mut asked = call();
        asked.exchange = ExchangeId(n as u64);
        asked.request.messages = vec![message("user", Part::Text("x".repeat(SIZE).into()), None)];
        let way = Direction::Write;
        spans.lineage().flows(asked.connection, way, Some(0x20));
        spans.call(CallEvent::Began(Box::new(span::begun(&asked))));
        told += finished(&mut spans, asked).len();
        assert_eq!(told > 0, n > fit, "{n}");
    }
    assert_eq!(spans.counters().parents_given_up, told as u64);
    spans.flush();
    assert_eq!(spans.drain().count() + told, fit + 3);
}

const SECRET: &str = concat!("sk-", "proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789");

/// A call that holds a secret wherever a text can be.
fn leaky() -> ModelCall {
    let mut call = call();
    let text = || format!("x {SECRET} y");
    call.request.model = Some(text());
    call.request.stop_sequences = Some(vec![text()]);
    call.request.system_instructions = vec![Part::Reasoning(text().into())];
    call.request.tools[0].definition = json!({"type":"function","description":text()});
    call.request.messages = vec![Message {
        name: Some(text()),
        ..message("user", Part::Text(text().into()), None)
    }];
    call.response.messages[0].parts = vec![
        Part::ToolCall {
            id: Some(text()),
            name: text(),
            arguments: Some(json!({"a":[{text(): text()}]})),
        },
        Part::ToolCallResponse {
            id: None,
            response: json!(text()),
        },
        Part::Uri {
            modality: "image",
            mime_type: None,
            uri: format!("https://u:{SECRET}@h/?k={SECRET}"),
        },
        Part::Other(json!({"type":"t","x":text()})),
    ];
    call.error = Some(CallError {
        kind: text(),
        message: Some(text()),
    });
    call
}

#[test]
fn secrets_are_redacted_wherever_they_stand() {
    let mut counts = Vec::new();
    for (on_spans, on_events) in [(true, false), (false, true), (true, true), (false, false)] {
        let policy = ContentPolicy {
            on_spans,
            on_events,
            ..ContentPolicy::default()
        };
        let mut spans = stage(policy);
        spans.process(&ProcessFacts {
            pid: 9,
            command: vec!["app".to_owned(), format!("--x={SECRET}")],
            content: ContentPolicy {
                on_spans,
                on_events,
                ..ContentPolicy::default()
            },
            ..ProcessFacts::default()
        });
        let span = finished(&mut spans, leaky()).remove(0);
        let all = format!("{span:?}");
        assert!(!all.contains("AbCdEf"), "{all}");
        assert_eq!(span.name, "chat x [redacted:openai_key] y");
        let error = on_spans.then_some("x [redacted:openai_key] y");
        assert_eq!(span.error.as_deref(), Some(error.unwrap_or_default()));
        let marked = |text: &str| text.matches("[redacted:").count();
        assert!(marked(&format!("{:?}", span.resource)) == 1);
        let marked: Vec<_> = span
            .events
            .iter()
            .map(|e| marked(&format!("{e:?}")))
            .collect();
        if on_events {
            assert!(
                marked.len() == 2 && marked[0] > 9 && marked[1] == 2,
                "{marked:?}"
            );
        } else {
            assert!(marked.is_empty());
        }
        if !on_spans {
            // As long as it was.
            let chars = SECRET.len() as i64 + 4;
            let size = span.attribute(attr::SYSTEM_INSTRUCTIONS_CHARS);
            assert_eq!(size, Some(&Value::Int(chars)));
        }
        // What is told twice is found once.
        let found: u64 = spans.redacted().iter().map(|r| r.count).sum();
        counts.push(found);
    }
    // Name, command, model, stop sequence and kind of error; all content; the kind as an event's.
    assert_eq!(counts[3], 5);
    assert!(counts[0] > 15);
    assert_eq!([counts[1], counts[2]], [counts[0] + 1; 2]);
}

#[test]
fn a_cut_hides_no_half_of_a_secret() {
    for max in 0..60 {
        let policy = ContentPolicy {
            max_message_chars: max,
            max_attribute_chars: Some(4 * max),
            ..ContentPolicy::default()
        };
        let mut cut = leaky();
        cut.request.messages[0].parts.push(Part::Text(Text {
            kept: "and sk-pro".to_owned(),
            dropped: 40,
        }));
        let all = format!("{:?}", one(policy, cut));
        assert!(
            !all.contains("sk-pro") && !all.contains("AbC"),
            "{max}: {all}"
        );
    }
}

#[test]
fn no_rule_no_redaction() {
    let mut spans = stage(ContentPolicy::default());
    spans.redact(crate::redact::Redactor::none());
    let span = finished(&mut spans, leaky()).remove(0);
    assert!(format!("{span:?}").contains(SECRET) && spans.redacted().is_empty());
}

#[test]
fn paths_lead_into_messages_as_they_are_told() {
    let rules = |paths: &[&str]| crate::redact::Rules {
        paths: paths.iter().map(|p| p.parse().unwrap()).collect(),
        ..crate::redact::Rules::none()
    };
    let told = |paths: &[&str]| {
        let mut spans = stage(ContentPolicy::default());
        spans.redact(crate::redact::Redactor::new(&rules(paths)).unwrap());
        let mut call = call();
        call.request.messages[0].parts.push(Part::ToolCallResponse {
            id: Some("c".to_owned()),
            response: json!("{\"ssn\":7}"),
        });
        call.response.messages[0].parts.push(Part::ToolCall {
            id: None,
            name: "f".to_owned(),
            arguments: Some(json!({"ssn": 7, "city": "Lyon"})),
        });
        let span = finished(&mut spans, call).remove(0);
        [
            attr::INPUT_MESSAGES,
            attr::OUTPUT_MESSAGES,
            attr::TOOL_DEFINITIONS,
        ]
        .map(|name| json_of(&span, name))
    };
    let [input, output, tools] = told(&["$..ssn", "what=$..description"]);
    assert_eq!(
        input[0]["parts"][1]["response"],
        "{\"ssn\":\"[redacted:path]\"}"
    );
    let arguments = json!({"ssn": "[redacted:path]", "city": "Lyon"});
    assert_eq!(output[0]["parts"][1]["arguments"], arguments);
    assert_eq!(tools[0]["description"], "[redacted:what]");
    let [input, output, tools] = told(&["$[?@.role == 'user'].parts[*].content", "$[0].name"]);
    assert_eq!(input[0]["parts"][0]["content"], "[redacted:path]");
    assert_eq!(output[0]["parts"][0]["content"], "x".repeat(100));
    assert_eq!(tools[0]["name"], "[redacted:path]");
    for whole in ["$", "$[0]", "$[0].parts"] {
        let [input, output, tools] = told(&[whole]);
        for list in [input, output] {
            let parts = list[0]["parts"].as_array().unwrap();
            assert_eq!(parts[0], json!({"type":"text","content":"[redacted:path]"}));
            assert!(list[0]["role"].is_string() && !list.to_string().contains("Lyon"));
        }
        assert!(tools.is_array());
    }
}

#[test]
fn a_failure_is_an_event_where_events_are_told() {
    let policy = ContentPolicy {
        on_spans: false,
        on_events: true,
        ..ContentPolicy::default()
    };
    let mut failed = call();
    failed.error = Some(CallError {
        kind: "rate_limit_exceeded".to_owned(),
        message: Some("slow down".to_owned()),
    });
    let span = one(policy, failed);
    let names: Vec<&str> = span.events.iter().map(|e| e.name.as_ref()).collect();
    assert_eq!(names, crate::vocabulary::event::ALL);
    assert!(span.events.iter().all(|e| e.time == span.end));
    let said: Vec<_> = span.events[1]
        .attributes
        .iter()
        .map(|(_, v)| v.clone())
        .collect();
    let told = ["rate_limit_exceeded", "slow down"].map(Value::from);
    assert_eq!(said, told);
    // Not on the span: it may quote what was sent.
    assert_eq!(span.error.as_deref(), Some(""));
}

/// Whether there are events may be said apart from where content goes.
#[test]
fn events_without_content_and_none_with_it() {
    let mut failed = call();
    failed.error = Some(CallError {
        kind: "rate_limit_exceeded".to_owned(),
        message: Some("slow down".to_owned()),
    });
    for (on_spans, on_events, emit_events, want) in [
        (true, false, None, 0),
        (true, false, Some(true), 2),
        (false, false, Some(true), 2),
        (true, true, Some(true), 2),
        (true, true, Some(false), 0),
        (false, true, Some(false), 0),
    ] {
        let policy = ContentPolicy {
            on_spans,
            on_events,
            emit_events,
            ..ContentPolicy::default()
        };
        let span = one(policy, failed.clone());
        assert_eq!(span.events.len(), want);
        let told = format!("{:?}", span.events);
        assert_eq!(told.contains("slow down"), want > 0 && on_events, "{told}");
        let messages = told.contains(attr::INPUT_MESSAGES);
        assert_eq!(messages, want > 0 && on_events, "{told}");
        assert_eq!(told.contains("rate_limit_exceeded"), want > 0, "{told}");
        // The span is as it would be without.
        let content = span.attribute(attr::INPUT_MESSAGES).is_some();
        assert_eq!(content, on_spans);
    }
}

#[test]
fn what_a_tool_is_given_and_gives_is_cut_and_counted() {
    let long = || {
        let mut call = call();
        call.request.mcp = Some(Box::new(McpRequest {
            method: "tools/call",
            arguments: Some(json!({"q": "x".repeat(50)})),
            ..McpRequest::default()
        }));
        call.response.mcp = Some(Box::new(McpResponse {
            result: Some(json!("y".repeat(9))),
            ..McpResponse::default()
        }));
        call
    };
    let policy = |on_spans| ContentPolicy {
        on_spans,
        max_message_chars: 20,
        ..ContentPolicy::default()
    };
    let span = one(policy(true), long());
    let cut = json!({"content": "{\"q\":\"xxxxxxxxxxxxxx", "genspan.original_length": 58});
    assert_eq!(json_of(&span, attr::TOOL_CALL_ARGUMENTS), cut);
    assert_eq!(json_of(&span, attr::TOOL_CALL_RESULT), json!("y".repeat(9)));
    let span = one(policy(false), long());
    let int = |name| span.attribute(name).cloned();
    assert_eq!(int(attr::TOOL_CALL_ARGUMENTS), None);
    assert_eq!(int(attr::TOOL_CALL_ARGUMENTS_CHARS), Some(Value::Int(58)));
    assert_eq!(int(attr::TOOL_CALL_RESULT_CHARS), Some(Value::Int(9)));
}

#[test]
fn a_task_says_how_often_it_was_asked_after() {
    for (polls, want) in [(0, None), (1, Some(1)), (7, Some(7))] {
        let mut task = call();
        task.polls = polls;
        let span = one(ContentPolicy::default(), task);
        assert_eq!(
            span.attribute(attr::TASK_POLLS),
            want.map(Value::Int).as_ref()
        );
    }
}
