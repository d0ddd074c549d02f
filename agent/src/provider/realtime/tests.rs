//! Connections of the Realtime API, made up after its documentation.

use crate::model::call::{Message, ModelCall, Part, Text};
use crate::model::defect::Defects;
use crate::model::exchange::Interest;
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Sender};
use crate::provider::testing::{Asked, Scene, Socket, post};
use serde_json::json;

const HOST: &str = "api.openai.com";

const CREATED: &str = r#"{"type":"session.created","event_id":"event_1","session":{"object":"realtime.session",
    "id":"sess_1","model":"gpt-realtime-2025-08-28","output_modalities":["audio"],"instructions":"Be brief.",
    "temperature":0.8,"max_output_tokens":"inf","client_secret":{"value":"ek_secret","expires_at":1},
    "tools":[{"type":"function","name":"clock","description":"Tells the time.","parameters":{"type":"object"}},
        {"type":"mcp","server_label":"files","authorization":"s3cret","headers":{"x":"s3cret"}}]}}"#;

fn open() -> Socket {
    let mut socket = Socket::open("/v1/realtime?model=gpt-realtime", HOST).unwrap();
    socket.server(CREATED);
    socket.server(r#"{"type":"conversation.created","conversation":{"id":"conv_1"}}"#);
    socket
}

fn done(id: &str, status: &str, details: &str, output: &str) -> String {
    format!(
        r#"{{"type":"response.done","response":{{"object":"realtime.response","id":"{id}","status":"{status}",
        "status_details":{details},"output":{output},"conversation_id":"conv_1","output_modalities":["audio"],
        "usage":{{"total_tokens":150,"input_tokens":100,"output_tokens":50,
            "input_token_details":{{"text_tokens":60,"audio_tokens":40,"image_tokens":0,"cached_tokens":30,
                "cached_tokens_details":{{"text_tokens":20,"audio_tokens":10}}}},
            "output_token_details":{{"text_tokens":15,"audio_tokens":35}}}}}}}}"#
    )
}

fn begun(id: &str) -> String {
    format!(
        r#"{{"type":"response.created","response":{{"object":"realtime.response","id":"{id}","status":"in_progress",
        "output":[],"conversation_id":"conv_1"}}}}"#
    )
}

fn delta(kind: &str, id: &str, index: u32, piece: &str) -> String {
    json!({"type": format!("response.{kind}.delta"), "event_id": "e", "response_id": id, "item_id": "item_9",
        "output_index": index, "content_index": 0, "delta": piece})
    .to_string()
}

