//! What hosts that speak OpenAI's protocols do in their own way.

use crate::model::call::{Api, ModelCall, Operation, Part};
use crate::model::defect::Defects;
use crate::provider::testing::{Asked, document, events, post};

const BODY: &str = r#"{"model":"m-1","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;

fn asked(host: &str) -> Asked<'_> {
    post("/v1/chat/completions", host, BODY)
}

fn stream(host: &str, list: &[&str]) -> ModelCall {
    let list: Vec<_> = list.iter().map(|data| ("", *data, "")).collect();
    events(&asked(host), &list, Defects::NONE)
}

fn parts(call: &ModelCall) -> &[Part] {
    let [message] = call.response.messages.as_slice() else {
        panic!("{:?}", call.response.messages)
    };
    &message.parts
}

fn counts(call: &ModelCall) -> (Option<i64>, Option<i64>) {
    (call.response.usage.input, call.response.usage.output)
}

#[test]
fn deepseek() {
    let call = stream(
        "api.deepseek.com",
        &[
            r#"{"id":"d1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":"h"},"finish_reason":null}]}"#,
            r#"{"id":"d1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":null,"reasoning_content":"m"},"finish_reason":null}]}"#,
            r#"{"id":"d1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"Yo","reasoning_content":null},"finish_reason":null}]}"#,
            r#"{"id":"d1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":""},"finish_reason":"insufficient_system_resource"}],"usage":{"prompt_tokens":30,"completion_tokens":9,"total_tokens":39,"prompt_cache_hit_tokens":20}}"#,
            "[DONE]",
        ],
    );
    assert_eq!(call.provider, "deepseek");
    assert_eq!(
        parts(&call),
        [Part::Reasoning("hm".into()), Part::Text("Yo".into())]
    );
    assert_eq!(call.response.usage.cache_read, Some(20));
    assert_eq!(
        call.response.finish_reasons,
        ["insufficient_system_resource"]
    );
    let ended = call.response.messages[0].finish_reason.as_deref();
    assert_eq!(ended, Some("error"));
}

#[test]
fn moonshot() {
    let call = stream(
        "api.moonshot.cn",
        &[
            r#"{"id":"k1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"id":"k1","choices":[{"index":0,"delta":{"content":"Yo"},"finish_reason":null}]}"#,
            r#"{"id":"k1","choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10,"cached_tokens":4}}]}"#,
            "[DONE]",
        ],
    );
    assert_eq!(call.provider, "moonshot_ai");
    assert_eq!(counts(&call), (Some(8), Some(2)));
    assert_eq!(call.response.usage.cache_read, Some(4));
}

#[test]
fn groq() {
    let call = stream(
        "api.groq.com",
        &[
            r#"{"id":"g1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"x_groq":{"id":"req_1"}}"#,
            r#"{"id":"g1","choices":[{"index":0,"delta":{"content":"Yo"},"finish_reason":null}]}"#,
            r#"{"id":"g1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"req_1","usage":{"queue_time":0.1,"prompt_tokens":8,"prompt_time":0.1,"completion_tokens":2,"total_tokens":10}}}"#,
            "[DONE]",
        ],
    );
    assert_eq!(call.provider, "groq");
    assert_eq!(counts(&call), (Some(8), Some(2)));
    // The same when a member is of a wrong type.
    let call = stream(
        "api.groq.com",
        &[
            r#"{"id":"g1","system_fingerprint":7,"choices":[],"x_groq":{"usage":{"prompt_tokens":8,"completion_tokens":2}}}"#,
        ],
    );
    assert_eq!(counts(&call), (Some(8), Some(2)));
    let call = stream(
        "api.groq.com",
        &[
            r#"{"id":"g1","choices":[{"index":0,"delta":{"content":"Y"},"finish_reason":null}]}"#,
            r#"{"id":"g1","choices":[],"x_groq":{"id":"req_1","error":"over capacity"}}"#,
        ],
    );
    let error = call.error.unwrap();
    assert_eq!(error.message.as_deref(), Some("over capacity"));
}

