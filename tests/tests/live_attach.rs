//! When and to what the agent attaches: before the start, to running processes and streams, to
//! what they load, fork and execute.

use anyhow::Result;
use genspan::vocabulary::{attr, resource};
use genspan_tests::{Agent, Call, Client, Process, Scene, Span, need, wait_for};
use nix::sys::signal::{SigHandler, Signal, killpg, signal};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

fn chat(model: &str) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "messages": [{"role": "user", "content": "one two"}]}})
}

fn models(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(Span::model).collect()
}

/// A client that the agent starts; what it says comes through the agent's standard output.
fn started(scene: &Scene) -> Result<Option<Agent>> {
    let Some(python) = need::any_python()? else {
        return Ok(None);
    };
    let mut command = scene.live(&python, "client.py");
    let mut agent = Agent::run(&scene.temp, &[], command.arg("stdlib"))?;
    assert_eq!(agent.process.line()?, "ready");
    agent.wait_for_log("tracing client")?;
    Ok(Some(agent))
}

#[test]
fn a_command_is_traced_from_its_start_and_its_code_passed_on() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let Some(mut agent) = started(&scene)? else {
        return Ok(());
    };
    agent.process.tell(&chat("first").to_string())?;
    let seen = Call::of_answer(&serde_json::from_str(&agent.process.line()?)?)?;
    agent.process.tell(r#"{"do": "exit", "code": 3}"#)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 3, "{}", finished.log);
    assert_eq!(Call::of_spans(&finished.spans), [seen]);
    let arguments = finished.spans[0].resource(resource::PROCESS_COMMAND_ARGS);
    assert_eq!(arguments[2], "stdlib", "{arguments}");
    Ok(())
}

/// Whether the child of `agent` waits for its input.
///
/// Python notes a signal and looks at the note between two bytecodes: what comes after it has
/// looked and before it sleeps in `read` stays a note for as long as nothing is read.
fn reads(agent: u32) -> Option<()> {
    let tasks = std::fs::read_dir(format!("/proc/{agent}/task")).ok()?;
    let children: String = tasks
        .filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("children")).ok())
        .collect();
    let child = children.split_whitespace().next()?;
    let call = std::fs::read_to_string(format!("/proc/{child}/syscall")).ok()?;
    // Number and first argument: `read` of descriptor 0; "running" while it runs.
    (call.starts_with(&format!("{} 0x0 ", libc::SYS_read))).then_some(())
}

#[test]
fn ctrl_c_ends_the_command_first() -> Result<()> {
    // Of a shell's job in the background SIGINT is ignored, and so it is in what that starts.
    // SAFETY: no handler is set.
    unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }?;
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let Some(mut agent) = started(&scene)? else {
        return Ok(());
    };
    agent.process.tell(&chat("before").to_string())?;
    agent.process.line()?;
    wait_for("the command to read its input again", || {
        reads(agent.process.pid())
    })?;
    // As a terminal does: to all of the group.
    killpg(
        Pid::from_raw(i32::try_from(agent.process.pid())?),
        Signal::SIGINT,
    )?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 128 + 2, "{}", finished.log);
    assert_eq!(models(&finished.spans), ["before"]);
    Ok(())
}

#[test]
fn all_that_the_rules_fit_whenever_they_come() -> Result<()> {
    let (Some(scene), Some(sdk)) = (Scene::new()?, need::environment("sdk-new")?) else {
        return Ok(());
    };
    // Of all processes of this machine one of those of this test.
    let mark = scene.temp.file("of-this-test").display().to_string();
    let start = |word: &str| scene.client(&sdk, &["openai", &format!("{mark}-{word}")]);
    let (mut first, mut other) = (start("traced-1")?, start("other")?);
    let rule = format!("command=*{mark}-traced*");
    let mut agent = Agent::start(&scene.temp, &["--include", &rule], &["--all"])?;
    agent.wait_attached(first.pid())?;
    let mut seen = vec![first.call(&chat("there before"))?];
    let mut second = start("traced-2")?;
    agent.wait_attached(second.pid())?;
    other.call(&chat("not meant"))?;
    seen.push(second.call(&chat("came later"))?);
    agent.wait_for_spans(seen.len())?;
    // As a terminal that is closed.
    agent.process.signal(Signal::SIGHUP)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    Ok(())
}