fn sound(size: u64) -> Part {
    Part::Blob {
        modality: "audio",
        mime_type: None,
        content: Text {
            kept: String::new(),
            dropped: size,
        },
    }
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

fn said(role: &str, parts: Vec<Part>, finish: Option<&str>) -> Message {
    Message {
        role: role.to_owned(),
        name: None,
        parts,
        finish_reason: finish.map(str::to_owned),
    }
}

fn one(mut calls: Vec<ModelCall>) -> ModelCall {
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

#[test]
fn a_response_that_was_asked_for() {
    let mut socket = open();
    socket.client(
        r#"{"type":"conversation.item.create","item":{"type":"message","role":"user",
        "content":[{"type":"input_text","text":"Hi"},{"type":"input_audio","audio":"AAAA"},
            {"type":"input_image","image_url":"data:image/png;base64,QUJDRA=="}]}}"#,
    );
    socket.client(
        r#"{"type":"response.create","response":{"temperature":0.6,"metadata":{"k":"v"},
        "output_modalities":["text"],"max_output_tokens":200}}"#,
    );
    socket.server(
        r#"{"type":"conversation.item.added","item":{"id":"item_1","type":"message","role":"user",
        "content":[{"type":"input_text","text":"Hi"}]}}"#,
    );
    socket.server(&begun("resp_1"));
    socket.server(&delta("output_text", "resp_1", 0, "Good "));
    let progress = socket.scene.calls.progress(BootTime(5000));
    assert_eq!(progress[0].start, BootTime(1030));
    assert_eq!(progress[0].model.as_deref(), Some("gpt-realtime"));
    socket.server(&delta("output_text", "resp_1", 0, "day"));
    assert!(socket.calls().is_empty());
    let output = r#"[{"id":"item_2","type":"message","status":"completed","role":"assistant",
        "content":[{"type":"output_text","text":"Good day"}]}]"#;
    socket.server(&done("resp_1", "completed", "null", output));
    let call = one(socket.calls());
    assert_eq!(call.provider, "openai");
    assert_eq!(call.server_address.as_deref(), Some(HOST));
    assert_eq!(
        (call.start, call.first_chunk, call.end),
        (BootTime(1030), Some(BootTime(1061)), BootTime(1081))
    );
    let request = &call.request;
    assert_eq!(request.model.as_deref(), Some("gpt-realtime"));
    assert!(request.stream);
    assert_eq!(request.temperature, Some(0.6));
    assert_eq!(request.max_tokens, Some(200));
    assert_eq!(request.output_type, Some("text"));
    assert_eq!(request.system_instructions, [text("Be brief.")]);
    let tools: Vec<_> = request.tools.iter().map(|t| t.definition.clone()).collect();
    assert_eq!(
        tools,
        [
            json!({"type":"function","name":"clock","description":"Tells the time.","parameters":{"type":"object"}}),
            json!({"type":"mcp","name":"mcp"}),
        ]
    );
    let picture = Part::Blob {
        modality: "image",
        mime_type: None,
        content: Text {
            kept: String::new(),
            dropped: 8,
        },
    };
    assert_eq!(
        request.messages,
        [said("user", vec![text("Hi"), sound(4), picture], None)]
    );
    let response = &call.response;
    assert_eq!(response.id.as_deref(), Some("resp_1"));
    assert_eq!(response.model.as_deref(), Some("gpt-realtime-2025-08-28"));
    assert_eq!(response.conversation_id.as_deref(), Some("conv_1"));
    assert_eq!(response.finish_reasons, ["stop"]);
    assert_eq!(response.chunks, 2);
    assert_eq!(
        response.messages,
        [said("assistant", vec![text("Good day")], Some("stop"))]
    );
    let usage = response.usage;
    assert_eq!((usage.input, usage.output), (Some(100), Some(50)));
    assert_eq!(usage.cache_read, Some(30));
    assert_eq!(usage.input_by_modality, [Some(60), Some(0), Some(40)]);
    assert_eq!(usage.output_by_modality, [Some(15), None, Some(35)]);
    assert_eq!(usage.cache_read_by_modality, [Some(20), None, Some(10)]);
    assert!(call.defects.is_none() && call.error.is_none());
    // What a response alone was asked is over with it; the next one has its own input only.
    socket.client(r#"{"type":"response.create"}"#);
    socket.server(&begun("resp_2"));
    socket.server(&done("resp_2", "completed", "null", "[]"));
    let call = one(socket.calls());
    assert!(call.request.messages.is_empty());
    assert_eq!(call.request.temperature, Some(0.8));
    assert_eq!(call.request.max_tokens, None);
    assert_eq!(call.request.output_type, Some("speech"));
    let told = format!("{:?}", socket.close(Ending::default()));
    assert_eq!(told, "[]");
}