#[test]
fn xai() {
    let call = stream(
        "us-east-1.api.x.ai",
        &[
            r#"{"id":"x1","object":"chat.completion.chunk","model":"g-4","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":"hm"}}],"system_fingerprint":"fp_1"}"#,
            r#"{"id":"x1","object":"chat.completion.chunk","model":"g-4","choices":[{"index":0,"delta":{"content":"Yo"}}],"system_fingerprint":"fp_1"}"#,
            r#"{"id":"x1","object":"chat.completion.chunk","model":"g-4","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"citations":["https://h/a"],"system_fingerprint":"fp_1"}"#,
            r#"{"id":"x1","object":"chat.completion.chunk","model":"g-4","choices":[],"usage":{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"prompt_tokens_details":{"text_tokens":32,"cached_tokens":6},"completion_tokens_details":{"reasoning_tokens":94},"num_sources_used":1}}"#,
            "[DONE]",
        ],
    );
    assert_eq!(call.provider, "x_ai");
    assert_eq!(
        parts(&call),
        [Part::Reasoning("hm".into()), Part::Text("Yo".into())]
    );
    // Reasoning stands beside the completion, and is output.
    assert_eq!(counts(&call), (Some(32), Some(103)));
    let usage = &call.response.usage;
    assert_eq!((usage.cache_read, usage.reasoning), (Some(6), Some(94)));
    assert_eq!(usage.input_by_modality, [Some(32), None, None]);
    // Failures have their text where others have an object.
    let refused = document(
        &asked("api.x.ai"),
        400,
        r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided"}"#,
    );
    let error = refused.unwrap().error.unwrap();
    assert_eq!(error.message.as_deref(), Some("Incorrect API key provided"));
}

#[test]
fn together() {
    let call = stream(
        "api.together.xyz",
        &[
            r#"{"id":"t1","object":"chat.completion.chunk","choices":[{"index":0,"text":"Y","logprobs":null,"finish_reason":null,"delta":{"token_id":1,"role":"assistant","content":"Y","tool_calls":null}}],"model":"m","usage":null}"#,
            r#"{"id":"t1","object":"chat.completion.chunk","choices":[{"index":0,"text":"o","finish_reason":null,"delta":{"token_id":2,"role":"assistant","content":"o"}}],"model":"m","usage":null}"#,
            r#"{"id":"t1","object":"chat.completion.chunk","choices":[{"index":0,"text":"","finish_reason":"eos","delta":{"token_id":3,"role":"assistant","content":""}}],"model":"m","usage":{"prompt_tokens":8,"completion_tokens":3,"total_tokens":11}}"#,
            "[DONE]",
        ],
    );
    assert_eq!(call.provider, "together");
    assert_eq!(parts(&call), [Part::Text("Yo".into())]);
    assert_eq!(counts(&call), (Some(8), Some(3)));
    assert_eq!(call.response.finish_reasons, ["eos"]);
    let ended = call.response.messages[0].finish_reason.as_deref();
    assert_eq!(ended, Some("stop"));
}

#[test]
fn openrouter() {
    let list = [
        ("", "", " OPENROUTER PROCESSING"),
        (
            "",
            r#"{"id":"o1","provider":"Somebody","model":"a/m","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm"}]},"finish_reason":null,"native_finish_reason":null}]}"#,
            "",
        ),
        (
            "",
            r#"{"id":"o1","provider":"Somebody","model":"a/m","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"Yo","reasoning_content":"","reasoning":"!"},"finish_reason":null}]}"#,
            "",
        ),
        (
            "",
            r#"{"id":"o1","provider":"Somebody","model":"a/m","object":"chat.completion.chunk","error":{"code":502,"message":"gone"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#,
            "",
        ),
    ];
    let whole = events(&asked("openrouter.ai"), &list, Defects::NONE);
    assert_eq!(whole.provider, "openrouter");
    assert_eq!(
        parts(&whole),
        [Part::Reasoning("hm!".into()), Part::Text("Yo".into())]
    );
    assert_eq!(whole.response.finish_reasons, ["error"]);
    assert_eq!(whole.response.model.as_deref(), Some("a/m"));
    let error = whole.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("502", Some("gone"))
    );
    let kept_alive = events(&asked("openrouter.ai"), &list[..1], Defects::RESPONSE_CUT);
    assert_eq!(
        (kept_alive.response.chunks, kept_alive.first_chunk),
        (0, None)
    );
    let plain = document(
        &asked("openrouter.ai"),
        200,
        r#"{"id":"o2","provider":"Somebody","model":"a/m","choices":[{"index":0,"message":{"role":"assistant","content":"Y","reasoning":"hm"},"finish_reason":"error","error":{"code":429,"message":"slow"}}],"usage":{"prompt_tokens":8,"completion_tokens":1,"cost":0.1}}"#,
    )
    .unwrap();
    assert_eq!(plain.error.as_ref().unwrap().kind, "429");
    assert_eq!(counts(&plain), (Some(8), Some(1)));
    assert_eq!(
        parts(&plain),
        [Part::Reasoning("hm".into()), Part::Text("Y".into())]
    );
}

