//! Short runs of the fuzz targets.

use crate::cmd::{self, Cmd};
use crate::{host, paths};
use anyhow::{Context as _, Result};
use std::fs;

/// The version of cargo-fuzz that is installed when there is none.
const VERSION: &str = "0.13.2";

/// Whether there is a nightly compiler: fuzzing needs its instrumentation.
pub(crate) fn has_nightly() -> bool {
    nightly().args(["rustc", "--version"]).read().is_some()
}

/// Whether cargo-fuzz is there.
pub(crate) fn has_cargo_fuzz() -> bool {
    cmd::find("cargo-fuzz").is_some()
}

/// Installs cargo-fuzz.
pub(crate) fn install() -> Result<()> {
    host::retried(|| {
        Cmd::cargo()
            .env("CARGO_TARGET_DIR", paths::target().join("cargo-fuzz"))
            .args(["install", "cargo-fuzz", "--version", VERSION, "--locked"])
            .timeout(900)
            .logged("cargo-fuzz")
    })
}

/// The names of the fuzz targets.
pub(crate) fn targets() -> Result<Vec<String>> {
    let dir = paths::root().join("fuzz/fuzz_targets");
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut names: Vec<String> = fs::read_dir(&dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".rs").map(str::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

/// Builds all targets.
pub(crate) fn build() -> Result<()> {
    fuzz().arg("build").logged("fuzz-build")
}

/// Runs a target for a fixed time; a finding is an error that shows it. With the same corpus it
/// starts the same way: a change is tested, not its luck. A fresh clone has the seeds alone; what a
/// run finds of interest stays in `fuzz/corpus`, which is not committed, and the next one begins
/// with it.
pub(crate) fn run(target: &str, seconds: u32) -> Result<()> {
    // What is found goes to the first directory; the seeds are only read.
    let corpus = paths::root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let seeds = paths::root().join("fuzz/seeds").join(target);
    fuzz()
        .args(["run", target])
        .arg(&corpus)
        .args(seeds.is_dir().then_some(&seeds))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args([
            "-seed=1",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ])
        .timeout(u64::from(seconds) + 300)
        .logged(&format!("fuzz-{target}"))
        .with_context(|| format!("fuzz target {target} has a finding (kept below fuzz/artifacts)"))
}

fn nightly() -> Cmd {
    Cmd::new("rustup")
        .env("RUSTUP_AUTO_INSTALL", "0")
        .env("PATH", cmd::path_with_cargo_bin())
        .args(["run", "nightly"])
}

fn fuzz() -> Cmd {
    nightly().args(["cargo", "fuzz"])
}
