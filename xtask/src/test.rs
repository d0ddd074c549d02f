//! All tests: unit, pure core, integration, live, fuzz.

use crate::certs::{self, Certs};
use crate::cmd::{self, Cmd};
use crate::progress::{heading, note, step};
use crate::provider::Provider;
use crate::summary::{Counts, Summary};
use crate::{backends, build, compare, fuzz, host, package, paths, setup, venv};
use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The package of the integration tests. Those of its test programs whose name begins with `live`
/// load real eBPF programs.
const PACKAGE: &str = "genspan-tests";

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out the tests that load real eBPF programs and need root and Python environments.
    #[arg(long)]
    no_live: bool,
    /// Seconds for each fuzz target; 0 leaves fuzzing out.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    fuzz_seconds: u32,
    /// Also what takes long and much room: what is handed to users, real backends, and all sample
    /// applications beside in-process instrumentations.
    #[arg(long)]
    whole: bool,
    /// Only tests, and fuzz targets, whose name contains this.
    filter: Option<String>,
}

/// The subcommand.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let strict = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let mut run = Run {
        options,
        summary: Summary::default(),
        env: Vec::new(),
    };
    if !options.no_live {
        for missing in setup::for_tests()? {
            note(&missing);
            run.summary.skipped("live environments", &missing);
        }
    }
    let binary = build::run()?;
    let certs = certs::ensure()?;
    run.env = vec![
        ("GENSPAN_BIN", binary.clone().into()),
        ("GENSPAN_VENVS", paths::venvs().into()),
        ("GENSPAN_CERTS", certs.dir.clone().into()),
    ];

    run.cargo("unit tests", &["--workspace", "--exclude", PACKAGE], &[])?;
    run.cargo(
        "pure core",
        &["--package", "genspan", "--no-default-features"],
        &[],
    )?;
    let programs = test_programs()?;
    let (live, replay): (Vec<_>, Vec<_>) =
        programs.iter().partition(|name| name.starts_with("live"));
    let mut args = vec!["--package", PACKAGE, "--lib"];
    args.extend(replay.iter().flat_map(|name| ["--test", name.as_str()]));
    run.cargo("integration tests", &args, &[])?;
    run.stand_in(&certs)?;
    run.live(&live)?;
    if options.whole {
        run.whole(&binary);
    }
    run.fuzz()?;

    println!("\n{}", run.summary.text(strict));
    Ok(if run.summary.is_good(strict) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Set where the disk is small and nothing is built a second time: what the tests were built from goes before the
/// fuzz targets are built, which take as much again, and so does what only [`Run::whole`] took.
const LEAN: &str = "GENSPAN_LEAN";

struct Run<'a> {
    options: &'a Options,
    summary: Summary,
    /// What tests find things by.
    env: Vec<(&'static str, std::ffi::OsString)>,
}

impl Run<'_> {
    /// The live tests are worth as much as the stand-in: it is checked with the real SDK.
    fn stand_in(&mut self, certs: &Certs) -> Result<()> {
        let name = "provider stand-in";
        let python = venv::interpreter_of("sdk-new");
        if self.options.filter.is_some() || !python.is_file() {
            return Ok(());
        }
        let provider = Provider::start(&python, certs)?;
        let command = Cmd::new(&python)
            .arg(paths::python_programs().join("check_provider.py"))
            .arg(provider.port.to_string())
            .arg(certs.authority());
        self.counted(name, command)
    }

    fn live(&mut self, programs: &[&String]) -> Result<()> {
        let refusal = if self.options.no_live {
            Some("--no-live".to_owned())
        } else {
            no_live_here()
        };
        for program in programs {
            let name = format!("live tests: {program}");
            match &refusal {
                Some(why) => self.summary.skipped(&name, why),
                None => self.cargo(
                    &name,
                    &["--package", PACKAGE, "--test", program.as_str()],
                    &["--test-threads=1"],
                )?,
            }
        }
        Ok(())
    }

    /// What other tasks do. Each is there or fails: nothing of this is left out in silence.
    fn whole(&mut self, binary: &Path) {
        let backends = backends::Options {
            binary: Some(binary.to_owned()),
        };
        let compare = compare::Options {
            binary: Some(binary.to_owned()),
            only: None,
            write: false,
        };
        self.task("real backends", || backends::run(&backends));
        self.task("comparison with in-process instrumentations", || {
            compare::run(&compare)
        });
        self.task("packages", || {
            package::run(&package::Options { no_deb: false }).map(|()| ExitCode::SUCCESS)
        });
        if std::env::var_os(LEAN).is_some() {
            // What cannot be removed only takes room.
            for directory in [package::built()].into_iter().chain(environments()) {
                std::fs::remove_dir_all(directory).ok();
            }
        }
    }

    /// Another task as one test.
    fn task(&mut self, name: &str, run: impl FnOnce() -> Result<ExitCode>) {
        if self.options.filter.is_some() {
            return;
        }
        heading(&format!("\n{name}"));
        let start = Instant::now();
        let passed = match run() {
            Ok(code) => code == ExitCode::SUCCESS,
            Err(error) => {
                note(&format!("{error:#}"));
                false
            }
        };
        let counts = Counts {
            passed: u64::from(passed),
            failed: u64::from(!passed),
        };
        self.summary.ran(name, passed, counts, start.elapsed());
    }

    fn fuzz(&mut self) -> Result<()> {
        let filter = self.options.filter.as_deref().unwrap_or_default();
        let mut targets = fuzz::targets()?;
        targets.retain(|target| target.contains(filter));
        let refusal = if self.options.fuzz_seconds == 0 {
            Some("--fuzz-seconds 0")
        } else if !fuzz::has_nightly() {
            Some("needs a nightly compiler: rustup toolchain install nightly")
        } else if !fuzz::has_cargo_fuzz() {
            Some("needs cargo-fuzz: cargo install cargo-fuzz")
        } else {
            None
        };
        if targets.is_empty() {
            return Ok(());
        }
        heading("\nfuzzing");
        if let Some(why) = refusal {
            note(why);
            self.summary.skipped("fuzzing", why);
            return Ok(());
        }
        if std::env::var_os(LEAN).is_some() {
            // Nothing that is built there is run any more. What cannot be removed only takes room.
            std::fs::remove_dir_all(paths::cargo_target().join("debug/deps")).ok();
        }
        if let Err(error) = step("building the fuzz targets", fuzz::build) {
            note(&format!("{error:#}"));
            self.summary.ran(
                "fuzzing",
                false,
                Counts {
                    passed: 0,
                    failed: 1,
                },
                Duration::ZERO,
            );
            return Ok(());
        }
        let seconds = self.options.fuzz_seconds;
        let at_once = std::thread::available_parallelism().map_or(1, NonZero::get);
        let what = format!(
            "{} targets for {seconds} s each, {at_once} at a time",
            targets.len()
        );
        let ran = step(&what, || {
            Ok(each(&targets, at_once, |t| fuzz::run(t, seconds)))
        })?;
        for (target, result, time) in ran {
            if let Err(error) = &result {
                note(&format!("{error:#}"));
            }
            let counts = Counts {
                passed: u64::from(result.is_ok()),
                failed: u64::from(result.is_err()),
            };
            let name = format!("fuzz: {target}");
            self.summary.ran(&name, result.is_ok(), counts, time);
        }
        Ok(())
    }

    /// Runs `cargo test`.
    fn cargo(&mut self, name: &str, args: &[&str], test_args: &[&str]) -> Result<()> {
        let mut command = Cmd::cargo()
            .args(["test", "--quiet", "--no-fail-fast"])
            .args(args);
        if std::io::stdout().is_terminal() {
            command = command.args(["--color", "always"]);
        }
        for (name, value) in &self.env {
            command = command.env(name, value);
        }
        if name.starts_with("live") && !host::is_root() {
            command = command.env(runner_variable(), "sudo -E");
        }
        command = command.args(&self.options.filter).arg("--").args(test_args);
        self.counted(name, command)
    }

    /// Runs a command that ends with the counts of its tests, and shows its output.
    fn counted(&mut self, name: &str, command: Cmd) -> Result<()> {
        heading(&format!("\n{name}"));
        let start = Instant::now();
        let mut child = command.spawn(|c| {
            c.stdout(Stdio::piped());
        })?;
        let mut counts = Counts::default();
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = line.context("cannot read the output of the tests")?;
                let line = String::from_utf8_lossy(&line);
                counts.read(&line);
                println!("{line}");
            }
        }
        let status = child.wait().context("cannot wait for the tests")?;
        self.summary
            .ran(name, status.success(), counts, start.elapsed());
        Ok(())
    }
}