#[test]
fn mistral() {
    let call = stream(
        "api.mistral.ai",
        &[
            r#"{"id":"s1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]},"finish_reason":null}]}"#,
            r#"{"id":"s1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":[{"type":"text","text":"Yo"}]},"finish_reason":null}]}"#,
            r#"{"id":"s1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"","tool_calls":[{"id":"c1","function":{"name":"a","arguments":"{}"},"index":0},{"id":"c2","function":{"name":"b","arguments":{"k":1}},"index":1}]},"finish_reason":"model_length"}],"usage":{"prompt_tokens":8,"total_tokens":11,"completion_tokens":3}}"#,
            "[DONE]",
        ],
    );
    assert_eq!(call.provider, "mistral_ai");
    assert_eq!(parts(&call).len(), 4);
    assert_eq!(
        &parts(&call)[..2],
        [Part::Reasoning("hm".into()), Part::Text("Yo".into())]
    );
    let ended = call.response.messages[0].finish_reason.as_deref();
    assert_eq!(ended, Some("length"));
    assert_eq!(counts(&call), (Some(8), Some(3)));
    let fim = document(
        &post(
            "/v1/fim/completions",
            "codestral.mistral.ai",
            r#"{"model":"c-1","prompt":"def f(","suffix":"return a","random_seed":3,"max_tokens":8}"#,
        ),
        200,
        r#"{"id":"f1","object":"chat.completion","model":"c-1","choices":[{"index":0,"message":{"role":"assistant","content":"a):","tool_calls":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":8,"total_tokens":10,"completion_tokens":2}}"#,
    )
    .unwrap();
    assert_eq!(
        (fim.operation, fim.api, fim.provider),
        (Operation::TextCompletion, Api::Completions, "mistral_ai")
    );
    assert_eq!(
        (fim.request.seed, fim.request.max_tokens),
        (Some(3), Some(8))
    );
    assert_eq!(parts(&fim), [Part::Text("a):".into())]);
    let agent = document(
        &post(
            "/v1/agents/completions",
            "api.mistral.ai",
            r#"{"agent_id":"ag:1","messages":[{"role":"user","content":"Hi"}]}"#,
        ),
        200,
        r#"{"id":"g1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Yo"},"finish_reason":"stop"}],"usage":{"prompt_tokens":8,"completion_tokens":2}}"#,
    )
    .unwrap();
    assert_eq!(agent.operation, Operation::InvokeAgent);
    assert_eq!(agent.request.agent_id.as_deref(), Some("ag:1"));
    assert_eq!(counts(&agent), (Some(8), Some(2)));
    let refused = document(
        &asked("api.mistral.ai"),
        401,
        r#"{"detail":"Unauthorized"}"#,
    );
    assert_eq!(refused.unwrap().error.unwrap().kind, "401");
}

