//! Where things are.

use std::path::{Path, PathBuf};

/// The repository.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// What the tasks make, apart from what cargo makes.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Where cargo puts what it builds in this workspace.
pub(crate) fn cargo_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(target, |dir| root().join(dir))
}

/// The eBPF object that the agent embeds.
pub(crate) fn bpf_object() -> PathBuf {
    target().join("bpf/genspan.o")
}

/// The release binary.
pub(crate) fn binary() -> PathBuf {
    cargo_target().join("release/genspan")
}

/// The Python programs of demo and tests.
pub(crate) fn python_programs() -> PathBuf {
    root().join("tests/python")
}

/// Python environments of demo and tests.
pub(crate) fn venvs() -> PathBuf {
    target().join("venv")
}

/// A path as it is shown: from the current directory when it is below, else whole.
pub(crate) fn shown(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_else(|_| root());
    path.strip_prefix(&current)
        .unwrap_or(path)
        .display()
        .to_string()
}
