//! Exchanges as MCP's clients and servers have them.

use crate::model::call::{ModelCall, Operation};
use crate::model::defect::Defects;
use crate::model::mcp::McpRequest;
use crate::provider::testing::{Asked, Scene, document, events, post};
use serde_json::json;

const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");
const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"clock","arguments":{"tz":"UTC"},
    "_meta":{"progressToken":1,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}"#;

fn asked(body: &str) -> Asked<'_> {
    Asked {
        headers: &[
            ACCEPT,
            ("mcp-session-id", "s-1"),
            ("mcp-protocol-version", "2025-06-18"),
        ],
        ..post("/api/tools", "tools.corp:9000", body)
    }
}

fn mcp(call: &ModelCall) -> &McpRequest {
    call.request.mcp.as_deref().unwrap()
}

#[test]
fn a_tool_is_run() {
    let answer = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"noon"}],"isError":false,"_meta":{"x":1}}}"#;
    let plain = document(&asked(CALL), 200, answer).unwrap();
    let streamed = events(
        &asked(CALL),
        &[
            (
                "message",
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#,
                "",
            ),
            (
                "message",
                r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#,
                "",
            ),
            ("message", answer, ""),
        ],
        Defects::RESPONSE_CUT,
    );
    for call in [plain, streamed] {
        assert_eq!(call.operation, Operation::ExecuteTool);
        assert_eq!(
            (call.server_address.as_deref(), call.server_port),
            (Some("tools.corp"), Some(9000))
        );
        let request = mcp(&call);
        assert_eq!(request.method, "tools/call");
        assert_eq!(request.id.as_deref(), Some("7"));
        assert_eq!(request.session_id.as_deref(), Some("s-1"));
        assert_eq!(request.protocol_version.as_deref(), Some("2025-06-18"));
        assert_eq!(request.tool.as_deref(), Some("clock"));
        assert_eq!(request.arguments, Some(json!({"tz":"UTC"})));
        assert_eq!(call.propagated.map(|p| p.span), Some(0xb7ad_6b71_6920_3331));
        let response = call.response.mcp.as_deref().unwrap();
        assert_eq!(
            response.result,
            Some(json!({"content":[{"type":"text","text":"noon"}],"isError":false}))
        );
        assert_eq!((call.first_chunk, call.error), (None, None));
        assert!(call.defects.is_none());
    }
    let cut = events(&asked(CALL), &[], Defects::RESPONSE_CUT);
    assert_eq!(cut.response.mcp, None);
    assert!(cut.defects.has(Defects::RESPONSE_CUT));
}

#[test]
fn a_session_begins() {
    let body = r#"{"jsonrpc":"2.0","id":"i-1","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
    let asked = Asked {
        headers: &[ACCEPT],
        ..post("/", "tools.corp", body)
    };
    let mut scene = Scene::default();
    assert!(scene.ask(&asked));
    scene.head(200, &[("mcp-session-id", "s-2")]);
    scene.body(r#"{"jsonrpc":"2.0","id":"i-1","result":{"protocolVersion":"2025-03-26","capabilities":{},"serverInfo":{"name":"s"}}}"#);
    let call = scene.end(Defects::NONE).pop().unwrap();
    assert_eq!(call.operation, Operation::Mcp);
    assert_eq!(mcp(&call).protocol_version.as_deref(), Some("2025-06-18"));
    let response = call.response.mcp.unwrap();
    assert_eq!(response.session_id.as_deref(), Some("s-2"));
    assert_eq!(response.protocol_version.as_deref(), Some("2025-03-26"));
    assert_eq!(response.result, None);
}

#[test]
fn other_methods() {
    for (body, method, prompt, uri) in [
        (
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            "notifications/initialized",
            None,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p","arguments":{"a":"secret"}}}"#,
            "prompts/get",
            Some("p"),
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":2,"method":"resources/read","params":{"uri":"file:///a"}}"#,
            "resources/read",
            None,
            Some("file:///a"),
        ),
    ] {
        // What needs no answer gets none.
        let call = document(&asked(body), 202, "").unwrap();
        assert_eq!(call.operation, Operation::Mcp);
        let request = mcp(&call);
        assert_eq!(request.method, method);
        assert_eq!(request.prompt.as_deref(), prompt);
        assert_eq!(request.resource_uri.as_deref(), uri);
        assert_eq!((request.tool.as_ref(), call.error.as_ref()), (None, None));
        assert!(call.defects.is_none(), "{body}");
        assert!(!format!("{call:?}").contains("secret"));
    }
}

#[test]
fn failures() {
    let call = document(
        &asked(CALL),
        200,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool"}}"#,
    )
    .unwrap();
    let error = call.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("-32602", Some("Unknown tool"))
    );
    assert_eq!(call.response.mcp.unwrap().code, Some(-32602));
    let call = document(
        &asked(CALL),
        200,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"no such zone"}],"isError":true}}"#,
    )
    .unwrap();
    let error = call.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_deref()),
        ("tool_error", Some("no such zone"))
    );
    let call = document(
        &asked(CALL),
        404,
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}"#,
    )
    .unwrap();
    assert_eq!(call.error.unwrap().kind, "-32600");
    assert_eq!(
        document(&asked(CALL), 401, "").unwrap().error.unwrap().kind,
        "401"
    );
}

#[test]
fn no_calls() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}"#,
        r#"{"method":"tools/call"}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#,
    ] {
        assert_eq!(document(&asked(body), 200, "{}"), None, "{body}");
    }
    let elsewhere = post("/rpc", "h", CALL);
    assert_eq!(document(&elsewhere, 200, "{}"), None);
    let by_path = post("/mcp/", "h", CALL);
    assert!(document(&by_path, 200, r#"{"jsonrpc":"2.0","id":7,"result":{}}"#).is_some());
}
