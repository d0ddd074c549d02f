//! Which exchanges are on the path of a model call: by method and the end of the path, whatever
//! the base URL, never by the host alone. The payload confirms it ([`confirms`]).

use super::hosts;
use super::json::Object;
use super::json::{self, field};
use crate::model::call::{Api, Operation};
use crate::model::exchange::{RequestHead, SseEvent};

/// What the head of a request tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) operation: Operation,
    pub(super) api: Api,
    pub(super) provider: &'static str,
    pub(super) address: Option<String>,
    pub(super) port: Option<u16>,
    /// Model that the path names (Azure deployments, engines); counts when the body has none.
    pub(super) path_model: Option<String>,
    /// Id of the response to fetch.
    pub(super) fetch_id: Option<String>,
    /// The query asks for a stream.
    pub(super) stream: bool,
    /// Where a fetched stream starts.
    pub(super) cursor: Option<String>,
}

impl Route {
    /// Of a request that was not seen. The protocol is OpenAI's; at which address its server is
    /// only the request would have told. Operation and API are told by the response.
    pub(super) const fn unseen() -> Self {
        Self {
            operation: Operation::Chat,
            api: Api::ChatCompletions,
            provider: hosts::OPENAI,
            address: None,
            port: None,
            path_model: None,
            fetch_id: None,
            stream: false,
            cursor: None,
        }
    }
}

/// The route of a request, if it may be a model call.
pub(super) fn route(head: &RequestHead) -> Option<Route> {
    let path = head.path.trim_end_matches('/');
    let (operation, api, fetch_id) = match head.method.as_str() {
        "POST" => posted(path)?,
        "GET" => fetched(path)?,
        _ => return None,
    };
    let (address, port) = match head.host.as_deref().filter(|h| !h.is_empty()) {
        Some(host) => {
            let (host, port) = hosts::split(host);
            (Some(host), Some(port))
        }
        None => (None, None),
    };
    let deployment = after(path, "/openai/deployments/");
    Some(Route {
        operation,
        api,
        provider: provider(address.as_deref(), deployment.is_some(), &head.query),
        address,
        port,
        path_model: deployment.or_else(|| after(path, "/engines/")),
        stream: fetch_id.is_some() && parameter(&head.query, "stream").as_deref() == Some("true"),
        cursor: fetch_id
            .as_ref()
            .and_then(|_| parameter(&head.query, "starting_after")),
        fetch_id,
    })
}

fn posted(path: &str) -> Option<(Operation, Api, Option<String>)> {
    Some(if path.ends_with("/chat/completions") {
        (Operation::Chat, Api::ChatCompletions, None)
    } else if path.ends_with("/completions") {
        (Operation::TextCompletion, Api::Completions, None)
    } else if path.ends_with("/responses") {
        (Operation::Chat, Api::Responses, None)
    } else if path.ends_with("/embeddings") {
        (Operation::Embeddings, Api::Embeddings, None)
    } else {
        return None;
    })
}

fn fetched(path: &str) -> Option<(Operation, Api, Option<String>)> {
    let (base, id) = path.rsplit_once('/')?;
    if !base.ends_with("/responses") || id.is_empty() || id.len() > 512 {
        return None;
    }
    Some((Operation::FetchResponse, Api::Responses, Some(decode(id))))
}

fn provider(host: Option<&str>, deployment: bool, query: &str) -> &'static str {
    if deployment {
        return hosts::AZURE_OPENAI;
    }
    let known = host.and_then(hosts::provider);
    // A gateway in front of Azure keeps the parameter that only Azure knows.
    known.unwrap_or(match parameter(query, "api-version") {
        Some(_) => hosts::AZURE_OPENAI,
        None => hosts::OPENAI,
    })
}

/// The path segment that follows `prefix`.
fn after(path: &str, prefix: &str) -> Option<String> {
    let (_, rest) = path.split_once(prefix)?;
    let name = rest.split('/').next().filter(|n| !n.is_empty())?;
    Some(decode(name))
}

/// The value of a query parameter.
fn parameter(query: &str, name: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|p| p.split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, v)| decode(v))
        .filter(|v| !v.is_empty())
}

