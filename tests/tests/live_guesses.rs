//! Libraries whose functions were found by their code: nothing is told of them before a call was what it should
//! be, and one that is not ends it.

use anyhow::{Context as _, Result};
use genspan_tests::{Agent, Call, Client, Scene, memory, need, wait_for};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A library that looks like OpenSSL to the search, without names, compiled with these options. `None` when there
/// is no compiler.
fn library(scene: &Scene, options: &[&str]) -> Result<Option<PathBuf>> {
    let (Some(cc), Some(strip)) = (need::command("cc")?, need::command("strip")?) else {
        return Ok(None);
    };
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let imitation = tests.join("../agent/src/probe/stripped/imitation.c");
    let file = scene.temp.file("libguessed_ssl.so");
    let exports = scene.temp.file("exports");
    std::fs::write(&exports, "{ global: exchange; local: *; };")?;
    let built = Command::new(cc)
        .args(["-O2", "-shared", "-fPIC"])
        .arg(format!("-Wl,--version-script={}", exports.display()))
        .args(options)
        .arg("-o")
        .arg(&file)
        .args([&imitation, &tests.join("c/guessed_tls.c")])
        .output()?;
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{options:?}: {errors}");
    assert!(Command::new(strip).arg(&file).status()?.success());
    Ok(Some(file))
}

fn client(scene: &Scene, python: &Path, arguments: &[&str]) -> Result<Client> {
    let mut command = scene.live(python, "guessed.py");
    // The agent takes up on its own what is an application.
    command.args(arguments).env("APSARA_APM_APP_TYPE", "app");
    Client::start(&mut command, &scene.next_log())
}

fn exchange(client: &mut Client, times: u32) -> Result<Value> {
    client.ask(&json!({ "times": times }))
}

/// No breakpoint of ours is in the library any more.
fn is_left_alone(pid: u32, library: &Path) -> Option<()> {
    let changed = memory::changed_code(pid).ok()?;
    let name = library.to_string_lossy();
    (!changed.contains_key(name.as_ref())).then_some(())
}

/// What a library does, alone and traced; each is something else than OpenSSL.
#[test]
fn a_wrong_guess_is_given_up_at_its_first_call() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    const PERF: &str = "--perf-probes";
    for (options, times, way, why) in [
        // Its objects have no table of methods of the library.
        (&[][..], 1, None, "no connection"),
        (&["-DMETHODS", "-DMORE=1"], 1, None, "returned more than"),
        (
            &["-DMETHODS", "-DMORE=1"],
            1,
            Some(PERF),
            "returned more than",
        ),
        (
            &["-DMETHODS", "-DRESULT=37"],
            1,
            None,
            "returned what it never",
        ),
        (&["-DMETHODS", "-DNO_LENGTH"], 1, None, "no length"),
        // It may be OpenSSL with nothing to say, for a while.
        (
            &["-DMETHODS", "-DRESULT=-1"],
            1100,
            None,
            "never moved anything",
        ),
    ] {
        let Some(library) = library(&scene, options)? else {
            return Ok(());
        };
        let path = library.to_str().context("a path")?;
        let mut alone = client(&scene, &python, &[path])?;
        let want = [exchange(&mut alone, times)?, exchange(&mut alone, times)?];

        let mut client = client(&scene, &python, &[path])?;
        let flags: Vec<&str> = ["--debug"].into_iter().chain(way).collect();
        let mut agent = Agent::attach(&scene.temp, &[client.pid()], &flags)?;
        let log = agent.log();
        assert!(log.contains("found by code"), "{options:?}: {log}");
        assert!(is_left_alone(client.pid(), &library).is_none());
        let first = exchange(&mut client, times)?;
        agent.wait_for_log("given up")?;
        let gone = || is_left_alone(client.pid(), &library);
        wait_for("the probes to go", gone)?;
        assert_eq!([first, exchange(&mut client, times)?], want, "{options:?}");
        // A child has no part in it either.
        client.tell(&json!({"fork": true, "times": times}))?;
        client.answer()?;

        let finished = agent.stop()?;
        assert!(
            finished.spans.is_empty(),
            "{options:?}: {:?}",
            finished.spans
        );
        let said = format!("{path}: found by its code, but given up: what writes ");
        assert!(
            finished.log.contains(&said),
            "{options:?}: {}",
            finished.log
        );
        for part in [
            why,
            "lost: 1 TLS libraries found by their code and given up",
        ] {
            assert!(finished.log.contains(part), "{part}: {}", finished.log);
        }
    }
    Ok(())
}

