//! What the agent cannot do it says, with the remedy; and a ring that is too small.

use anyhow::Result;
use genspan::vocabulary::attr;
use genspan_tests::temp::Temp;
use genspan_tests::{Agent, Call, Client, Process, Scene, Span, agent, need};
use nix::sys::signal::Signal;
use serde_json::json;
use std::process::Command;

/// Ends with this code and these words.
fn refuses(arguments: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let temp = Temp::new()?;
    let finished = agent::run(&temp, arguments)?;
    assert_eq!(finished.code, code, "{arguments:?}: {}", finished.log);
    for word in words {
        assert!(
            finished.log.contains(word),
            "{arguments:?}: {}",
            finished.log
        );
    }
    Ok(())
}

#[test]
fn wrong_usage() -> Result<()> {
    refuses(&[], 2, &["Usage"])?;
    refuses(&["trace"], 2, &["--pid"])?;
    refuses(&["trace", "--pid", "0"], 2, &["--pid"])?;
    refuses(&["trace", "--pid", "x"], 2, &["--pid"])?;
    refuses(
        &["trace", "--pid", "1", "--", "python"],
        2,
        &["cannot be used with"],
    )?;
    refuses(
        &["trace", "--pid", "1", "--ring-size", "3M"],
        2,
        &["power of two"],
    )?;
    refuses(
        &["trace", "--pid", "1", "--duration", "5d"],
        2,
        &["s, m or h"],
    )?;
    refuses(&["trace", "--pid", "1", "--format", "xml"], 2, &["pretty"])?;
    refuses(&["replay"], 2, &["FILE"])?;
    refuses(&["unknown"], 2, &["unknown"])
}

#[test]
fn a_process_that_does_not_exist() -> Result<()> {
    if need::root()?.is_none() {
        return Ok(());
    }
    refuses(
        &["trace", "--pid", "99999999"],
        1,
        &["no process 99999999", "pgrep"],
    )
}

#[test]
fn a_process_that_is_not_python() -> Result<()> {
    if need::root()?.is_none() {
        return Ok(());
    }
    let temp = Temp::new()?;
    let mut command = Command::new("sleep");
    let sleep = Process::start(command.arg("100"), &temp.file("sleep.err"))?;
    let pid = sleep.pid().to_string();
    refuses(
        &["trace", "--pid", &pid],
        1,
        &[&pid, "is not Python", "sleep"],
    )
}

#[test]
fn a_kernel_thread() -> Result<()> {
    if need::root()?.is_none() {
        return Ok(());
    }
    // kthreadd, where this is the host's own PID namespace.
    if std::fs::read_to_string("/proc/2/comm").ok().as_deref() != Some("kthreadd\n") {
        need::missing::<()>("kernel threads (a container's PID namespace has none)")?;
        return Ok(());
    }
    refuses(
        &["trace", "--pid", "2"],
        1,
        &["process 2 runs no program", "kernel thread"],
    )
}

#[test]
fn processes_that_end_while_attached_to() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let (mut attached, mut refused) = (0, 0);
    for round in 0..16 {
        let temp = Temp::new()?;
        let mut command = scene.live(&python, "short.py");
        command.arg((round * 45).to_string());
        let mut target = Process::start(&mut command, &temp.file("short.err"))?;
        let pid = target.pid().to_string();
        // Waited for at once, so that nothing is left of it when it ends.
        let agent = Agent::start(&temp, &[], &["--pid", &pid])?;
        assert_eq!(target.wait()?, 0);
        let finished = agent.wait()?;
        match finished.code {
            0 => attached += 1,
            1 => {
                refused += 1;
                let log = &finished.log;
                let told = ["ended", "no process", "runs no program"]
                    .iter()
                    .any(|w| log.contains(w));
                assert!(told && log.contains(&pid), "{log}");
            }
            code => panic!("code {code}: {}", finished.log),
        }
        assert!(finished.spans.is_empty());
    }
    println!("{attached} attached, {refused} refused");
    Ok(())
}

