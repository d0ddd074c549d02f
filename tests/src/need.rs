//! What a test needs of the machine. What is missing is named; the test is skipped then, or fails
//! where `CI=true` says that everything must be there.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Says that a test is skipped, and why.
///
/// # Errors
///
/// Under `CI=true`, where nothing may be skipped.
pub fn missing<T>(what: &str) -> Result<Option<T>> {
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        bail!("missing: {what}");
    }
    #[expect(
        clippy::print_stderr,
        reason = "a skipped test is told to who runs the tests"
    )]
    {
        eprintln!("SKIP: {what}");
    }
    Ok(None)
}

/// Root: eBPF programs are loaded.
///
/// # Errors
///
/// As [`missing`].
pub fn root() -> Result<Option<()>> {
    if nix::unistd::geteuid().is_root() {
        return Ok(Some(()));
    }
    missing("root (run the tests with `cargo xtask test`, or with sudo)")
}

/// The interpreter of one of the environments that `cargo xtask setup` makes.
///
/// # Errors
///
/// As [`missing`].
pub fn environment(name: &str) -> Result<Option<PathBuf>> {
    let python = environments().join(name).join("bin/python");
    if python.is_file() {
        return Ok(Some(python));
    }
    missing(&format!(
        "the Python environment `{name}` (cargo xtask setup)"
    ))
}

/// CPython of this version: an environment's, pyenv's, or one on PATH.
///
/// # Errors
///
/// As [`missing`].
pub fn python(minor: u32) -> Result<Option<PathBuf>> {
    let environment = environments()
        .join(format!("py3{minor}"))
        .join("bin/python");
    let found = std::iter::once(environment)
        .chain(pyenv(minor))
        .chain(on_path(&format!("python3.{minor}")))
        .find(|path| path.is_file());
    match found {
        Some(path) => Ok(Some(path)),
        None => missing(&format!("CPython 3.{minor} (pyenv install 3.{minor})")),
    }
}

/// The root directory with Debian's CPython of this version, for `chroot`.
///
/// # Errors
///
/// As [`missing`].
pub fn debian_python(minor: u32) -> Result<Option<PathBuf>> {
    let root = environments().join(format!("debian3{minor}"));
    if root.join(format!("usr/bin/python3.{minor}")).is_file() {
        return Ok(Some(root));
    }
    missing(&format!(
        "Debian's CPython 3.{minor} in a directory of its own (cargo xtask setup --tests)"
    ))
}

/// The same, when this module is there too, which is not of Debian.
///
/// # Errors
///
/// As [`missing`].
pub fn debian_python_with(minor: u32, module: &str) -> Result<Option<PathBuf>> {
    let Some(root) = debian_python(minor)? else {
        return Ok(None);
    };
    let place = format!("usr/local/lib/python3.{minor}/dist-packages");
    if root.join(place).join(module).is_dir() {
        return Ok(Some(root));
    }
    missing(&format!(
        "{module} for Debian's CPython 3.{minor} (cargo xtask setup --tests)"
    ))
}

/// The Python with OpenSSL in its executable and no symbols.
///
/// # Errors
///
/// As [`missing`].
pub fn static_python() -> Result<Option<PathBuf>> {
    let path = environments().join("static/bin/python3");
    if path.is_file() {
        return Ok(Some(path));
    }
    missing("the Python with OpenSSL in its executable (cargo xtask setup --tests)")
}

/// The Python without the GIL (3.14): it takes a program and its arguments, and no options.
///
/// # Errors
///
/// As [`missing`].
pub fn free_threaded_python() -> Result<Option<PathBuf>> {
    let path = environments().join("free-threaded/bin/python3.14t");
    if path.is_file() {
        return Ok(Some(path));
    }
    missing("the Python without the GIL (cargo xtask setup --tests)")
}

/// The system's own Python.
///
/// # Errors
///
/// As [`missing`].
pub fn system_python() -> Result<Option<PathBuf>> {
    let path = PathBuf::from("/usr/bin/python3");
    if path.is_file() {
        Ok(Some(path))
    } else {
        missing("the system's /usr/bin/python3")
    }
}

/// A command on PATH.
///
/// # Errors
///
/// As [`missing`].
pub fn command(name: &str) -> Result<Option<PathBuf>> {
    match on_path(name) {
        Some(path) => Ok(Some(path)),
        None => missing(&format!("the command `{name}`")),
    }
}

/// `helm`: the one that `cargo xtask setup --tests` fetched, or the user's own.
///
/// # Errors
///
/// As [`missing`].
pub fn helm() -> Result<Option<PathBuf>> {
    let fetched = environments().join("kubernetes/bin/helm");
    if fetched.is_file() {
        return Ok(Some(fetched));
    }
    match on_path("helm") {
        Some(path) => Ok(Some(path)),
        None => missing("helm (cargo xtask setup --tests)"),
    }
}

/// A Python with the standard library at least: for the stand-in, and for programs that need no
/// package.
///
/// # Errors
///
/// As [`missing`].
pub fn any_python() -> Result<Option<PathBuf>> {
    for name in ["clients", "sdk-new"] {
        let python = environments().join(name).join("bin/python");
        if python.is_file() {
            return Ok(Some(python));
        }
    }
    system_python()
}

/// The agent under test.
///
/// # Errors
///
/// When it was not built.
pub fn agent() -> Result<PathBuf> {
    let path = std::env::var_os("GENSPAN_BIN").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(target, PathBuf::from);
            target.join("release/genspan")
        },
        PathBuf::from,
    );
    anyhow::ensure!(
        path.is_file(),
        "no agent at {} (cargo xtask test builds it)",
        path.display()
    );
    Ok(path)
}

fn target() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).join("target")
}

fn environments() -> PathBuf {
    std::env::var_os("GENSPAN_VENVS").map_or_else(|| target().join("venv"), PathBuf::from)
}

fn pyenv(minor: u32) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv"));
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or(home)?;
    let prefix = format!("3.{minor}.");
    std::fs::read_dir(root.join("versions"))
        .ok()?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path().join("bin/python"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
