//! Answers that come as events.

use crate::model::call::{ModelCall, Part};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::provider::testing::{Asked, Event, Scene, events, post};
use serde_json::json;

const OK: &str = "HTTP_STATUS/200";
const STREAMS: &[(&str, &str)] = &[("x-dashscope-sse", "enable")];

fn asked(body: &str) -> Asked<'_> {
    Asked {
        headers: STREAMS,
        ..post(
            "/api/v1/services/aigc/text-generation/generation",
            "dashscope.aliyuncs.com",
            body,
        )
    }
}

/// A stream of texts, each event with its finish reason.
fn texts(parameters: &str, list: &[(&str, &str)], defects: Defects) -> ModelCall {
    let body = format!(r#"{{"model":"q","input":{{"prompt":"Hi"}},"parameters":{parameters}}}"#);
    let data: Vec<String> = (1..)
        .zip(list)
        .map(|(n, (text, reason))| {
            json!({"output":{"finish_reason":reason,"text":text},
                "usage":{"total_tokens":10 + n,"output_tokens":n,"input_tokens":10},"request_id":"r-1"})
            .to_string()
        })
        .collect();
    let list: Vec<Event<'_>> = data.iter().map(|d| ("result", d.as_str(), OK)).collect();
    events(&asked(&body), &list, defects)
}

fn said(call: &ModelCall) -> &[Part] {
    &call.response.messages[0].parts
}

#[test]
fn texts_so_far_and_texts_that_are_new() {
    let whole = [
        ("Hi", "null"),
        ("Hi", "null"),
        ("Hi the", "null"),
        ("Hi there", "stop"),
    ];
    let pieces = [
        ("Hi", "null"),
        (" the", "null"),
        ("re", "null"),
        ("", "stop"),
    ];
    let ends_empty = [("Hi", "null"), ("Hi there", "null"), ("", "stop")];
    for (parameters, list) in [
        (r#"{"incremental_output":false}"#, &whole[..]),
        ("{}", &whole),
        (r#"{"incremental_output":true}"#, &pieces),
        ("{}", &pieces),
        ("{}", &ends_empty),
    ] {
        let call = texts(parameters, list, Defects::NONE);
        assert_eq!(said(&call), [Part::Text("Hi there".into())], "{parameters}");
        assert_eq!(call.response.finish_reasons, ["stop"]);
        assert_eq!(call.response.usage.output, Some(list.len() as i64));
        assert_eq!(call.response.usage.input, Some(10));
        assert_eq!(call.response.id.as_deref(), Some("r-1"));
        assert_eq!(call.response.chunks, list.len() as u64);
        assert_eq!(call.first_chunk, Some(BootTime(1100)));
        assert!(call.request.stream && call.error.is_none());
    }
    let twice = [("ha", "null"), ("ha", "null"), ("!", "stop")];
    let call = texts("{}", &twice, Defects::NONE);
    assert_eq!(said(&call), [Part::Text("haha!".into())]);
    let still = [("Hi", "null"), ("Hi", "null"), ("", "stop")];
    let call = texts("{}", &still, Defects::NONE);
    assert_eq!(said(&call), [Part::Text("Hi".into())]);
    // What is said twice is not the text so far when the request says that it is new.
    let twice = [("ha", "null"), ("ha", "null"), ("haha", "stop")];
    let call = texts(r#"{"incremental_output":true}"#, &twice, Defects::NONE);
    assert_eq!(said(&call), [Part::Text("hahahaha".into())]);
}

#[test]
fn the_text_so_far_may_change() {
    let list = [("Hi yu", "null"), ("Hi you", "stop")];
    let call = texts(r#"{"incremental_output":false}"#, &list, Defects::NONE);
    assert_eq!(said(&call), [Part::Text("Hi you".into())]);
}

#[test]
fn a_stream_cut_anywhere_invents_nothing() {
    let list = [("Hi", "null"), ("Hi the", "null"), ("Hi there", "stop")];
    for n in 1..=list.len() {
        let call = texts("{}", &list[..n], Defects::RESPONSE_CUT);
        let ended = n == list.len();
        assert!(call.error.is_none());
        assert_eq!(call.response.finish_reasons.is_empty(), !ended);
        assert_eq!(call.defects.has(Defects::RESPONSE_CUT), !ended);
        let reason = if ended { "stop" } else { "error" };
        assert_eq!(
            call.response.messages[0].finish_reason.as_deref(),
            Some(reason)
        );
    }
}

#[test]
fn tools_thoughts_and_pictures() {
    let message = |message: serde_json::Value, reason: &str| {
        json!({"output":{"choices":[{"finish_reason":reason,"index":0,"message":message}]},
            "usage":{"input_tokens":9,"output_tokens":1},"request_id":"r"})
        .to_string()
    };
    let tool = |index: u32, id: &str, name: &str, arguments: &str| json!({"index":index,"id":id,"type":"function","function":{"name":name,"arguments":arguments}});
    let list = [
        message(
            json!({"role":"assistant","content":"","reasoning_content":"h"}),
            "null",
        ),
        message(
            json!({"role":"assistant","content":"","reasoning_content":"m"}),
            "null",
        ),
        message(
            json!({"role":"assistant","content":[{"text":"Let me "}]}),
            "null",
        ),
        message(
            json!({"role":"assistant","content":[{"text":"look"},{"image":"https://h/a.png"}]}),
            "null",
        ),
        message(
            json!({"role":"assistant","content":"","tool_calls":[tool(0, "c1", "clock", "{\"tz\"")]}),
            "null",
        ),
        message(
            json!({"role":"assistant","content":"","tool_calls":[tool(0, "c1", "", ": 1}")]}),
            "null",
        ),
        message(
            json!({"role":"assistant","content":"","tool_calls":[tool(1, "c2", "other", ""), tool(0, "", "", "")]}),
            "null",
        ),
        message(
            json!({"role":"assistant","content":[{"image":"https://h/a.png"}],"tool_calls":[{"index":1,"id":"","type":"function","function":{}}]}),
            "tool_calls",
        ),
    ];
    let list: Vec<Event<'_>> = list.iter().map(|d| ("result", d.as_str(), OK)).collect();
    let body = r#"{"model":"q","input":{"messages":[]},"parameters":{"incremental_output":true}}"#;
    let call = events(&asked(body), &list, Defects::NONE);
    let tool = |id: &str, name: &str, arguments| Part::ToolCall {
        id: Some(id.to_owned()),
        name: name.to_owned(),
        arguments,
    };
    assert_eq!(
        said(&call),
        [
            Part::Reasoning("hm".into()),
            Part::Text("Let me look".into()),
            Part::Uri {
                modality: "image",
                mime_type: None,
                uri: "https://h/a.png".to_owned(),
            },
            tool("c1", "clock", Some(json!({"tz":1}))),
            tool("c2", "other", None),
        ]
    );
    assert_eq!(call.response.finish_reasons, ["tool_calls"]);
    let message = &call.response.messages[0];
    assert_eq!(message.finish_reason.as_deref(), Some("tool_call"));
}

#[test]
fn several_choices() {
    let data = |a: &str, b: &str, reason: &str| {
        let choice = |index: u32, text: &str| json!({"index":index,"finish_reason":reason,"message":{"role":"assistant","content":text}});
        json!({"output":{"choices":[choice(1, b), choice(0, a)]},"request_id":"r"}).to_string()
    };
    let (one, two) = (data("a", "x", "null"), data("ab", "xy", "stop"));
    let list = [("result", one.as_str(), OK), ("result", two.as_str(), OK)];
    let body = r#"{"model":"q","input":{"messages":[]},"parameters":{"n":2}}"#;
    let call = events(&asked(body), &list, Defects::RESPONSE_CUT);
    let texts: Vec<_> = call
        .response
        .messages
        .iter()
        .map(|m| &m.parts[..])
        .collect();
    assert_eq!(
        texts,
        [[Part::Text("ab".into())], [Part::Text("xy".into())]]
    );
    assert_eq!(call.response.finish_reasons, ["stop", "stop"]);
    // All of them ended: nothing of it was cut.
    assert!(call.defects.is_none());
}

#[test]
fn failures() {
    const FAILED: &str = r#"{"code":"DataInspectionFailed","message":"No","request_id":"r-1"}"#;
    const FIRST: &str = r#"{"output":{"finish_reason":"null","text":"Hi"},"usage":{"output_tokens":1},"request_id":"r-1"}"#;
    let body = r#"{"model":"q","input":{"prompt":"Hi"}}"#;
    for event in [
        ("error", FAILED, "HTTP_STATUS/400"),
        ("result", FAILED, "HTTP_STATUS/400"),
        ("error", FAILED, ""),
        ("result", FAILED, OK),
    ] {
        let call = events(&asked(body), &[("result", FIRST, OK), event], Defects::NONE);
        let error = call.error.clone().unwrap();
        assert_eq!(error.kind, "DataInspectionFailed");
        assert_eq!(error.message.as_deref(), Some("No"));
        assert_eq!(said(&call), [Part::Text("Hi".into())]);
    }
    // Without a word of what it is; with a status, and events all the same.
    let call = events(
        &asked(body),
        &[("error", "{}", "HTTP_STATUS/503")],
        Defects::NONE,
    );
    assert_eq!(call.error.unwrap().kind, "503");
    let call = events(&asked(body), &[("error", "{}", "")], Defects::NONE);
    assert_eq!(call.error.unwrap().kind, "_OTHER");
    let mut scene = Scene::default();
    assert!(scene.ask(&asked(body)));
    scene.head(429, &[]);
    scene.events(&[(
        "error",
        r#"{"code":"Throttling","message":"No"}"#,
        "HTTP_STATUS/429",
    )]);
    let call = scene.end(Defects::NONE).pop().unwrap();
    assert_eq!(call.error.unwrap().kind, "Throttling");
}

#[test]
fn what_is_no_part_of_it() {
    let body = r#"{"model":"q","input":{"prompt":"Hi"}}"#;
    let call = events(
        &asked(body),
        &[
            ("done", "x", ""),
            ("result", "", OK),
            ("result", "[DONE]", OK),
            ("result", "no json", OK),
            (
                "result",
                r#"{"output":null,"usage":null,"request_id":7}"#,
                OK,
            ),
            (
                "result",
                r#"{"output":{"choices":[3,{"index":"x","message":[]}]},"request_id":"r"}"#,
                OK,
            ),
        ],
        Defects::NONE,
    );
    assert_eq!(call.defects, Defects::EVENT_BROKEN);
    assert!(call.error.is_none() && call.response.messages.is_empty());
}

#[test]
fn applications() {
    let asked = Asked {
        headers: STREAMS,
        ..post(
            "/api/v1/apps/a1/completion",
            "dashscope.aliyuncs.com",
            r#"{"input":{"prompt":"Hi"}}"#,
        )
    };
    let data = r#"{"output":{"session_id":"s-1","finish_reason":"stop","text":"Yes?"},"usage":{"models":[{"model_id":"q-1","input_tokens":7,"output_tokens":2}]},"request_id":"r"}"#;
    let call = events(&asked, &[("result", data, OK)], Defects::NONE);
    assert_eq!(said(&call), [Part::Text("Yes?".into())]);
    assert_eq!(call.response.conversation_id.as_deref(), Some("s-1"));
    assert_eq!(call.response.model.as_deref(), Some("q-1"));
    assert_eq!(call.response.usage.output, Some(2));
}
