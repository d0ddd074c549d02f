//! Which requests and answers are OpenAI's.

use super::OpenAi;
use crate::model::call::{Api, Operation};
use crate::model::exchange::{Headers, RequestHead};
use crate::provider::hosts;
use crate::provider::recognise::{self, Route};
use crate::provider::shape::{Payload, Shape as _};
use serde_json::json;

fn route(head: &RequestHead) -> Option<Route> {
    recognise::route(head, hosts::TLS_PORT)
}

fn head(method: &str, path: &str, query: &str, host: &str) -> RequestHead {
    RequestHead {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        host: Some(host.to_owned()),
        headers: Headers::default(),
        stream: None,
    }
}

#[test]
fn paths() {
    use Api::{ChatCompletions, Completions, Embeddings, Responses};
    for (method, path, want) in [
        ("POST", "/v1/chat/completions", Some(ChatCompletions)),
        ("POST", "/chat/completions", Some(ChatCompletions)),
        ("POST", "/api/v1/chat/completions/", Some(ChatCompletions)),
        (
            "POST",
            "/v1beta/openai/chat/completions",
            Some(ChatCompletions),
        ),
        ("POST", "/compatible-mode/v1/embeddings", Some(Embeddings)),
        ("POST", "/v1/completions", Some(Completions)),
        ("POST", "/openai/v1/responses", Some(Responses)),
        ("GET", "/v1/responses/resp_1", Some(Responses)),
        ("GET", "/v1/responses/resp_1/input_items", None),
        ("GET", "/v1/chat/completions", None),
        ("POST", "/v1/responses/resp_1/cancel", None),
        ("POST", "/v1/threads/t/runs", None),
        ("POST", "/autocompletions", None),
        ("GET", "/v1/models", None),
    ] {
        let route = route(&head(method, path, "", "h"));
        assert_eq!(route.map(|r| r.found.api), want, "{method} {path}");
    }
}

#[test]
fn azure() {
    let r = route(&head(
        "POST",
        "/openai/deployments/my%20gpt/chat/completions",
        "api-version=2024-02-01",
        "gateway.corp:8443",
    ))
    .unwrap();
    assert_eq!(r.provider, "azure.ai.openai");
    assert_eq!(r.found.model.as_deref(), Some("my gpt"));
    assert_eq!(
        (r.address.as_deref(), r.port),
        (Some("gateway.corp"), Some(8443))
    );
    let r = route(&head(
        "POST",
        "/openai/v1/responses",
        "",
        "x.openai.azure.com",
    ))
    .unwrap();
    assert_eq!(r.provider, "azure.ai.openai");
    let r = route(&head(
        "POST",
        "/openai/v1/chat/completions",
        "",
        "api.groq.com",
    ))
    .unwrap();
    assert_eq!(r.provider, "groq");
}

#[test]
fn fetch() {
    let r = route(&head(
        "GET",
        "/v1/responses/resp_1",
        "stream=true&starting_after=7",
        "h",
    ));
    let r = r.unwrap();
    assert_eq!(r.found.operation, Operation::FetchResponse);
    assert_eq!(r.found.fetch_id.as_deref(), Some("resp_1"));
    assert!(r.found.stream);
    assert_eq!(r.found.cursor.as_deref(), Some("7"));
}

#[test]
fn answers_alone() {
    use Api::{ChatCompletions, Completions, Embeddings, Responses};
    for (root, streamed, whole) in [
        (
            json!({"object":"chat.completion.chunk"}),
            Some(ChatCompletions),
            None,
        ),
        (
            json!({"object":"chat.completion"}),
            None,
            Some(ChatCompletions),
        ),
        (
            json!({"object":"text_completion"}),
            Some(Completions),
            Some(Completions),
        ),
        (json!({"object":"response"}), None, Some(Responses)),
        (
            json!({"type":"response.output_text.delta"}),
            Some(Responses),
            None,
        ),
        (
            json!({"object":"list","data":[{"object":"embedding"}]}),
            None,
            Some(Embeddings),
        ),
        (json!({"object":"list","data":[]}), None, None),
        (json!({"error":{}}), None, None),
    ] {
        let root = root.as_object().unwrap();
        let found = OpenAi.by_answer(&Payload::Event(root));
        assert_eq!(found.map(|f| f.api), streamed, "{root:?}");
        let found = OpenAi.by_answer(&Payload::Document(root));
        assert_eq!(found.map(|f| f.api), whole, "{root:?}");
    }
}
