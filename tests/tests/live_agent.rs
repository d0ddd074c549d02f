//! The processes of a host: found, told apart, traced.

use anyhow::{Context as _, Result};
use genspan_tests::otlp::Collector;
use genspan_tests::scene::KEY;
use genspan_tests::{Agent, Client, Process, Scene, Span, Temp, agent, need, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A virtual environment in which packages only seem to be installed: a folder for each.
fn environment(temp: &Temp, python: &Path, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let dir = temp.file(name);
    let made = Command::new(python)
        .args(["-m", "venv", "--without-pip"])
        .arg(&dir)
        .status()?;
    anyhow::ensure!(made.success(), "no environment {name}");
    let library = fs::read_dir(dir.join("lib"))?.flatten().next();
    let site = library.context("no lib")?.path().join("site-packages");
    for package in packages {
        let module = package.split('-').next().unwrap_or(package);
        fs::create_dir(site.join(format!("{package}.dist-info")))?;
        fs::create_dir(site.join(module))?;
        fs::write(site.join(module).join("__init__.py"), "")?;
    }
    Ok(dir.join("bin/python"))
}

fn start(temp: &Temp, name: &str, command: &mut Command) -> Result<Process> {
    let mut process = Process::start(command, &temp.file(&format!("{name}.err")))?;
    assert_eq!(process.line()?, "ready");
    Ok(process)
}

fn program(temp: &Temp, name: &str, text: &str) -> Result<PathBuf> {
    let path = temp.file(name);
    fs::write(&path, text)?;
    Ok(path)
}

/// Prints that it is ready, then waits for the end of its input.
const WAITS: &str = "import sys\nprint('ready', flush=True)\nsys.stdin.read()\n";

#[test]
fn ps_tells_processes_apart() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::any_python()?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let with_sdk = environment(&temp, &python, "sdk", &["openai-2.1.0", "langchain-1.0.3"])?;
    let bare = environment(&temp, &python, "bare", &[])?;
    let app = program(&temp, "app.py", &format!("import openai\n{WAITS}"))?;
    let server = program(
        &temp,
        "server.py",
        &format!(
            "import socket, sys\ns = socket.create_server(('127.0.0.1', 0))\n\
             print(s.getsockname()[1], file=sys.stderr, flush=True)\n{WAITS}"
        ),
    )?;
    let plain = program(&temp, "plain.py", WAITS)?;
    // Like vLLM's: a command, and a process that it forks.
    let forks = format!(
        "import os\nif os.fork() == 0:\n    while True: __import__('time').sleep(1)\n{WAITS}"
    );
    let vllm = program(&temp, "vllm", &forks)?;

    let app = start(&temp, "app", Command::new(&with_sdk).arg(&app))?;
    let server = start(&temp, "server", Command::new(&bare).arg(&server))?;
    let plain = start(&temp, "plain", Command::new(&bare).arg(&plain))?;
    let secret = "sk-test-0123456789abcdef";
    let model = start(
        &temp,
        "vllm",
        Command::new(&bare)
            .arg(&vllm)
            .args([
                "serve",
                "org/tiny",
                "--port",
                "8123",
                "-tp",
                "2",
                "--api-key",
                secret,
            ])
            .env("OPENAI_API_KEY", secret),
    )?;

    let report =
        agent::command(&["ps", "--json", "--socket", "none", "--exclude", "server"])?.output()?;
    let text = String::from_utf8(report.stdout)?;
    assert!(
        report.status.success(),
        "{}",
        String::from_utf8_lossy(&report.stderr)
    );
    assert!(!text.contains(secret), "{text}");
    let report: Value = serde_json::from_str(&text)?;
    let all = report["processes"].as_array().context("no processes")?;
    let of = |pid: u32| {
        let found = all.iter().find(|p| p["pid"] == pid);
        found.with_context(|| format!("process {pid} is not in {text}"))
    };

    let seen = of(app.pid())?;
    assert_eq!(
        (&seen["type"], &seen["traced"]),
        (&"app".into(), &true.into()),
        "{seen}"
    );
    assert_eq!(seen["evidence"][0]["source"], "loaded", "{seen}");
    assert_eq!(seen["evidence"][0]["what"], "openai 2.1.0", "{seen}");
    let packages = seen["packages"].as_array().context("no packages")?;
    let installed = packages.iter().find(|p| p["name"] == "langchain");
    let installed = installed.context("no langchain")?;
    assert_eq!(
        (&installed["version"], &installed["loaded"]),
        (&"1.0.3".into(), &false.into())
    );
    assert_eq!(seen["service"]["name"], "app");

    let seen = of(server.pid())?;
    assert_eq!(seen["type"], "microservice", "{seen}");
    assert_eq!(
        seen["ports"][0].to_string(),
        server.complaints().trim(),
        "{seen}"
    );
    assert_eq!(seen["why_not"], "excluded by `name=server`", "{seen}");
    assert_eq!(seen["packages"], Value::Array(Vec::new()), "{seen}");

    let seen = of(plain.pid())?;
    assert_eq!(
        (&seen["type"], &seen["traced"]),
        (&Value::Null, &false.into()),
        "{seen}"
    );

    let seen = of(model.pid())?;
    assert_eq!(seen["type"], "model", "{seen}");
    let told = &seen["model_server"];
    assert_eq!(told["name"], "vllm", "{seen}");
    assert_eq!(told["model"], "org/tiny", "{seen}");
    assert_eq!(
        (&told["port"], &told["tensor_parallel"]),
        (&8123.into(), &2.into()),
        "{seen}"
    );
    let child = all.iter().find(|p| p["parent"] == model.pid());
    let child = child.context("the forked process is not there")?;
    assert_eq!(child["service"]["pid"], model.pid(), "{child}");
    Ok(())
}