/// The environments that only what takes long and much room has.
fn environments() -> impl Iterator<Item = PathBuf> {
    let names = backends::names().chain(compare::names());
    names.map(|name| paths::venvs().join(name))
}

/// Does something with each target, so many at a time; with what came of it and how long it took, in
/// the order of the targets.
fn each<T: Send>(
    targets: &[String],
    at_once: usize,
    work: impl Fn(&str) -> T + Sync,
) -> Vec<(String, T, Duration)> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let result = work(target);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((target.clone(), result, start.elapsed()));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    done
}

/// Why live tests cannot run here, if so.
fn no_live_here() -> Option<String> {
    if host::is_root() {
        return None;
    }
    let quiet_sudo = Cmd::new("sudo").args(["-n", "true"]).read().is_some();
    if quiet_sudo || (cmd::find("sudo").is_some() && std::io::stdin().is_terminal()) {
        return None;
    }
    Some("needs root: run `cargo xtask test` as root, or allow sudo".to_owned())
}

/// The variable with which cargo is told how to run test programs on this machine.
fn runner_variable() -> String {
    let host = Cmd::new("rustc")
        .arg("-vV")
        .read()
        .and_then(|text| {
            text.lines()
                .find_map(|l| l.strip_prefix("host: ").map(str::to_owned))
        })
        .unwrap_or_default();
    format!(
        "CARGO_TARGET_{}_RUNNER",
        host.to_uppercase().replace('-', "_")
    )
}

