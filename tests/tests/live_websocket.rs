//! WebSocket: OpenAI's Realtime API and DashScope's, with the real clients.

use anyhow::Result;
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Call, Client, Scene, Span, need};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A scene whose provider speaks WebSocket, and the interpreter of its clients.
fn scene(plain: bool) -> Result<Option<(Scene, PathBuf)>> {
    let Some(python) = need::environment("websocket")? else {
        return Ok(None);
    };
    let scene = Scene::websocket(plain)?;
    Ok(scene.map(|scene| (scene, python)))
}

fn start(scene: &Scene, python: &Path, arguments: &[&str]) -> Result<Client> {
    let mut command = scene.live(python, "sockets.py");
    Client::start(command.args(arguments), &scene.next_log())
}

/// Asks for what must be answered.
fn ask(client: &mut Client, step: &Value) -> Result<Value> {
    let answer = client.ask(step)?;
    anyhow::ensure!(
        answer.get("error").is_none(),
        "{step} failed: {answer}; {}",
        client.0.complaints()
    );
    Ok(answer)
}

/// What the client saw of the responses of a step.
fn responses(client: &mut Client, step: &Value) -> Result<Vec<Call>> {
    let answer = ask(client, step)?;
    let all = answer.as_array().cloned().unwrap_or_default();
    anyhow::ensure!(!all.is_empty(), "{answer}; {}", client.0.complaints());
    all.iter().map(Call::of_answer).collect()
}

fn asked() -> Value {
    json!({"do": "responses", "asked": [
        {},
        {"metadata": {"chunks": "100"}},
        {"metadata": {"tool": "clock"}},
        {"metadata": {"status": "cancelled"}},
    ]})
}

/// What a client of the Realtime API does, told as it saw it.
fn realtime(arguments: &[&str], plain: bool) -> Result<()> {
    let Some((scene, python)) = scene(plain)? else {
        return Ok(());
    };
    let mut client = start(&scene, &python, arguments)?;
    let agent = scene.attach(&client)?;
    let connect = json!({"do": "connect", "model": "gpt-realtime"});
    ask(&mut client, &connect)?;
    let mut all = responses(&mut client, &asked())?;
    all.extend(responses(
        &mut client,
        &json!({"do": "speak", "bytes": 100_000}),
    )?);
    ask(&mut client, &json!({"do": "close"}))?;
    // Another one, of the same process.
    ask(&mut client, &connect)?;
    all.extend(responses(&mut client, &asked())?);
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(
        Call::of_spans(&finished.spans),
        all,
        "{}\n{}",
        finished.log,
        client.0.complaints()
    );
    let told = format!("{:?}", finished.spans);
    assert!(!told.contains(genspan_tests::scene::KEY), "{told}");
    for span in &finished.spans {
        assert_eq!(span.text(attr::CONVERSATION_ID), "conv_1");
        assert_eq!(span.text(attr::PROVIDER_NAME), "openai");
        assert_eq!(span.text(attr::SERVER_ADDRESS), "localhost");
        let input: i64 = attr::USAGE_INPUT_BY_MODALITY
            .iter()
            .filter_map(|name| span.number(name))
            .sum();
        assert_eq!(input, 100, "{span:?}");
    }
    // What was spoken: in words, and its size in base64.
    let spoken = &finished.spans[4];
    assert_eq!(
        spoken.texts(attr::INPUT_MESSAGES),
        ["100000 bytes of sound"]
    );
    let messages = spoken.messages(attr::INPUT_MESSAGES);
    assert_eq!(messages[0]["parts"][1]["type"], "blob", "{messages:?}");
    assert_eq!(messages[0]["parts"][1]["modality"], "audio");
    assert_eq!(messages[0]["parts"][1]["content"], "");
    Ok(())
}

#[test]
fn the_sdk() -> Result<()> {
    realtime(&["openai"], false)
}

#[test]
fn the_sdk_on_asyncio() -> Result<()> {
    realtime(&["openai-async"], false)
}

#[test]
fn the_sdk_on_uvloop() -> Result<()> {
    realtime(&["openai-async", "--uvloop"], false)
}

#[test]
fn websockets_compressed() -> Result<()> {
    realtime(&["websockets"], false)
}

#[test]
fn websockets_without_compression() -> Result<()> {
    realtime(&["websockets-plain"], false)
}

#[test]
fn websockets_with_threads() -> Result<()> {
    realtime(&["websockets-sync"], false)
}

#[test]
fn aiohttp() -> Result<()> {
    realtime(&["aiohttp"], false)
}

#[test]
fn websocket_client() -> Result<()> {
    realtime(&["websocket-client"], false)
}

#[test]
fn without_tls() -> Result<()> {
    realtime(&["websockets"], true)?;
    realtime(&["websocket-client"], true)
}

