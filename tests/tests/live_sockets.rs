//! Calls without TLS, in every way that sockets are read; TLS on the same probes.

use anyhow::Result;
use genspan::capture::record::{Frame, Recording};
use genspan::model::event::{Direction, Event, SocketRole};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Call, Client, Finished, Process, Scene, need};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PROBES: &[&str] = &[];
const TRACEPOINTS: &[&str] = &["--sockets", "tracepoints"];
const SYSCALLS: &[&str] = &["--sockets", "syscalls"];

fn chat(model: &str, stream: bool) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "stream": stream, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "Say grüß dich, 你好"}],
        "metadata": {"chunks": "40"}}})
}

/// Calls of every kind: the spans are what the client saw, one each, and know the peer.
fn calls(scene: &Scene, client: &mut Client, agent: Agent) -> Result<Finished> {
    let mut seen = Vec::new();
    for framing in ["length", "chunked", "close"] {
        for stream in [false, true] {
            let mut step = chat(framing, stream);
            step["headers"] = json!({"x-test-framing": framing, "x-test-split": "700"});
            seen.push(client.call(&step)?);
        }
    }
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    for span in &finished.spans {
        assert_eq!(
            span.number(attr::NETWORK_PEER_PORT),
            Some(i64::from(scene.provider.port)),
            "{}",
            span.0
        );
        let address = span.text(attr::NETWORK_PEER_ADDRESS);
        assert!(["127.0.0.1", "::1"].contains(&address), "{address}");
    }
    Ok(finished)
}

fn same(scene: Option<Scene>, arguments: &[&str], options: &[&str]) -> Result<()> {
    let (Some(scene), Some(python)) = (scene, need::environment("clients")?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, arguments)?;
    let agent = Agent::attach(&scene.temp, &[client.pid()], options)?;
    calls(&scene, &mut client, agent).map(drop)
}

#[test]
fn standard_library() -> Result<()> {
    same(Scene::plain()?, &["stdlib"], PROBES)?;
    same(Scene::plain()?, &["urllib"], PROBES)
}

#[test]
fn requests() -> Result<()> {
    same(Scene::plain()?, &["requests"], PROBES)
}

#[test]
fn httpx() -> Result<()> {
    for way in [PROBES, TRACEPOINTS, SYSCALLS] {
        same(Scene::plain()?, &["httpx"], way)?;
    }
    Ok(())
}

#[test]
fn asyncio() -> Result<()> {
    for way in [PROBES, TRACEPOINTS, SYSCALLS] {
        same(Scene::plain()?, &["httpx-async"], way)?;
    }
    same(Scene::plain()?, &["aiohttp"], PROBES)
}

#[test]
fn uvloop() -> Result<()> {
    for way in [PROBES, TRACEPOINTS, SYSCALLS] {
        same(Scene::plain()?, &["httpx-async", "--uvloop"], way)?;
    }
    same(Scene::plain()?, &["aiohttp", "--uvloop"], PROBES)
}

/// TLS goes over sockets too: no call is told twice, and the peer is known of each.
#[test]
fn tls_is_told_once_and_with_its_peer() -> Result<()> {
    for client in [
        &["stdlib"][..],
        &["httpx-async"],
        &["aiohttp"],
        &["httpx-async", "--uvloop"],
    ] {
        same(Scene::new()?, client, PROBES)?;
    }
    same(Scene::new()?, &["httpx"], TRACEPOINTS)
}

#[test]
fn nothing_is_read_when_told_so() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::plain()?, need::any_python()?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib"])?;
    let agent = Agent::attach(&scene.temp, &[client.pid()], &["--sockets", "off"])?;
    client.call(&chat("off", false))?;
    let finished = agent.stop()?;
    assert_eq!((finished.code, finished.spans.len()), (0, 0));
    Ok(())
}

/// The connection is older than the agent; then a stream is under way when it comes.
#[test]
fn connections_that_are_open_already() -> Result<()> {
    for way in [PROBES, TRACEPOINTS] {
        let (Some(scene), Some(python)) = (Scene::plain()?, need::any_python()?) else {
            return Ok(());
        };
        let mut client = scene.client(&python, &["stdlib"])?;
        client.call(&chat("long before", false))?;
        let mut slow = chat("half", true);
        slow["body"]["metadata"]["delay_ms"] = json!("40");
        client.tell(&slow)?;
        std::thread::sleep(Duration::from_millis(200));
        let agent = Agent::attach(&scene.temp, &[client.pid()], way)?;
        client.answer()?;
        let seen = [
            client.call(&chat("next", false))?,
            client.call(&chat("last", true))?,
        ];
        let finished = agent.stop()?;
        // Of the half-seen one the request is not known.
        let calls = Call::of_spans(&finished.spans);
        assert_eq!(calls.len(), 3, "{}", finished.log);
        assert_eq!(calls[0].defects, ["attached_midway"], "{calls:#?}");
        assert_eq!(calls[1..], seen, "{}", finished.log);
    }
    Ok(())
}