#[test]
fn without_privileges() -> Result<()> {
    let (Some(scene), Some(python), Some(setpriv)) = (
        Scene::new()?,
        need::any_python()?,
        need::command("setpriv")?,
    ) else {
        return Ok(());
    };
    let client = scene.client(&python, &["stdlib"])?;
    // Where anybody can run it.
    let copy = scene.temp.copy_to_run(&need::agent()?, "genspan")?;
    let pid = client.pid().to_string();
    for (arguments, word) in [
        (
            vec!["trace", "--pid", &pid],
            "not allowed to look into process",
        ),
        (
            vec!["trace", "--", "true"],
            "not allowed to load eBPF programs",
        ),
    ] {
        let mut command = Command::new(&setpriv);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command
            .args(["--bounding-set=-all", "--inh-caps=-all"])
            .arg(&copy)
            .args(arguments);
        let mut process = Process::start(&mut command, &scene.temp.file("agent.err"))?;
        assert_eq!(process.wait()?, 1, "{}", process.complaints());
        let log = process.complaints();
        assert!(log.contains(word), "{log}");
        assert!(
            log.contains("root") && log.contains("CAP_"),
            "no remedy: {log}"
        );
    }
    Ok(())
}

/// The agent stands still while much more goes over the connections than its ring holds.
#[test]
fn a_ring_that_overflows() -> Result<()> {
    const COUNT: usize = 40;
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("clients")?) else {
        return Ok(());
    };
    let mut command = scene.live(&python, "client.py");
    // All of the text is to be compared.
    command.arg("httpx-async");
    command.env(
        "OTEL_INSTRUMENTATION_GENAI_MESSAGE_CONTENT_MAX_LENGTH",
        "1000000",
    );
    let mut client = Client::start(&mut command, &scene.next_log())?;
    let mut agent = Agent::attach(&scene.temp, &[client.pid()], &["--ring-size", "1M"])?;
    agent.process.signal(Signal::SIGSTOP)?;
    let mut seen = Vec::new();
    for stream in [false, true] {
        let answers = client.ask(&json!({"do": "chat", "at_once": COUNT, "body": {
            "model": format!("m-{stream}-{{}}"), "stream": stream,
            "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "number {}"}],
            "metadata": {"chunks": "5", "chunk_chars": "20000"}}}))?;
        for one in answers.as_array().map(Vec::as_slice).unwrap_or_default() {
            seen.push(Call::of_answer(one)?);
        }
    }
    assert_eq!(seen.len(), 2 * COUNT);
    agent.process.signal(Signal::SIGCONT)?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    // On the connections of which much was lost.
    let mut after = Vec::new();
    for (round, stream) in [false, true].into_iter().enumerate() {
        let answers = client.ask(&json!({"do": "chat", "at_once": COUNT, "body": {
            "model": format!("after-{round}-{{}}"), "stream": stream,
            "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "one"}]}}))?;
        for one in answers.as_array().map(Vec::as_slice).unwrap_or_default() {
            after.push(Call::of_answer(one)?);
        }
    }
    assert_eq!(after.len(), 2 * COUNT);
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    // Of a request whose body was lost nothing says that it is a call: it is one like any other, of which
    // something is missing.
    let (calls, others): (Vec<Span>, Vec<Span>) = finished
        .spans
        .into_iter()
        .partition(|span| !span.text(attr::OPERATION_NAME).is_empty());
    for other in &others {
        assert_eq!(other.name(), "POST", "{}", other.0);
        let gap = other.defects().iter().any(|defect| defect == "request_gap");
        assert!(gap, "{}", other.0);
        let response = other.number(attr::HTTP_RESPONSE_STATUS_CODE);
        assert!(response.is_none_or(|status| status == 200), "{}", other.0);
    }
    let (later, early): (Vec<_>, Vec<_>) = Call::of_spans(&calls)
        .into_iter()
        .partition(|call| call.request_model.starts_with("after"));
    assert_eq!(Call::sorted(later), Call::sorted(after));
    for call in &early {
        let same: Vec<_> = seen
            .iter()
            .filter(|s| s.request_model == call.request_model)
            .collect();
        assert_eq!(same.len(), 1, "not a call that was made: {call:?}");
        if call.defects.is_empty() {
            assert_eq!(call, same[0]);
        } else {
            let ids = [same[0].id.as_str(), ""];
            assert!(ids.contains(&call.id.as_str()), "{call:?}");
            assert!(
                call.input.is_none() || call.input == same[0].input,
                "{call:?}"
            );
            assert!(
                call.output.is_none() || call.output == same[0].output,
                "{call:?}"
            );
        }
    }
    assert!(early.len() < seen.len() || early.iter().any(|c| !c.defects.is_empty()));
    assert!(
        finished.log.contains("ring full"),
        "the loss is not told: {}",
        finished.log
    );
    Ok(())
}