/// A client of the provider, known to the agent's rules by the test's directory.
fn client(scene: &Scene, python: &Path, word: &str) -> Result<Client> {
    let here = scene.temp.file("it").join(word);
    let mut command = scene.live(python, "client.py");
    Client::start(command.arg("openai").arg(here), &scene.next_log())
}

fn chat(model: &str) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "messages": [{"role": "user", "content": "one"}]}})
}

/// Whether the kernel has ever put something of a probe into a process's memory.
fn is_probed(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains("[uprobes]"))
}

#[test]
fn the_agent_traces_what_it_finds_and_leaves_the_rest() -> Result<()> {
    let (Some(scene), Some(sdk), Some(python)) = (
        Scene::new()?,
        need::environment("sdk-new")?,
        need::any_python()?,
    ) else {
        return Ok(());
    };
    let bare = environment(&scene.temp, &python, "bare", &[])?;
    fs::create_dir(scene.temp.file("it"))?;
    let listens = format!("import socket\ns = socket.create_server(('127.0.0.1', 0))\n{WAITS}");
    let listens = program(&scene.temp, "it/listens.py", &listens)?;
    let waits = program(&scene.temp, "it/waits.py", WAITS)?;

    // Of all processes of this machine those of this test.
    let config = scene.temp.file("rules.yaml");
    let here = scene.temp.file("it").display().to_string();
    let rules = |exclude: &str| format!("include: ['command=*{here}/*']\nexclude: [{exclude}]\n");
    fs::write(&config, rules("'command=*/excluded'"))?;

    let mut early = client(&scene, &sdk, "early")?;
    let mut excluded = client(&scene, &sdk, "excluded")?;
    let service = start(&scene.temp, "service", Command::new(&bare).arg(&listens))?;
    let plain = start(&scene.temp, "plain", Command::new(&bare).arg(&waits))?;
    let config_path = config.display().to_string();
    let mut agent = Agent::host(&scene.temp, &["--config", &config_path])?;
    agent.wait_attached(early.pid())?;
    agent.wait_attached(service.pid())?;
    let mut seen = vec![early.call(&chat("early"))?];
    excluded.call(&chat("excluded"))?;

    let mut late = client(&scene, &sdk, "late")?;
    agent.wait_attached(late.pid())?;
    seen.push(late.call(&chat("late"))?);
    agent.wait_for_spans(seen.len())?;

    // Other rules: one of them goes, another one comes.
    fs::write(&config, rules("'command=*/early'"))?;
    agent.process.signal(Signal::SIGHUP)?;
    agent.wait_for_log(&format!("no longer tracing process {}", early.pid()))?;
    agent.wait_attached(excluded.pid())?;
    early.call(&chat("too late"))?;
    seen.push(excluded.call(&chat("included"))?);
    agent.wait_for_spans(seen.len())?;

    // A mistake changes nothing.
    fs::write(&config, "exclude: [nme=x]\n")?;
    agent.process.signal(Signal::SIGHUP)?;
    agent.wait_for_log("expected name, command, exe")?;
    seen.push(late.call(&chat("still"))?);
    agent.wait_for_spans(seen.len())?;

    assert!(!is_probed(plain.pid()));
    let log = agent.log();
    assert!(!log.contains(&format!("(pid {},", plain.pid())), "{log}");
    assert!(!log.contains(&format!("(pid {})", plain.pid())), "{log}");
    agent.process.signal(Signal::SIGTERM)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    let models: Vec<_> = finished.spans.iter().map(Span::model).collect();
    assert_eq!(
        models,
        ["early", "late", "included", "still"],
        "{}",
        finished.log
    );
    Ok(())
}

