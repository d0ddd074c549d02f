//! Sample applications as genspan tells them from outside, against what in-process instrumentations tell
//! of the same requests: the two that are small. `cargo xtask compare` does all five, and makes the tables
//! of `docs/frameworks.md`; this is the same program, held against the same result.

use anyhow::{Context as _, Result, ensure};
use genspan_tests::{Process, Temp, need, programs};
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The applications, which have the names of their environments.
const APPLICATIONS: [&str; 2] = ["openai", "langchain"];

/// Longer than all its waits together, each of which has an end of its own: of eight starts (`START` in `run.py`)
/// of two minutes at most.
const LONGEST: Duration = Duration::from_secs(20 * 60);

/// Runs a program of the comparison to its end, which must be a good one.
fn compare(program: &str, python: &Path, arguments: &[&OsStr]) -> Result<String> {
    let temp = Temp::new()?;
    let mut command = Command::new(python);
    command
        .arg(programs().join("compare").join(program))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let mut process = Process::start(&mut command, &temp.file("compare.err"))?;
    process.close();
    let begun = Instant::now();
    while !process.has_ended()? && begun.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_millis(50));
    }
    if !process.has_ended()? {
        // It ends what it started.
        process.signal(Signal::SIGTERM)?;
    }
    let code = process.wait()?;
    let said = process.lines().join("\n");
    ensure!(code == 0, "{code}: {said}\n{}", process.complaints());
    Ok(said)
}

#[test]
fn what_is_missing_is_noticed() -> Result<()> {
    let Some(python) = need::any_python()? else {
        return Ok(());
    };
    compare("check.py", &python, &[]).map(|_| ())
}

#[test]
fn nothing_is_missing_that_was_seen() -> Result<()> {
    let (Some(()), Some(python)) = (need::root()?, need::environment("web312")?) else {
        return Ok(());
    };
    let mut venvs = None;
    for application in APPLICATIONS {
        let name = format!("compare-{application}");
        let Some(python) = need::environment(&name)? else {
            return Ok(());
        };
        venvs = python.ancestors().nth(3).map(Path::to_owned);
    }
    let temp = Temp::new()?;
    let (agent, certs) = (need::agent()?, temp.file("certs"));
    let venvs = venvs.context("an environment has a place")?;
    let only = APPLICATIONS.join(",");
    let arguments = [
        agent.as_os_str(),
        certs.as_os_str(),
        venvs.as_os_str(),
        OsStr::new("--present"),
        OsStr::new("--only"),
        OsStr::new(&only),
    ];
    let said = compare("run.py", &python, &arguments)?;
    ensure!(said.contains("**FastAPI with OpenAI**"), "{said}");
    ensure!(said.contains("`invoke_workflow LLMChain`"), "{said}");
    Ok(())
}