#[test]
fn perplexity() {
    let call = stream(
        "api.perplexity.ai",
        &[
            r#"{"id":"p1","model":"m","object":"chat.completion.chunk","usage":{"prompt_tokens":8,"completion_tokens":1,"total_tokens":9},"citations":["https://h/a"],"choices":[{"index":0,"finish_reason":null,"message":{"role":"assistant","content":"Y"},"delta":{"role":"assistant","content":"Y"}}]}"#,
            r#"{"id":"p1","model":"m","object":"chat.completion.chunk","usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10,"reasoning_tokens":1},"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Yo"},"delta":{"role":"assistant","content":"o"}}]}"#,
        ],
    );
    assert_eq!(call.provider, "perplexity");
    assert_eq!(parts(&call), [Part::Text("Yo".into())]);
    assert_eq!(counts(&call), (Some(8), Some(2)));
    assert_eq!(call.response.usage.reasoning, Some(1));
}

#[test]
fn own_servers() {
    // vLLM with running totals; the new name of reasoning.
    let call = stream(
        "gpu-7:8000",
        &[
            r#"{"id":"v1","object":"chat.completion.chunk","model":"q","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":8,"total_tokens":8,"completion_tokens":0}}"#,
            r#"{"id":"v1","object":"chat.completion.chunk","model":"q","choices":[{"index":0,"delta":{"reasoning":"hm"},"finish_reason":null}],"usage":{"prompt_tokens":8,"total_tokens":9,"completion_tokens":1}}"#,
            r#"{"id":"v1","object":"chat.completion.chunk","model":"q","choices":[{"index":0,"delta":{"content":"Yo"},"finish_reason":"stop","stop_reason":151645}],"usage":{"prompt_tokens":8,"total_tokens":10,"completion_tokens":2}}"#,
            "[DONE]",
        ],
    );
    assert_eq!((call.provider, call.server_port), ("openai", Some(8000)));
    assert_eq!(counts(&call), (Some(8), Some(2)));
    assert_eq!(
        parts(&call),
        [Part::Reasoning("hm".into()), Part::Text("Yo".into())]
    );
    // SGLang.
    let call = document(
        &asked("gpu-7:30000"),
        200,
        r#"{"id":"s1","object":"chat.completion","model":"q","choices":[{"index":0,"message":{"role":"assistant","content":"Yo","reasoning_content":"hm","tool_calls":null},"logprobs":null,"finish_reason":"abort","matched_stop":2}],"usage":{"prompt_tokens":8,"total_tokens":10,"completion_tokens":2,"prompt_tokens_details":null,"reasoning_tokens":1}}"#,
    )
    .unwrap();
    assert_eq!(call.response.usage.reasoning, Some(1));
    assert_eq!(counts(&call), (Some(8), Some(2)));
    let ended = call.response.messages[0].finish_reason.as_deref();
    assert_eq!(ended, Some("error"));
}

