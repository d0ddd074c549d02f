//! Every CPython: the same calls with nothing but its standard library.

use anyhow::Result;
use genspan::vocabulary::resource;
use genspan_tests::{Call, Scene, need};
use serde_json::json;
use std::path::PathBuf;

fn python(python: Option<PathBuf>, version: Option<&str>) -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, python) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib"])?;
    let agent = scene.attach(&client)?;
    let mut seen = Vec::new();
    for stream in [false, true] {
        seen.push(client.call(&json!({
            "do": "chat", "body": {
                "model": "m", "stream": stream, "stream_options": {"include_usage": true},
                "messages": [{"role": "user", "content": "Why is the sky blue?"}],
                "metadata": {"chunks": "12", "delay_ms": "2"}}}))?);
    }
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    assert_eq!(seen.len(), 2);
    for (call, span) in seen.iter().zip(&finished.spans) {
        assert_eq!((call.input, call.output), (Some(5), Some(12)));
        assert_eq!(
            call.texts,
            ["The sky is blue because air scatters short waves of light far"]
        );
        assert_eq!(span.pid(), client.pid());
        assert_eq!(span.resource(resource::SERVICE_NAME), "client");
        if let Some(version) = version {
            assert_eq!(span.resource(resource::PROCESS_RUNTIME_VERSION), version);
        }
    }
    Ok(())
}

#[test]
fn cpython_3_8() -> Result<()> {
    python(need::python(8)?, Some("3.8"))
}

#[test]
fn cpython_3_9() -> Result<()> {
    python(need::python(9)?, Some("3.9"))
}

#[test]
fn cpython_3_10() -> Result<()> {
    python(need::python(10)?, Some("3.10"))
}

#[test]
fn cpython_3_11() -> Result<()> {
    python(need::python(11)?, Some("3.11"))
}

#[test]
fn cpython_3_12() -> Result<()> {
    python(need::python(12)?, Some("3.12"))
}

#[test]
fn cpython_3_13() -> Result<()> {
    python(need::python(13)?, Some("3.13"))
}

/// On Debian an executable without symbols, with OpenSSL in a library of its own.
#[test]
fn the_systems_python() -> Result<()> {
    python(need::system_python()?, None)
}