/// Bodies that do not fit into one write, nor into one record.
#[test]
fn large_bodies() -> Result<()> {
    for arguments in [
        &["aiohttp"][..],
        &["httpx-async", "--uvloop"],
        &["requests"],
    ] {
        let (Some(scene), Some(python)) = (Scene::plain()?, need::environment("clients")?) else {
            return Ok(());
        };
        let mut client = scene.client(&python, arguments)?;
        let agent = scene.attach(&client)?;
        let mut step = chat("large", true);
        let text = "word ".repeat(200_000);
        step["body"]["messages"] = json!([{"role": "user", "content": text}]);
        step["body"]["metadata"]["chunks"] = json!("4000");
        let seen = client.call(&step)?;
        let finished = agent.stop()?;
        let calls = Call::of_spans(&finished.spans);
        assert_eq!(calls.len(), 1, "{}", finished.log);
        // The text is longer than spans hold by default.
        let kept = calls[0].texts.concat();
        assert!(seen.texts.concat().starts_with(&kept));
        assert_eq!(kept.chars().count(), 4096);
        let without_texts = |call: &Call| Call {
            texts: Vec::new(),
            ..call.clone()
        };
        assert_eq!(without_texts(&calls[0]), without_texts(&seen));
        assert_eq!(seen.output, Some(4000));
        assert!(!finished.log.contains("lost:"), "{}", finished.log);
    }
    Ok(())
}

/// Runs `pieces.py` in a mode while it is traced.
fn pieces(mode: &str, way: &[&str]) -> Result<Option<Finished>> {
    let (Some(scene), Some(python)) = (Scene::plain()?, need::any_python()?) else {
        return Ok(None);
    };
    let mut command = scene.live(&python, "pieces.py");
    command.args([mode, &scene.provider.port.to_string()]);
    let mut program = Process::start(&mut command, &scene.next_log())?;
    assert_eq!(program.line()?, "ready");
    let agent = Agent::attach(&scene.temp, &[program.pid()], way)?;
    program.tell("go")?;
    assert_eq!(program.line()?, "done", "{}", program.complaints());
    Ok(Some(agent.stop()?))
}

/// What of a call is compared here.
fn told(finished: &Finished) -> Vec<(String, String, Option<i64>)> {
    let calls = Call::of_spans(&finished.spans);
    let told = calls.into_iter().map(|c| {
        assert!(c.defects.is_empty(), "{c:?}");
        (c.request_model, c.model, c.output)
    });
    told.collect()
}

#[test]
fn many_segments_and_peeks() -> Result<()> {
    for way in [PROBES, TRACEPOINTS, SYSCALLS] {
        for mode in ["vector", "peek"] {
            let Some(finished) = pieces(mode, way)? else {
                return Ok(());
            };
            let expected = [(mode.to_owned(), format!("{mode}-2026"), Some(12))];
            assert_eq!(told(&finished), expected, "{}", finished.log);
        }
    }
    Ok(())
}

#[test]
fn what_is_not_followed_is_a_gap_of_known_length() -> Result<()> {
    for way in [PROBES, TRACEPOINTS, SYSCALLS] {
        let Some(finished) = pieces("file", way)? else {
            return Ok(());
        };
        let calls = Call::of_spans(&finished.spans);
        let answered: Vec<_> = calls.iter().map(|c| c.model.as_str()).collect();
        assert_eq!(
            answered,
            ["writev-2026", "sendfile-2026", "after-2026"],
            "{}",
            finished.log
        );
        // The body came from a file: the call says so, and the next one is whole again.
        assert_eq!(
            calls[1].defects,
            ["request_over_limit", "json_broken"],
            "{calls:#?}"
        );
        assert!(
            calls[0].defects.is_empty() && calls[2].defects.is_empty(),
            "{calls:#?}"
        );
        assert!(
            finished.log.contains("bytes left out: from a file"),
            "{}",
            finished.log
        );
        let Some(finished) = pieces("many", way)? else {
            return Ok(());
        };
        let calls = Call::of_spans(&finished.spans);
        assert_eq!(calls.len(), 1, "{}", finished.log);
        assert_eq!(calls[0].model, "vector-2026");
        assert!(!calls[0].defects.is_empty(), "{calls:#?}");
    }
    Ok(())
}