/// The other end: what the process serves, with TLS and without.
#[test]
fn served() -> Result<()> {
    for plain in [false, true] {
        let Some((scene, python)) = scene(plain)? else {
            return Ok(());
        };
        let mut client = start(&scene, &python, &["websockets"])?;
        let agent = Agent::attach(&scene.temp, &[scene.provider.pid()], &[])?;
        ask(
            &mut client,
            &json!({"do": "connect", "model": "gpt-realtime"}),
        )?;
        let seen = responses(&mut client, &asked())?;
        ask(&mut client, &json!({"do": "close"}))?;
        let finished = agent.stop()?;
        assert_eq!(finished.code, 0, "{}", finished.log);
        assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
        for span in &finished.spans {
            assert_eq!(span.kind(), "SERVER", "{span:?}");
            assert_eq!(span.text(attr::SERVER_ADDRESS), "localhost");
            assert_eq!(span.text(attr::CLIENT_ADDRESS), "127.0.0.1", "{span:?}");
            assert_eq!(span.text(attr::CONVERSATION_ID), "conv_1");
        }
        let told = format!("{:?}", finished.spans);
        assert!(!told.contains(genspan_tests::scene::KEY), "{told}");
    }
    Ok(())
}

/// Refusals of the handshake and of a response, a response that fails, and a server that goes.
#[test]
fn what_fails() -> Result<()> {
    let Some((scene, python)) = scene(false)? else {
        return Ok(());
    };
    let mut client = start(&scene, &python, &["websockets"])?;
    let agent = scene.attach(&client)?;
    let refused = client.ask(&json!({"do": "connect", "model": "error-401"}))?;
    assert_eq!(refused["error"], "InvalidStatus");
    ask(&mut client, &json!({"do": "connect", "model": "m"}))?;
    let step = json!({"do": "responses", "asked": [
        {"metadata": {"refuse": "invalid_value"}},
        {"metadata": {"status": "failed"}},
        {},
        {"metadata": {"close": "1011"}},
    ]});
    let seen = client.ask(&step)?;
    assert_eq!(seen[0]["error"], "invalid_value");
    assert_eq!(seen[3]["error"], "ConnectionClosedError");
    let finished = agent.stop()?;
    let told = Call::of_spans(&finished.spans);
    let errors: Vec<&str> = told.iter().map(|c| c.error.as_str()).collect();
    assert_eq!(
        errors,
        [
            "invalid_api_key",
            "invalid_value",
            "overloaded",
            "",
            "websocket_close_1011"
        ],
        "{}",
        finished.log
    );
    assert_eq!(told[4].defects, ["response_cut"]);
    assert_eq!(told[4].texts, ["It is sunny in"]);
    Ok(())
}

/// To a connection that is open already.
#[test]
fn attached_in_mid_connection() -> Result<()> {
    for kind in ["websockets-plain", "websocket-client"] {
        let Some((scene, python)) = scene(false)? else {
            return Ok(());
        };
        let mut client = start(&scene, &python, &[kind])?;
        ask(&mut client, &json!({"do": "connect", "model": "m"}))?;
        responses(&mut client, &asked())?;
        let agent = scene.attach(&client)?;
        let seen = responses(&mut client, &asked())?;
        let finished = agent.stop()?;
        let mut told = Call::of_spans(&finished.spans);
        assert_eq!(told.len(), seen.len(), "{kind}: {}", finished.log);
        assert_eq!(told[0].defects, ["attached_midway"], "{kind}");
        for (told, seen) in told.iter_mut().zip(seen) {
            // What the handshake and the session's first message said.
            (told.request_model, told.model) = (seen.request_model.clone(), seen.model.clone());
            told.defects.clear();
            assert_eq!(*told, seen, "{kind}");
        }
    }
    Ok(())
}

/// The same where messages are compressed: they refer to what was said before the attach, and those
/// that do are not told. Nothing that is told is wrong.
#[test]
fn attached_in_mid_connection_with_compression() -> Result<()> {
    let Some((scene, python)) = scene(false)? else {
        return Ok(());
    };
    let mut client = start(&scene, &python, &["websockets"])?;
    ask(&mut client, &json!({"do": "connect", "model": "m"}))?;
    responses(&mut client, &asked())?;
    let agent = scene.attach(&client)?;
    let seen = responses(&mut client, &asked())?;
    let finished = agent.stop()?;
    for told in Call::of_spans(&finished.spans) {
        assert!(!told.defects.is_empty(), "{told:?}");
        let seen = seen.iter().find(|seen| seen.id == told.id);
        let whole = told.output.is_some();
        assert!(
            !whole || seen.is_some_and(|s| s.texts == told.texts && s.output == told.output),
            "{told:?} {seen:?}"
        );
    }
    Ok(())
}

