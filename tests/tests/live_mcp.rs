//! The Model Context Protocol with its own package, at both ends.

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Client, Process, Span, Temp, need, programs};
use serde_json::{Value, json};
use std::process::Command;

/// What is asked in a session, in order; of what fails, how that is called: of a tool that is a
/// result like others, of a resource that is not there an error of JSON-RPC.
const ASKED: [(&str, &str); 8] = [
    ("initialize", ""),
    ("notifications/initialized", ""),
    ("tools/list", ""),
    ("tools/call clock", ""),
    ("tools/call broken", "tool_error"),
    ("prompts/get greet", ""),
    ("resources/read", ""),
    ("resources/read", "-32602"),
];

fn id<'a>(span: &'a Span, name: &str) -> &'a str {
    span.0[name].as_str().unwrap_or_default()
}

/// What one end was told, in the order in which it was asked.
fn of<'a>(spans: &'a [Span], kind: &str) -> Vec<&'a Span> {
    let mut own: Vec<&Span> = spans.iter().filter(|s| s.kind() == kind).collect();
    own.sort_by_key(|span| span.start());
    own
}

#[test]
fn a_session() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("mcp")?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let program = |name: &str| {
        let mut command = Command::new(&python);
        command
            .arg(programs().join("live").join(name))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "127.0.0.1");
        command
    };
    let mut server = Process::start(&mut program("mcp_server.py"), &temp.file("server.err"))?;
    let port = server.line()?;
    let url = format!("http://127.0.0.1:{port}/mcp");
    let mut command = program("mcp_client.py");
    let mut client = Client::start(command.arg(url), &temp.file("client.err"))?;
    let pids = [client.pid(), server.pid()];
    let agent = Agent::attach(&temp, &pids, &["--http-spans", "off"])?;
    let seen = client.ask(&Value::Null)?;
    let noon = "It is noon in UTC";
    assert_eq!(
        seen,
        json!({"tools": ["clock", "broken"], "noon": noon, "broken": true,
            "prompt": "Say hello to you", "zones": "UTC", "refused": -32602})
    );
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    let all = &finished.spans;
    let (made, served) = (of(all, "CLIENT"), of(all, "SERVER"));
    assert_eq!(made.len() + served.len(), all.len(), "{}", finished.lines);
    for own in [&made, &served] {
        let told: Vec<_> = own.iter().map(|s| (s.name(), s.error())).collect();
        assert_eq!(told, ASKED, "{}", finished.lines);
        let read = own.iter().filter(|s| s.name() == "resources/read");
        let read: Vec<_> = read
            .map(|s| {
                (
                    s.text(attr::MCP_RESOURCE_URI),
                    s.text(attr::RPC_RESPONSE_STATUS_CODE),
                )
            })
            .collect();
        assert_eq!(read, [("clock://zones", ""), ("clock://none", "-32602")]);
    }
    let session = made[0].text(attr::MCP_SESSION_ID);
    assert!(!session.is_empty(), "{}", made[0].0);
    for span in all {
        assert!(span.defects().is_empty(), "{}", span.0);
        assert_eq!(span.text(attr::MCP_SESSION_ID), session, "{}", span.0);
        let operation = span.text(attr::OPERATION_NAME);
        let tool = span.name().strip_prefix("tools/call ");
        assert_eq!(operation == "execute_tool", tool.is_some(), "{}", span.0);
        assert_eq!(span.text(attr::TOOL_NAME), tool.unwrap_or_default());
        if tool == Some("clock") {
            let given: Value = serde_json::from_str(span.text(attr::TOOL_CALL_ARGUMENTS))?;
            assert_eq!(given, json!({"zone": "UTC"}));
            assert!(span.text(attr::TOOL_CALL_RESULT).contains(noon));
        }
    }
    // Both ends of a request are one trace.
    for span in served {
        let parent = made
            .iter()
            .find(|s| id(s, "span_id") == id(span, "parent_span_id"));
        let parent = parent.with_context(|| format!("no parent: {}", span.0))?;
        assert_eq!(parent.name(), span.name());
        assert_eq!(id(parent, "trace_id"), id(span, "trace_id"));
    }
    Ok(())
}