#[test]
fn the_agent_tells_its_state_while_it_traces() -> Result<()> {
    let (Some(scene), Some(sdk)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    fs::create_dir(scene.temp.file("it"))?;
    let here = scene.temp.file("it").display().to_string();
    let (include, exclude) = (format!("command=*{here}/*"), "command=*/excluded");
    let mut app = client(&scene, &sdk, "app")?;
    let mut idle = client(&scene, &sdk, "idle")?;
    let excluded = client(&scene, &sdk, "excluded")?;
    let options = ["--include", include.as_str(), "--exclude", exclude];
    let mut agent = Agent::host(&scene.temp, &options)?;
    agent.wait_attached(app.pid())?;
    agent.wait_attached(idle.pid())?;
    app.call(&chat("one"))?;
    app.call(&chat("two"))?;
    idle.call(&chat("three"))?;
    agent.wait_for_spans(3)?;

    let (code, said) = agent.page("/healthz")?;
    assert_eq!((code, said.as_str()), (200, "ok\n"));
    wait_for("the agent to be ready", || {
        let (code, _) = agent.page("/readyz").ok()?;
        (code == 200).then_some(())
    })?;
    let (code, text) = agent.page("/status")?;
    assert_eq!(code, 200, "{text}");
    assert!(!text.contains(KEY), "{text}");
    let status: Value = serde_json::from_str(&text)?;
    assert_eq!(status["phase"], "ready", "{status}");
    assert_eq!(status["pid"], agent.process.pid());
    assert_eq!(status["counts"]["calls"], 3, "{status}");
    assert_eq!(status["counts"]["calls_incomplete"], 0, "{status}");
    assert!(status["counts"]["records"].as_u64() >= Some(6), "{status}");
    // What the system says of the same process, to within what a moment changes.
    let resident = status["own"]["resident_bytes"].as_u64().unwrap_or(0) >> 10;
    let really = agent.resident()?;
    assert!(
        resident.abs_diff(really) < really / 4,
        "{resident} KiB, really {really}"
    );
    let files = fs::read_dir(format!("/proc/{}/fd", agent.process.pid()))?.count() as u64;
    let told = status["own"]["open_files"].as_u64().unwrap_or(0);
    assert!(files.abs_diff(told) < 8, "{told} files, really {files}");
    let all = status["processes"].as_array().context("no processes")?;
    let of = |pid: u32| {
        let found = all.iter().find(|p| p["pid"] == pid);
        found.with_context(|| format!("process {pid} is not in {text}"))
    };
    let seen = of(app.pid())?;
    assert_eq!(seen["state"], "attached", "{seen}");
    assert_eq!(
        (&seen["calls"], &seen["type"]),
        (&2.into(), &"app".into()),
        "{seen}"
    );
    assert!(
        seen["evidence"]
            .as_str()
            .is_some_and(|e| e.contains("openai")),
        "{seen}"
    );
    assert!(
        seen["tls"][0].as_str().is_some_and(|l| l.contains("ssl")),
        "{seen}"
    );
    assert!(
        seen["since_unix_seconds"].as_u64() > Some(1 << 30),
        "{seen}"
    );
    assert_eq!(of(idle.pid())?["calls"], 1);
    let seen = of(excluded.pid())?;
    assert_eq!(seen["state"], "not_traced", "{seen}");
    assert_eq!(
        seen["why_not"][0],
        format!("excluded by `{exclude}`"),
        "{seen}"
    );

    let (_, text) = agent.page("/metrics")?;
    let sample = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.with_context(|| format!("no {name} in {text}"))
    };
    assert_eq!(
        sample("genspan_agent_calls_total")?,
        "genspan_agent_calls_total 3"
    );
    let attached = "genspan_agent_processes{state=\"attached\"}";
    assert_eq!(sample(attached)?, format!("{attached} 2"));
    assert!(!sample("process_cpu_seconds_total ")?.ends_with(" 0"));
    let calls: Vec<_> = text
        .lines()
        .filter(|l| l.starts_with("gen_ai_client_operation_duration_seconds_count"))
        .collect();
    let of_app = format!("process_pid=\"{}\"", app.pid());
    let of_app = calls.iter().filter(|line| line.contains(&of_app));
    assert_eq!(of_app.count(), 2, "a series for each model: {calls:?}");
    assert_eq!(calls.len(), 3, "{calls:?}");

    // The same through the socket, which is root's alone.
    let socket = Agent::socket(&scene.temp);
    assert_eq!(fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600);
    let place = socket.display().to_string();
    let report = agent::command(&["ps", "--json", "--socket", &place])?.output()?;
    let report: Value = serde_json::from_slice(&report.stdout)?;
    assert_eq!(report["agent"]["pid"], agent.process.pid(), "{report}");
    let listed = report["processes"].as_array().context("no processes")?;
    let listed = listed.iter().find(|p| p["pid"] == app.pid());
    assert_eq!(listed.context("no app")?["agent"]["calls"], 2);
    let report = agent::command(&["ps", "--socket", &place])?.output()?;
    let report = String::from_utf8(report.stdout)?;
    let word = format!("the agent (pid {}", agent.process.pid());
    assert!(
        report.contains(&word) && report.contains(": 2 calls"),
        "{report}"
    );
    let report = agent::command(&["doctor", "--socket", &place])?.output()?;
    let report = String::from_utf8(report.stdout)?;
    assert!(report.contains(&word), "{report}");

    agent.process.signal(Signal::SIGTERM)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(!socket.exists());
    let report = agent::command(&["ps", "--socket", &place])?.output()?;
    let report = String::from_utf8(report.stdout)?;
    assert!(report.contains("no agent runs here"), "{report}");
    Ok(())
}