/// The same library with objects like OpenSSL's: its first call already is told, also where it is loaded late, and
/// in a child.
#[test]
fn a_right_guess_is_told_from_its_first_call() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    for (options, ways) in [
        (&["-DMETHODS"][..], 3),
        (&["-DMETHODS", "-DBUILT_IN"], 1),
        (&["-DMETHODS", "-DFLAGS"], 1),
    ] {
        let Some(library) = library(&scene, options)? else {
            return Ok(());
        };
        let path = library.to_str().context("a path")?;
        for (more, way) in [
            (&[][..], &["--debug"][..]),
            (&["later"], &["--debug"]),
            (&[], &["--debug", "--perf-probes"]),
        ]
        .into_iter()
        .take(ways)
        {
            let arguments = [&[path], more].concat();
            let mut client = client(&scene, &python, &arguments)?;
            let mut agent = Agent::attach(&scene.temp, &[client.pid()], way)?;
            if more.is_empty() {
                exchange(&mut client, 1)?;
            } else {
                // Its first call may come sooner than the probes.
                exchange(&mut client, 1)?;
                agent.wait_for_log("found by code")?;
                exchange(&mut client, 1)?;
            }
            let told = if more.is_empty() { 1 } else { 2 };
            client.tell(&json!({"fork": true, "times": 1}))?;
            client.answer()?;
            let finished = agent.stop()?;
            let calls = Call::of_spans(&finished.spans);
            let models = calls.iter().map(|c| c.request_model.as_str());
            // Of one under way when the probes came only the answer may be seen.
            let models: Vec<_> = models.filter(|model| !model.is_empty()).collect();
            // That of a library which is loaded just now may come too soon.
            let least = if more.is_empty() { told } else { told - 1 };
            assert!(
                (least + 1..=told + 1).contains(&models.len()),
                "{options:?} {more:?}: {models:?} {}",
                finished.log
            );
            assert!(models.iter().all(|m| *m == "guessed"), "{models:?}");
            let verified = "found by its code, verified by a call";
            assert!(finished.log.contains(verified), "{}", finished.log);
            assert!(!finished.log.contains("given up"), "{}", finished.log);
        }
    }
    Ok(())
}

/// What the agent says of it: on trial, verified, given up, and the file in other processes, too.
#[test]
fn the_agent_says_how_it_stands() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let Some(right) = library(&scene, &["-DMETHODS"])? else {
        return Ok(());
    };
    let good = scene.temp.copy_to_run(&right, "libgood_ssl.so")?;
    let Some(wrong) = library(&scene, &[])? else {
        return Ok(());
    };
    let (good, bad) = (
        good.to_str().context("a path")?,
        wrong.to_str().context("a path")?,
    );
    let mut speaks = client(&scene, &python, &[good])?;
    let mut errs = client(&scene, &python, &[bad])?;
    let silent = client(&scene, &python, &[bad])?;
    let rules = scene.temp.file("rules.yaml");
    std::fs::write(&rules, "include: ['command=*/guessed.py *']\n")?;
    let rules = rules.display().to_string();
    let mut agent = Agent::host(&scene.temp, &["--config", &rules])?;
    for pid in [speaks.pid(), errs.pid(), silent.pid()] {
        agent.wait_attached(pid)?;
    }
    let socket = Agent::socket(&scene.temp).display().to_string();
    let said = |agent: &mut Agent, pid: u32, text: &str| -> Result<()> {
        wait_for(&format!("{text:?} of {pid}"), || {
            let (_, body) = agent.page("/status").ok()?;
            let status: Value = serde_json::from_str(&body).ok()?;
            let all = status["processes"].as_array()?;
            let own = all.iter().find(|p| p["pid"] == pid)?;
            own.to_string().contains(text).then_some(())
        })
        .with_context(|| agent.log())
    };
    let by_code = |verified: bool| format!(r#"[{{"library":"{good}","verified":{verified}}}]"#);
    said(&mut agent, speaks.pid(), &by_code(false))?;
    exchange(&mut speaks, 1)?;
    said(&mut agent, speaks.pid(), &by_code(true))?;
    exchange(&mut errs, 1)?;
    let given_up = format!("{bad}: found by its code, but given up: what writes was called");
    said(&mut agent, errs.pid(), &given_up)?;
    said(&mut agent, silent.pid(), &given_up)?;
    wait_for("the probes to go", || is_left_alone(silent.pid(), &wrong))?;
    // One that comes later is not probed at all.
    let mut late = client(&scene, &python, &[bad, "later"])?;
    agent.wait_attached(late.pid())?;
    exchange(&mut late, 1)?;
    said(
        &mut agent,
        late.pid(),
        "found but unreachable: found by its code, but given up",
    )?;
    assert!(is_left_alone(late.pid(), &wrong).is_some());

    let report = genspan_tests::agent::command(&["ps", "--socket", &socket])?.output()?;
    let report = String::from_utf8(report.stdout)?;
    let verified = format!("TLS: {good}: found by its code, verified by a call");
    for text in [&verified, &given_up] {
        assert!(report.contains(text.as_str()), "{text}: {report}");
    }
    let finished = agent.stop()?;
    let calls = Call::of_spans(&finished.spans);
    assert_eq!(calls.len(), 1, "{}", finished.log);
    Ok(())
}
