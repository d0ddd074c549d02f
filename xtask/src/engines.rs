//! Real inference servers: what the agent takes their processes for, and the spans against what they count
//! themselves.

use crate::correctness::lab_home;
use crate::{build, host, paths};
use anyhow::{Result, bail};
use std::process::ExitCode;

/// The servers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Vllm,
    /// vLLM of an older version, with its V0 engine.
    VllmV0,
    Sglang,
}

impl Engine {
    /// Its name in the lab, and how it is set up there.
    const fn facts(self) -> (&'static str, &'static str) {
        match self {
            Self::Vllm => (
                "vllm",
                "run `setup.sh vllm` (6 GB) in shared/lab, beside this repository",
            ),
            Self::VllmV0 => ("vllm-v0", "docs/serving.md says how (6 GB)"),
            Self::Sglang => (
                "sglang",
                "run `setup.sh sglang` (10 GB) in shared/lab, beside this repository",
            ),
        }
    }
}

/// Starts the server, traces it under load and compares.
pub(crate) fn run(engine: Engine) -> Result<ExitCode> {
    let (name, remedy) = engine.facts();
    let home = lab_home();
    let lab = paths::root().join("../shared/lab");
    let python = home.join("venvs").join(name).join("bin/python");
    if !python.is_file() || !lab.join("serve.sh").is_file() {
        bail!("{name} is not set up: {remedy}");
    }
    let binary = build::run()?;
    host::privileged(&python, &[("LAB_HOME", home.as_os_str())])?
        .arg(paths::python_programs().join("engine_metrics.py"))
        .arg(name)
        .arg(&binary)
        .arg(&lab)
        .run()?;
    Ok(ExitCode::SUCCESS)
}
