//! Invocations, in the forms of the models' makers.

use super::base64;
use crate::model::call::{ModelCall, Operation, Part, Usage};
use crate::model::defect::Defects;
use crate::provider::testing::{Asked, Event, Scene, document, events, post};
use serde_json::json;

const HOST: &str = "bedrock-runtime.us-east-1.amazonaws.com";

fn plain(model: &str, body: &str, answer: &str) -> ModelCall {
    let target = format!("/model/{model}/invoke");
    document(&post(&target, HOST, body), 200, answer).unwrap()
}

fn stream(body: &str, chunks: &[&str]) -> ModelCall {
    let data: Vec<String> = chunks
        .iter()
        .map(|c| json!({"bytes": base64::encode(c.as_bytes()), "p": "abc"}).to_string())
        .collect();
    let list: Vec<Event<'_>> = data
        .iter()
        .map(|d| ("chunk", d.as_str(), "event"))
        .collect();
    let asked = post("/model/m/invoke-with-response-stream", HOST, body);
    let call = events(&asked, &list, Defects::NONE);
    assert!(call.request.stream);
    call
}

fn text(call: &ModelCall) -> &str {
    match call.response.messages[0].parts.as_slice() {
        [Part::Text(text)] => &text.kept,
        other => panic!("{other:?}"),
    }
}

fn counts(usage: Usage) -> (Option<i64>, Option<i64>) {
    (usage.input, usage.output)
}

const MESSAGES: &str = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"model":"x","messages":[{"role":"user","content":"Hi"}]}"#;
const NOVA: &str = r#"{"schemaVersion":"messages-v1","inferenceConfig":{"max_new_tokens":9,"topK":3},"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#;
const CHAT: &str = r#"{"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
const TITAN: &str = r#"{"inputText":"Hi","textGenerationConfig":{"maxTokenCount":9,"temperature":0.5,"topP":0.9,"stopSequences":["x"]}}"#;
const LLAMA: &str = r#"{"prompt":"Hi","max_gen_len":9,"temperature":0.5,"top_p":0.9}"#;
const MISTRAL: &str = r#"{"prompt":"Hi","max_tokens":9,"top_k":3,"stop":["x"]}"#;
const COMMAND: &str = r#"{"prompt":"Hi","max_tokens":9,"p":0.9,"k":3,"num_generations":2}"#;
const COMMAND_R: &str = r#"{"message":"Hi","max_tokens":9,"preamble":"Be brief"}"#;
const JURASSIC: &str = r#"{"prompt":"Hi","maxTokens":9,"topP":0.9,"numResults":1}"#;

