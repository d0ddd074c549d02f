//! Real backends take genspan's spans, and are asked what they have stored.

use crate::progress::step;
use crate::venv::{self, Environment, Python, environment};
use crate::{build, certs, host, paths};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::ExitCode;

/// The backends, each in an environment of its own: their dependencies do not go together.
const BACKENDS: [Environment; 2] = [
    environment("phoenix", Python::Version((3, 12)), &["arize-phoenix"]),
    environment("mlflow", Python::Version((3, 12)), &["mlflow"]),
];

/// The environment that the traced program runs in, one of the live tests'.
const PROGRAM: &str = "web312";

/// What to compare.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A genspan that is built already [default: build one].
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
}

/// The subcommand.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary)
            .ok()
            .filter(|file| file.is_file())
            .with_context(|| format!("no such file: {}", binary.display()))?,
        None => build::run()?,
    };
    let Some(program) = venv::TESTS.iter().find(|e| e.name == PROGRAM) else {
        bail!("the table of environments has no {PROGRAM}");
    };
    for environment in BACKENDS.iter().chain([program]) {
        let python = environment.interpreter()?;
        if !environment.is_ready(&python) {
            step(
                &format!("making the Python environment {}", environment.name),
                || environment.make(&python),
            )?;
        }
    }
    let certs = certs::ensure()?;
    // It makes a network of its own, for which it takes root; genspan needs that too. Each of its
    // waits has an end, after which it ends what it started.
    let status = host::privileged(&venv::interpreter_of(BACKENDS[0].name), &[])?
        .arg(paths::python_programs().join("backends/run.py"))
        .arg(&binary)
        .arg(&certs.dir)
        .arg(paths::venvs())
        .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Their environments' names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    BACKENDS.iter().map(|environment| environment.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_are_there_and_no_others_names() {
        assert!(venv::TESTS.iter().any(|e| e.name == PROGRAM));
        for backend in &BACKENDS {
            assert!(venv::TESTS.iter().all(|e| e.name != backend.name));
        }
    }
}
