//! Requests, and answers that come as one document.

use super::Gemini;
use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::provider::shape::{Payload, Shape as _};
use crate::provider::testing::{Asked, Scene, document, post};
use serde_json::{Value, json};

const HOST: &str = "generativelanguage.googleapis.com";
const TARGET: &str = "/v1beta/models/g-1:generateContent";
const VERTEX: &str = "/v1/projects/p/locations/l/publishers/google/models/g-1:generateContent";
const ASKED: Asked<'_> = post(TARGET, HOST, r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#);

fn call(target: &str, asked: &Value, answer: &Value) -> ModelCall {
    let asked = asked.to_string();
    document(&post(target, HOST, &asked), 200, &answer.to_string()).unwrap()
}

fn plain(answer: &Value) -> ModelCall {
    document(&ASKED, 200, &answer.to_string()).unwrap()
}

fn server(kind: &str, body: Value) -> Part {
    let mut part = json!({"type": kind, "id": null});
    if kind == "server_tool_call" {
        part["name"] = body["type"].clone();
    }
    part[kind] = body;
    Part::Other(part)
}

#[test]
fn a_request_with_everything() {
    let asked = json!({
        "systemInstruction":{"parts":[{"text":"Be brief"}]},
        "contents":[
            {"role":"user","parts":[{"text":"What is it?"},
                {"inlineData":{"mimeType":"image/png","data":"AAAA"}},
                {"inlineData":{"mimeType":"audio/wav","data":"BBBB"}},
                {"fileData":{"mimeType":"video/mp4","fileUri":"gs://b/v.mp4"},"videoMetadata":{"fps":1}},
                {"fileData":{"mimeType":"application/pdf","fileUri":"https://h/files/1"}}]},
            {"role":"model","parts":[{"text":"hm","thought":true,"thoughtSignature":"c2ln"},
                {"functionCall":{"id":"c1","name":"clock","args":{"time_zone":"UTC"}},"thoughtSignature":"c2ln"},
                {"executableCode":{"language":"PYTHON","code":"1+1"}},
                {"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"2"}}]},
            {"role":"user","parts":[{"functionResponse":{"id":"c1","name":"clock","response":{"result":"noon"}}}]},
            {"role":"function","parts":[{"functionResponse":{"name":"clock","response":{"result":"one"}}}]},
            {"role":"user","parts":[]}],
        "tools":[{"functionDeclarations":[
                {"name":"clock","description":"tells it","parameters":{"type":"OBJECT","required":["time_zone"]}},
                {"name":"other","parametersJsonSchema":{"type":"object"}}]},
            {"googleSearch":{}},{"codeExecution":{}},
            {"mcpServers":[{"streamableHttpTransport":{"headers":{"x":"secret-token"}}}]}],
        "toolConfig":{"functionCallingConfig":{"mode":"ANY"}},
        "safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"BLOCK_NONE"}],
        "cachedContent":"cachedContents/1",
        "generationConfig":{"temperature":0.5,"topP":0.9,"topK":40,"candidateCount":2,"maxOutputTokens":64,
            "stopSequences":["x","y"],"seed":7,"responseMimeType":"application/json","presencePenalty":0.1,"frequencyPenalty":0.2,
            "thinkingConfig":{"includeThoughts":true,"thinkingLevel":"LOW"}}});
    let answer = json!({"candidates":[{"content":{"parts":[{"text":"{}"}],"role":"model"},"finishReason":"STOP"}]});
    let target = "/v1beta/models/g-1:generateContent?key=secret-key";
    let call = call(target, &asked, &answer);
    assert_eq!(call.provider, "gcp.gemini");
    assert_eq!(
        (call.operation, call.api),
        (Operation::GenerateContent, Api::GenerateContent)
    );
    let r = &call.request;
    assert_eq!(r.model.as_deref(), Some("g-1"));
    assert!(!r.stream);
    assert_eq!(
        (r.temperature, r.top_p, r.top_k),
        (Some(0.5), Some(0.9), Some(40))
    );
    assert_eq!(
        (r.presence_penalty, r.frequency_penalty),
        (Some(0.1), Some(0.2))
    );
    assert_eq!(
        (r.max_tokens, r.seed, r.choice_count),
        (Some(64), Some(7), Some(2))
    );
    assert_eq!(r.stop_sequences.as_deref().unwrap(), ["x", "y"]);
    assert_eq!(
        (r.output_type, r.reasoning_level.as_deref()),
        (Some("json"), Some("LOW"))
    );
    assert_eq!(r.system_instructions, [Part::Text("Be brief".into())]);
    let tools: Vec<_> = r.tools.iter().map(|t| t.definition.clone()).collect();
    assert_eq!(
        tools,
        [
            json!({"type":"function","name":"clock","description":"tells it","parameters":{"type":"OBJECT","required":["time_zone"]}}),
            json!({"type":"function","name":"other","parameters":{"type":"object"}}),
            json!({"type":"googleSearch","name":"googleSearch"}),
            json!({"type":"codeExecution","name":"codeExecution"}),
            json!({"type":"mcpServers","name":"mcpServers"}),
        ]
    );
    let roles: Vec<_> = r.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "tool"]);
    let blob = |modality, mime: &str, content: &str| Part::Blob {
        modality,
        mime_type: Some(mime.to_owned()),
        content: content.into(),
    };
    let uri = |modality, mime: &str, uri: &str| Part::Uri {
        modality,
        mime_type: Some(mime.to_owned()),
        uri: uri.to_owned(),
    };
    let parts: Vec<_> = r.messages.iter().flat_map(|m| m.parts.clone()).collect();
    assert_eq!(
        parts,
        [
            Part::Text("What is it?".into()),
            blob("image", "image/png", "AAAA"),
            blob("audio", "audio/wav", "BBBB"),
            uri("video", "video/mp4", "gs://b/v.mp4"),
            uri("document", "application/pdf", "https://h/files/1"),
            Part::Reasoning("hm".into()),
            Part::ToolCall {
                id: Some("c1".to_owned()),
                name: "clock".to_owned(),
                arguments: Some(json!({"time_zone":"UTC"})),
            },
            server(
                "server_tool_call",
                json!({"type":"code_execution","language":"PYTHON","code":"1+1"})
            ),
            server(
                "server_tool_call_response",
                json!({"type":"code_execution","outcome":"OUTCOME_OK","output":"2"})
            ),
            Part::ToolCallResponse {
                id: Some("c1".to_owned()),
                response: json!({"result":"noon"}),
            },
            Part::ToolCallResponse {
                id: None,
                response: json!({"result":"one"}),
            },
        ]
    );
    assert!(!format!("{call:?}").contains("secret"));
}

#[test]
fn the_other_spelling_and_single_objects() {
    let asked = json!({
        "system_instruction":{"parts":{"text":"Be brief"}},
        "contents":{"parts":{"inline_data":{"mime_type":"image/png","data":"AAAA"}}},
        "tools":{"function_declarations":{"name":"clock"}},
        "generation_config":{"max_output_tokens":5,"top_p":0.5,"response_mime_type":"text/x.enum",
            "thinking_config":{"thinking_level":"high"}}});
    let r = call(TARGET, &asked, &json!({"candidates":[]})).request;
    assert_eq!((r.max_tokens, r.top_p), (Some(5), Some(0.5)));
    assert_eq!(
        (r.output_type, r.reasoning_level.as_deref()),
        (Some("text"), Some("high"))
    );
    assert_eq!(r.system_instructions, [Part::Text("Be brief".into())]);
    assert_eq!(r.messages[0].role, "user");
    assert!(matches!(
        &r.messages[0].parts[0],
        Part::Blob {
            modality: "image",
            ..
        }
    ));
    assert_eq!(r.tools[0].name.as_deref(), Some("clock"));
}

#[test]
fn output_types() {
    for (config, want) in [
        (json!({}), None),
        (json!({"responseMimeType":"text/plain"}), Some("text")),
        (json!({"responseModalities":["TEXT"]}), Some("text")),
        (
            json!({"responseModalities":["TEXT","IMAGE"]}),
            Some("image"),
        ),
        (json!({"responseModalities":["audio"]}), Some("speech")),
        (json!({"responseModalities":[3]}), Some("speech")),
        (
            json!({"responseModalities":["TEXT"],"responseMimeType":"application/json"}),
            Some("text"),
        ),
        (
            json!({"responseModalities":"TEXT","responseMimeType":7}),
            None,
        ),
    ] {
        let asked = json!({"contents":[],"generationConfig":config});
        let got = call(TARGET, &asked, &json!({})).request.output_type;
        assert_eq!(got, want, "{config}");
    }
}

#[test]
fn a_plain_answer() {
    let call = plain(&json!({"candidates":[
            {"content":{"parts":[{"text":"Hello"}],"role":"model"},"finishReason":"MAX_TOKENS","index":1},
            {"content":{"parts":[{"text":"hm","thought":true},{"text":""},{"text":"Let me look"},
                {"functionCall":{"name":"clock","args":{"k":1}}},{"functionCall":{"name":"clock","args":{"k":2}}},
                {"functionCall":{"name":"now"}},
                {"inlineData":{"mimeType":"image/png","data":"AAAA"}},
                {"toolCall":{"id":"s1","toolType":"GOOGLE_SEARCH","args":{"q":"x"}}},
                {"newKind":{"a":1},"thought":false}],"role":"model"},
             "finishReason":"STOP","safetyRatings":[],"groundingMetadata":{"webSearchQueries":["q"]}}],
        "usageMetadata":{"promptTokenCount":30,"candidatesTokenCount":4,"thoughtsTokenCount":6,"cachedContentTokenCount":20,
            "toolUsePromptTokenCount":2,"totalTokenCount":42,"promptTokensDetails":[{"modality":"TEXT","tokenCount":30}]},
        "modelVersion":"g-1-x","responseId":"r-1","createTime":"2030-01-01T00:00:00Z"}));
    let a = &call.response;
    assert_eq!(
        (a.id.as_deref(), a.model.as_deref()),
        (Some("r-1"), Some("g-1-x"))
    );
    let u = a.usage;
    assert_eq!(
        (u.input, u.output, u.reasoning),
        (Some(32), Some(10), Some(6))
    );
    assert_eq!((u.cache_read, u.cache_write), (Some(20), None));
    assert_eq!(u.input_by_modality, [Some(30), None, None]);
    assert_eq!(a.finish_reasons, ["STOP", "MAX_TOKENS"]);
    let tool = |name: &str, arguments| Part::ToolCall {
        id: None,
        name: name.to_owned(),
        arguments,
    };
    let Some((Part::Other(search), rest)) = a.messages[0].parts[6..].split_first() else {
        panic!("{:?}", a.messages[0].parts);
    };
    assert_eq!(
        search["server_tool_call"],
        json!({"type":"GOOGLE_SEARCH","args":{"q":"x"}})
    );
    assert_eq!(search["id"], "s1");
    assert_eq!(
        rest,
        [Part::Other(json!({"type":"newKind","newKind":{"a":1}}))]
    );
    assert_eq!(
        a.messages[0].parts[..6],
        [
            Part::Reasoning("hm".into()),
            Part::Text("Let me look".into()),
            tool("clock", Some(json!({"k":1}))),
            tool("clock", Some(json!({"k":2}))),
            tool("now", None),
            Part::Blob {
                modality: "image",
                mime_type: Some("image/png".to_owned()),
                content: "AAAA".into(),
            },
        ]
    );
    let ends: Vec<_> = a
        .messages
        .iter()
        .map(|m| m.finish_reason.as_deref().unwrap())
        .collect();
    assert_eq!(ends, ["tool_call", "length"]);
    assert_eq!(a.messages[1].role, "assistant");
    assert!(call.error.is_none() && call.defects.is_none());
}

#[test]
fn finish_reasons() {
    for (reason, told, mapped) in [
        (json!("STOP"), "STOP", "stop"),
        (json!("MAX_TOKENS"), "MAX_TOKENS", "length"),
        (json!("SAFETY"), "SAFETY", "content_filter"),
        (json!("RECITATION"), "RECITATION", "content_filter"),
        (json!("IMAGE_SAFETY"), "IMAGE_SAFETY", "content_filter"),
        (
            json!("MALFORMED_FUNCTION_CALL"),
            "MALFORMED_FUNCTION_CALL",
            "error",
        ),
        (json!("OTHER"), "OTHER", "error"),
        (json!("A_NEW_ONE"), "A_NEW_ONE", "A_NEW_ONE"),
        (json!(2), "MAX_TOKENS", "length"),
        (json!(null), "error", "error"),
        (json!([]), "error", "error"),
    ] {
        // A candidate that was stopped may have no content.
        let call = plain(&json!({"candidates":[{"finishReason":reason}]}));
        let a = &call.response;
        assert_eq!(a.finish_reasons, [told]);
        assert_eq!(
            a.messages[0].finish_reason.as_deref(),
            Some(mapped),
            "{reason}"
        );
        assert!(a.messages[0].parts.is_empty() && call.error.is_none());
    }
}

#[test]
fn enumerations_as_numbers() {
    let asked = json!({"contents":[{"role":"user","parts":[{"text":"Hi"}]}]});
    let answer = json!({"candidates":[{"content":{"role":"model","parts":[{"text":"Yes"}]},"finishReason":7}],
        "usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":1,"totalTokenCount":4,"promptTokensDetails":[{"modality":1,"tokenCount":3}]}});
    let target = format!("{VERTEX}?%24alt=json%3Benum-encoding%3Dint");
    let vertex = call(&target, &asked, &answer);
    assert_eq!(vertex.response.finish_reasons, ["PROHIBITED_CONTENT"]);
    assert_eq!(
        vertex.response.usage.input_by_modality,
        [Some(3), None, None]
    );
    let gemini = call(TARGET, &asked, &answer);
    assert_eq!(gemini.response.finish_reasons, ["BLOCKLIST"]);
}