#[test]
fn plain_answers_of_all_makers() {
    for (model, body, answer, operation, want, reason, mapped) in [
        (
            "anthropic.c-1",
            MESSAGES,
            r#"{"id":"m","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"Yes"}],"stop_reason":"end_turn","usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":2}}"#,
            Operation::Chat,
            (Some(7), Some(2)),
            "end_turn",
            "stop",
        ),
        (
            "amazon.nova-1",
            NOVA,
            r#"{"output":{"message":{"role":"assistant","content":[{"text":"Yes"}]}},"stopReason":"max_tokens","usage":{"inputTokens":5,"outputTokens":2,"cacheReadInputTokenCount":0,"cacheWriteInputTokenCount":0}}"#,
            Operation::Chat,
            (Some(5), Some(2)),
            "max_tokens",
            "length",
        ),
        (
            "ai21.jamba-1",
            CHAT,
            r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
            Operation::Chat,
            (Some(5), Some(2)),
            "stop",
            "stop",
        ),
        (
            "imported",
            LLAMA,
            r#"{"object":"text_completion","choices":[{"index":0,"text":"Yes","finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
            Operation::TextCompletion,
            (Some(5), Some(2)),
            "length",
            "length",
        ),
        (
            "amazon.titan-1",
            TITAN,
            r#"{"inputTextTokenCount":5,"results":[{"tokenCount":2.0,"outputText":"Yes","completionReason":"FINISH"}]}"#,
            Operation::TextCompletion,
            (Some(5), Some(2)),
            "FINISH",
            "stop",
        ),
        (
            "meta.l-1",
            LLAMA,
            r#"{"generation":"Yes","prompt_token_count":5,"generation_token_count":2,"stop_reason":"length"}"#,
            Operation::TextCompletion,
            (Some(5), Some(2)),
            "length",
            "length",
        ),
        (
            "mistral.m-1",
            MISTRAL,
            r#"{"outputs":[{"text":"Yes","stop_reason":"stop"}]}"#,
            Operation::TextCompletion,
            (None, None),
            "stop",
            "stop",
        ),
        (
            "cohere.command-1",
            COMMAND,
            r#"{"id":"c","generations":[{"id":"g","text":"Yes","finish_reason":"COMPLETE"}],"prompt":"Hi"}"#,
            Operation::TextCompletion,
            (None, None),
            "COMPLETE",
            "stop",
        ),
        (
            "cohere.command-r-1",
            COMMAND_R,
            r#"{"response_id":"c","text":"Yes","generation_id":"g","chat_history":[],"finish_reason":"MAX_TOKENS"}"#,
            Operation::Chat,
            (None, None),
            "MAX_TOKENS",
            "length",
        ),
        (
            "ai21.j2-1",
            JURASSIC,
            r#"{"id":12,"prompt":{"text":"Hi"},"completions":[{"data":{"text":"Yes"},"finishReason":{"reason":"endoftext"}}]}"#,
            Operation::TextCompletion,
            (None, None),
            "endoftext",
            "stop",
        ),
        (
            "anthropic.c-0",
            r#"{"prompt":"Hi","max_tokens_to_sample":9}"#,
            r#"{"type":"completion","completion":"Yes","stop_reason":"stop_sequence"}"#,
            Operation::TextCompletion,
            (None, None),
            "stop_sequence",
            "stop",
        ),
    ] {
        let call = plain(model, body, answer);
        assert_eq!(call.provider, "aws.bedrock");
        assert_eq!(call.operation, operation, "{model}");
        assert_eq!(call.request.model.as_deref(), Some(model));
        assert_eq!(call.request.max_tokens.or(Some(9)), Some(9), "{model}");
        assert_eq!(call.request.messages[0].parts, [Part::Text("Hi".into())]);
        assert_eq!(text(&call), "Yes", "{model}");
        assert_eq!(call.response.finish_reasons, [reason], "{model}");
        let message = &call.response.messages[0];
        assert_eq!(message.finish_reason.as_deref(), Some(mapped), "{model}");
        assert_eq!(counts(call.response.usage), want, "{model}");
        assert!(call.defects.is_none() && call.error.is_none(), "{model}");
    }
}

#[test]
fn settings_of_all_makers() {
    let ask = |body| plain("m", body, "{}").request;
    for body in [
        MESSAGES, NOVA, CHAT, TITAN, LLAMA, MISTRAL, COMMAND, JURASSIC,
    ] {
        assert_eq!(ask(body).max_tokens, Some(9), "{body}");
    }
    for body in [TITAN, LLAMA, COMMAND, JURASSIC] {
        assert_eq!(ask(body).top_p, Some(0.9), "{body}");
    }
    for body in [NOVA, MISTRAL, COMMAND] {
        assert_eq!(ask(body).top_k, Some(3), "{body}");
    }
    for body in [TITAN, MISTRAL] {
        assert_eq!(ask(body).stop_sequences.unwrap(), ["x"], "{body}");
    }
    assert_eq!(ask(COMMAND).choice_count, Some(2));
    let instructions = ask(COMMAND_R).system_instructions;
    assert_eq!(instructions, [Part::Text("Be brief".into())]);
}

const METRICS: &str = r#""amazon-bedrock-invocationMetrics":{"inputTokenCount":5,"outputTokenCount":2,"invocationLatency":9}"#;

