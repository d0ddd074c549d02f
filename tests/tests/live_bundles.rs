//! Programs that bring their own Python, or their packages in an archive: made with the real tools, found,
//! told apart and traced as any other.

use anyhow::{Context as _, Result};
use genspan_tests::{Agent, Call, Client, Process, Scene, need, programs, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of a package in an environment.
fn version(python: &Path, package: &str) -> Result<String> {
    let code = format!("import importlib.metadata as m; print(m.version('{package}'))");
    let told = Command::new(python).args(["-c", &code]).output()?;
    Ok(String::from_utf8(told.stdout)?.trim().to_owned())
}

/// The client program as PyInstaller makes one file of it.
fn one_file(scene: &Scene, python: &Path) -> Result<PathBuf> {
    let folder = scene.temp.file("bundle");
    let made = Command::new(python)
        .args(["-m", "PyInstaller", "--onefile", "--name", "asker"])
        .args(["--log-level", "WARN", "--distpath"])
        .arg(folder.join("dist"))
        .arg("--workpath")
        .arg(folder.join("work"))
        .arg("--specpath")
        .arg(&folder)
        .arg(programs().join("live/client.py"))
        .env("PYINSTALLER_CONFIG_DIR", folder.join("cache"))
        .output()?;
    anyhow::ensure!(
        made.status.success(),
        "PyInstaller: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(folder.join("dist/asker"))
}

/// The one child of a process.
fn only_child(process: &Process) -> Result<u32> {
    let pid = process.pid();
    wait_for("a child", || {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    })
}

fn chat(model: &str) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "messages": [{"role": "user", "content": "one two"}]}})
}

/// What the agent says of a process, as soon as it says this for evidence: a program that is being imported
/// is not yet what it will be.
fn standing(agent: &mut Agent, pid: u32, evidence: &str) -> Result<Value> {
    let mut last = String::new();
    let found = wait_for("the evidence", || {
        last = agent.page("/status").ok()?.1;
        let status: Value = serde_json::from_str(&last).ok()?;
        let all = status["processes"].as_array()?;
        let found = all.iter().find(|process| process["pid"] == pid)?;
        (found["evidence"] == evidence).then(|| found.clone())
    });
    found.with_context(|| format!("{evidence}: {last}"))
}

/// One file of PyInstaller: its bootloader unpacks a Python and starts itself again with it. The agent of
/// a host takes up the one that is a Python, and knows the SDK and its version, of which nothing is
/// installed anywhere; who names the bootloader, whose process id is the one that a shell tells, means
/// what it started.
#[test]
fn one_file_of_pyinstaller() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("bundle")?) else {
        return Ok(());
    };
    let program = one_file(&scene, &python)?;
    let include = format!("command={} openai", program.display());
    let mut agent = Agent::host(&scene.temp, &["--include", &include])?;
    let start = |log: &Path| Client::start(scene.command(&program).arg("openai"), log);
    let mut client = start(&scene.next_log())?;
    let pid = only_child(&client.0)?;
    agent.wait_attached(pid)?;
    let seen = client.call(&chat("bundled"))?;
    agent.wait_for_spans(1)?;
    let evidence = format!("loaded: openai {}", version(&python, "openai")?);
    let told = standing(&mut agent, pid, &evidence)?;
    let finished = agent.stop()?;
    assert_eq!(
        (&told["state"], &told["type"], &told["service"]),
        (&json!("attached"), &json!("app"), &json!("asker")),
        "{told}"
    );
    assert_eq!(Call::of_spans(&finished.spans), [seen], "{}", finished.log);
    assert_eq!(finished.spans[0].pid(), pid);
    assert!(
        finished.log.contains("/_MEI"),
        "its own TLS library is traced: {}",
        finished.log
    );

    let bootloader = client.pid().to_string();
    let mut agent = Agent::start(&scene.temp, &[], &["--pid", &bootloader])?;
    agent.wait_attached(pid)?;
    let seen = client.call(&chat("named"))?;
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(Call::of_spans(&finished.spans), [seen], "{}", finished.log);
    assert_eq!(finished.spans[0].pid(), pid);
    Ok(())
}

/// An archive that an interpreter runs: what is installed in it counts, and the service is called after it.
#[test]
fn an_archive_with_its_packages() -> Result<()> {
    let (Some(scene), Some(python), Some(system)) = (
        Scene::new()?,
        need::environment("bundle")?,
        need::system_python()?,
    ) else {
        return Ok(());
    };
    let folder = scene.temp.file("app");
    fs::create_dir(&folder)?;
    for (from, to) in [
        ("client.py", "__main__.py"),
        ("clients.py", "clients.py"),
        ("summary.py", "summary.py"),
    ] {
        fs::copy(programs().join("live").join(from), folder.join(to))?;
    }
    let version = version(&python, "openai")?;
    let distribution = format!("openai-{version}.dist-info");
    let lib = python.ancestors().nth(2).context("no environment")?;
    let lib = fs::read_dir(lib.join("lib"))?.flatten().next();
    let site = lib.context("no lib")?.path().join("site-packages");
    fs::create_dir(folder.join(&distribution))?;
    let metadata = Path::new(&distribution).join("METADATA");
    fs::copy(site.join(&metadata), folder.join(&metadata))?;
    let archive = scene.temp.file("shop.pyz");
    let made = Command::new(&system)
        .args([
            "-m",
            "zipapp",
            "--compress",
            "--python",
            "/usr/bin/env python3",
        ])
        .arg("--output")
        .arg(&archive)
        .arg(&folder)
        .status()?;
    anyhow::ensure!(made.success(), "zipapp");
    let include = format!("command=*{} stdlib", archive.display());
    let mut agent = Agent::host(&scene.temp, &["--include", &include])?;
    let mut command = scene.command(&system);
    command.arg(&archive).arg("stdlib");
    let mut client = Client::start(&mut command, &scene.next_log())?;
    agent.wait_attached(client.pid())?;
    let seen = client.call(&chat("archived"))?;
    agent.wait_for_spans(1)?;
    let evidence = format!("installed: openai {version}");
    let told = standing(&mut agent, client.pid(), &evidence)?;
    let finished = agent.stop()?;
    assert_eq!(
        (&told["state"], &told["type"], &told["service"]),
        (&json!("attached"), &json!("app"), &json!("shop")),
        "{told}"
    );
    assert_eq!(Call::of_spans(&finished.spans), [seen], "{}", finished.log);
    Ok(())
}
