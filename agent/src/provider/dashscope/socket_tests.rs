//! Tasks over WebSocket, made up after the documentation and what the `dashscope` package sends.

use crate::model::call::{ModelCall, Operation, Part, Text};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Sender};
use crate::provider::testing::{Scene, Socket, post};
use serde_json::{Value, json};

const HOST: &str = "dashscope.aliyuncs.com";
const PATH: &str = "/api-ws/v1/inference";

fn open() -> Socket {
    Socket::open(PATH, HOST).unwrap()
}

fn run(id: &str, streaming: &str, payload: &Value) -> String {
    json!({"header": {"action": "run-task", "task_id": id, "streaming": streaming}, "payload": payload}).to_string()
}

fn act(action: &str, id: &str, input: &Value) -> String {
    json!({"header": {"action": action, "task_id": id, "streaming": "duplex"}, "payload": {"input": input}})
        .to_string()
}

fn event(name: &str, id: &str, payload: &Value) -> String {
    json!({"header": {"task_id": id, "event": name, "attributes": {}}, "payload": payload})
        .to_string()
}

fn speech(task: &str, function: &str) -> Value {
    json!({"task_group": "audio", "task": task, "function": function, "model": "m-1",
        "parameters": {"format": "pcm", "sample_rate": 16000}, "input": {}})
}

