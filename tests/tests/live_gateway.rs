//! Gateways: what is asked of them and what they ask are one trace; so are both ends of a
//! connection that are traced on one host.

use anyhow::{Context as _, Result};
use genspan::vocabulary::attr;
use genspan_tests::{Agent, Client, Finished, Provider, Scene, Span, Temp, agent, need};
use serde_json::{Value, json};

fn chat(model: &str) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "messages": [{"role": "user", "content": "hello {}"}],
        "metadata": {"first_delay_ms": "30"}}})
}

fn ask(text: &str) -> Value {
    let data = json!({"text": text}).to_string();
    json!({"do": "request", "method": "POST", "path": "/ask", "data": data})
}

/// A gateway before the scene's provider, and a client of it.
struct Gateway {
    scene: Scene,
    gateway: Provider,
    client: Client,
}

impl Gateway {
    fn start(server: &str, plain: bool, client: &str, passes: bool) -> Result<Option<Self>> {
        let (Some(scene), Some(python)) = (
            Scene::served("uvicorn", false)?,
            need::environment("clients")?,
        ) else {
            return Ok(None);
        };
        let started = Provider::start_gateway(&scene.temp, server, plain, &scene.provider, passes)?;
        let Some(gateway) = started else {
            return Ok(None);
        };
        let mut command = scene.live(&python, "client.py");
        command
            .env("OPENAI_BASE_URL", gateway.url())
            .env("SSL_CERT_FILE", gateway.authority());
        let client = Client::start(command.arg(client), &scene.next_log())?;
        Ok(Some(Self {
            scene,
            gateway,
            client,
        }))
    }

    fn trace(&self, pids: &[u32], options: &[&str]) -> Result<Agent> {
        Agent::attach(&self.scene.temp, pids, options)
    }
}

fn id<'a>(span: &'a Span, name: &str) -> &'a str {
    span.0[name].as_str().unwrap_or_default()
}

fn source(span: &Span) -> &str {
    span.text(attr::PARENT_SOURCE)
}

/// The span that this one belongs to.
fn parent<'a>(spans: &'a [Span], of: &Span) -> Result<&'a Span> {
    let parent = id(of, "parent_span_id");
    let found = spans.iter().find(|s| id(s, "span_id") == parent);
    let found = found.with_context(|| format!("no parent: {}", of.0))?;
    assert_eq!(id(found, "trace_id"), id(of, "trace_id"), "{}", of.0);
    Ok(found)
}

/// Each call that the gateway made belongs to the request that made it.
fn check_threads(finished: &Finished, requests: usize, calls: usize) -> Result<()> {
    let all = &finished.spans;
    let of = |kind: &str| all.iter().filter(|s| s.kind() == kind).collect::<Vec<_>>();
    let (served, made) = (of("SERVER"), of("CLIENT"));
    assert_eq!(
        (served.len(), made.len()),
        (requests, calls),
        "{}",
        finished.lines
    );
    for call in made {
        assert_eq!(source(call), "thread", "{}", call.0);
        let request = parent(all, call)?;
        assert_eq!(request.kind(), "SERVER");
        if request.name() == "POST" {
            // What it asks, it asks with the text that it was asked with.
            assert_eq!(request.text(attr::URL_PATH), "/ask");
        } else {
            assert_eq!(request.model(), call.model());
        }
        assert!(request.start() <= call.start());
        assert!(call.start() + call.duration() <= request.start() + request.duration());
    }
    Ok(())
}

fn threads(server: &str, plain: bool) -> Result<()> {
    let Some(mut all) = Gateway::start(server, plain, "httpx-async", false)? else {
        return Ok(());
    };
    let agent = all.trace(&[all.gateway.pid()], &[])?;
    for step in [ask("one"), chat("two"), ask("three")] {
        let answer = all.client.ask(&step)?;
        assert!(answer.get("error").is_none(), "{answer}");
    }
    // Several at a time, each in a thread of its own, or one after the other.
    let mut many = chat("many-{}");
    many["at_once"] = json!(6);
    let answers = all.client.ask(&many)?;
    assert_eq!(answers.as_array().map(Vec::len), Some(6), "{answers}");
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    check_threads(&finished, 9, 11)
}

