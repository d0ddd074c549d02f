//! `cargo xtask vm`: genspan on kernels of several ages, each in a virtual machine.

mod console;
mod cpio;
mod image;
mod kernels;
mod machine;
mod page;

use crate::progress::{heading, note, step};
use crate::{build, certs, paths, python};
use anyhow::{Context as _, Result, bail};
use console::{Check, END, Verdict};
use kernels::{KERNELS, Kernel};
use machine::End;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to try.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Kernels, by version (5.10, 6.1, 6.12, newest) or suite of Debian [default: all]
    kernels: Vec<String>,

    /// A genspan that is built already [default: the release binary, built when it is not new]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    /// Fetch the kernels anew: the suites may have newer ones
    #[arg(long)]
    fetch: bool,

    /// Look at these only, and keep the others' results of before: doctor, programs, tls, tls-perf,
    /// stacks, function, langchain, sockets-libc, sockets-fentry, pieces-fentry, sockets-tracepoints,
    /// sockets-syscalls; or cost, alone: the instructions that reading plain sockets takes
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    only: Vec<String>,

    /// Seconds that one machine may take
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    limit: u64,
}

/// The check that counts instructions.
const COST: &str = "cost";

/// Where all of it is kept.
fn dir() -> PathBuf {
    paths::target().join("vm")
}

/// The subcommand.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the kernels and the programs in the machines are for x86-64");
    }
    let chosen: Vec<Kernel> = if options.kernels.is_empty() {
        KERNELS.to_vec()
    } else {
        let named = options.kernels.iter().map(|name| Kernel::named(name));
        named.collect::<Result<_>>()?
    };
    let counted = options.only.iter().any(|check| check == COST);
    if counted && options.only.len() > 1 {
        bail!("{COST} goes alone: it takes longer than all others");
    }
    fs::create_dir_all(dir()).with_context(|| paths::shown(&dir()))?;
    let binary = match &options.binary {
        Some(file) => file.clone(),
        None => build::run()?,
    };
    machine::ensure()?;
    let python = python::system().context("no Python with TLS at /usr/bin/python3")?;
    let certs = certs::ensure()?;
    let image = dir().join("image.cpio");
    step("writing what the machines run", || {
        image::write(&image, &binary, &python, &certs)
    })?;
    let mut fine = true;
    for kernel in chosen {
        fine &= one(kernel, &image, options)?;
    }
    page::write()?;
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Tries one kernel; whether all went well.
fn one(kernel: Kernel, image: &std::path::Path, options: &Options) -> Result<bool> {
    let file = kernel.image(options.fetch)?;
    let what = format!("Linux {} (Debian {})", kernel.version, kernel.suite);
    let words = if options.only.is_empty() {
        String::new()
    } else {
        format!("genspan.only={}", options.only.join(","))
    };
    let run = step(&format!("running {what}"), || {
        machine::run(kernel.suite, &file, image, &words, options.limit)
    })?;
    let text = fs::read(&run.console).with_context(|| paths::shown(&run.console))?;
    let checks = console::checks(&String::from_utf8_lossy(&text));
    heading(&format!("{what}, {} s", run.seconds));
    for check in &checks {
        tell(check);
    }
    let ended = checks.iter().any(|check| check.check == END);
    if let End::TooLong(seconds) = run.end {
        note(&format!(
            "ended after {seconds} s: it hung, or the machine was slow (--limit); {} has its console",
            paths::shown(&run.console)
        ));
    } else if !ended {
        note(&format!(
            "it ended before it was done: {} has its console",
            paths::shown(&run.console)
        ));
    }
    page::keep(kernel, &checks)?;
    Ok(ended && checks.iter().all(|check| check.verdict != Verdict::Failed))
}

/// Prints a check, where it has something to tell.
fn tell(check: &Check) {
    let mark = match check.verdict {
        Verdict::Ok => "ok     ",
        Verdict::Poor => "without",
        Verdict::Failed => "FAILED ",
    };
    if check.check != END {
        println!(
            "{mark}  {:<22} {:>4} s  {}",
            check.check, check.seconds, check.found
        );
        for line in &check.said {
            println!("         {:<22}         {line}", "");
        }
    }
}