/// A recording has the handshakes, and nothing of what was said after them.
#[test]
fn recorded() -> Result<()> {
    let Some((scene, python)) = scene(false)? else {
        return Ok(());
    };
    let mut client = start(&scene, &python, &["websockets-plain"])?;
    let file = scene.temp.file("run.rec");
    let agent = Agent::attach(
        &scene.temp,
        &[client.pid()],
        &["--record", &file.to_string_lossy()],
    )?;
    ask(&mut client, &json!({"do": "connect", "model": "m"}))?;
    let seen = responses(&mut client, &asked())?;
    let finished = agent.stop()?;
    assert_eq!(finished.spans.len(), seen.len(), "{}", finished.log);
    let bytes = std::fs::read(&file)?;
    let has = |what: &[u8]| bytes.windows(what.len()).any(|w| w == what);
    assert!(has(b"GET /v1/realtime?model=m"));
    assert!(has(b"101 Switching Protocols"));
    for secret in [
        genspan_tests::scene::KEY.as_bytes(),
        b"session.created",
        b"sunny",
    ] {
        assert!(!has(secret), "{:?}", String::from_utf8_lossy(secret));
    }
    Ok(())
}

/// Size of the sound in a span's messages, in characters of base64.
fn sound(span: &Span, name: &str) -> Option<i64> {
    let messages = span.messages(name);
    let parts = messages[0]["parts"].as_array()?;
    let blob = parts.iter().find(|p| p["modality"] == "audio")?;
    assert_eq!(blob["content"], "");
    blob.as_object()?
        .iter()
        .find(|(key, _)| key.contains("length"))
        .and_then(|(_, size)| size.as_i64())
}

/// DashScope's tasks, with its own package.
#[test]
fn dashscope() -> Result<()> {
    let Some((scene, python)) = scene(false)? else {
        return Ok(());
    };
    let mut client = start(&scene, &python, &["dashscope"])?;
    let agent = scene.attach(&client)?;
    let old = json!({"do": "synthesize", "model": "sambert-v1", "text": "Hello", "old": true});
    assert_eq!(ask(&mut client, &old)?["bytes"], 5000);
    let new = json!({"do": "synthesize", "model": "cosyvoice-v2", "text": "Good day", "texts": []});
    let spoken = ask(&mut client, &new)?;
    assert_eq!(spoken["bytes"], 5000);
    let pieces = json!({"do": "synthesize", "model": "cosyvoice-v2", "texts": ["Good ", "day"]});
    ask(&mut client, &pieces)?;
    let heard = json!({"do": "recognize", "model": "paraformer-realtime-v2", "frames": 4});
    let heard = ask(&mut client, &heard)?;
    let failed = json!({"do": "synthesize", "model": "error-v1", "text": "x", "texts": []});
    client.ask(&failed)?;
    let model = "qwen3-omni-flash-realtime";
    let said = json!({"do": "converse", "model": model, "bytes": 6400});
    let said = ask(&mut client, &said)?;
    let finished = agent.stop()?;
    assert_eq!(finished.spans.len(), 6, "{}", finished.log);
    for span in &finished.spans {
        assert_eq!(span.text(attr::PROVIDER_NAME), "dashscope");
    }
    let (tasks, turns) = finished.spans.split_at(5);
    let [first, second, third, fourth, fifth] = tasks else {
        unreachable!("counted above");
    };
    for span in tasks {
        assert_eq!(span.text(attr::OPERATION_NAME), "generate_content");
    }
    let turn = &turns[0];
    assert_eq!(turn.text(attr::OPERATION_NAME), "chat", "{turn:?}");
    assert_eq!(turn.model(), model);
    assert_eq!(turn.text(attr::RESPONSE_ID), said["id"]);
    assert_eq!(
        turn.texts(attr::OUTPUT_MESSAGES),
        [said["text"].as_str().unwrap_or_default()]
    );
    assert!(turn.texts(attr::OUTPUT_MESSAGES)[0].starts_with("It is sunny"));
    assert_eq!(turn.number(attr::USAGE_INPUT_TOKENS), Some(100));
    assert_eq!(turn.number(attr::USAGE_OUTPUT_TOKENS), Some(8));
    assert!(
        turn.error().is_empty() && turn.defects().is_empty(),
        "{turn:?}"
    );
    assert_eq!(first.model(), "sambert-v1");
    assert_eq!(first.texts(attr::INPUT_MESSAGES), ["Hello"]);
    assert_eq!(second.text(attr::RESPONSE_ID), spoken["id"]);
    assert_eq!(second.texts(attr::INPUT_MESSAGES), ["Good day"]);
    for span in [first, second] {
        assert_eq!(span.text(attr::OUTPUT_TYPE), "speech");
        assert_eq!(sound(span, attr::OUTPUT_MESSAGES), Some(6668));
        assert!(span.defects().is_empty(), "{span:?}");
    }
    assert_eq!(third.texts(attr::INPUT_MESSAGES), ["Good day"]);
    assert_eq!(sound(third, attr::OUTPUT_MESSAGES), Some(13_336));
    assert_eq!(fourth.text(attr::RESPONSE_ID), heard["id"]);
    assert_eq!(sound(fourth, attr::INPUT_MESSAGES), Some(17_068));
    let sentences: Vec<&str> = heard["texts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(fourth.texts(attr::OUTPUT_MESSAGES), [sentences.join("\n")]);
    assert_eq!(fifth.error(), "ModelNotFound", "{fifth:?}");
    Ok(())
}
