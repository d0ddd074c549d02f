//! Exchanges as llama.cpp's server has them.

use crate::model::call::{Api, ModelCall, Part};
use crate::model::defect::Defects;
use crate::protocol::sse::SseParser;
use crate::provider::testing::{Asked, document, events, post};
use serde_json::json;

const HOST: &str = "localhost:8080";
const ASKED: Asked<'_> = post(
    "/completion",
    HOST,
    r#"{"prompt":"Say red","n_predict":8,"temperature":0.5,"top_k":40,"repeat_penalty":1.1,"stop":["x"],"seed":-1,"stream":true}"#,
);

fn texts(call: &ModelCall) -> Vec<&str> {
    let parts = call.response.messages.iter().flat_map(|m| &m.parts);
    parts
        .map(|part| match part {
            Part::Text(text) => text.kept.as_str(),
            _ => "",
        })
        .collect()
}

/// How each message ended.
fn ends(call: &ModelCall) -> Vec<Option<&str>> {
    let messages = call.response.messages.iter();
    messages.map(|m| m.finish_reason.as_deref()).collect()
}

fn text(call: &ModelCall) -> &str {
    match call.response.messages[0].parts.first() {
        Some(Part::Text(text)) => &text.kept,
        _ => "",
    }
}

#[test]
fn a_request_and_its_answer() {
    for (end, want) in [
        (json!({"stop_type":"eos"}), ("eos", "stop")),
        (json!({"stop_type":"limit"}), ("limit", "length")),
        (
            json!({"stopped_word":true,"stopped_eos":false}),
            ("word", "stop"),
        ),
    ] {
        let mut answer = json!({"content":"Red fox","stop":true,"model":"m.gguf","id_slot":0,
            "tokens_predicted":3,"tokens_evaluated":6,"prompt":"Say red",
            "generation_settings":{"temperature":0.5}});
        answer
            .as_object_mut()
            .unwrap()
            .extend(end.as_object().unwrap().clone());
        let call = document(&ASKED, 200, &answer.to_string()).unwrap();
        assert_eq!(
            (call.api, call.provider),
            (Api::LlamaCppCompletion, "llama_cpp")
        );
        let request = &call.request;
        assert_eq!(
            (request.max_tokens, request.seed, request.top_k),
            (Some(8), None, Some(40))
        );
        assert_eq!(request.messages[0].parts, [Part::Text("Say red".into())]);
        assert_eq!(
            (text(&call), call.response.model.as_deref()),
            ("Red fox", Some("m.gguf"))
        );
        assert_eq!(call.response.finish_reasons, [want.0]);
        assert_eq!(
            call.response.messages[0].finish_reason.as_deref(),
            Some(want.1)
        );
        let usage = call.response.usage;
        assert_eq!((usage.input, usage.output), (Some(6), Some(3)));
    }
}

#[test]
fn a_stream() {
    let piece = |text: &str| json!({"content":text,"stop":false,"id_slot":0}).to_string();
    let last = json!({"content":"","stop":true,"stop_type":"eos","model":"m.gguf",
        "tokens_predicted":2,"tokens_evaluated":6})
    .to_string();
    let all = [piece("Red"), piece(" fox"), last];
    let list: Vec<_> = all.iter().map(|data| ("", data.as_str(), "")).collect();
    let call = events(&ASKED, &list, Defects::NONE);
    assert_eq!((text(&call), call.request.stream), ("Red fox", true));
    assert_eq!(call.response.finish_reasons, ["eos"]);
    assert_eq!(call.response.usage.output, Some(2));
    for end in 1..3 {
        let cut = events(&ASKED, &list[..end], Defects::RESPONSE_CUT);
        assert_eq!(text(&cut), ["Red", "Red fox"][end - 1]);
        assert_eq!(cut.response.usage.output, None);
    }
}

/// A list of prompts: answers in a list, or mixed in one stream that is over with the last.
#[test]
fn several_prompts() {
    let asked =
        |stream: bool| json!({"prompt":["a","b"],"n_predict":8,"stream":stream}).to_string();
    let one = |index: u32, text: &str, stop: bool, made: u32| {
        json!({"index":index,"content":text,"stop":stop,"stop_type":if stop {"limit"} else {"none"},
            "tokens_predicted":made,"tokens_evaluated":3,"timings":{"cache_n":1}})
    };
    let answer = json!([one(0, "A", true, 8), one(1, "B", true, 8)]).to_string();
    let plain = document(&post("/completion", HOST, &asked(false)), 200, &answer).unwrap();
    let data = [
        one(1, "B", false, 1),
        one(0, "A", false, 1),
        one(0, "", true, 8),
        one(1, "", true, 8),
    ]
    .map(|event| event.to_string());
    let list: Vec<_> = data.iter().map(|data| ("", data.as_str(), "")).collect();
    let asked = asked(true);
    let streaming = post("/completion", HOST, &asked);
    let streamed = events(&streaming, &list, Defects::NONE);
    for call in [plain, streamed] {
        assert_eq!(call.request.messages.len(), 2);
        let said = call.response.messages.iter().flat_map(|m| m.parts.clone());
        let said: Vec<Part> = said.collect();
        assert_eq!(said, [Part::Text("A".into()), Part::Text("B".into())]);
        assert_eq!(call.response.finish_reasons, ["limit", "limit"]);
        let usage = call.response.usage;
        assert_eq!(
            (usage.input, usage.output, usage.cache_read),
            (Some(6), Some(16), Some(2))
        );
        assert!(call.defects.is_none());
    }
    // It is over with the last of them only; counts are totals that run.
    let cut = events(&streaming, &list[..3], Defects::RESPONSE_CUT);
    assert!(cut.defects.has(Defects::RESPONSE_CUT));
    assert_eq!(cut.response.usage.output, Some(9));
    assert_eq!(cut.response.finish_reasons, ["limit"]);
    let told = cut.response.messages[1].finish_reason.as_deref();
    assert_eq!(told, Some("error"));
    let whole = events(&streaming, &list, Defects::RESPONSE_CUT);
    assert!(whole.defects.is_none());
}

