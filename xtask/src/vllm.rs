//! The spans of a real vLLM against what it counts itself.

use crate::correctness::lab_home;
use crate::{build, host, paths};
use anyhow::{Result, bail};
use std::process::ExitCode;

/// Starts vLLM, traces it under load and compares.
pub(crate) fn run() -> Result<ExitCode> {
    let home = lab_home();
    let lab = paths::root().join("../shared/lab");
    let python = home.join("venvs/vllm/bin/python");
    if !python.is_file() || !lab.join("serve.sh").is_file() {
        bail!(
            "vLLM is not set up: run `setup.sh vllm` (6 GB) in shared/lab, beside this repository"
        );
    }
    let binary = build::run()?;
    host::privileged(&python, &[("LAB_HOME", home.as_os_str())])?
        .arg(paths::python_programs().join("vllm_metrics.py"))
        .arg(&binary)
        .arg(&lab)
        .run()?;
    Ok(ExitCode::SUCCESS)
}
