//! Spans of recorded traffic against what they must be: all recordings, packages, encodings and
//! versions of HTTP, and the page that tells it.

use crate::cmd::Cmd;
use crate::progress::{note, step};
use crate::{build, host, packages, paths};
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The program that compares.
const PROGRAM: &str = "correctness";

/// What to compare.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How answers are sent: none, gzip, br, zstd, bytes [default: all].
    #[arg(long, value_name = "NAMES")]
    encodings: Option<String>,
    /// Only these environments of packages, as target/venv has them: lab-openai,lab-boto-old.
    #[arg(long, value_name = "NAMES")]
    packages: Option<String>,
    /// Only HTTP/1.1.
    #[arg(long)]
    http1: bool,
    /// Goes on where an earlier one was broken off: what was sent with the same agent is not sent
    /// again.
    #[arg(long)]
    resume: bool,
}

impl Options {
    fn chooses(&self) -> bool {
        self.encodings.is_some() || self.packages.is_some() || self.http1
    }
}

/// The subcommand.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let home = lab_home();
    if !home.join("venvs/replay/bin/python").is_file() {
        bail!(
            "the recordings' environment is not set up: run `setup.sh replay` in shared/lab, beside \
             this repository"
        );
    }
    let binary = build::run()?;
    step("building the comparison", || {
        Cmd::cargo()
            .args(["build", "--package", "genspan-tests", "--bin", PROGRAM])
            .logged("build-correctness")
    })?;
    let wanted = |name: &str| {
        let names = options.packages.as_deref();
        names.is_none_or(|names| names.split(',').any(|n| n == name))
    };
    for line in packages::make(wanted) {
        note(&line);
    }
    let venvs = paths::venvs();
    let program = paths::cargo_target().join("debug").join(PROGRAM);
    let mut command = host::privileged(
        &program,
        &[
            ("GENSPAN_BIN", binary.as_os_str()),
            ("GENSPAN_VENVS", venvs.as_os_str()),
            ("LAB_HOME", home.as_os_str()),
        ],
    )?;
    if let Some(encodings) = &options.encodings {
        command = command.arg("--encodings").arg(encodings);
    }
    if let Some(packages) = &options.packages {
        command = command.arg("--packages").arg(packages);
    }
    if options.http1 {
        command = command.args(["--http", "1.1"]);
    }
    let keep = if options.resume { "--resume" } else { "--keep" };
    command = command
        .arg(keep)
        .arg(paths::cargo_target().join("correctness"));
    // A part is shown; only all of it is the page.
    if !options.chooses() {
        let page = paths::root().join("docs/correctness.md");
        command = command.arg("--write").arg(&page);
    }
    let status = command.status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where the lab keeps its environments.
pub(crate) fn lab_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| OsString::from("/")));
    std::env::var_os("LAB_HOME").map_or_else(|| home().join(".cache/genspan-lab"), PathBuf::from)
}
