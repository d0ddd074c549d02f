//! Compares the spans of recorded traffic with what they must be; `cargo xtask correctness` runs it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]

use anyhow::{Context as _, Result, bail};
use genspan_tests::recordings::{Encoding, Lab, document, replayed};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Options {
    encodings: Vec<Encoding>,
    limit: Option<usize>,
    write: Option<PathBuf>,
}

fn options() -> Result<Options> {
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--encodings" => {
                options.encodings = value.split(',').map(str::parse).collect::<Result<_>>()?;
            }
            "--limit" => options.limit = Some(value.parse()?),
            "--write" => options.write = Some(value.into()),
            _ => bail!("no option {name}: there are --encodings, --limit, --write"),
        }
    }
    if options.encodings.is_empty() {
        options.encodings = Encoding::ALL.to_vec();
    }
    Ok(options)
}

/// Whether there was no bug.
fn run() -> Result<bool> {
    let options = options()?;
    let lab = Lab::find().context("no recordings beside this repository (shared/lab)")?;
    let turn = replayed::Turn::wait(&lab)?.map_err(anyhow::Error::msg)?;
    let all = lab.files()?;
    let files = all
        .get(..options.limit.unwrap_or(usize::MAX).min(all.len()))
        .unwrap_or_default();
    let mut runs = Vec::new();
    for encoding in options.encodings {
        let begun = Instant::now();
        let run = replayed::run(&turn, &lab, encoding, files)
            .with_context(|| format!("encoding {}", encoding.name()))?;
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{} ({seconds:.0} s): {}",
            encoding.name(),
            run.report.text()
        );
        for warning in &run.warnings {
            println!("the agent says: {warning}");
        }
        runs.push((encoding, run));
    }
    let page = document::page(&lab, files, &runs)?;
    match options.write {
        Some(file) => std::fs::write(&file, page)
            .with_context(|| format!("cannot write {}", file.display()))?,
        None => println!("{page}"),
    }
    Ok(runs.iter().all(|(_, run)| run.report.bugs.is_empty()))
}