fn sentence(id: &str, text: &str, end: &Value) -> String {
    let output = json!({"sentence": {"begin_time": 0, "text": text, "sentence_end": end}});
    event(
        "result-generated",
        id,
        &json!({"output": output, "usage": null}),
    )
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

fn one(mut calls: Vec<ModelCall>) -> ModelCall {
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

#[test]
fn recognition() {
    let mut socket = open();
    socket.client(&run("t-1", "duplex", &speech("asr", "recognition")));
    socket.server(&event("task-started", "t-1", &json!({})));
    socket.binary(Sender::Client, 3200);
    socket.binary(Sender::Client, 100);
    socket.server(&sentence("t-1", "good", &json!(false)));
    socket.server(&sentence("t-1", "Good day.", &json!(true)));
    let beat =
        json!({"output": {"sentence": {"text": "x", "heartbeat": true, "sentence_end": false}}});
    socket.server(&event("result-generated", "t-1", &beat));
    socket.server(&sentence("t-1", "And", &json!(false)));
    socket.server(&sentence("t-1", "And you", &json!(false)));
    socket.client(&act("finish-task", "t-1", &json!({})));
    socket.server(&event(
        "task-finished",
        "t-1",
        &json!({"output": {}, "usage": null}),
    ));
    let call = one(socket.calls());
    assert_eq!(call.operation, Operation::GenerateContent);
    assert_eq!(call.provider, "dashscope");
    assert_eq!(call.request.model.as_deref(), Some("m-1"));
    assert_eq!(call.request.output_type, Some("text"));
    assert!(call.request.stream);
    assert_eq!(
        (call.start, call.first_chunk, call.end),
        (BootTime(1000), Some(BootTime(1041)), BootTime(1101))
    );
    assert_eq!(call.request.messages[0].parts, [sound(4400)]);
    assert_eq!(
        call.response.messages[0].parts,
        [text("Good day.\nAnd you")]
    );
    assert_eq!(call.response.id.as_deref(), Some("t-1"));
    assert_eq!(call.response.chunks, 4);
    assert!(call.defects.is_none() && call.error.is_none());
    assert!(socket.close(Ending::default()).is_empty());
}

/// One after the other on one connection, as clients with a pool of them do.
#[test]
fn synthesis() {
    let mut socket = open();
    for (id, texts) in [("t-1", &["Good ", "day"][..]), ("t-2", &["Bye"])] {
        socket.client(&run(id, "duplex", &speech("tts", "SpeechSynthesizer")));
        socket.server(&event("task-started", id, &json!({})));
        for piece in texts {
            socket.client(&act("continue-task", id, &json!({"text": piece})));
        }
        let output = json!({"output": {"sentence": {"words": []}}, "usage": {"characters": 3}});
        socket.server(&event("result-generated", id, &output));
        for _ in 0..3 {
            socket.binary(Sender::Server, 1000);
        }
        socket.server(&event("task-finished", id, &output));
        let call = one(socket.calls());
        assert_eq!(call.request.output_type, Some("speech"));
        assert_eq!(call.request.messages[0].parts, [text(&texts.concat())]);
        assert_eq!(call.response.messages[0].parts, [sound(4000)]);
        assert_eq!(call.response.chunks, 3);
        assert_eq!(call.response.usage, Default::default());
        assert_eq!(call.response.id.as_deref(), Some(id));
    }
    assert!(socket.close(Ending::default()).is_empty());
}

#[test]
fn generation() {
    let mut socket = open();
    let payload = json!({"task_group": "aigc", "task": "text-generation", "function": "generation",
        "model": "qwen-turbo", "parameters": {"temperature": 0.5, "result_format": "message"},
        "input": {"messages": [{"role": "user", "content": "Hi"}]}});
    socket.client(&run("t-1", "out", &payload));
    socket.server(&event("task-started", "t-1", &json!({})));
    for (said, reason, count) in [("Good", "null", 1), ("Good day", "stop", 2)] {
        let choice =
            json!({"message": {"role": "assistant", "content": said}, "finish_reason": reason});
        let usage = json!({"input_tokens": 3, "output_tokens": count, "total_tokens": 3 + count});
        let result = json!({"output": {"choices": [choice]}, "usage": usage});
        socket.server(&event("result-generated", "t-1", &result));
    }
    socket.server(&event("task-finished", "t-1", &json!({})));
    let call = one(socket.calls());
    assert_eq!(call.operation, Operation::Chat);
    assert_eq!(call.request.temperature, Some(0.5));
    assert_eq!(call.request.messages[0].parts, [text("Hi")]);
    assert_eq!(call.response.messages[0].parts, [text("Good day")]);
    assert_eq!(call.response.finish_reasons, ["stop"]);
    let usage = call.response.usage;
    assert_eq!((usage.input, usage.output), (Some(3), Some(2)));
    assert_eq!(call.response.id.as_deref(), Some("t-1"));
    socket.close(Ending::default());
}

/// Recognition and translation at once: the translation is what was asked for.
#[test]
fn translation() {
    let mut socket = open();
    socket.client(&run("t-1", "duplex", &speech("asr", "recognition")));
    for (heard, said, end) in [("你", "you", false), ("你好", "Hello", true)] {
        let output = json!({"transcription": {"text": heard, "sentence_end": end},
            "translations": [{"lang": "en", "text": said, "sentence_end": end}]});
        socket.server(&event(
            "result-generated",
            "t-1",
            &json!({"output": output}),
        ));
    }
    socket.server(&event("task-finished", "t-1", &json!({})));
    let call = one(socket.calls());
    assert_eq!(call.response.messages[0].parts, [text("Hello")]);
    socket.close(Ending::default());
}

#[test]
fn what_fails() {
    let mut socket = open();
    socket.client(&run("t-1", "duplex", &speech("asr", "recognition")));
    socket.server(
        &json!({"header": {"task_id": "t-1", "event": "task-failed", "error_code": "InvalidParameter",
            "error_message": "No such format."}, "payload": {}})
        .to_string(),
    );
    let error = one(socket.calls()).error.unwrap();
    assert_eq!(error.kind, "InvalidParameter");
    assert_eq!(error.message.as_deref(), Some("No such format."));
    // The connection ends under it.
    for (ending, kind) in [
        (Ending::default(), None),
        (
            Ending {
                close: Some((Sender::Server, 1007)),
                server_ended: false,
            },
            Some("websocket_close_1007"),
        ),
    ] {
        let mut socket = open();
        socket.client(&run("t-2", "duplex", &speech("tts", "x")));
        socket.binary(Sender::Server, 10);
        let call = one(socket.close(ending));
        assert_eq!(call.defects, Defects::RESPONSE_CUT);
        assert_eq!(call.error.map(|e| e.kind).as_deref(), kind);
        assert_eq!(call.response.messages[0].parts, [sound(16)]);
    }
    // Who waits for one answer hangs up when it is there.
    let mut socket = open();
    socket.client(&run("t-3", "none", &speech("tts", "x")));
    socket.binary(Sender::Server, 10);
    let call = one(socket.close(Ending::default()));
    assert!(call.defects.is_none() && call.error.is_none() && !call.request.stream);
    // The handshake.
    let asked = crate::provider::testing::Asked {
        method: "GET",
        headers: &[("upgrade", "websocket")],
        ..post(PATH, HOST, "")
    };
    let body = r#"{"code":"InvalidApiKey","message":"Invalid API-key provided.","request_id":"r"}"#;
    let call = one(Scene::default().document(&asked, 401, body));
    assert_eq!(call.error.map(|e| e.kind).as_deref(), Some("InvalidApiKey"));
}

#[test]
fn in_mid_connection_and_with_gaps() {
    let mut socket = Socket::unseen();
    socket.server(&sentence("t-1", "the rest", &json!(true)));
    socket.server(&event("task-finished", "t-1", &json!({})));
    let call = one(socket.calls());
    assert_eq!(call.defects, Defects::ATTACHED_MIDWAY);
    assert_eq!(call.first_chunk, None);
    assert_eq!(call.response.messages[0].parts, [text("the rest")]);
    assert_eq!(call.provider, "dashscope");
    // Of a task that nobody started, when nothing is missing, nothing is told.
    let mut socket = open();
    socket.server(&sentence("t-9", "who?", &json!(true)));
    socket.server(&event("task-finished", "t-9", &json!({})));
    socket.client(&run("t-1", "duplex", &speech("asr", "recognition")));
    socket.gap(Sender::Server);
    socket.server(&sentence("t-1", "all", &json!(true)));
    socket.gap(Sender::Client);
    socket.server(&event("task-finished", "t-1", &json!({})));
    let call = one(socket.calls());
    let gaps = Defects::RESPONSE_GAP.with(Defects::REQUEST_GAP);
    assert_eq!(call.defects, gaps);
    assert!(socket.close(Ending::default()).is_empty());
}

#[test]
fn strange_messages() {
    let mut socket = open();
    socket.client(&run("t-1", "duplex", &speech("asr", "recognition")));
    for message in [
        "",
        "[]",
        "{}",
        r#"{"header":5}"#,
        r#"{"header":{"task_id":"t-1"}}"#,
        r#"{"header":{"task_id":"t-1","event":"result-generated"}}"#,
        r#"{"header":{"task_id":"t-1","event":"result-generated"},"payload":{"output":[],"usage":3}}"#,
        r#"{"header":{"task_id":"t-1","event":"result-generated"},"payload":{"output":{"sentence":{"text":7}}}}"#,
        r#"{"header":{"task_id":"t-1","action":"continue-task"},"payload":{"input":"x"}}"#,
        r#"{"header":{"task_id":"","action":"run-task"},"payload":{}}"#,
    ] {
        for sender in [Sender::Client, Sender::Server] {
            socket.say(sender, message);
        }
    }
    let call = one(socket.close(Ending::default()));
    assert!(call.response.messages.is_empty());
    let defects = Defects::EVENT_BROKEN.with(Defects::RESPONSE_CUT);
    assert_eq!(call.defects, defects);
    // More than are followed.
    let mut socket = open();
    for n in 0..100 {
        socket.client(&run(&format!("t-{n}"), "duplex", &speech("asr", "x")));
    }
    let told = socket.calls().len() + socket.close(Ending::default()).len();
    assert_eq!(told, 100);
}