/// No secret is in what comes of a session, nor in what a debugger shows of one under way.
#[test]
fn secrets_are_not_kept() {
    let mut socket = open();
    socket.client(r#"{"type":"response.create"}"#);
    socket.server(&begun("resp_1"));
    let shown = format!("{:?}", socket.scene.calls);
    let told = format!("{:?}", socket.close(Ending::default()));
    for secret in ["ek_secret", "s3cret"] {
        assert!(
            !shown.contains(secret) && !told.contains(secret),
            "{shown} {told}"
        );
    }
}

/// The server hears the end of what is said, and answers by itself.
#[test]
fn a_response_to_what_was_spoken() {
    let mut socket = open();
    for _ in 0..3 {
        let audio = "A".repeat(400);
        socket.client(&format!(
            r#"{{"type":"input_audio_buffer.append","audio":"{audio}"}}"#
        ));
    }
    socket.server(r#"{"type":"input_audio_buffer.speech_started","item_id":"item_1"}"#);
    socket.server(r#"{"type":"input_audio_buffer.speech_stopped","item_id":"item_1"}"#);
    socket.server(r#"{"type":"input_audio_buffer.committed","item_id":"item_1"}"#);
    socket.server(&begun("resp_1"));
    socket.server(&delta("output_audio_transcript", "resp_1", 0, "It is"));
    socket.server(&delta("output_audio", "resp_1", 0, &"B".repeat(600)));
    socket.server(
        r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"item_1",
        "content_index":0,"transcript":"What time is it?","usage":{"type":"duration","seconds":2}}"#,
    );
    socket.server(&delta("output_audio", "resp_1", 0, &"B".repeat(200)));
    let output = r#"[{"id":"item_2","type":"message","status":"completed","role":"assistant",
        "content":[{"type":"output_audio","transcript":"It is noon."}]},
        {"id":"item_3","type":"function_call","status":"completed","name":"clock","call_id":"call_1",
            "arguments":"{\"zone\":\"UTC\"}"}]"#;
    socket.server(&done("resp_1", "completed", "null", output));
    let call = one(socket.calls());
    // From when the server took up what was said.
    assert_eq!(
        (call.start, call.first_chunk),
        (BootTime(1070), Some(BootTime(1091)))
    );
    assert_eq!(
        call.request.messages,
        [said(
            "user",
            vec![text("What time is it?"), sound(1200)],
            None
        )]
    );
    let tool = Part::ToolCall {
        id: Some("call_1".to_owned()),
        name: "clock".to_owned(),
        arguments: Some(json!({"zone": "UTC"})),
    };
    assert_eq!(
        call.response.messages,
        [said(
            "assistant",
            vec![text("It is noon."), sound(800), tool],
            Some("tool_call")
        )]
    );
    assert_eq!(call.response.finish_reasons, ["tool_calls"]);
    assert_eq!(call.response.chunks, 3);
    // The tool's answer is what the next one is about.
    socket.client(
        r#"{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":"call_1",
        "output":"12:00"}}"#,
    );
    socket.client(r#"{"type":"response.create"}"#);
    socket.server(&begun("resp_2"));
    socket.server(&done("resp_2", "completed", "null", "[]"));
    let answer = Part::ToolCallResponse {
        id: Some("call_1".to_owned()),
        response: json!("12:00"),
    };
    assert_eq!(
        one(socket.calls()).request.messages,
        [said("tool", vec![answer], None)]
    );
}

#[test]
fn how_responses_end() {
    for (status, details, finish, in_message, error) in [
        ("completed", "null", "stop", "stop", None),
        (
            "incomplete",
            r#"{"type":"incomplete","reason":"max_output_tokens"}"#,
            "length",
            "length",
            None,
        ),
        (
            "incomplete",
            r#"{"type":"incomplete","reason":"content_filter"}"#,
            "content_filter",
            "content_filter",
            None,
        ),
        (
            "cancelled",
            r#"{"type":"cancelled","reason":"turn_detected"}"#,
            "turn_detected",
            "error",
            None,
        ),
        (
            "cancelled",
            r#"{"type":"cancelled","reason":"client_cancelled"}"#,
            "client_cancelled",
            "error",
            None,
        ),
        ("cancelled", "null", "cancelled", "error", None),
        (
            "failed",
            r#"{"type":"failed","error":{"type":"server_error","code":"rate_limit_exceeded","message":"Slow."}}"#,
            "error",
            "error",
            Some(("rate_limit_exceeded", Some("Slow."))),
        ),
        (
            "failed",
            "null",
            "error",
            "error",
            Some(("response.failed", None)),
        ),
    ] {
        let mut socket = open();
        socket.client(r#"{"type":"response.create"}"#);
        socket.server(&begun("resp_1"));
        let output =
            r#"[{"type":"message","role":"assistant","content":[{"type":"text","text":"x"}]}]"#;
        socket.server(&done("resp_1", status, details, output));
        let call = one(socket.calls());
        assert_eq!(call.response.finish_reasons, [finish], "{status} {details}");
        let message = call.response.messages[0].finish_reason.as_deref();
        assert_eq!(message, Some(in_message));
        let told = call
            .error
            .as_ref()
            .map(|e| (e.kind.as_str(), e.message.as_deref()));
        assert_eq!(told, error);
    }
}

/// Several at a time, also some that are not of the conversation.
#[test]
fn responses_do_not_mix() {
    let mut socket = open();
    for (id, question) in [("resp_a", "one"), ("resp_b", "two")] {
        socket.client(&format!(
            r#"{{"type":"response.create","response":{{"conversation":"none","input":[
            {{"type":"item_reference","id":"item_1"}},
            {{"type":"message","role":"user","content":[{{"type":"input_text","text":"{question}"}}]}}]}}}}"#
        ));
        socket.server(&begun(id));
    }
    for (id, piece) in [
        ("resp_a", "1"),
        ("resp_b", "2"),
        ("resp_a", "1"),
        ("resp_b", "2"),
    ] {
        socket.server(&delta("output_text", id, 0, piece));
    }
    // Of one that nobody knows of.
    socket.server(&delta("output_text", "resp_x", 0, "x"));
    socket.server(&done("resp_x", "completed", "null", "[]"));
    assert!(socket.calls().is_empty());
    socket.server(&done("resp_b", "completed", "null", "[]"));
    let b = one(socket.calls());
    assert_eq!(b.response.id.as_deref(), Some("resp_b"));
    assert_eq!(b.request.messages, [said("user", vec![text("two")], None)]);
    let a = one(socket.close(Ending::default()));
    assert_eq!(a.response.id.as_deref(), Some("resp_a"));
    assert_eq!(
        a.response.messages,
        [said("assistant", vec![text("11")], Some("error"))]
    );
    assert_ne!(a.exchange, b.exchange);
}