#[test]
fn rules_are_for_all() -> Result<()> {
    let temp = genspan_tests::Temp::new()?;
    let rule = ["trace", "--pid", "1", "--include", "type=app"];
    let said = genspan_tests::agent::run(&temp, &rule)?;
    assert_eq!(said.code, 2);
    assert!(said.log.contains("--include"), "{}", said.log);
    Ok(())
}

#[test]
fn a_command_that_cannot_be_started() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let command = Command::new("/nonexistent/python");
    let finished = Agent::run(&scene.temp, &[], &command)?.wait()?;
    assert_eq!(finished.code, 1);
    assert!(
        finished.log.contains("cannot start /nonexistent/python"),
        "{}",
        finished.log
    );
    Ok(())
}

#[test]
fn in_the_middle_of_a_stream() -> Result<()> {
    let clients = [
        ("stdlib", need::any_python()?),
        ("httpx-async", need::environment("clients")?),
    ];
    for (name, python) in clients {
        let (Some(scene), Some(python)) = (Scene::new()?, python) else {
            return Ok(());
        };
        let mut client = scene.client(&python, &[name])?;
        client.call(&chat("long before"))?;
        client.tell(&json!({"do": "chat", "body": {
            "model": "half", "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "one"}],
            "metadata": {"chunks": "80", "delay_ms": "25"}}}))?;
        std::thread::sleep(Duration::from_millis(200));
        let agent = scene.attach(&client)?;
        let whole = client.answer()?;
        assert_eq!(
            whole["chunks"], 83,
            "the stream was over before the agent was there: {whole}"
        );
        let seen = [client.call(&chat("next"))?, client.call(&chat("last"))?];
        let finished = agent.stop()?;
        let (half, rest) = finished.spans.split_first().unwrap();
        assert_eq!(Call::of_spans(rest), seen, "{}", finished.log);
        check_half_seen(half, &Call::of_answer(&whole)?);
    }
    Ok(())
}

/// What was seen of it, nothing of its request, and no time that would be a lie.
fn check_half_seen(span: &Span, whole: &Call) {
    let told = Call::of_span(span);
    let text = &told.texts[0];
    assert!(
        text.len() > 10 && text.len() < whole.texts[0].len(),
        "{text:?}"
    );
    assert!(whole.texts[0].ends_with(text.as_str()), "{text:?}");
    let expected = Call {
        request_model: String::new(),
        stream: false,
        texts: told.texts.clone(),
        defects: vec!["attached_midway".to_owned()],
        ..whole.clone()
    };
    assert_eq!(told, expected);
    assert_eq!(
        (span.name(), &told.finish),
        ("chat", &vec!["stop".to_owned()])
    );
    for absent in [
        attr::REQUEST_MODEL,
        attr::REQUEST_STREAM,
        attr::INPUT_MESSAGES,
        attr::RESPONSE_TIME_TO_FIRST_CHUNK,
    ] {
        assert!(span.attribute(absent).is_null(), "{absent}");
    }
    // The name that the client used was not seen; if its socket was, where the call went.
    let address = span.attribute(attr::SERVER_ADDRESS);
    assert_eq!(address, span.attribute(attr::NETWORK_PEER_ADDRESS));
}

