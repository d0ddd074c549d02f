//! Streamed contents, as events and as an array.

use crate::model::call::{ModelCall, Part};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::provider::limits::{MAX_CHOICES, MAX_ITEMS};
use crate::provider::testing::{Asked, Event, Scene, document, events, post};
use serde_json::{Value, json};

const BODY: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#;
const HOST: &str = "generativelanguage.googleapis.com";
const SSE: Asked<'_> = post(
    "/v1beta/models/g-1:streamGenerateContent?alt=sse",
    HOST,
    BODY,
);
const ARRAY: Asked<'_> = post("/v1beta/models/g-1:streamGenerateContent", HOST, BODY);

fn says(parts: &Value) -> Value {
    json!({"candidates":[{"content":{"parts":parts,"role":"model"}}],
        "usageMetadata":{"promptTokenCount":5,"totalTokenCount":5},"modelVersion":"g-1-x","responseId":"r-1"})
}

/// What a model thinks, says and asks for.
fn chunks() -> Vec<Value> {
    vec![
        says(&json!([{"text":"h","thought":true}])),
        says(&json!([{"text":"m","thought":true,"thoughtSignature":"c2ln"}])),
        says(&json!([{"text":"Hel"}])),
        says(&json!([{"text":"lo"},{"functionCall":{"name":"clock","args":{"k":1}}}])),
        says(&json!([{"functionCall":{"name":"clock","args":{"k":1}}}])),
        json!({"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],
            "usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":7,"thoughtsTokenCount":2,"totalTokenCount":14},
            "modelVersion":"g-1-x","responseId":"r-1"}),
    ]
}

fn streamed(chunks: &[Value], defects: Defects) -> ModelCall {
    let texts: Vec<_> = chunks.iter().map(Value::to_string).collect();
    let list: Vec<Event<'_>> = texts.iter().map(|t| ("", t.as_str(), "")).collect();
    events(&SSE, &list, defects)
}

fn array(chunks: &[Value]) -> String {
    let texts: Vec<_> = chunks.iter().map(|c| format!("{c:#}")).collect();
    format!("[{}\n]\n", texts.join("\n,\r\n"))
}

fn parts() -> Vec<Part> {
    let clock = Part::ToolCall {
        id: None,
        name: "clock".to_owned(),
        arguments: Some(json!({"k":1})),
    };
    vec![
        Part::Reasoning("hm".into()),
        Part::Text("Hello".into()),
        clock.clone(),
        clock,
    ]
}

#[test]
fn a_stream_is_one_answer() {
    let call = streamed(&chunks(), Defects::NONE);
    assert!(call.request.stream);
    let a = &call.response;
    assert_eq!(
        (a.id.as_deref(), a.model.as_deref()),
        (Some("r-1"), Some("g-1-x"))
    );
    assert_eq!(a.messages.len(), 1);
    assert_eq!(
        (a.messages[0].role.as_str(), &a.messages[0].parts),
        ("assistant", &parts())
    );
    assert_eq!(a.messages[0].finish_reason.as_deref(), Some("tool_call"));
    assert_eq!(a.finish_reasons, ["STOP"]);
    let u = a.usage;
    assert_eq!(
        (u.input, u.output, u.reasoning),
        (Some(5), Some(9), Some(2))
    );
    assert_eq!(a.chunks, 6);
    assert_eq!(call.first_chunk, Some(BootTime(1100)));
    assert!(call.error.is_none() && call.defects.is_none());
}

#[test]
fn an_array_is_the_same_answer() {
    let mut want = streamed(&chunks(), Defects::NONE);
    let mut got = document(&ARRAY, 200, &array(&chunks())).unwrap();
    // Its elements come all at once here.
    (want.response.chunk_gaps, got.response.chunk_gaps) = (None, None);
    assert_eq!((got.request, got.response), (want.request, want.response));
    assert!(got.error.is_none() && got.defects.is_none());
}

