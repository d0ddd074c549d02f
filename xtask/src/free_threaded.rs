//! A CPython without the GIL (`Py_GIL_DISABLED`) for the live tests. No suite of Debian has one; the package
//! `freeze-core`, from which frozen programs are made, has the interpreter of one as an executable, with
//! its extension modules and OpenSSL. The rest of the standard library is that of Debian's Python of the
//! same version ([`crate::debian`]): it is the same source.

use crate::{debian, paths, venv};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// The package: with it comes 3.14.9.
const PACKAGE: &str = "freeze-core==0.8.1";

/// What of it the interpreter is, below its `bases`.
const BASE: &str = "console-cpython-314t-x86_64-linux-gnu";

/// What the executable runs of its name: the program that it is given, as any Python would.
const RUNS: &str = "import os, runpy, sys

def run(name):
    del sys.argv[0]
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
    runpy.run_path(sys.argv[0], run_name='__main__')
";

/// The environment; tests know it by this name.
fn root() -> PathBuf {
    paths::venvs().join("free-threaded")
}

/// Its interpreter.
fn program(root: &Path) -> PathBuf {
    root.join("bin/python3.14t")
}

/// Whether it is there, and its library where it looks for that.
pub(crate) fn is_ready() -> bool {
    let library = root().join("bin/lib/python3.14/types.py");
    program(&root()).is_file() && library.is_file()
}

/// Makes it.
pub(crate) fn make() -> Result<()> {
    if !debian::is_ready() {
        bail!("Debian's Python, whose standard library it uses, is not there");
    }
    let parts = paths::target().join("free-threaded");
    for dir in [&parts, &root()] {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| paths::shown(dir))?;
        }
    }
    venv::install_built_for(("3.14", "cp314t"), PACKAGE, &parts)?;
    let made = parts.join("made");
    let lib = made.join("bin/lib");
    fs::create_dir_all(made.join("bin")).with_context(|| paths::shown(&made))?;
    let moved = |from: &str, to: &Path| {
        let from = parts.join(from);
        fs::rename(&from, to).with_context(|| paths::shown(&from))
    };
    // Extension modules look for OpenSSL two folders above theirs.
    moved("freeze_core/lib", &lib)?;
    moved("freeze_core.libs", &made.join("freeze_core.libs"))?;
    let program = program(&made);
    moved(&format!("freeze_core/bases/{BASE}"), &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    // The executable's first folder of modules is the one below its `lib` that this file names.
    fs::write(lib.join("library.dat"), "python3.14")?;
    symlink(debian::library(), lib.join("python3.14"))?;
    fs::write(lib.join("__init__python3.py"), RUNS)?;
    fs::rename(&made, root()).with_context(|| paths::shown(&root()))?;
    fs::remove_dir_all(&parts).with_context(|| paths::shown(&parts))
}