/// Both ends in one process, over a Unix socket: the call as it was made and as it was served.
#[test]
fn unix_sockets() -> Result<()> {
    for way in [PROBES, TRACEPOINTS, SYSCALLS] {
        let Some(finished) = pieces("unix", way)? else {
            return Ok(());
        };
        let call = ("unix".to_owned(), "unix-2026".to_owned(), Some(4));
        assert_eq!(told(&finished), [call.clone(), call], "{}", finished.log);
        let mut kinds: Vec<_> = finished.spans.iter().map(|s| s.kind()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["CLIENT", "SERVER"]);
    }
    Ok(())
}

/// A descriptor that is used again is another connection, and what was under way on the first
/// one ended with it.
#[test]
fn a_descriptor_is_no_connection() -> Result<()> {
    for way in [PROBES, TRACEPOINTS] {
        let Some(finished) = pieces("again", way)? else {
            return Ok(());
        };
        let calls = Call::of_spans(&finished.spans);
        assert_eq!(calls.len(), 2, "{}", finished.log);
        assert_eq!(calls[0].request_model, "left");
        assert_eq!(calls[0].defects, ["response_cut"], "{calls:#?}");
        assert_eq!(
            (calls[1].model.as_str(), calls[1].output),
            ("second-2026", Some(12))
        );
        assert!(calls[1].defects.is_empty());
    }
    Ok(())
}

/// A C library whose functions leave the system call to another, built and put before the real
/// one.
fn other_libc(scene: &Scene) -> Result<Option<PathBuf>> {
    let Some(cc) = need::command("cc")? else {
        return Ok(None);
    };
    let library = scene.temp.file("libc-2.00.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/plain_libc.c");
    let built = Command::new(cc)
        .args(["-O1", "-Wl,-Bsymbolic", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .output()?;
    anyhow::ensure!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(Some(library))
}

#[test]
fn a_c_library_that_is_built_otherwise() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::plain()?, need::environment("clients")?) else {
        return Ok(());
    };
    let Some(library) = other_libc(&scene)? else {
        return Ok(());
    };
    for arguments in [&["stdlib"][..], &["httpx-async", "--uvloop"]] {
        let mut command = scene.live(&python, "client.py");
        command.env("LD_PRELOAD", &library).args(arguments);
        let mut client = Client::start(&mut command, &scene.next_log())?;
        // Both ends of its functions take perf's probes, and those CAP_SYS_ADMIN.
        let options = ["--keep-privileges"];
        let agent = Agent::attach(&scene.temp, &[client.pid()], &options)?;
        let finished = calls(&scene, &mut client, agent)?;
        assert!(!finished.log.contains("lost:"), "{}", finished.log);
    }
    Ok(())
}

/// What a recording tells of the connections that the process accepted: whether the first bytes
/// were a request, read at the start of the connection.
fn accepted(path: &Path) -> Result<Vec<(u16, bool)>> {
    let mut recording = Recording::open(BufReader::new(std::fs::File::open(path)?))?;
    let mut ports = HashMap::new();
    let mut found = Vec::new();
    while let Some(frame) = recording.next_frame()? {
        match frame {
            Frame::Event(Event::Socket {
                connection, socket, ..
            }) => {
                assert_eq!(socket.role, SocketRole::Accepted);
                let peer = socket.peer.map(|p| p.port()).unwrap_or_default();
                ports.insert(connection, peer);
            }
            Frame::Event(Event::Data(data)) => {
                // Told before its bytes.
                if let Some(port) = ports.remove(&data.connection) {
                    let request = data.direction == Direction::Read
                        && data.offset == 0
                        && data
                            .bytes
                            .starts_with(b"POST /v1/chat/completions HTTP/1.1");
                    found.push((port, request));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// A server's connections are seen from their start, as a server's; what it serves is told.
#[test]
fn a_server_is_known_as_one() -> Result<()> {
    for way in [PROBES, TRACEPOINTS, SYSCALLS] {
        let (Some(scene), Some(python)) = (Scene::plain()?, need::any_python()?) else {
            return Ok(());
        };
        let recording = scene.temp.file("served.rec");
        let name = recording.to_string_lossy().into_owned();
        let options = [way, &["--record", &name]].concat();
        let agent = Agent::attach(&scene.temp, &[scene.provider.pid()], &options)?;
        let mut client = scene.client(&python, &["urllib"])?;
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(client.call(&chat("served", true))?);
        }
        let finished = agent.stop()?;
        assert_eq!(finished.code, 0, "{}", finished.log);
        assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
        assert!(finished.spans.iter().all(|span| span.kind() == "SERVER"));
        let accepted = accepted(&recording)?;
        assert_eq!(accepted.len(), 3, "{accepted:?}");
        assert!(
            accepted
                .iter()
                .all(|(port, request)| *port != 0 && *request)
        );
    }
    Ok(())
}