#[test]
fn a_thread_for_each_connection() -> Result<()> {
    threads("threads", true)?;
    threads("threads", false)
}

#[test]
fn one_request_at_a_time() -> Result<()> {
    threads("sync", true)?;
    threads("sync", false)
}

#[test]
fn threads_that_take_turns() -> Result<()> {
    threads("gthread", true)
}

/// One loop serves many: no call is said to belong to a request that it does not belong to, and once
/// the process is seen to make calls, each is said to belong to its own.
#[test]
fn a_loop_that_serves_many() -> Result<()> {
    const ROUNDS: usize = 4;
    const AT_ONCE: usize = 8;
    let Some(mut all) = Gateway::start("asyncio", true, "httpx-async", false)? else {
        return Ok(());
    };
    let mut agent = all.trace(&[all.gateway.pid()], &["--debug"])?;
    for round in 0..ROUNDS {
        let mut many = chat(&format!("many-{round}-{{}}"));
        many["at_once"] = json!(AT_ONCE);
        let answers = all.client.ask(&many)?;
        assert_eq!(answers.as_array().map(Vec::len), Some(AT_ONCE), "{answers}");
        if round == 0 {
            // The probe is placed while the process goes on: the next round is for that.
            agent.wait_for_log("contexts are followed")?;
        }
    }
    let finished = agent.stop()?;
    let calls = finished.spans.iter().filter(|s| s.kind() == "CLIENT");
    for call in calls.clone().filter(|c| !source(c).is_empty()) {
        assert_eq!(
            parent(&finished.spans, call)?.model(),
            call.model(),
            "{}",
            call.0
        );
    }
    assert_eq!(calls.clone().count(), ROUNDS * AT_ONCE);
    // Its client library is loaded with its first call: by the third round it is followed.
    let late = calls.filter(|c| c.model() >= "many-2");
    let late: Vec<_> = late.map(source).collect();
    assert_eq!(late, ["context"; 2 * AT_ONCE], "{}", finished.log);
    Ok(())
}

/// Client, gateway and provider are all traced: each call is one trace through all of them,
/// though nobody sends a header; over plain sockets and over TLS.
#[test]
fn both_ends_are_one_trace() -> Result<()> {
    for (plain, client) in [(true, "httpx"), (false, "httpx"), (false, "httpx-async")] {
        let Some(mut all) = Gateway::start("threads", plain, client, false)? else {
            return Ok(());
        };
        let recording = all
            .scene
            .temp
            .file("chain.rec")
            .to_string_lossy()
            .into_owned();
        let pids = [
            all.client.pid(),
            all.gateway.pid(),
            all.scene.provider.pid(),
        ];
        let agent = all.trace(&pids, &["--record", &recording])?;
        for n in 0..4 {
            all.client.call(&chat(&format!("chain-{n}")))?;
        }
        let finished = agent.stop()?;
        assert_eq!(finished.spans.len(), 16, "{}", finished.lines);
        let mut traces = Vec::new();
        for last in finished.spans.iter().filter(|s| s.pid() == pids[2]) {
            // From the provider's end back to where it began.
            let chain = ["connection", "thread", "connection"];
            let mut span = last;
            for (n, found) in chain.iter().enumerate() {
                assert_eq!(source(span), *found, "{n}: {}", span.0);
                span = parent(&finished.spans, span)?;
                assert_eq!(span.model(), last.model());
            }
            assert_eq!((span.pid(), source(span)), (pids[0], ""));
            assert!(span.0["parent_span_id"].is_null());
            traces.push(id(span, "trace_id").to_owned());
        }
        traces.sort_unstable();
        traces.dedup();
        assert_eq!(traces.len(), 4, "{plain} {client}");
        // A replay says the same.
        same_again(&all.scene.temp, &recording, &finished)?;
    }
    Ok(())
}

fn same_again(temp: &Temp, recording: &str, live: &Finished) -> Result<()> {
    let output = temp.file("again.jsonl").to_string_lossy().into_owned();
    let replayed = agent::run(
        temp,
        &["replay", recording, "--format", "json", "--output", &output],
    )?;
    assert_eq!(replayed.code, 0, "{}", replayed.log);
    assert_eq!(std::fs::read_to_string(&output)?, live.lines);
    Ok(())
}