/// Percent-decodes; what is not an escape stays.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether a request's body is one of a model call: it has a member that such a body must have.
pub(super) fn confirms(api: Api, body: &Object) -> bool {
    const CHAT: &[&str] = &["model", "messages"];
    const RESPONSES: &[&str] = &["model", "input", "previous_response_id", "conversation"];
    const COMPLETIONS: &[&str] = &["model", "prompt"];
    // Ollama's own API has the same path, and `prompt`.
    const EMBEDDINGS: &[&str] = &["input"];
    let any = match api {
        Api::ChatCompletions => CHAT,
        Api::Responses => RESPONSES,
        Api::Completions => COMPLETIONS,
        Api::Embeddings => EMBEDDINGS,
    };
    any.iter().any(|key| field::is_set(body, key))
}

/// What call the event of a stream is of, when it says so itself.
pub(super) fn event(event: &SseEvent<'_>) -> Option<(Operation, Api)> {
    let root = json::read(event.data.trim_ascii())?.root;
    match field::str(&root, "object") {
        Some("chat.completion.chunk") => Some((Operation::Chat, Api::ChatCompletions)),
        Some("text_completion") => Some((Operation::TextCompletion, Api::Completions)),
        _ => field::str(&root, "type")
            .filter(|kind| kind.starts_with("response."))
            .map(|_| (Operation::Chat, Api::Responses)),
    }
}

/// What call a document answers, when it says so itself. That a response was fetched, not made,
/// it does not say.
pub(super) fn document(root: &Object) -> Option<(Operation, Api)> {
    let first_is_embedding = || {
        let first = field::list(root, "data")?.first()?.as_object()?;
        Some(field::str(first, "object") == Some("embedding"))
    };
    match field::str(root, "object")? {
        "chat.completion" => Some((Operation::Chat, Api::ChatCompletions)),
        "text_completion" => Some((Operation::TextCompletion, Api::Completions)),
        "response" => Some((Operation::Chat, Api::Responses)),
        "list" if first_is_embedding() == Some(true) => {
            Some((Operation::Embeddings, Api::Embeddings))
        }
        _ => None,
    }
}

/// Whether an id is one that OpenAI gives to responses.
pub(super) fn is_response_id(id: &str) -> bool {
    id.starts_with("resp_") || id.starts_with("resp-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::exchange::Headers;

    fn head(method: &str, path: &str, query: &str, host: &str) -> RequestHead {
        RequestHead {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            host: Some(host.to_owned()),
            headers: Headers::default(),
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
            assert_eq!(route.map(|r| r.api), want, "{method} {path}");
        }
    }

    #[test]
    fn payloads() {
        use Api::{ChatCompletions, Completions, Embeddings, Responses};
        for (text, streamed, whole) in [
            (
                r#"{"object":"chat.completion.chunk"}"#,
                Some(ChatCompletions),
                None,
            ),
            (
                r#"{"object":"chat.completion"}"#,
                None,
                Some(ChatCompletions),
            ),
            (
                r#"{"object":"text_completion"}"#,
                Some(Completions),
                Some(Completions),
            ),
            (r#"{"object":"response"}"#, None, Some(Responses)),
            (
                r#"{"type":"response.output_text.delta"}"#,
                Some(Responses),
                None,
            ),
            (
                r#"{"object":"list","data":[{"object":"embedding"}]}"#,
                None,
                Some(Embeddings),
            ),
            (
                r#"{"object":"list","data":[{"object":"model"}]}"#,
                None,
                None,
            ),
            (r#"{"object":"list","data":[]}"#, None, None),
            (r#"{"type":"message"}"#, None, None),
            (r#"{"error":{}}"#, None, None),
            ("[DONE]", None, None),
            ("", None, None),
        ] {
            let e = SseEvent {
                event: "response.created",
                data: text.as_bytes(),
                comment: "",
            };
            assert_eq!(event(&e).map(|(_, api)| api), streamed, "{text}");
            let root = json::read(text.as_bytes())
                .map(|d| d.root)
                .unwrap_or_default();
            assert_eq!(document(&root).map(|(_, api)| api), whole, "{text}");
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
        assert_eq!(r.path_model.as_deref(), Some("my gpt"));
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
        assert_eq!(r.operation, Operation::FetchResponse);
        assert_eq!(r.fetch_id.as_deref(), Some("resp_1"));
        assert!(r.stream);
        assert_eq!(r.cursor.as_deref(), Some("7"));
    }
}