/// Where one thread writes and another reads, an answer may be told before its request.
#[test]
fn an_answer_may_be_told_before_its_request() {
    let mut socket = open();
    let item = |text: &str| {
        let content = json!([{"type": "input_text", "text": text}]);
        let item = json!({"type": "message", "role": "user", "content": content});
        json!({"type": "conversation.item.create", "item": item}).to_string()
    };
    // Under way, and over, when it comes.
    socket.client(&item("one"));
    socket.server(&begun("resp_1"));
    socket.client(r#"{"type":"response.create","response":{"temperature":0.1}}"#);
    socket.server(&done("resp_1", "completed", "null", "[]"));
    socket.server(&begun("resp_2"));
    socket.server(&done("resp_2", "completed", "null", "[]"));
    socket.client(r#"{"type":"response.create","response":{"temperature":0.2}}"#);
    // The next one has nothing of theirs.
    socket.client(&item("three"));
    socket.client(r#"{"type":"response.create","response":{"temperature":0.3}}"#);
    socket.server(&begun("resp_3"));
    socket.server(&done("resp_3", "completed", "null", "[]"));
    let calls = socket.calls();
    let told: Vec<_> = calls
        .iter()
        .map(|c| (c.start.0, c.request.temperature, c.request.messages.len()))
        .collect();
    assert_eq!(
        told,
        [
            (1030, Some(0.1), 1),
            (1060, Some(0.8), 0),
            (1100, Some(0.3), 1)
        ]
    );
    assert!(calls.iter().all(|c| c.defects.is_none()));
    assert!(socket.close(Ending::default()).is_empty());
}

#[test]
fn what_is_refused() {
    // Named by the client's own id; not named, but it can be about nothing else; about others.
    for (event, error, kind) in [
        (
            r#"{"type":"response.create","event_id":"mine"}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","code":"invalid_value","message":"No.",
                "event_id":"mine","param":null}}"#,
            Some("invalid_value"),
        ),
        (
            r#"{"type":"response.create"}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error",
                "code":"conversation_already_has_active_response","message":"Wait."}}"#,
            Some("conversation_already_has_active_response"),
        ),
        (
            r#"{"type":"response.create"}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","code":"unknown_parameter","message":"No.",
                "param":"response.what"}}"#,
            Some("unknown_parameter"),
        ),
        (
            r#"{"type":"response.create","event_id":"mine"}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","code":"invalid_value","message":"No.",
                "event_id":"other"}}"#,
            None,
        ),
        (
            r#"{"type":"response.create"}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","code":"invalid_value","message":"No.",
                "param":"session.voice"}}"#,
            None,
        ),
    ] {
        let mut socket = open();
        socket.client(event);
        socket.server(error);
        let calls = socket.calls();
        let got = calls.first().and_then(|c| c.error.as_ref());
        assert_eq!(got.map(|e| e.kind.as_str()), kind, "{error}");
    }
    // The handshake itself.
    let asked = Asked {
        method: "GET",
        headers: &[("upgrade", "websocket")],
        ..post("/v1/realtime?model=m", HOST, "")
    };
    let mut scene = Scene::default();
    let body = r#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    let call = one(scene.document(&asked, 401, body));
    assert_eq!(call.request.model.as_deref(), Some("m"));
    assert_eq!(call.response.status, Some(401));
    assert_eq!(
        call.error.map(|e| e.kind),
        Some("invalid_api_key".to_owned())
    );
    let call = scene.document(&asked, 403, "");
    assert_eq!(one(call).error.map(|e| e.kind), Some("403".to_owned()));
    assert!(scene.document(&asked, 200, "").is_empty());
    assert_eq!(scene.calls.open_calls(), 0);
}