/// The whole answer was seen, but not what it answers.
#[test]
fn between_a_request_and_its_answer() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    for stream in [false, true] {
        let mut client = scene.client(&python, &["stdlib"])?;
        client.tell(&json!({"do": "chat", "body": {
            "model": "half", "stream": stream,
            "messages": [{"role": "user", "content": "one"}],
            "metadata": {"first_delay_ms": "2000"}}}))?;
        std::thread::sleep(Duration::from_millis(200));
        let agent = scene.attach(&client)?;
        let whole = Call::of_answer(&client.answer()?)?;
        let next = client.call(&chat("next"))?;
        let finished = agent.stop()?;
        let expected = Call {
            request_model: String::new(),
            stream: false,
            defects: vec!["attached_midway".to_owned()],
            ..whole
        };
        let told = Call::of_spans(&finished.spans);
        assert_eq!(told, [expected, next], "{}", finished.log);
    }
    Ok(())
}

#[test]
fn tls_that_is_loaded_after_the_attach() -> Result<()> {
    for python in [need::python(12)?, need::system_python()?]
        .into_iter()
        .flatten()
    {
        let Some(scene) = Scene::new()? else {
            return Ok(());
        };
        let mut client = scene.client(&python, &["stdlib", "--late"])?;
        let agent = scene.attach(&client)?;
        assert!(
            agent.log().contains("no TLS library loaded yet"),
            "{}",
            agent.log()
        );
        let seen = [client.call(&chat("first"))?, client.call(&chat("second"))?];
        let finished = agent.stop()?;
        assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    }
    Ok(())
}

/// Each worker's only call, and of which process.
fn workers(how: &str) -> Result<()> {
    const COUNT: usize = 6;
    let (Some(scene), Some(python)) = (Scene::new()?, need::python(12)?) else {
        return Ok(());
    };
    let mut command = scene.live(&python, "workers.py");
    command.arg(how).arg(COUNT.to_string());
    let mut parent = Client::start(&mut command, &scene.next_log())?;
    let agent = Agent::attach(&scene.temp, &[parent.pid()], &[])?;
    parent.0.tell("go")?;
    let answers = (0..COUNT)
        .map(|_| parent.answer())
        .collect::<Result<Vec<_>>>()?;
    let finished = agent.stop()?;
    check_workers(&answers, &finished.spans, &finished.log)
}

fn check_workers(answers: &[Value], spans: &[Span], log: &str) -> Result<()> {
    let seen = answers
        .iter()
        .map(Call::of_answer)
        .collect::<Result<Vec<_>>>()?;
    let told = Call::sorted(Call::of_spans(spans));
    assert_eq!(told, Call::sorted(seen), "{log}");
    for answer in answers {
        let of: Vec<_> = spans
            .iter()
            .filter(|s| answer["request_model"] == s.model())
            .collect();
        assert_eq!(answer["pid"], of[0].pid());
    }
    Ok(())
}

#[test]
fn forked_workers() -> Result<()> {
    workers("os")
}

#[test]
fn workers_of_multiprocessing_fork() -> Result<()> {
    workers("fork")
}

#[test]
fn workers_of_multiprocessing_spawn() -> Result<()> {
    workers("spawn")
}

#[test]
fn workers_of_multiprocessing_forkserver() -> Result<()> {
    workers("forkserver")
}

/// As on kernels before 6.13, from before TLS is loaded.
#[test]
fn by_perf_probes() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib", "--late"])?;
    let agent = Agent::attach(&scene.temp, &[client.pid()], &["--perf-probes"])?;
    let seen = [client.call(&chat("first"))?, client.call(&chat("second"))?];
    let finished = agent.stop()?;
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    Ok(())
}