/// Two answers to each of two prompts, those to one prompt together: its tokens count once, and the
/// stream is over with the last of all.
#[test]
fn several_answers_to_a_prompt() {
    let one = |index: u32, read: u32| {
        json!({"index":index,"content":format!("{index}"),"stop":true,"stop_type":"eos",
            "tokens_predicted":10 + index,"tokens_evaluated":read,"timings":{"cache_n":1}})
    };
    let all = [one(0, 3), one(1, 3), one(2, 5), one(3, 5)];
    for key in ["n_cmpl", "n"] {
        let asked = |stream: bool| {
            let mut asked = json!({"prompt":["a","b"],"n_predict":8,"stream":stream});
            asked[key] = json!(2);
            asked.to_string()
        };
        let answer = json!(all).to_string();
        let plain = document(&post("/completion", HOST, &asked(false)), 200, &answer);
        let mut data = all.each_ref().map(ToString::to_string);
        // They come as they are made.
        data.swap(0, 3);
        let list: Vec<_> = data.iter().map(|data| ("", data.as_str(), "")).collect();
        let streamed = asked(true);
        let streaming = post("/completion", HOST, &streamed);
        // Clients that have all of them may close the connection.
        let whole = events(&streaming, &list, Defects::RESPONSE_CUT);
        for call in [plain.unwrap(), whole] {
            assert_eq!(call.request.choice_count, Some(2), "{key}");
            assert_eq!(texts(&call), ["0", "1", "2", "3"]);
            let usage = call.response.usage;
            assert_eq!(
                (usage.input, usage.output, usage.cache_read),
                (Some(8), Some(46), Some(2))
            );
            assert!(call.defects.is_none());
        }
        for end in 1..4 {
            let cut = events(&streaming, &list[..end], Defects::RESPONSE_CUT);
            assert!(cut.defects.has(Defects::RESPONSE_CUT), "{end}");
        }
        // Of two prompts' answers some are missing, or the server gives one to each: whose tokens
        // they count is not known.
        let answer = json!([one(0, 3), one(1, 5)]).to_string();
        let other = document(&post("/completion", HOST, &asked(false)), 200, &answer).unwrap();
        let usage = other.response.usage;
        assert_eq!((usage.input, usage.output), (None, Some(21)));
    }
}