/// No collector, calls, another agent, calls, a collector: it gets all of them, each once, and what
/// stands in the state is true at each of these moments.
#[test]
fn what_no_collector_takes_waits_on_the_disk_for_the_next_agent() -> Result<()> {
    let (Some(scene), Some(sdk)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    fs::create_dir(scene.temp.file("it"))?;
    let include = format!("command=*{}/*", scene.temp.file("it").display());
    let port = Collector::free_port()?;
    let config = program(
        &scene.temp,
        "rules.yaml",
        &format!(
            "include: ['{include}']\nexport:\n  endpoints:\n    - url: http://127.0.0.1:{port}\n      \
             signals: [traces]\n  spool:\n    directory: {}\n    max_bytes: 16M\n",
            scene.temp.file("spool").display()
        ),
    )?;
    let config = config.display().to_string();
    let mut app = client(&scene, &sdk, "app")?;
    let mut spans = Vec::new();

    let mut agent = Agent::host(&scene.temp, &["--config", &config])?;
    agent.wait_attached(app.pid())?;
    app.call(&chat("one"))?;
    app.call(&chat("two"))?;
    agent.wait_for_spans(2)?;
    agent.process.signal(Signal::SIGTERM)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    let word = format!("2 spans for http://127.0.0.1:{port}/v1/traces stay on the disk");
    assert!(finished.log.contains(&word), "{}", finished.log);
    spans.extend(finished.spans);

    let mut agent = Agent::host(&scene.temp, &["--config", &config])?;
    agent.wait_attached(app.pid())?;
    app.call(&chat("three"))?;
    agent.wait_for_spans(1)?;
    let status = |agent: &mut Agent| -> Result<Value> {
        let status: Value = serde_json::from_str(&agent.page("/status")?.1)?;
        Ok(status["exports"][0].clone())
    };
    let told = status(&mut agent)?;
    assert_eq!(
        (&told["spool"]["items"], &told["delivered"], &told["signal"]),
        (&2.into(), &0.into(), &"traces".into()),
        "{told}"
    );
    assert_eq!(told["state"], "unreachable", "{told}");
    let collector = Collector::start_at(port)?;
    wait_for("what was left on the disk", || {
        let told = status(&mut agent).ok()?;
        (told["delivered"].as_u64() >= Some(2)).then_some(())
    })?;
    agent.process.signal(Signal::SIGTERM)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    spans.extend(finished.spans);

    let models: Vec<_> = spans.iter().map(Span::model).collect();
    assert_eq!(models, ["one", "two", "three"]);
    let received = collector.received_at("/v1/traces");
    for span in &spans {
        let id =
            u64::from_str_radix(span.0["span_id"].as_str().context("no id")?, 16)?.to_be_bytes();
        let times = received.windows(8).filter(|w| *w == id).count();
        assert_eq!(times, 1, "{}", span.model());
    }
    Ok(())
}

#[test]
fn a_configuration_with_a_mistake_is_refused_with_its_line() -> Result<()> {
    let Some(()) = need::root()? else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let config = program(&temp, "rules.yaml", "include:\n  - type=robot\n")?;
    let said = agent::run(&temp, &["agent", "--config", &config.display().to_string()])?;
    assert_eq!(said.code, 1);
    assert!(
        said.log.contains("line 2") && said.log.contains("app, model or microservice"),
        "{}",
        said.log
    );
    Ok(())
}

/// A server like vLLM's, as far as it is asked for metrics; `sys.argv` is `vllm serve MODEL --port PORT [--locked]`.
const VLLM: &str = r##"
import http.server, sys
port, locked = int(sys.argv[sys.argv.index("--port") + 1]), "--locked" in sys.argv
calls = 0

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        global calls
        labels = '{engine="0",model_name="org/tiny"}'
        text = f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{labels} 3.0\n"
        text += f"vllm:num_requests_waiting{labels} 2.0\nvllm:kv_cache_usage_perc{labels} 0.25\n"
        text += f"vllm:generation_tokens_total{labels} {1000 + calls * 10}.0\nvllm:prompt_tokens_total{{x 1\n"
        calls += 1
        body = b"" if locked else text.encode()
        self.send_response(401 if locked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
print("ready", flush=True)
server.serve_forever()
"##;

#[test]
fn model_servers_are_asked_for_their_own_metrics() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::any_python()?) else {
        return Ok(());
    };
    let temp = Temp::new()?;
    let bare = environment(&temp, &python, "bare", &[])?;
    let vllm = program(&temp, "vllm", VLLM)?;
    let free = || -> Result<String> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        Ok(listener.local_addr()?.port().to_string())
    };
    let (port, other) = (free()?, free()?);
    let serve = |name: &str, port: &str, more: &[&str]| {
        let mut command = Command::new(&bare);
        let command = command
            .arg(&vllm)
            .args(["serve", "org/tiny", "--port", port]);
        start(&temp, name, command.args(more))
    };
    let server = serve("vllm", &port, &[])?;
    let locked = serve("locked", &other, &["--locked"])?;
    let config = temp.file("rules.yaml");
    let include = format!("command=*{}*", vllm.display());
    let settings = json!({"include": [include], "scrape": {"interval": "1s"}});
    fs::write(&config, settings.to_string())?;
    let config = config.display().to_string();
    let options = [
        "--config",
        &config,
        "--scrape-engines",
        "--http-spans",
        "on",
    ];
    let mut agent = Agent::host(&temp, &options)?;
    agent.wait_for_log(&format!(
        "model server {}: its metrics want a key",
        locked.pid()
    ))?;

    let pid = format!("process_pid=\"{}\"", server.pid());
    let of = |text: &str, name: &str| -> Option<(String, f64)> {
        let mut lines = text
            .lines()
            .filter(|l| l.starts_with(name) && l.contains(&pid));
        let (labels, value) = lines.next()?.rsplit_once(' ')?;
        Some((labels.to_owned(), value.parse().ok()?))
    };
    // Often enough for the sum to have grown, and for what is lost to have been told.
    let text = wait_for("what the server says", || {
        let (_, text) = agent.page("/metrics").ok()?;
        let (_, tokens) = of(&text, "genspan_engine_usage_output_tokens_total")?;
        (tokens >= 20.0 && text.contains("metrics that make no sense")).then_some(text)
    })?;
    for (name, want) in [
        ("genspan_engine_requests_running", 3.0),
        ("genspan_engine_requests_waiting", 2.0),
        ("genspan_engine_kv_cache_usage", 0.25),
    ] {
        let (labels, value) = of(&text, name).with_context(|| format!("no {name}: {text}"))?;
        assert!((value - want).abs() < 1e-9, "{name}: {value}");
        assert!(
            labels.contains("gen_ai_request_model=\"org/tiny\""),
            "{labels}"
        );
        assert!(labels.contains("service_name=\"vllm\""), "{labels}");
    }
    let engine_of_locked = |line: &str| {
        line.starts_with("genspan_engine") && line.contains(&format!("\"{}\"", locked.pid()))
    };
    assert!(!text.lines().any(engine_of_locked), "{text}");
    let refused = text
        .lines()
        .find(|l| l.contains("servers' metrics: refused"));
    assert!(refused.is_some_and(|l| l.ends_with(" 1")), "{text}");

    // The same asked by somebody else is told.
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}"))?;
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nUser-Agent: genspan/1\r\n\
                   Connection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes())?;
    std::io::Read::read_to_string(&mut stream, &mut String::new())?;
    agent.wait_for_spans(1)?;
    agent.process.signal(Signal::SIGTERM)?;
    let finished = agent.wait()?;
    assert_eq!(finished.spans.len(), 1, "{:?}", finished.spans);
    assert_eq!(
        *finished.spans[0].attribute("user_agent.original"),
        "genspan/1"
    );
    Ok(())
}