#[test]
fn a_cut_stream_invents_nothing() {
    let all = chunks();
    for n in 0..=all.len() {
        let call = streamed(&all[..n], Defects::RESPONSE_CUT);
        let a = &call.response;
        assert_eq!(a.messages.len(), usize::from(n > 0));
        assert_eq!(a.chunks, n as u64);
        let last = n == all.len();
        assert_eq!(a.finish_reasons.len(), usize::from(last));
        assert_eq!(
            (a.usage.input, a.usage.output),
            ((n > 0).then_some(5), last.then_some(9))
        );
        assert_eq!(call.defects.has(Defects::RESPONSE_CUT), !last);
        if let Some(message) = a.messages.first() {
            let end = if last { "tool_call" } else { "error" };
            assert_eq!(message.finish_reason.as_deref(), Some(end));
        }
    }
    // The array, cut anywhere: what stands whole counts.
    let text = array(&all);
    for n in (0..text.len()).step_by(17) {
        let mut scene = Scene::default();
        assert!(scene.ask(&ARRAY));
        scene.head(200, &[]);
        scene.body(&text[..n]);
        let got = scene.end(Defects::RESPONSE_CUT).pop().unwrap();
        let whole = usize::try_from(got.response.chunks).unwrap();
        let want = streamed(&all[..whole], Defects::RESPONSE_CUT);
        assert_eq!(
            (got.response.messages, got.response.usage),
            (want.response.messages, want.response.usage),
            "{n}"
        );
    }
}

#[test]
fn totals_run() {
    let mut list = chunks();
    for (n, chunk) in (1..).zip(&mut list) {
        chunk["usageMetadata"] =
            json!({"promptTokenCount":5,"candidatesTokenCount":n,"totalTokenCount":5 + n});
    }
    list[2]["usageMetadata"] = json!(null);
    let u = streamed(&list, Defects::NONE).response.usage;
    assert_eq!((u.input, u.output), (Some(5), Some(6)));
    // What a later one leaves out stays; what comes alone is no output.
    let mut list = chunks();
    list.push(json!({"usageMetadata":{"promptTokenCount":6,"cachedContentTokenCount":3}}));
    let call = streamed(&list, Defects::NONE);
    let u = call.response.usage;
    assert_eq!(
        (u.input, u.output, u.cache_read),
        (Some(6), Some(9), Some(3))
    );
    assert_eq!(call.end, BootTime(1105));
}

#[test]
fn candidates_come_mixed() {
    let of = |index: u32, text: &str, reason: Value| json!({"candidates":[{"index":index,"content":{"parts":[{"text":text}]},"finishReason":reason}],"usageMetadata":{"promptTokenCount":1}});
    let list = [
        of(1, "b", json!(null)),
        of(0, "a", json!(0)),
        of(1, "B", json!(2)),
        of(0, "A", json!("SAFETY")),
    ];
    let a = streamed(&list, Defects::NONE).response;
    let said: Vec<_> = a.messages.iter().map(|m| m.parts.clone()).collect();
    assert_eq!(said, [[Part::Text("aA".into())], [Part::Text("bB".into())]]);
    assert_eq!(a.finish_reasons, ["SAFETY", "MAX_TOKENS"]);
    // One of two that ended: the other is said to have none.
    let a = streamed(&list[..3], Defects::RESPONSE_CUT).response;
    assert_eq!(a.finish_reasons, ["error", "MAX_TOKENS"]);
    let ends: Vec<_> = a
        .messages
        .iter()
        .map(|m| m.finish_reason.as_deref().unwrap())
        .collect();
    assert_eq!(ends, ["error", "length"]);
}