/// When a stream is over where nothing says so: never, as long as more may come.
#[test]
fn over_with_the_last() {
    let event =
        |index: u32, stop: bool| json!({"index":index,"content":"A","stop":stop}).to_string();
    let (piece, last) = (event(0, false), event(0, true));
    let more = event(1, true);
    for (asked, list, over) in [
        (
            r#"{"prompt":"a","n_predict":1}"#,
            &[&piece, &last][..],
            true,
        ),
        (r#"{"prompt":[1,2],"n_predict":1}"#, &[&last], true),
        (r#"{"prompt":[],"n_predict":1}"#, &[&piece], false),
        (r#"{"prompt":[],"n_predict":1}"#, &[&piece, &last], true),
        (r#"{"prompt":["a","b"],"n_predict":1}"#, &[&last], false),
        (
            r#"{"prompt":["a","b"],"n_predict":1}"#,
            &[&last, &more],
            true,
        ),
        (
            r#"{"prompt":"a","n_predict":1,"n_cmpl":2}"#,
            &[&last],
            false,
        ),
        (
            r#"{"prompt":"a","n_predict":1,"n_cmpl":4294967295}"#,
            &[&last],
            false,
        ),
        (
            r#"{"prompt":"a","n_predict":1,"n_cmpl":-1}"#,
            &[&last],
            false,
        ),
        // There may be more prompts in what is missing, or `n_cmpl`.
        (
            r#"{"n_predict":1,"prompt":["a","b""#,
            &[&last, &more],
            false,
        ),
        (r#"{"n_predict":1,"prompt":"a","#, &[&last], false),
    ] {
        let list: Vec<_> = list.iter().map(|data| ("", data.as_str(), "")).collect();
        let call = events(
            &post("/completion", HOST, asked),
            &list,
            Defects::RESPONSE_CUT,
        );
        assert_eq!(
            !call.defects.has(Defects::RESPONSE_CUT),
            over,
            "{asked} {}",
            list.len()
        );
    }
}

/// A list that was cut tells the answers that are whole in it, and the beginning of the next one.
#[test]
fn lists_in_part() {
    let asked = post("/completion", HOST, r#"{"prompt":["a","b"],"n_predict":8}"#);
    let one = |index: u32, text: &str| json!({"content":text,"stop":true,"stop_type":"eos","index":index,"tokens_predicted":8});
    let answer = json!([one(0, "A"), one(1, "BCD")]).to_string();
    let end = answer.find("CD").unwrap();
    let cut = document(&asked, 200, &answer[..end]).unwrap();
    assert_eq!(texts(&cut), ["A", "B"]);
    assert_eq!(ends(&cut), [Some("stop"), Some("error")]);
    assert!(cut.defects.has(Defects::JSON_BROKEN) && cut.error.is_none());
    // None is an answer too.
    let none = document(&asked, 200, " [ ] ").unwrap();
    assert!(none.defects.is_none() && none.error.is_none());
    assert!(none.response.messages.is_empty());
    // Where only the answer can tell, none does not.
    let unsure = post("/completion", HOST, r#"{"x":1,"prompt":"a"#);
    for (answer, told) in [
        ("[]", false),
        ("[", false),
        ("[1]", false),
        (r#"[{"content":"A"}]"#, false),
        (r#"[{"content":"A","stop":true},{"content":"B"}]"#, false),
        (r#"[{"content":"A","stop":true},{"content":"B"#, true),
        (r#"[{"content":"A"},{"content":"B","stop":true"#, false),
        (r#"[{"content":"A","stop":true}]"#, true),
    ] {
        assert_eq!(document(&unsure, 200, answer).is_some(), told, "{answer}");
    }
}

/// A document that was cut is told so, unless it said before how it ended; one that ended without
/// a reason is not.
#[test]
fn documents_in_part() {
    for (answer, end) in [
        (r#"{"stop":true,"content":"Red"#, Some("error")),
        (
            r#"{"stop":true,"stop_type":"limit","content":"Red"#,
            Some("length"),
        ),
        (
            r#"{"stop":true,"stop_type":"limit","content":"Red"}"#,
            Some("length"),
        ),
        (r#"{"stop":true,"content":"Red"}"#, None),
    ] {
        let call = document(&ASKED, 200, answer).unwrap();
        assert_eq!((text(&call), ends(&call)), ("Red", vec![end]), "{answer}");
    }
}

/// Code with a hole in it.
#[test]
fn infill() {
    let asked = r#"{"input_prefix":"def f(","input_suffix":"return 1","n_predict":8,"prompt":""}"#;
    let answer = r#"{"content":"x):","stop":true,"stop_type":"eos"}"#;
    let call = document(&post("/infill", HOST, asked), 200, answer).unwrap();
    let said: Vec<_> = call
        .request
        .messages
        .iter()
        .flat_map(|m| &m.parts)
        .collect();
    assert_eq!(
        said,
        [&Part::Text("def f(".into()), &Part::Text("return 1".into())]
    );
    assert_eq!(text(&call), "x):");
}

#[test]
fn failures() {
    let failed = r#"{"code":500,"message":"no slot","type":"server_error"}"#;
    for stream in [
        format!("data: {{\"content\":\"A\",\"stop\":false}}\n\nerror: {failed}\n\n"),
        format!("data: {{\"error\":{failed}}}\n\n"),
    ] {
        for at in 0..=stream.len() {
            let (mut parser, mut list) = (SseParser::new(), Vec::new());
            let (head, tail) = stream.as_bytes().split_at(at);
            for piece in [head, tail] {
                parser.feed(piece, &mut |e| {
                    let data = String::from_utf8(e.data.to_vec()).unwrap();
                    list.push((e.event.to_owned(), data));
                });
            }
            let list: Vec<_> = list
                .iter()
                .map(|(n, d)| (n.as_str(), d.as_str(), ""))
                .collect();
            let call = events(&ASKED, &list, Defects::NONE);
            let error = call.error.unwrap();
            assert_eq!(
                (error.kind.as_str(), error.message.as_deref()),
                ("server_error", Some("no slot")),
                "{stream} at {at}"
            );
            assert!(call.defects.is_none());
        }
    }
    let refused = r#"{"error":{"code":400,"message":"too long","type":"invalid_request_error"}}"#;
    let call = document(&ASKED, 400, refused).unwrap();
    assert_eq!(call.error.unwrap().message.as_deref(), Some("too long"));
}

#[test]
fn what_is_no_call() {
    for (target, body) in [
        ("/completion", r#"{"input":"x","n_predict":1}"#),
        ("/completion", r#"{"n_predict":1}"#),
        // Anybody's.
        (
            "/completion",
            r#"{"prompt":"x","temperature":0.5,"stream":true}"#,
        ),
        ("/apps/7/completion", r#"{"prompt":"x","n_predict":1}"#),
    ] {
        assert!(
            document(&post(target, HOST, body), 200, "{}").is_none(),
            "{body}"
        );
    }
}