#[test]
fn writer() {
    let request = post("/v1/chat", "api.writer.com", BODY);
    let list = [
        r#"{"id":"w1","object":"chat.completion.chunk","model":"p","choices":[{"index":0,"finish_reason":null,"message":{"content":"H","role":"assistant","tool_calls":null},"delta":{"content":"H","role":"assistant","tool_calls":null},"logprobs":null}],"usage":null}"#,
        r#"{"id":"w1","object":"chat.completion.chunk","model":"p","choices":[{"index":0,"finish_reason":"stop","message":{"content":"i"},"delta":{"content":"i"}}],"usage":null}"#,
        r#"{"id":"w1","object":"chat.completion.chunk","model":"p","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6,"prompt_token_details":{"cached_tokens":1}}}"#,
    ];
    let list = list.map(|data| ("", data, ""));
    let call = events(&request, &list, Defects::NONE);
    assert_eq!((call.provider, call.operation), ("writer", Operation::Chat));
    assert_eq!(parts(&call), [Part::Text("Hi".into())]);
    assert_eq!(counts(&call), (Some(4), Some(2)));
    assert_eq!(call.response.usage.cache_read, Some(1));
    assert_eq!(call.response.finish_reasons, ["stop"]);

    let body = r#"{"model":"p","prompt":"Hi","stream":true}"#;
    let request = post("/v1/completions", "api.writer.com", body);
    let list = [r#"{"value":"Y"}"#, r#"{"value":"o"}"#].map(|data| ("", data, ""));
    let call = events(&request, &list, Defects::NONE);
    assert_eq!(call.operation, Operation::TextCompletion);
    assert_eq!(parts(&call), [Part::Text("Yo".into())]);
    assert_eq!(call.response.finish_reasons, [""; 0]);

    // Other programs' chats are at this path, too.
    for body in [
        r#"{"messages":[{"role":"user","content":"Hi"}]}"#,
        r#"{"model":"p","messages":"Hi"}"#,
        r#"{"model":"p"}"#,
        r#"{"text":"Hi"}"#,
    ] {
        let request = post("/v1/chat", "shop.example", body);
        assert!(
            document(&request, 200, r#"{"reply":"Yo"}"#).is_none(),
            "{body}"
        );
    }
}

#[test]
fn voyage() {
    let body = r#"{"model":"v","input":["a"],"encoding_format":"base64"}"#;
    let request = post("/v1/embeddings", "api.voyageai.com", body);
    let answer = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPwAAAEA="}],"model":"v","usage":{"total_tokens":12}}"#;
    let call = document(&request, 200, answer).unwrap();
    assert_eq!(call.provider, "voyageai");
    assert_eq!(counts(&call), (Some(12), None));
    assert_eq!(call.response.embedding_dimensions, Some(2));

    let body = r#"{"model":"r","query":"q","documents":["a","b"],"top_k":1}"#;
    let request = post("/v1/rerank", "api.voyageai.com", body);
    let answer = r#"{"object":"list","data":[{"relevance_score":0.5,"index":0}],"model":"r","usage":{"total_tokens":43}}"#;
    let call = document(&request, 200, answer).unwrap();
    assert_eq!(
        (call.provider, call.operation),
        ("voyageai", Operation::Rerank)
    );
    assert_eq!(counts(&call), (Some(43), None));
    assert_eq!(call.response.model.as_deref(), Some("r"));
}

/// vLLM and SGLang: reasoning under either name, and totals that run.
#[test]
fn engines_reason_and_count_as_they_go() {
    for name in ["reasoning", "reasoning_content"] {
        let chunk = |delta: &str, made: u32| {
            format!(
                r#"{{"id":"chatcmpl-x1","object":"chat.completion.chunk","model":"tiny","choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":null}}],"usage":{{"prompt_tokens":9,"completion_tokens":{made},"total_tokens":{}}}}}"#,
                9 + made
            )
        };
        let all = [
            chunk(r#""role":"assistant","content":"""#, 0),
            chunk(&format!(r#""{name}":"Hm""#), 1),
            chunk(&format!(r#""{name}":", so""#), 2),
            chunk(r#""content":"Blue""#, 3),
        ];
        let list: Vec<&str> = all.iter().map(String::as_str).collect();
        // Cut after each chunk: the totals so far.
        for end in 1..=list.len() {
            let call = stream("localhost:8000", &list[..end]);
            let usage = call.response.usage;
            assert_eq!(
                (usage.input, usage.output),
                (Some(9), Some(end as i64 - 1)),
                "{name}"
            );
        }
        let call = stream("localhost:8000", &list);
        assert_eq!(
            call.response.messages[0].parts,
            [Part::Reasoning("Hm, so".into()), Part::Text("Blue".into())]
        );
    }
}

/// What inference servers do beside generating is no call.
#[test]
fn other_work_of_engines() {
    for (path, body) in [
        ("/v1/score", r#"{"model":"m","text_1":"a","text_2":["b"]}"#),
        ("/score", r#"{"model":"m","text_1":"a","text_2":["b"]}"#),
        ("/pooling", r#"{"model":"m","input":"a"}"#),
        ("/classify", r#"{"model":"m","input":"a"}"#),
        ("/tokenize", r#"{"model":"m","prompt":"a"}"#),
        ("/inference/v1/generate", r#"{"token_ids":[1],"model":"m"}"#),
        ("/encode", r#"{"text":"a"}"#),
    ] {
        let asked = post(path, "gpu-7:8000", body);
        assert!(document(&asked, 200, r#"{"data":[]}"#).is_none(), "{path}");
    }
}
