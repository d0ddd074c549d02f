//! The processes of a host: found, told apart, traced.

use anyhow::{Context as _, Result};
use genspan_tests::{Process, Temp, agent, need};
use serde_json::Value;
use std::fs;
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

    let report = agent::command(&["ps", "--json", "--exclude", "server"])?.output()?;
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