#[test]
fn arguments_in_pieces() {
    let piece = |call: Value| says(&json!([{"functionCall": call}]));
    let list = [
        piece(json!({"name":"lamp","id":"c1","willContinue":true})),
        piece(
            json!({"partialArgs":[{"jsonPath":"$.color","stringValue":"wa","willContinue":true}],"willContinue":true}),
        ),
        piece(
            json!({"partialArgs":[{"jsonPath":"$.color","stringValue":"rm"},{"jsonPath":"$.level","numberValue":50}],"willContinue":true}),
        ),
        piece(json!({})),
        piece(json!({"name":"clock","args":{}})),
        piece(json!({})),
    ];
    let call = streamed(&list, Defects::NONE);
    let tool = |id: Option<&str>, name: &str, arguments| Part::ToolCall {
        id: id.map(str::to_owned),
        name: name.to_owned(),
        arguments: Some(arguments),
    };
    assert_eq!(
        call.response.messages[0].parts,
        [
            tool(Some("c1"), "lamp", json!({"color":"warm","level":50})),
            tool(None, "clock", json!({})),
        ]
    );
}

#[test]
fn refused_and_failed() {
    let blocked = json!({"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":5},"modelVersion":"g-1-x"});
    let call = streamed(std::slice::from_ref(&blocked), Defects::NONE);
    assert_eq!(call.error.unwrap().kind, "BLOCKED_SAFETY");
    assert_eq!(
        (call.response.usage.input, call.first_chunk),
        (Some(5), None)
    );
    assert!(call.response.messages.is_empty());
    let failed = json!({"error":{"code":503,"message":"Overloaded","status":"UNAVAILABLE"}});
    let list = [chunks().remove(2), failed];
    let by_event = streamed(&list, Defects::NONE);
    let by_array = document(&ARRAY, 200, &array(&list)).unwrap();
    for call in [by_event, by_array] {
        let error = call.error.unwrap();
        assert_eq!(
            (error.kind.as_str(), error.message.as_deref()),
            ("UNAVAILABLE", Some("Overloaded"))
        );
        assert_eq!(call.response.messages[0].parts, [Part::Text("Hel".into())]);
        assert_eq!(
            call.response.messages[0].finish_reason.as_deref(),
            Some("error")
        );
    }
    // A stream that failed before it began is a document, also under status 200.
    let whole = r#"{"error":{"code":400,"message":"No","status":"INVALID_ARGUMENT"}}"#;
    for status in [200, 400] {
        let call = document(&ARRAY, status, whole).unwrap();
        assert_eq!(call.error.unwrap().kind, "INVALID_ARGUMENT");
    }
}

#[test]
fn odd_events() {
    let good = chunks()[2].to_string();
    let call = events(
        &SSE,
        &[
            ("", "", ""),
            ("", "7", ""),
            ("", r#"{"candidates":{}}"#, ""),
            (
                "",
                r#"{"candidates":[{"content":{"parts":[{"text":7},null]}}],"usageMetadata":"x"}"#,
                "",
            ),
            ("", &good, ""),
            ("", "[DONE]", ""),
        ],
        Defects::NONE,
    );
    assert!(call.defects.has(Defects::EVENT_BROKEN));
    assert_eq!(call.response.messages[0].parts, [Part::Text("Hel".into())]);
    assert_eq!(call.response.chunks, 3);
}

#[test]
fn numbers_from_outside_are_bounded() {
    let list: Vec<_> = (0..=MAX_CHOICES)
        .map(|n| json!({"candidates":[{"index":n,"content":{"parts":[{"text":"a"}]}}]}))
        .collect();
    let call = streamed(&list, Defects::NONE);
    assert_eq!(call.response.messages.len(), MAX_CHOICES);
    assert!(call.defects.has(Defects::TOO_MANY_PARTS));
    let list: Vec<_> = (0..=MAX_ITEMS)
        .map(|n| says(&json!([{"functionCall":{"name":format!("f{n}")}}])))
        .collect();
    let call = streamed(&list, Defects::NONE);
    assert_eq!(call.response.messages[0].parts.len(), MAX_ITEMS);
    assert!(call.defects.has(Defects::TOO_MANY_PARTS));
}