#[test]
fn connections_that_end() {
    let ends = [
        (Ending::default(), None),
        (
            Ending {
                server_ended: true,
                ..Ending::default()
            },
            Some("connection_reset"),
        ),
        (
            Ending {
                close: Some((Sender::Server, 1011)),
                ..Ending::default()
            },
            Some("websocket_close_1011"),
        ),
        (
            Ending {
                close: Some((Sender::Client, 1000)),
                ..Ending::default()
            },
            None,
        ),
    ];
    for (ending, kind) in ends {
        for begins in [false, true] {
            let mut socket = open();
            socket.client(r#"{"type":"response.create"}"#);
            if begins {
                socket.server(&begun("resp_1"));
                socket.server(
                    r#"{"type":"response.output_item.added","response_id":"resp_1","output_index":0,
                    "item":{"type":"function_call","name":"clock","call_id":"call_1","arguments":""}}"#,
                );
                socket.server(&delta("function_call_arguments", "resp_1", 0, r#"{"zone""#));
                socket.server(&delta("output_audio", "resp_1", 1, "AAAA"));
            }
            let call = one(socket.close(ending));
            assert_eq!(call.defects, Defects::RESPONSE_CUT);
            assert_eq!(call.error.map(|e| e.kind).as_deref(), kind);
            let response = call.response;
            assert!(response.finish_reasons.is_empty() && response.usage.input.is_none());
            if begins {
                assert_eq!(response.id.as_deref(), Some("resp_1"));
                let tool = Part::ToolCall {
                    id: Some("call_1".to_owned()),
                    name: "clock".to_owned(),
                    arguments: Some(json!(r#"{"zone""#)),
                };
                assert_eq!(
                    response.messages,
                    [said("assistant", vec![tool, sound(4)], Some("error"))]
                );
            }
        }
    }
    // The server says why, and goes.
    let mut socket = open();
    socket.client(r#"{"type":"response.create"}"#);
    socket.server(&begun("resp_1"));
    socket.server(
        r#"{"type":"error","error":{"type":"server_error","code":null,"message":"Sorry."}}"#,
    );
    let call = one(socket.close(ends[1].0));
    assert_eq!(call.error.map(|e| e.kind).as_deref(), Some("server_error"));
    // When it is we who stop looking, nothing failed.
    let mut socket = open();
    socket.client(r#"{"type":"response.create"}"#);
    socket.scene.calls.stopping();
    assert_eq!(one(socket.close(ends[1].0)).error, None);
}

#[test]
fn in_mid_connection() {
    let mut socket = Socket::unseen();
    socket.server(&delta("output_text", "resp_1", 0, "rest"));
    assert!(socket.scene.calls.progress(BootTime(5000)).is_empty());
    let output = r#"[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"the rest"}]}]"#;
    socket.server(&done("resp_1", "completed", "null", output));
    let call = one(socket.calls());
    assert_eq!(call.defects, Defects::ATTACHED_MIDWAY);
    assert_eq!((call.request.model, call.first_chunk), (None, None));
    assert_eq!(call.response.usage.input, Some(100));
    assert_eq!(
        call.response.messages,
        [said("assistant", vec![text("the rest")], Some("stop"))]
    );
    // What is of no shape is left alone after a while.
    let mut socket = Socket::unseen();
    let mut said = 0;
    while socket.say(Sender::Server, r#"{"type":"quote","price":1.5}"#) == Interest::Wanted {
        said += 1;
        assert!(said < 20);
    }
    assert_eq!(socket.scene.calls.open_calls(), 0);
    // Also when its path is one of ours.
    let mut socket = Socket::open("/app/realtime", "h").unwrap();
    socket.binary(Sender::Server, 100);
    while socket.say(Sender::Client, "hello") == Interest::Wanted {}
    assert_eq!(socket.scene.calls.open_calls(), 0);
}

#[test]
fn gaps() {
    // Bytes of the server: what was asked for is given to no response.
    let mut socket = open();
    socket.client(r#"{"type":"response.create","event_id":"a"}"#);
    socket.gap(Sender::Server);
    socket.server(&begun("resp_1"));
    socket.server(&done("resp_1", "completed", "null", "[]"));
    let call = one(socket.calls());
    assert_eq!(call.start, BootTime(1030));
    assert!(call.defects.has(Defects::RESPONSE_GAP) && call.defects.has(Defects::REQUEST_GAP));
    // In the middle of one.
    socket.client(r#"{"type":"response.create"}"#);
    socket.server(&begun("resp_2"));
    socket.server(&delta("output_text", "resp_2", 0, "a"));
    socket.gap(Sender::Server);
    socket.server(&done("resp_2", "completed", "null", "[]"));
    assert_eq!(one(socket.calls()).defects, Defects::RESPONSE_GAP);
    // Its end: one that begins behind it is not it.
    socket.server(&delta("output_text", "resp_3", 0, "b"));
    let call = one(socket.close(Ending::default()));
    assert_eq!(call.response.id.as_deref(), Some("resp_3"));
    assert!(
        call.defects
            .has(Defects::RESPONSE_GAP.with(Defects::RESPONSE_CUT))
    );
    // Messages of which only the beginning is there.
    let mut socket = open();
    let part = r#"{"type":"input_audio_buffer.append","audio":"AAAA"#;
    socket.say_part(Sender::Client, part, 10_000_000);
    socket.server(r#"{"type":"input_audio_buffer.committed","item_id":"item_1"}"#);
    socket.server(&begun("resp_1"));
    let part = done("resp_1", "completed", "null", "[]");
    socket.say_part(Sender::Server, &part[..part.len() - 40], part.len());
    let call = one(socket.calls());
    let defects = Defects::REQUEST_OVER_LIMIT.with(Defects::RESPONSE_OVER_LIMIT);
    assert_eq!(call.defects, defects);
    assert_eq!(call.response.usage.input, Some(100));
}

#[test]
fn who_is_addressed() {
    for (target, host, provider, model) in [
        ("/v1/realtime?model=m", HOST, "openai", Some("m")),
        (
            "/v1/realtime?model=m",
            "gateway.example",
            "openai",
            Some("m"),
        ),
        ("/v1/realtime", "api.x.ai", "x_ai", None),
        (
            "/openai/realtime?api-version=2024-10-01-preview&deployment=d",
            "gateway.example",
            "azure.ai.openai",
            Some("d"),
        ),
        (
            "/openai/v1/realtime?model=d",
            "r.openai.azure.com",
            "azure.ai.openai",
            Some("d"),
        ),
        (
            "/openai/deployments/d/realtime?api-version=1",
            "r.openai.azure.com",
            "azure.ai.openai",
            Some("d"),
        ),
        (
            "/api-ws/v1/realtime?model=qwen3-omni-flash-realtime",
            "dashscope.aliyuncs.com",
            "dashscope",
            Some("qwen3-omni-flash-realtime"),
        ),
        (
            "/api-ws/v1/realtime?model=q",
            "gateway.example",
            "dashscope",
            Some("q"),
        ),
    ] {
        let mut socket = Socket::open(target, host).unwrap();
        socket.server(r#"{"type":"session.created","session":{"model":"answers"}}"#);
        socket.server(&begun("resp_1"));
        socket.server(&done("resp_1", "completed", "null", "[]"));
        let call = one(socket.calls());
        assert_eq!(call.provider, provider, "{target}");
        assert_eq!(
            call.request.model.as_deref(),
            model.or(Some("answers")),
            "{target}"
        );
    }
    for target in [
        "/v1/realtime/sessions",
        "/v1/realtimes",
        "/realtime/v1/websocket",
        "/ws",
    ] {
        assert!(Socket::open(target, HOST).is_none(), "{target}");
    }
    // Not without an upgrade.
    assert!(!Scene::default().ask(&post("/v1/realtime?model=m", HOST, "{}")));
}

/// DashScope's, in its own spellings; and its speech synthesis, which is sent text bit by bit.
#[test]
fn dashscope() {
    let mut socket = Socket::open("/api-ws/v1/realtime?model=qwen-tts-realtime", "h").unwrap();
    socket.server(
        r#"{"type":"session.created","session":{"model":"qwen-tts-realtime","modalities":["text","audio"],
        "top_k":50,"seed":1314,"temperature":0.9}}"#,
    );
    for piece in ["Good ", "morning"] {
        socket.client(&json!({"type": "input_text_buffer.append", "text": piece}).to_string());
    }
    socket.client(r#"{"type":"input_text_buffer.commit"}"#);
    socket.server(r#"{"type":"input_text_buffer.committed","item_id":""}"#);
    socket.server(&begun("resp_1"));
    socket.server(&delta("audio", "resp_1", 0, "AAAAAAAA"));
    socket.server(
        r#"{"type":"response.done","response":{"id":"resp_1","status":"completed","output":[{"type":"message",
        "role":"assistant","content":[{"type":"audio"}]}],"usage":{"total_tokens":9,"input_tokens":4,"output_tokens":5,
        "input_tokens_details":{"text_tokens":4},"output_tokens_details":{"audio_tokens":5,"text_tokens":0}}}}"#,
    );
    let call = one(socket.calls());
    assert_eq!(call.start, BootTime(1030));
    assert_eq!(
        call.request.messages,
        [said("user", vec![text("Good morning")], None)]
    );
    assert_eq!(
        (
            call.request.top_k,
            call.request.seed,
            call.request.output_type
        ),
        (Some(50), Some(1314), Some("speech"))
    );
    assert_eq!(
        call.response.messages,
        [said("assistant", vec![sound(8)], Some("stop"))]
    );
    assert_eq!(call.response.usage.input_by_modality, [Some(4), None, None]);
    assert_eq!(
        call.response.usage.output_by_modality,
        [Some(0), None, Some(5)]
    );
}

/// Events of any other form: never a panic, nothing invented, nothing left over.
#[test]
fn strange_events() {
    let mut socket = open();
    socket.client(r#"{"type":"response.create","response":[]}"#);
    socket.server(&begun("resp_1"));
    for event in [
        "",
        "[]",
        "{}",
        "null",
        r#"{"type":5}"#,
        r#"{"type":"response.output_text.delta","response_id":"resp_1","output_index":-1,"delta":"a"}"#,
        r#"{"type":"response.output_text.delta","response_id":"resp_1","output_index":"x","delta":"b"}"#,
        r#"{"type":"response.output_text.delta","response_id":"resp_1","delta":7}"#,
        r#"{"type":"response.output_item.added","response_id":"resp_1","item":null}"#,
        r#"{"type":"response.done"}"#,
        r#"{"type":"session.updated","session":{"tools":{},"instructions":5,"model":[]}}"#,
        r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"none","transcript":"x"}"#,
        r#"{"type":"error"}"#,
        r#"{"type":"error","error":"text"}"#,
    ] {
        for sender in [Sender::Client, Sender::Server] {
            assert_eq!(socket.say(sender, event), Interest::Wanted);
        }
    }
    // `response.done` without a response was of the only one there is.
    let call = one(socket.calls());
    assert_eq!(call.response.finish_reasons, [""; 0]);
    assert!(call.defects.has(Defects::EVENT_BROKEN));
    assert!(socket.close(Ending::default()).is_empty());
}

#[test]
fn bounds() {
    let mut socket = open();
    for n in 0..200 {
        socket.client(r#"{"type":"response.create"}"#);
        socket.server(&begun(&format!("resp_{n}")));
        socket.server(&delta("output_text", &format!("resp_{n}"), n, "x"));
    }
    let told = socket.calls();
    assert_eq!(told.len(), 200 - crate::provider::sockets::MAX_TURNS);
    assert!(told.iter().all(|c| c.defects.has(Defects::RESPONSE_CUT)));
    let rest = socket.close(Ending::default());
    assert_eq!(rest.len(), crate::provider::sockets::MAX_TURNS);
    // Text beyond what a call may keep.
    let mut socket = open();
    socket.client(r#"{"type":"response.create"}"#);
    socket.server(&begun("resp_1"));
    let piece = "x".repeat(1 << 18);
    for _ in 0..8 {
        socket.server(&delta("output_text", "resp_1", 0, &piece));
    }
    let call = one(socket.close(Ending::default()));
    let [Part::Text(text)] = &call.response.messages[0].parts[..] else {
        panic!("{:?}", call.response.messages);
    };
    assert_eq!((text.kept.len(), text.chars()), (1 << 20, 1 << 21));
}
