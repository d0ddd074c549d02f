//! Builds the release binary with the eBPF programs in it.

use crate::cmd::Cmd;
use crate::progress::step;
use crate::{ebpf, paths, setup};
use anyhow::Result;
use std::path::PathBuf;

/// Builds everything; returns the binary's path.
pub(crate) fn run() -> Result<PathBuf> {
    setup::for_building()?;
    step("building the eBPF programs", || ebpf::build(true))?;
    step("building genspan (a few minutes the first time)", || {
        Cmd::cargo()
            .args(["build", "--release", "--package", "genspan"])
            .logged("build")
    })?;
    Ok(paths::binary())
}