/// The test programs of the integration tests' package.
fn test_programs() -> Result<Vec<String>> {
    let text = Cmd::cargo()
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .read()
        .context("`cargo metadata` failed: is Cargo.toml in order?")?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).context("`cargo metadata` did not print JSON")?;
    Ok(programs_in(&metadata))
}

fn programs_in(metadata: &serde_json::Value) -> Vec<String> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .filter(|package| package["name"] == PACKAGE)
        .flat_map(|package| list(&package["targets"]))
        .filter(|target| list(&target["kind"]).iter().any(|kind| kind == "test"))
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_is_worked_on_once() {
        let targets: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        for at_once in [1, 2, 8] {
            let done = each(&targets, at_once, str::to_uppercase);
            let done: Vec<_> = done.into_iter().map(|(t, r, _)| (t, r)).collect();
            let wanted = targets.iter().map(|t| (t.clone(), t.to_uppercase()));
            assert_eq!(done, wanted.collect::<Vec<_>>());
        }
    }

    #[test]
    fn test_programs_are_found_in_the_metadata() {
        let metadata = serde_json::json!({"packages": [
            {"name": "genspan", "targets": [{"kind": ["test"], "name": "other"}]},
            {"name": PACKAGE, "targets": [
                {"kind": ["lib"], "name": "genspan_tests"},
                {"kind": ["test"], "name": "live_sdk"},
                {"kind": ["test"], "name": "replay"},
            ]},
        ]});
        assert_eq!(programs_in(&metadata), ["live_sdk", "replay"]);
    }
}
