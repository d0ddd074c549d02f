//! HTTP clients without an SDK, and bodies in every content coding.

use anyhow::{Context as _, Result};
use genspan_tests::{Agent, Call, Process, Scene, Temp, need};
use serde_json::json;
use std::process::Command;

/// Plain and streamed calls with bodies in these codings, and one more call when a stream was
/// left early: the spans are what the client saw.
fn client(arguments: &[&str]) -> Result<()> {
    client_of("clients", arguments)
}

/// The same with what is in this environment.
fn client_of(environment: &str, arguments: &[&str]) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment(environment)?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, arguments)?;
    let agent = scene.attach(&client)?;
    let mut seen = Vec::new();
    for coding in ["identity", "gzip", "deflate", "br", "zstd"] {
        for framing in ["length", "chunked", "close"] {
            for stream in [false, true] {
                seen.push(client.call(&json!({
                    "do": "chat",
                    "headers": {
                        "x-test-encoding": coding, "x-test-framing": framing,
                        "accept-encoding": coding, "x-test-split": "700"},
                    "body": {
                        "model": format!("{coding}-{framing}"), "stream": stream,
                        "stream_options": {"include_usage": true},
                        "messages": [{"role": "user", "content": "Say grüß dich, 你好"}],
                        "metadata": {"chunks": "40"}}}))?);
            }
        }
    }
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    assert_eq!(seen.len(), 30);
    for call in &seen {
        assert_eq!((call.input, call.output), (Some(4), Some(40)), "{call:?}");
        assert_eq!(call.finish, ["stop"]);
    }
    Ok(())
}

#[test]
fn standard_library() -> Result<()> {
    client(&["stdlib"])
}

#[test]
fn urllib() -> Result<()> {
    client(&["urllib"])
}

#[test]
fn requests() -> Result<()> {
    client(&["requests"])
}

#[test]
fn httpx() -> Result<()> {
    client(&["httpx"])
}

#[test]
fn httpx_async() -> Result<()> {
    client(&["httpx-async"])
}

#[test]
fn httpx_on_uvloop() -> Result<()> {
    client(&["httpx-async", "--uvloop"])
}

#[test]
fn aiohttp() -> Result<()> {
    client(&["aiohttp"])
}

/// BoringSSL inside of an extension module, which has names for its functions.
#[test]
fn curl_cffi() -> Result<()> {
    client_of("boringssl", &["curl-cffi"])
}

/// BoringSSL inside of an extension module, without names: nothing of it is probed, and the log names it.
#[test]
fn what_grpc_says_is_told_to_be_out_of_reach() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("boringssl")?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let program = "import grpc, sys; print('ready', flush=True); sys.stdin.read()";
    let mut command = Command::new(&python);
    command.args(["-c", program]);
    let mut process = Process::start(&mut command, &temp.file("grpc.err"))?;
    assert_eq!(process.line()?, "ready", "{}", process.complaints());
    let wanted = "BoringSSL without symbols";
    let finished = Agent::attach(&temp, &[process.pid()], &[])?.stop()?;
    let told = finished.log.lines().find(|line| line.contains(wanted));
    let told = told.with_context(|| finished.log.clone())?;
    assert!(told.contains("/grpc/_cython/cygrpc."), "{told}");
    assert!(told.contains("found but unreachable"), "{told}");
    Ok(())
}

/// Other paths to the same API, and answers in single bytes.
#[test]
fn paths_and_single_bytes() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("clients")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib"])?;
    let agent = scene.attach(&client)?;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "one two"}]});
    for path in [
        "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
        "/some/gateway/openai/v1/chat/completions",
    ] {
        let answer = client.ask(&json!({
            "do": "request", "method": "POST", "path": path, "data": body.to_string(),
            "headers": {"content-type": "application/json", "x-test-split": "1"}}))?;
        assert_eq!(answer["status"], 200);
    }
    let calls = Call::of_spans(&agent.stop()?.spans);
    assert_eq!(calls.len(), 2, "{calls:#?}");
    for call in &calls {
        assert_eq!(
            (call.request_model.as_str(), call.model.as_str()),
            ("m", "m-2026")
        );
        assert_eq!((call.input, call.output), (Some(2), Some(12)));
        assert!(call.defects.is_empty(), "{call:?}");
    }
    Ok(())
}