#[test]
fn rules_carry_settings() -> Result<()> {
    let (Some(scene), Some(sdk)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    fs::create_dir(scene.temp.file("it"))?;
    let here = scene.temp.file("it").display().to_string();
    let config = scene.temp.file("rules.yaml");
    let rules = |open: &str| {
        let settings = json!([
            {"rule": format!("command=*{here}/secret*"), "content": "forbid", "service": "vault",
             "stacks": false, "sample": if open == "none" { 0 } else { 1 }},
            {"rule": format!("command=*{here}/*"), "content": open, "service": "shop", "max_message": 2,
             "stacks": open != "none"},
        ]);
        let include = [format!("command=*{here}/*")];
        fs::write(
            &config,
            json!({"include": include, "settings": settings}).to_string(),
        )
    };
    rules("spans")?;
    let asking = |word: &str, name: Option<&str>| {
        let mut command = scene.live(&sdk, "client.py");
        // It asks for its content to be told.
        let ask = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
        command
            .arg("openai")
            .arg(scene.temp.file("it").join(word))
            .envs(name.map(|name| ("OTEL_SERVICE_NAME", name)))
            .envs(name.map(|_| (ask, "SPAN_ONLY")));
        Client::start(&mut command, &scene.next_log())
    };
    let mut secret = asking("secret", Some("named"))?;
    let mut open = asking("open", None)?;
    let config_path = config.display().to_string();
    let mut agent = Agent::host(&scene.temp, &["--config", &config_path])?;
    agent.wait_attached(secret.pid())?;
    agent.wait_attached(open.pid())?;
    secret.call(&chat("secret"))?;
    open.call(&chat("open"))?;
    agent.wait_for_spans(2)?;
    // Less is told from here on.
    rules("none")?;
    agent.process.signal(Signal::SIGHUP)?;
    let mut calls = 2;
    wait_for("content to be left out", || {
        open.call(&chat("later")).ok()?;
        calls += 1;
        agent.wait_for_spans(calls).ok()?;
        let spans = agent.spans().ok()?;
        spans
            .last()?
            .attribute("gen_ai.input.messages")
            .is_null()
            .then_some(())
    })?;
    open.call(&chat("bare"))?;
    wait_for("a span not to be told", || {
        secret.call(&chat("last")).ok()?;
        let status: Value = serde_json::from_str(&agent.page("/status").ok()?.1).ok()?;
        (status["counts"]["spans_unsampled"].as_u64()? > 0).then_some(())
    })?;
    secret.call(&chat("untold"))?;
    let told_of = |model: &str| format!("gen_ai_request_model=\"{model}\"");
    let measured = wait_for("what is not told to be measured", || {
        let (_, text) = agent.page("/metrics").ok()?;
        text.contains(&told_of("untold")).then_some(text)
    })?;
    assert!(measured.contains(&told_of("last")), "{measured}");
    agent.process.signal(Signal::SIGTERM)?;
    let finished = agent.wait()?;
    let of = |model: &str| {
        let mut all = finished.spans.iter();
        let found = all.find(|span| span.model() == model);
        found.with_context(|| format!("no span of {model}: {}", finished.log))
    };
    let said = "gen_ai.input.messages";
    assert!(of("secret")?.attribute(said).is_null());
    assert_eq!(*of("secret")?.resource("service.name"), "named");
    let told = of("open")?.attribute(said).to_string();
    assert!(told.contains("on") && !told.contains("one"), "{told}");
    assert_eq!(*of("open")?.resource("service.name"), "shop");
    assert!(of("untold").is_err());
    let path = |span: &Span| span.attribute("code.stacktrace").clone();
    let told = path(of("open")?).to_string();
    assert!(told.contains("client.py"), "{told}");
    assert!(path(of("secret")?).is_null());
    assert!(path(of("bare")?).is_null());
    Ok(())
}

#[test]
fn sighup_takes_up_other_endpoints_and_loses_nothing() -> Result<()> {
    let (Some(scene), Some(sdk)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    fs::create_dir(scene.temp.file("it"))?;
    let include = format!("command=*{}/*", scene.temp.file("it").display());
    let config = scene.temp.file("rules.yaml");
    let send = |url: &str, word: &str| {
        let endpoint = json!({"url": url, "signals": ["traces"], "headers": {"x-word": word}});
        let settings = json!({"include": [include], "export": {"endpoints": [endpoint]}});
        fs::write(&config, settings.to_string())
    };
    let (first, second) = (Collector::start()?, Collector::start()?);
    send(&first.url(), "one")?;
    let mut app = client(&scene, &sdk, "app")?;
    let path = config.display().to_string();
    let mut agent = Agent::host(&scene.temp, &["--config", &path])?;
    agent.wait_attached(app.pid())?;
    app.call(&chat("before"))?;
    // It is told, and waits for others to go with it.
    agent.wait_for_spans(1)?;
    assert_eq!(first.received_at("/v1/traces"), b"");
    send(&second.url(), "two")?;
    agent.process.signal(Signal::SIGHUP)?;
    agent.wait_for_log("what was exported to before has ended")?;
    app.call(&chat("after"))?;
    agent.wait_for_spans(2)?;
    // A mistake changes nothing.
    let good = fs::read_to_string(&config)?;
    fs::write(&config, good.replace("http://", "htp://"))?;
    agent.process.signal(Signal::SIGHUP)?;
    agent.wait_for_log("the configuration stays as it was")?;
    app.call(&chat("still"))?;
    agent.wait_for_spans(3)?;
    agent.process.signal(Signal::SIGTERM)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    let has = |collector: &Collector, path: &str, word: &str| {
        let got = collector.received_at(path);
        got.windows(word.len())
            .any(|piece| piece == word.as_bytes())
    };
    for (collector, told, not) in [
        (&first, &["before"][..], "after"),
        (&second, &["after", "still"], "before"),
    ] {
        for word in told {
            assert!(
                has(collector, "/v1/traces", word),
                "{word}: {}",
                finished.log
            );
        }
        assert!(
            !has(collector, "/v1/traces", not),
            "{not}: {}",
            finished.log
        );
    }
    Ok(())
}
