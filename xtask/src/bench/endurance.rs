//! What the agent holds in the long run: programs that come and go, and a collector that fails.

use crate::cmd::Cmd;
use crate::{build, certs, host, paths};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// `RATE` programs a second for `SECONDS`, each of which lives `LIFE` seconds.
pub(super) fn swarm(numbers: [u32; 3], binary: Option<PathBuf>) -> Result<()> {
    let [rate, seconds, life] = numbers;
    println!("swarm: {rate} programs a second, each for {life} s, for {seconds} s");
    let arguments = numbers.map(|n| n.to_string());
    let table = Some("GENSPAN_SWARM_TABLE");
    run(("swarm", "swarm"), &arguments, table, Some(&agent(binary)?))
}

/// A steady load for so many minutes, or around an outage of so many.
pub(super) fn soak(minutes: f64, rate: f64, outage: bool, binary: Option<PathBuf>) -> Result<()> {
    println!(
        "soak: {rate} calls a second for {minutes} minutes, and up to five to deliver what waits"
    );
    let (kind, keep) = match outage {
        true => ("outage", "hour"),
        false => ("failing", "soak"),
    };
    let arguments = [kind.to_owned(), minutes.to_string(), rate.to_string()];
    run(("soak", keep), &arguments, None, Some(&agent(binary)?))
}

/// So many spans while the collector is away.
pub(super) fn outage(spans: u64) -> Result<()> {
    println!("outage: {spans} spans in each of four ways");
    run(("outage", "outage"), &[spans.to_string()], None, None)
}

/// The agent that is measured.
fn agent(binary: Option<PathBuf>) -> Result<PathBuf> {
    match binary {
        // It is run elsewhere.
        Some(binary) => fs::canonicalize(binary).context("there is no such binary"),
        None => build::run(),
    }
}

/// Builds and runs one of the programs of `tests/src/bin`, and keeps the table that it writes: to the file that
/// the variable names, or else its last argument. `names` are the program's and the table's. One that starts no
/// agent is run as who we are.
fn run(
    names: (&str, &str),
    arguments: &[String],
    table: Option<&str>,
    agent: Option<&Path>,
) -> Result<()> {
    let (name, keep) = names;
    Cmd::cargo()
        .args([
            "build",
            "--quiet",
            "--package",
            "genspan-tests",
            "--bin",
            name,
        ])
        .run()?;
    let program = paths::cargo_target().join("debug").join(name);
    let file = paths::target().join("bench").join(format!("{keep}.new.md"));
    fs::create_dir_all(file.parent().unwrap_or(&file))?;
    let command = match agent {
        Some(agent) => {
            let certs = certs::ensure()?;
            let mut variables = vec![
                ("GENSPAN_BIN", agent.as_os_str()),
                ("GENSPAN_CERTS", certs.dir.as_os_str()),
            ];
            variables.extend(table.map(|variable| (variable, file.as_os_str())));
            host::privileged(&program, &variables)?
        }
        None => Cmd::new(&program),
    };
    let command = command.args(arguments);
    let command = match table {
        Some(_) => command,
        None => command.arg(&file),
    };
    command.run()?;
    let text = fs::read_to_string(&file).context("it left no table")?;
    fs::remove_file(&file).ok();
    super::keep(keep, &text)
}