#[test]
fn gunicorn_and_its_workers() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("clients")?) else {
        return Ok(());
    };
    let app = genspan_tests::programs().join("live/gunicorn_app.py");
    let mut command = scene.command(&python);
    command.args(["-m", "gunicorn", "--config"]).arg(&app);
    command
        .arg("--pythonpath")
        .arg(app.with_file_name(""))
        .arg("gunicorn_app:application");
    let mut agent = Agent::run(&scene.temp, &[], &command)?;
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(serde_json::from_str(&agent.process.line()?)?);
    }
    // New workers in place of the old ones.
    let master = answers
        .first()
        .and_then(|a: &Value| a["pid"].as_i64())
        .unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{master}/status"))?;
    let master = status
        .lines()
        .find_map(|l| l.strip_prefix("PPid:"))
        .unwrap_or_default();
    let master = Pid::from_raw(master.trim().parse()?);
    nix::sys::signal::kill(master, Signal::SIGHUP)?;
    for _ in 0..3 {
        answers.push(serde_json::from_str(&agent.process.line()?)?);
    }
    agent.wait_for_spans(6)?;
    nix::sys::signal::kill(master, Signal::SIGTERM)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    for span in &finished.spans {
        assert_eq!(
            span.resource(resource::SERVICE_NAME),
            "gunicorn_app",
            "{span:?}"
        );
    }
    check_workers(&answers, &finished.spans, &finished.log)
}

#[test]
fn another_python_as_a_child() -> Result<()> {
    let (Some(scene), Some(python), Some(other)) =
        (Scene::new()?, need::any_python()?, need::system_python()?)
    else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib"])?;
    let agent = scene.attach(&client)?;
    let program = genspan_tests::programs().join("live/one_call.py");
    let run = |stream: &[&str]| {
        let mut command = vec![other.to_string_lossy().into_owned()];
        command.push(program.to_string_lossy().into_owned());
        command.push("of-child".to_owned());
        command.extend(stream.iter().map(|s| (*s).to_owned()));
        json!({"do": "run", "command": command})
    };
    let seen = [
        client.call(&run(&[]))?,
        client.call(&chat("of-parent"))?,
        client.call(&run(&["--stream"]))?,
    ];
    let finished = agent.stop()?;
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    assert_eq!(finished.spans[1].pid(), client.pid());
    assert_ne!(finished.spans[0].pid(), client.pid());
    assert_eq!(
        finished.spans[0].resource(resource::SERVICE_NAME),
        "one_call"
    );
    Ok(())
}

#[test]
fn another_program_in_place_of_the_first() -> Result<()> {
    let (Some(scene), Some(python), Some(other)) =
        (Scene::new()?, need::any_python()?, need::system_python()?)
    else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib"])?;
    let agent = scene.attach(&client)?;
    let before = client.call(&chat("before"))?;
    let program = genspan_tests::programs().join("live/one_call.py");
    client.tell(&json!({"do": "exec", "command": [other, program, "after"]}))?;
    let after = Call::of_answer(&client.answer()?)?;
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(
        Call::of_spans(&finished.spans),
        [before, after],
        "{}",
        finished.log
    );
    let services: Vec<_> = finished
        .spans
        .iter()
        .map(|s| s.resource(resource::SERVICE_NAME))
        .collect();
    assert_eq!(services, ["client", "one_call"]);
    assert_eq!(finished.spans[0].pid(), finished.spans[1].pid());
    Ok(())
}

#[test]
fn the_end_of_the_target_is_the_end() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib"])?;
    let agent = scene.attach(&client)?;
    let seen = client.call(&chat("only"))?;
    client.0.close();
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(Call::of_spans(&finished.spans), [seen]);
    Ok(())
}

/// Signals come while it loads its programs, as when its container is frozen and thawed: the verifier gives up then.
#[test]
fn signals_at_the_start() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    for way in [&[][..], &["--perf-probes"]] {
        let mut client = scene.client(&python, &["stdlib"])?;
        let list = client.pid().to_string();
        let mut agent = Agent::start(&scene.temp, way, &["--pid", &list])?;
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(30));
            agent.process.signal(Signal::SIGSTOP)?;
            std::thread::sleep(Duration::from_millis(5));
            agent.process.signal(Signal::SIGCONT)?;
        }
        agent.wait_attached(client.pid())?;
        agent.wait_placed()?;
        let seen = client.call(&chat("only"))?;
        agent.wait_for_spans(1)?;
        let finished = agent.stop()?;
        assert!(!finished.log.contains("WARN"), "{}", finished.log);
        assert_eq!(Call::of_spans(&finished.spans), [seen]);
    }
    Ok(())
}

