//! What the agent holds in the long run: programs that come and go, and a collector that fails.

use crate::cmd::Cmd;
use crate::{build, certs, host, paths};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;

/// `RATE` programs a second for `SECONDS`, each of which lives `LIFE` seconds.
pub(super) fn swarm(numbers: [u32; 3], binary: Option<PathBuf>) -> Result<()> {
    let [rate, seconds, life] = numbers;
    println!("swarm: {rate} programs a second, each for {life} s, for {seconds} s");
    let table = "GENSPAN_SWARM_TABLE";
    run(
        "swarm",
        &numbers.map(|n| n.to_string()),
        Some(table),
        binary,
    )
}

/// A steady load for so many minutes.
pub(super) fn soak(minutes: f64, rate: f64, binary: Option<PathBuf>) -> Result<()> {
    println!(
        "soak: {rate} calls a second for {minutes} minutes, and up to five to deliver what waits"
    );
    run(
        "soak",
        &[minutes.to_string(), rate.to_string()],
        None,
        binary,
    )
}

/// Builds and runs one of the programs of `tests/src/bin`, and keeps the table that it writes: to the file that
/// the variable names, or else its last argument.
fn run(
    name: &str,
    arguments: &[String],
    table: Option<&str>,
    binary: Option<PathBuf>,
) -> Result<()> {
    let binary = match binary {
        // It is run elsewhere.
        Some(binary) => fs::canonicalize(binary).context("there is no such binary")?,
        None => build::run()?,
    };
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
    let certs = certs::ensure()?;
    let file = paths::target().join("bench").join(format!("{name}.new.md"));
    fs::create_dir_all(file.parent().unwrap_or(&file))?;
    let mut variables = vec![
        ("GENSPAN_BIN", binary.as_os_str()),
        ("GENSPAN_CERTS", certs.dir.as_os_str()),
    ];
    variables.extend(table.map(|variable| (variable, file.as_os_str())));
    let command = host::privileged(&program, &variables)?.args(arguments);
    let command = match table {
        Some(_) => command,
        None => command.arg(&file),
    };
    command.run()?;
    let text = fs::read_to_string(&file).context("it left no table")?;
    fs::remove_file(&file).ok();
    super::keep(name, &text)
}
