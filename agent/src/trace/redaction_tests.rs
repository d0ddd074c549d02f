//! What is redacted beside what models say: plain HTTP requests, what servers of tools are asked
//! and give.

use super::Spans;
use super::tests::{call, finished};
use crate::model::call::{CallEvent, Operation};
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::{ExchangeId, Role};
use crate::model::mcp::{McpRequest, McpResponse};
use crate::model::process::{ContentPolicy, ProcessFacts};
use crate::model::request::{Begun, HttpRequest};
use crate::model::span::{Span, Value};
use crate::model::time::BootTime;
use crate::redact::{Redactor, Rules, Selection};
use crate::vocabulary::attr;
use serde_json::json;

const KEY: &str = concat!("sk-", "proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789");
const MAIL: &str = "alice@example.com";

fn stage(content: ContentPolicy) -> Spans {
    let mut spans = Spans::new(5);
    let rules = Rules {
        rules: vec![Selection::All],
        ..Rules::none()
    };
    spans.redact(Redactor::new(&rules).unwrap());
    spans.process(&ProcessFacts {
        pid: 9,
        content,
        ..ProcessFacts::default()
    });
    spans
}

fn requested(spans: &mut Spans, role: Role) -> Span {
    let exchange = ExchangeId(1);
    let begun = Begun {
        exchange,
        connection: ConnectionId {
            pid: 9,
            ssl: 1,
            generation: 2,
        },
        role,
        tid: 10,
        start: BootTime(1),
        propagated: None,
        stream: None,
    };
    let request = HttpRequest {
        begun: begun.clone(),
        method: "GET".to_owned(),
        path: format!("/of/{MAIL}/k/{KEY}"),
        query: format!("q={KEY}&to={MAIL}&too=alice%40example.com"),
        server_address: Some("h".to_owned()),
        server_port: Some(443),
        user_agent: Some(format!("app ({KEY}; {MAIL})")),
        status: Some(200),
        error: None,
        end: BootTime(2),
        peer: None,
        local: None,
        http2: false,
        defects: Defects::NONE,
    };
    spans.call(CallEvent::Began(Box::new(begun)));
    spans.call(CallEvent::Requested(Box::new(request)));
    spans.call(CallEvent::Over {
        exchange,
        told: true,
    });
    spans.flush();
    let mut all: Vec<_> = spans.drain().collect();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn text<'a>(span: &'a Span, name: &str) -> &'a str {
    match span.attribute(name) {
        Some(Value::Str(text)) => text,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn plain_requests_made_and_served() {
    const PATH: &str = "/of/[redacted:email]/k/[redacted:openai_key]";
    const QUERY: &str = "q=[redacted:openai_key]&to=[redacted:email]&too=[redacted:email]";
    for role in [Role::Client, Role::Server] {
        let mut spans = stage(ContentPolicy::default());
        let span = requested(&mut spans, role);
        let agent = text(&span, attr::USER_AGENT_ORIGINAL);
        assert_eq!(agent, "app ([redacted:openai_key]; [redacted:email])");
        match role {
            Role::Client => {
                let full = text(&span, attr::URL_FULL);
                assert_eq!(full, format!("https://h{PATH}?{QUERY}"));
            }
            Role::Server => {
                assert_eq!(text(&span, attr::URL_PATH), PATH);
                assert_eq!(text(&span, attr::URL_QUERY), QUERY);
            }
        }
        let all = format!("{span:?}");
        for secret in ["AbCdEf", "alice", "example.com"] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
        let found: u64 = spans.redacted().iter().map(|r| r.count).sum();
        assert_eq!(found, 7);
    }
}

#[test]
fn what_servers_of_tools_are_asked_and_give() {
    for on_events in [false, true] {
        let mut ran = call();
        ran.operation = Operation::ExecuteTool;
        ran.request.mcp = Some(Box::new(McpRequest {
            method: "tools/call",
            id: Some(KEY.to_owned()),
            session_id: Some(KEY.to_owned()),
            protocol_version: Some(KEY.to_owned()),
            tool: Some(KEY.to_owned()),
            resource_uri: Some(format!("file:///{KEY}")),
            arguments: Some(json!({"to": MAIL, (KEY): [{"deep": format!("a {KEY} b")}]})),
            ..McpRequest::default()
        }));
        ran.response.mcp = Some(Box::new(McpResponse {
            result: Some(json!({"content": [{"type": "text", "text": format!("{KEY} {MAIL}")}]})),
            ..McpResponse::default()
        }));
        let mut spans = stage(ContentPolicy {
            on_events,
            ..ContentPolicy::default()
        });
        let span = finished(&mut spans, ran).remove(0);
        let all = format!("{span:?}");
        for secret in ["AbCdEf", "alice"] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
        let given = text(&span, attr::TOOL_CALL_ARGUMENTS);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(given).unwrap(),
            json!({"to": "[redacted:email]",
                "[redacted:openai_key]": [{"deep": "a [redacted:openai_key] b"}]})
        );
        let got = text(&span, attr::TOOL_CALL_RESULT);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(got).unwrap(),
            json!({"content": [{"type": "text",
                "text": "[redacted:openai_key] [redacted:email]"}]})
        );
    }
}