#[test]
fn streams_of_all_makers() {
    let with = |text: &str| format!("{}{METRICS}}}", text.strip_suffix('}').unwrap());
    for (body, chunks, last, reason) in [
        (
            MESSAGES,
            vec![
                r#"{"type":"message_start","message":{"id":"m","role":"assistant","model":"c","content":[]}}"#,
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Y"}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"es"}}"#,
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
            ],
            r#"{"type":"message_stop",}"#,
            "end_turn",
        ),
        (
            NOVA,
            vec![
                r#"{"messageStart":{"role":"assistant"}}"#,
                r#"{"contentBlockDelta":{"delta":{"text":"Y"},"contentBlockIndex":0}}"#,
                r#"{"contentBlockStop":{"contentBlockIndex":0}}"#,
                r#"{"contentBlockDelta":{"delta":{"text":"es"},"contentBlockIndex":1}}"#,
                r#"{"messageStop":{"stopReason":"end_turn"}}"#,
            ],
            r#"{"metadata":{"usage":{"inputTokens":5,"outputTokens":2}},}"#,
            "end_turn",
        ),
        (
            CHAT,
            vec![
                r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"Y"}}]}"#,
                r#"{"id":"c","choices":[{"index":0,"delta":{"content":"es"}}]}"#,
            ],
            r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],}"#,
            "stop",
        ),
        (
            TITAN,
            vec![
                r#"{"outputText":"Y","index":0,"totalOutputTextTokenCount":1,"completionReason":null,"inputTextTokenCount":5}"#,
            ],
            r#"{"outputText":"es","index":0,"totalOutputTextTokenCount":2,"completionReason":"FINISH",}"#,
            "FINISH",
        ),
        (
            LLAMA,
            vec![
                r#"{"generation":"Y","prompt_token_count":5,"generation_token_count":1,"stop_reason":null}"#,
                r#"{"generation":"es","prompt_token_count":null,"generation_token_count":2,"stop_reason":null}"#,
            ],
            r#"{"generation":"","generation_token_count":2,"stop_reason":"stop",}"#,
            "stop",
        ),
        (
            MISTRAL,
            vec![r#"{"outputs":[{"text":"Y","stop_reason":null}]}"#],
            r#"{"outputs":[{"text":"es","stop_reason":"stop"}],}"#,
            "stop",
        ),
        (
            COMMAND,
            vec![
                r#"{"text":"Y","is_finished":false}"#,
                r#"{"text":"es","is_finished":false}"#,
            ],
            r#"{"is_finished":true,"finish_reason":"COMPLETE",}"#,
            "COMPLETE",
        ),
        (
            COMMAND_R,
            vec![
                r#"{"is_finished":false,"event_type":"text-generation","text":"Y"}"#,
                r#"{"is_finished":false,"event_type":"text-generation","text":"es"}"#,
            ],
            r#"{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE","response":{"text":"Yes"},}"#,
            "COMPLETE",
        ),
        (
            r#"{"prompt":"Hi","max_tokens_to_sample":9}"#,
            vec![r#"{"type":"completion","completion":"Y","stop_reason":null}"#],
            r#"{"type":"completion","completion":"es","stop_reason":"stop_sequence",}"#,
            "stop_sequence",
        ),
    ] {
        let last = with(last);
        let mut all = chunks.clone();
        all.push(&last);
        let call = stream(body, &all);
        assert_eq!(text(&call), "Yes", "{body}");
        assert_eq!(call.response.finish_reasons, [reason], "{body}");
        assert_eq!(counts(call.response.usage), (Some(5), Some(2)), "{body}");
        assert!(call.first_chunk.is_some() && call.defects.is_none());
        for n in 0..chunks.len() {
            let cut = stream(body, &chunks[..n]).response;
            assert!(cut.usage.output != Some(2) || body == LLAMA, "{body} {n}");
            if let Some(message) = cut.messages.first() {
                assert_eq!(message.finish_reason.as_deref(), Some("error"));
            }
        }
    }
}