#[test]
fn refused_prompts() {
    let call = plain(
        &json!({"promptFeedback":{"blockReason":"PROHIBITED_CONTENT","blockReasonMessage":"No"},
        "usageMetadata":{"promptTokenCount":4,"totalTokenCount":4},"modelVersion":"g-1-x"}),
    );
    let error = call.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("BLOCKED_PROHIBITED_CONTENT", Some("No"))
    );
    assert!(call.response.messages.is_empty() && call.response.finish_reasons.is_empty());
    assert_eq!(
        (call.response.usage.input, call.response.usage.output),
        (Some(4), None)
    );
    // Feedback that refuses nothing.
    let call = plain(&json!({"promptFeedback":{"safetyRatings":[]},"candidates":[]}));
    assert_eq!(call.error, None);
}

#[test]
fn errors() {
    for (status, body, kind) in [
        (
            404,
            r#"{"error":{"code":404,"message":"No","status":"NOT_FOUND","details":[]}}"#,
            "NOT_FOUND",
        ),
        (
            429,
            r#"[{"error":{"code":429,"message":"No","status":"RESOURCE_EXHAUSTED"}}]"#,
            "RESOURCE_EXHAUSTED",
        ),
        (
            200,
            r#"{"error":{"code":500,"message":"No","status":"INTERNAL"}}"#,
            "INTERNAL",
        ),
        (200, r#"{"error":{"message":"No"}}"#, "_OTHER"),
        (503, "", "503"),
        (400, "<html></html>", "400"),
    ] {
        for target in [TARGET, "/v1beta/models/g-1:streamGenerateContent"] {
            let call = document(&post(target, HOST, ASKED.body), status, body).unwrap();
            let error = call.error.unwrap();
            assert_eq!(error.kind, kind, "{body}");
            assert_eq!(error.message.is_some(), body.contains("No"));
            assert!(call.response.messages.is_empty());
        }
    }
}

#[test]
fn said_another_way() {
    for answer in [
        json!({"candidates":[{"content":{"parts":[{"text":"Yes"},7,{"text":8},{"functionCall":"x"},null],"role":9},"finishReason":"STOP","index":"0"}],
            "usageMetadata":[],"modelVersion":7,"responseId":null}),
        json!({"candidates":[7,{"content":{"parts":{"text":"Yes"}},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":"4"}}),
    ] {
        let a = plain(&answer).response;
        assert_eq!(a.finish_reasons, ["STOP"]);
        assert_eq!(a.messages[0].parts[0], Part::Text("Yes".into()));
        assert_eq!(a.messages[0].role, "assistant");
        assert_eq!((a.usage.input, a.model, a.id), (None, None, None));
    }
    for answer in [
        json!({}),
        json!({"candidates":{}}),
        json!({"promptFeedback":[]}),
    ] {
        let call = plain(&answer);
        assert!(call.response.messages.is_empty() && call.error.is_none());
    }
}

#[test]
fn cut_answers_tell_what_came() {
    let whole = json!({"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]},"finishReason":"STOP"}],
        "responseId":"r-1","usageMetadata":{"promptTokenCount":31,"candidatesTokenCount":42}})
    .to_string();
    for n in 0..whole.len() {
        let mut scene = Scene::default();
        assert!(scene.ask(&ASKED));
        scene.head(200, &[]);
        scene.body(&whole[..n]);
        let call = scene.end(Defects::RESPONSE_CUT).pop().unwrap();
        let a = &call.response;
        assert!(a.usage.input.is_none_or(|i| i == 31), "{n}");
        assert!(a.usage.output.is_none_or(|o| o == 42), "{n}");
        for message in &a.messages {
            for part in &message.parts {
                assert!(
                    matches!(part, Part::Text(t) if "Hello".starts_with(&t.kept)),
                    "{n}"
                );
            }
        }
        assert!(a.finish_reasons.iter().all(|r| r == "STOP"), "{n}");
        assert!(call.defects.has(Defects::RESPONSE_CUT));
    }
}

#[test]
fn hosts_and_paths() {
    const EMBED: &str = r#"{"content":{"parts":[{"text":"x"}]}}"#;
    for (host, target, provider, model) in [
        (
            HOST,
            "/v1beta/models/g-1:generateContent",
            "gcp.gemini",
            "g-1",
        ),
        (
            "gateway.local",
            "/base/v1/models/g-1:generateContent",
            "gcp.gemini",
            "g-1",
        ),
        (
            "gateway.local",
            "/v1beta/tunedModels/t-1:generateContent/",
            "gcp.gemini",
            "tunedModels/t-1",
        ),
        (
            "gateway.local",
            "/v1beta/models/g-1%3AgenerateContent",
            "gcp.gemini",
            "g-1",
        ),
        (
            "aiplatform.googleapis.com",
            "/v1/publishers/google/models/g-1:generateContent",
            "gcp.vertex_ai",
            "g-1",
        ),
        (
            "us-central1-aiplatform.googleapis.com",
            VERTEX,
            "gcp.vertex_ai",
            "g-1",
        ),
        ("gateway.local", VERTEX, "gcp.vertex_ai", "g-1"),
        (
            "gateway.local",
            "/v1/projects/p/locations/l/endpoints/12:generateContent",
            "gcp.vertex_ai",
            "endpoints/12",
        ),
        (
            "gateway.local",
            "/v1beta/projects/p/models/g-1:generateContent",
            "gcp.gen_ai",
            "g-1",
        ),
    ] {
        let call = document(&post(target, host, ASKED.body), 200, "{}").unwrap();
        assert_eq!(call.provider, provider, "{target}");
        assert_eq!(call.request.model.as_deref(), Some(model), "{target}");
    }
    // No calls of this shape, or none at all.
    for (target, body) in [
        ("/v1beta/models/g-1:countTokens", ASKED.body),
        ("/v1beta/models/g-1:batchGenerateContent", ASKED.body),
        (
            "/v1beta/models/g-1:predictLongRunning",
            r#"{"instances":[]}"#,
        ),
        ("/v1beta/models/:generateContent", ASKED.body),
        ("/v1beta/cachedContents", ASKED.body),
        (
            "/v1/publishers/google/models/imagen:predict",
            r#"{"instances":[{"prompt":"x"}]}"#,
        ),
        (
            "/v1/projects/p/locations/l/endpoints/embedding:predict",
            r#"{"instances":[{}]}"#,
        ),
        ("/things/g-1:generateContent", ASKED.body),
        ("/models/g-1:generateContent", "{}"),
        ("/models/g-1:generateContent", "contents"),
        ("/models/g-1:embedContent", ASKED.body),
        ("/models/g-1:generateContent", EMBED),
    ] {
        assert_eq!(
            document(&post(target, HOST, body), 200, "{}"),
            None,
            "{target}"
        );
    }
    let get = Asked {
        method: "GET",
        ..ASKED
    };
    assert_eq!(document(&get, 200, "{}"), None);
}

#[test]
fn the_compatible_path_is_of_openai() {
    let asked = r#"{"model":"g-1","messages":[{"role":"user","content":"Hi"}]}"#;
    let answer = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Yes"},"finish_reason":"stop"}]}"#;
    let call = document(
        &post("/v1beta/openai/chat/completions", HOST, asked),
        200,
        answer,
    )
    .unwrap();
    assert_eq!(
        (call.provider, call.api),
        ("gcp.gemini", Api::ChatCompletions)
    );
    let failed = r#"[{"error":{"code":400,"message":"No","status":"INVALID_ARGUMENT"}}]"#;
    let call = document(
        &post("/v1beta/openai/chat/completions", HOST, asked),
        400,
        failed,
    )
    .unwrap();
    assert_eq!(call.error.unwrap().kind, "INVALID_ARGUMENT");
}

#[test]
fn embeddings() {
    for (target, asked, answer, api, dimensions, input) in [
        (
            "/v1beta/models/e-1:embedContent",
            json!({"content":{"parts":[{"text":"x"}]},"taskType":"RETRIEVAL_QUERY","outputDimensionality":3}),
            json!({"embedding":{"values":[0.1,0.2,0.3]}}),
            Api::EmbedContent,
            3,
            None,
        ),
        (
            "/v1beta/models/e-1:batchEmbedContents",
            json!({"requests":[{"model":"models/e-1","content":{"parts":[{"text":"x"}]},"outputDimensionality":2}]}),
            json!({"embeddings":[{"values":[0.1,0.2]},{"values":[0.1,0.2]}],"usageMetadata":{"promptTokenCount":4}}),
            Api::EmbedContent,
            2,
            Some(4),
        ),
        (
            "/v1/projects/p/locations/l/publishers/google/models/text-embedding-1:predict",
            json!({"instances":[{"content":"x"},{"content":"y"}],"parameters":{"outputDimensionality":2}}),
            json!({"predictions":[{"embeddings":{"values":[0.1,0.2],"statistics":{"token_count":4}}},{"embeddings":{"values":[1,2],"statistics":{"token_count":3}}}]}),
            Api::Predict,
            2,
            Some(7),
        ),
    ] {
        let call = call(target, &asked, &answer);
        assert_eq!((call.operation, call.api), (Operation::Embeddings, api));
        assert_eq!(call.request.dimensions, Some(dimensions));
        assert_eq!(call.response.embedding_dimensions, Some(dimensions));
        assert_eq!(call.response.usage.input, input);
        assert!(call.error.is_none() && call.defects.is_none() && !call.request.stream);
        let error = r#"{"error":{"code":403,"message":"No","status":"PERMISSION_DENIED"}}"#;
        for status in [200, 403] {
            let failed = document(&post(target, HOST, &asked.to_string()), status, error).unwrap();
            assert_eq!(failed.error.unwrap().kind, "PERMISSION_DENIED");
        }
    }
}

#[test]
fn answers_alone() {
    let found = |value: Value| {
        let root = value.as_object().unwrap();
        let event = Gemini.by_answer(&Payload::Event(root)).map(|f| f.provider);
        let whole = Gemini
            .by_answer(&Payload::Document(root))
            .map(|f| f.provider);
        assert_eq!(event, whole);
        whole
    };
    let told = json!({"candidates":[],"usageMetadata":{},"modelVersion":"g-1"});
    assert_eq!(found(told), Some("gcp.gen_ai"));
    assert_eq!(found(json!({"candidates":[{"name":"Ann"}]})), None);
    assert_eq!(
        found(json!({"usageMetadata":{},"modelVersion":"g-1"})),
        None
    );
}