#[test]
fn two_targets_and_a_duration() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let mut first = scene.client(&python, &["stdlib"])?;
    let mut second = scene.client(&python, &["urllib"])?;
    let untraced = scene.client(&python, &["stdlib"])?;
    let begun = Instant::now();
    let pids = [first.pid(), second.pid()];
    let agent = Agent::attach(&scene.temp, &pids, &["--duration", "2s"])?;
    let mut untraced = untraced;
    untraced.call(&chat("untraced"))?;
    let seen = [first.call(&chat("a"))?, second.call(&chat("b"))?];
    let finished = agent.wait()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(Call::of_spans(&finished.spans), seen);
    assert_eq!(finished.spans[1].pid(), second.pid());
    // Both go on without it.
    first.call(&chat("c"))?;
    second.call(&chat("d"))?;
    Ok(())
}

/// What was under way when the agent is told to stop is told as far as it was seen.
#[test]
fn stopped_in_the_middle_of_a_stream() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let mut client = scene.client(&python, &["stdlib"])?;
    let agent = scene.attach(&client)?;
    client.tell(&json!({"do": "chat", "body": {
        "model": "long", "stream": true, "messages": [{"role": "user", "content": "one"}],
        "metadata": {"chunks": "60", "delay_ms": "20"}}}))?;
    std::thread::sleep(Duration::from_millis(500));
    let finished = agent.stop()?;
    let whole = client.answer()?;
    assert_eq!(models(&finished.spans), ["long"], "{}", finished.log);
    let told = finished.spans[0].texts(attr::OUTPUT_MESSAGES);
    let text = whole["texts"][0].as_str().unwrap_or_default();
    assert!(told[0].len() > 10 && told[0].len() < text.len(), "{told:?}");
    assert!(text.starts_with(&told[0]), "{told:?}");
    assert!(!finished.spans[0].defects().is_empty());
    Ok(())
}

/// A process in PID and mount namespaces of its own, with its own `/proc`.
#[test]
fn a_target_in_its_own_namespaces() -> Result<()> {
    let (Some(scene), Some(python), Some(unshare)) = (
        Scene::new()?,
        need::any_python()?,
        need::command("unshare")?,
    ) else {
        return Ok(());
    };
    let inner = scene.live(&python, "client.py");
    let mut command = scene.command(unshare);
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .arg("stdlib");
    let mut client = Client::start(&mut command, &scene.next_log())?;
    let pid = only_child(&client.0)?;
    let agent = Agent::attach(&scene.temp, &[pid], &[])?;
    let seen = [client.call(&chat("inside"))?, client.call(&chat("again"))?];
    let finished = agent.stop()?;
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    assert_eq!(finished.spans[0].pid(), pid);
    Ok(())
}

/// Children that are gone before they can be looked at, by `fork` and by `exec`, are no trouble and
/// say nothing; what the program itself asks afterwards is seen.
#[test]
fn short_lived_children() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let Some(mut agent) = started(&scene)? else {
        return Ok(());
    };
    agent.process.tell(r#"{"do": "children", "count": 60}"#)?;
    assert_eq!(agent.process.line_within(Duration::from_secs(60))?, "60");
    agent.process.tell(&chat("after").to_string())?;
    let seen = Call::of_answer(&serde_json::from_str(&agent.process.line()?)?)?;
    agent.process.tell(r#"{"do": "exit", "code": 0}"#)?;
    let finished = agent.wait()?;
    assert_eq!(Call::of_spans(&finished.spans), [seen]);
    let warnings: Vec<&str> = finished
        .log
        .lines()
        .filter(|l| l.contains("WARN"))
        .collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
    Ok(())
}

fn only_child(process: &Process) -> Result<u32> {
    let pid = process.pid();
    wait_for("a child", || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    })
}