#[test]
fn counts_that_only_headers_tell() {
    let mut scene = Scene::default();
    let asked = Asked {
        headers: &[("x-amzn-bedrock-guardrailidentifier", "g1")],
        ..post("/model/m/invoke", HOST, MISTRAL)
    };
    assert!(scene.ask(&asked));
    scene.head(
        200,
        &[
            ("x-amzn-bedrock-input-token-count", "5"),
            ("x-amzn-bedrock-output-token-count", "2"),
            ("x-amzn-bedrock-cache-read-input-token-count", "3"),
            ("x-amzn-bedrock-cache-write-input-token-count", "x"),
        ],
    );
    scene.body(r#"{"outputs":[{"text":"Yes","stop_reason":"stop"}]}"#);
    let call = scene.end(Defects::NONE).pop().unwrap();
    assert_eq!(counts(call.response.usage), (Some(8), Some(2)));
    assert_eq!(call.response.usage.cache_read, Some(3));
    assert_eq!(call.response.usage.cache_write, None);
    assert_eq!(call.request.guardrail_id.as_deref(), Some("g1"));
}

#[test]
fn vectors_ranks_and_images() {
    for (model, body, answer, operation, dimension) in [
        (
            "amazon.titan-embed-1",
            r#"{"inputText":"Hi","dimensions":3}"#,
            r#"{"embedding":[1,2.5,3],"inputTextTokenCount":5,"embeddingsByType":{"float":[1,2.5,3]}}"#,
            Operation::Embeddings,
            Some(3),
        ),
        (
            "cohere.embed-1",
            r#"{"texts":["Hi"],"input_type":"search_query"}"#,
            r#"{"id":"e","texts":["hi"],"embeddings":[[1,2]],"response_type":"embeddings_floats"}"#,
            Operation::Embeddings,
            Some(2),
        ),
        (
            "amazon.nova-e",
            r#"{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"embeddingDimension":3,"text":{"value":"Hi"}}}"#,
            r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[1,2,3]}]}"#,
            Operation::Embeddings,
            Some(3),
        ),
        (
            "cohere.rerank-1",
            r#"{"api_version":2,"query":"Hi","documents":["a","b"],"top_n":1}"#,
            r#"{"results":[{"index":1,"relevance_score":0.5}]}"#,
            Operation::Rerank,
            None,
        ),
        (
            "amazon.canvas",
            r#"{"taskType":"TEXT_IMAGE","textToImageParams":{"text":"Hi"},"imageGenerationConfig":{"numberOfImages":2}}"#,
            r#"{"images":["AAAA"],"error":null}"#,
            Operation::GenerateContent,
            None,
        ),
    ] {
        let call = plain(model, body, answer);
        assert_eq!(call.operation, operation, "{model}");
        assert_eq!(call.response.embedding_dimensions, dimension, "{model}");
        assert_eq!(call.request.messages[0].parts, [Part::Text("Hi".into())]);
        assert!(call.error.is_none() && call.defects.is_none(), "{model}");
        let images = operation == Operation::GenerateContent;
        assert_eq!(call.response.messages.len(), usize::from(images), "{model}");
        if operation == Operation::Rerank {
            assert_eq!(
                (call.request.documents, call.request.top_n),
                (Some(2), Some(1))
            );
        }
    }
}

#[test]
fn chunks_that_are_none() {
    let asked = post("/model/m/invoke-with-response-stream", HOST, LLAMA);
    let good = base64::encode(br#"{"generation":"Yes"}"#);
    let good = format!(r#"{{"bytes":"{good}"}}"#);
    let thrown = (
        "modelStreamErrorException",
        r#"{"message":"gone"}"#,
        "exception",
    );
    let call = events(
        &asked,
        &[
            ("chunk", r#"{"bytes":"%%"}"#, "event"),
            ("chunk", r#"{"p":"x"}"#, "event"),
            ("chunk", r#"{"bytes":"bm8="}"#, "event"),
            ("chunk", &good, "event"),
            thrown,
        ],
        Defects::NONE,
    );
    assert_eq!(call.defects, Defects::EVENT_BROKEN);
    assert_eq!(text(&call), "Yes");
    assert_eq!(call.error.unwrap().kind, "modelStreamErrorException");
}