/// Headers join the trace that they name, in either direction; those of a request that are passed
/// on show which request a call belongs to.
#[test]
fn headers_join_a_trace() -> Result<()> {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";
    let one = |name: &str, value: String| json!({ name: value });
    for (headers, found, state) in [
        (
            json!({"traceparent": format!("00-{TRACE}-{SPAN}-01"), "tracestate": "a=1,b=2"}),
            "traceparent",
            "a=1,b=2",
        ),
        (one("b3", format!("{TRACE}-{SPAN}-1")), "b3", ""),
        (
            json!({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "1"}),
            "b3",
            "",
        ),
    ] {
        let Some(mut all) = Gateway::start("threads", true, "urllib", true)? else {
            return Ok(());
        };
        let pids = [all.client.pid(), all.gateway.pid()];
        let agent = all.trace(&pids, &["--http-spans", "off"])?;
        let mut step = chat("joins");
        step["headers"] = headers;
        all.client.call(&step)?;
        let finished = agent.stop()?;
        assert_eq!(finished.spans.len(), 3, "{}", finished.lines);
        for span in &finished.spans {
            assert_eq!(id(span, "trace_id"), TRACE);
            assert_eq!(id(span, "trace_state"), state, "{}", span.0);
            match (span.pid() == pids[0], span.kind()) {
                (true, _) => {
                    assert_eq!((source(span), id(span, "parent_span_id")), (found, SPAN));
                }
                (false, "SERVER") => assert_eq!(source(span), "connection"),
                (false, _) => assert_eq!(source(span), "passed_on"),
            }
        }
        // Without the gateway's client being traced the header is what there is.
        let agent = all.trace(&pids[1..], &["--no-parent-source"])?;
        all.client.call(&step)?;
        let finished = agent.stop()?;
        let served = finished.spans.iter().find(|s| s.kind() == "SERVER");
        let served = served.context("nothing was served")?;
        assert_eq!(id(served, "parent_span_id"), SPAN);
        assert!(finished.spans.iter().all(|s| source(s).is_empty()));
    }
    Ok(())
}

/// Requests that are no calls: told, unless nobody wants to hear of them.
#[test]
fn other_requests() -> Result<()> {
    for (options, told) in [
        (&["--http-spans", "on"][..], true),
        (&[], true),
        (&["--http-spans", "off"], false),
    ] {
        let Some(mut all) = Gateway::start("threads", true, "httpx", false)? else {
            return Ok(());
        };
        let pids = [all.client.pid(), all.gateway.pid()];
        let agent = all.trace(&pids, options)?;
        let get = |path: &str| json!({"do": "request", "method": "GET", "path": path});
        for _ in 0..12 {
            assert_eq!(all.client.ask(&get("/health"))?["status"], 200);
        }
        // On the same connection, after many that were none.
        all.client.call(&chat("after"))?;
        let finished = agent.stop()?;
        let (calls, others): (Vec<_>, Vec<_>) = finished
            .spans
            .iter()
            .partition(|s| s.text(attr::OPERATION_NAME) == "chat");
        assert_eq!(calls.len(), 3, "{}", finished.lines);
        assert!(calls.iter().all(|c| c.defects().is_empty()));
        assert_eq!(
            others.len(),
            if told { 24 } else { 0 },
            "{}",
            finished.lines
        );
        for span in others {
            assert_eq!(span.name(), "GET");
            assert_eq!(span.number(attr::HTTP_RESPONSE_STATUS_CODE), Some(200));
            assert!(
                span.defects().is_empty() && span.error().is_empty(),
                "{}",
                span.0
            );
            match span.kind() {
                "SERVER" => {
                    assert_eq!(span.text(attr::URL_PATH), "/health");
                    assert_eq!(source(span), "connection");
                    parent(&finished.spans, span)?;
                }
                _ => {
                    let url = format!("http://localhost:{}/health", all.gateway.port);
                    assert_eq!(span.text(attr::URL_FULL), url);
                }
            }
        }
    }
    Ok(())
}
