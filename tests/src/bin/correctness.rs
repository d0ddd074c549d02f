//! Compares the spans of recorded traffic with what they must be; `cargo xtask correctness` runs it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]

use anyhow::{Context as _, Result, bail};
use genspan_tests::recordings::packages::{Group, Http, PACKAGES};
use genspan_tests::recordings::{Encoding, Lab, Recording, Server, document, replayed};
use std::collections::BTreeMap;
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
    packages: Option<String>,
    http1: bool,
    write: Option<PathBuf>,
    /// Where what is told is kept.
    keep: Option<PathBuf>,
    resume: bool,
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
            "--packages" => options.packages = Some(value),
            "--http" => {
                options.http1 = match value.as_str() {
                    "1.1" => true,
                    "all" => false,
                    _ => bail!("--http {value}: there are 1.1 and all"),
                }
            }
            "--write" => options.write = Some(value.into()),
            "--keep" => options.keep = Some(value.into()),
            "--resume" => {
                options.keep = Some(value.into());
                options.resume = true;
            }
            _ => bail!(
                "no option {name}: there are --encodings, --packages, --http, --write, --keep, \
                 --resume"
            ),
        }
    }
    if options.encodings.is_empty() {
        options.encodings = Encoding::ALL.to_vec();
    }
    Ok(options)
}

/// Recordings by whose packages send them.
type Groups = BTreeMap<Group, Vec<Recording>>;

fn recordings(lab: &Lab, files: &[String]) -> Result<Groups> {
    let listed = lab.files()?;
    let mut groups = Groups::new();
    for file in files {
        let listed = listed.contains(file);
        let recording = Recording::load(lab, file, listed)?;
        let group = Group::of(listed, &recording.exchanges);
        groups.entry(group).or_default().push(recording);
    }
    Ok(groups)
}

/// Whether there was no bug.
fn run() -> Result<bool> {
    let options = options()?;
    let lab = Lab::find().context("no recordings beside this repository (shared/lab)")?;
    let files = lab.all_files()?;
    let groups = recordings(&lab, &files)?;
    let server = Server::start(&lab, &files)?
        .context("the lab's environment `replay` is not set up (setup.sh replay)")?;
    let wanted = |name: &str| {
        let names = options.packages.as_deref();
        names.is_none_or(|names| names.split(',').any(|n| n == name))
    };
    let (mut runs, mut missing) = (Vec::new(), Vec::new());
    let mut failed = 0;
    for package in PACKAGES.iter().filter(|p| wanted(p.environment)) {
        let recordings = groups.get(&package.group).map_or(&[][..], Vec::as_slice);
        for http in [Http::One, Http::Two] {
            if http == Http::Two && (options.http1 || !package.http2) {
                continue;
            }
            let begun = Instant::now();
            let name = package.environment;
            let keep = (options.keep.as_deref(), options.resume);
            let encodings = &options.encodings;
            let run = replayed::run(&server, (*package, http), encodings, recordings, keep);
            let run = match run {
                Ok(Some(run)) => run,
                Ok(None) => {
                    missing.push(name.to_owned());
                    continue;
                }
                // What the others say is worth having all the same: it takes an hour.
                Err(error) => {
                    eprintln!("error: {name}, HTTP/{}: {error:#}", http.name());
                    failed += 1;
                    continue;
                }
            };
            let seconds = begun.elapsed().as_secs_f64();
            println!("{}, HTTP/{} ({seconds:.0} s)", run.sdk, http.name());
            for pass in &run.passes {
                let coded = pass.coded;
                let text = pass.report.text();
                println!("  {} ({coded} coded): {text}", pass.encoding.name());
            }
            for warning in &run.warnings {
                println!("the agent says: {warning}");
            }
            runs.push(run);
        }
    }
    if failed > 0 {
        bail!("{failed} of the runs above came to nothing: the page would not be whole");
    }
    missing.dedup();
    let page = document::page(&runs, &missing)?;
    match options.write {
        Some(file) => std::fs::write(&file, page)
            .with_context(|| format!("cannot write {}", file.display()))?,
        None => println!("{page}"),
    }
    let passes = runs.iter().flat_map(|run| &run.passes);
    Ok(passes.map(|p| p.report.bugs.len()).sum::<usize>() == 0)
}
