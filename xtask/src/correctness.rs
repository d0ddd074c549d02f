//! Spans of recorded traffic against what they must be: all recordings, all encodings, and the
//! page that tells it.

use crate::cmd::Cmd;
use crate::progress::step;
use crate::{build, host, paths};
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the SDK's HTTP client needs to accept zstd before Python 3.14; the lab does not have it.
const ZSTD: &str = "backports.zstd";

/// The program that compares.
const PROGRAM: &str = "correctness";

/// What to compare.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How answers are sent, one run each: none, gzip, br, zstd, bytes [default: all].
    #[arg(long, value_name = "NAMES")]
    encodings: Option<String>,
    /// Only so many recordings.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// The subcommand.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let binary = build::run()?;
    step("building the comparison", || {
        Cmd::cargo()
            .args(["build", "--package", "genspan-tests", "--bin", PROGRAM])
            .logged("build-correctness")
    })?;
    let home = lab_home();
    let packages = packages(&home)?;
    let program = paths::cargo_target().join("debug").join(PROGRAM);
    let mut command = host::privileged(
        &program,
        &[
            ("GENSPAN_BIN", binary.as_os_str()),
            ("GENSPAN_LAB_PACKAGES", packages.as_os_str()),
            ("LAB_HOME", home.as_os_str()),
        ],
    )?;
    if let Some(encodings) = &options.encodings {
        command = command.arg("--encodings").arg(encodings);
    }
    if let Some(limit) = options.limit {
        command = command.arg("--limit").arg(limit.to_string());
    }
    // A part is shown; only all of it is the page.
    let page = paths::root().join("docs/correctness.md");
    if options.encodings.is_none() && options.limit.is_none() {
        command = command.arg("--write").arg(&page);
    }
    let status = command.status()?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the lab keeps its environments.
fn lab_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| OsString::from("/")));
    std::env::var_os("LAB_HOME").map_or_else(|| home().join(".cache/genspan-lab"), PathBuf::from)
}

/// A directory with the packages that the lab's environment lacks.
fn packages(home: &std::path::Path) -> Result<PathBuf> {
    let dir = paths::target().join("correctness/packages");
    if dir.join("backports/zstd").is_dir() {
        return Ok(dir);
    }
    let uv = home.join("venvs/uv/bin/uv");
    if !uv.is_file() {
        bail!(
            "the recordings' environment is not set up: run `setup.sh replay` in shared/lab, beside \
             this repository"
        );
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    step("installing what the client needs for zstd", || {
        Cmd::new(&uv)
            .args(["pip", "install", "--quiet", "--python"])
            .arg(home.join("venvs/replay/bin/python"))
            .arg("--target")
            .arg(&dir)
            .arg(ZSTD)
            .env("UV_CACHE_DIR", home.join("uv-cache"))
            .logged("correctness-packages")
    })?;
    Ok(dir)
}
