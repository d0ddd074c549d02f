//! The static binary: what building it takes, and what must hold of it.

use crate::cmd::{self, Cmd};
use crate::ebpf;
use crate::progress::step;
use crate::{host, paths};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Linked without a C library of the host's: one binary for every distribution.
pub(super) const TARGET: &str = "x86_64-unknown-linux-musl";

/// The profile of `Cargo.toml` for what is handed to others.
const PROFILE: &str = "dist";

/// A C compiler for it: ring, zstd and mimalloc have parts in C.
const COMPILER: &str = "musl-gcc";

/// Rust's library and a C compiler for the static binary: found or installed.
pub(super) fn toolchain() -> Result<()> {
    let arch = std::env::consts::ARCH;
    ensure!(
        TARGET.starts_with(arch),
        "packages are of x86-64, as genspan is; this is {arch}"
    );
    if !has_library() {
        step("installing Rust's library for static binaries", || {
            Cmd::new("rustup")
                .args(["target", "add", TARGET])
                .timeout(300)
                .logged("rustup-target")
        })
        .with_context(|| {
            format!(
                "Rust's library for {TARGET} is missing: rustup target add {TARGET}, or your \
                     system's package of it"
            )
        })?;
    }
    if cmd::find(COMPILER).is_none() {
        if !host::can_apt() {
            bail!(
                "{COMPILER} is missing (on Debian and Ubuntu: apt-get install musl-tools; on Fedora: \
                 dnf install musl-gcc)"
            );
        }
        step("installing a C compiler for static binaries", || {
            host::apt_install(&["musl-tools"])
        })?;
    }
    Ok(())
}

/// Whether the compiler that cargo takes brings its library for the target.
fn has_library() -> bool {
    let dir = Cmd::new("rustc").args(["--print", "target-libdir", "--target", TARGET]);
    let dir = dir.read().map(PathBuf::from);
    dir.is_some_and(|dir| dir.is_dir())
}

/// Builds it.
pub(super) fn build() -> Result<PathBuf> {
    let remapped = ebpf::remapped();
    let rust: Vec<String> = remapped
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect();
    let c: Vec<String> = remapped
        .iter()
        .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
        .collect();
    Cmd::cargo()
        .args(["build", "--locked", "--package", "genspan"])
        .args(["--profile", PROFILE, "--target", TARGET])
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f"))
        .env("CC_x86_64_unknown_linux_musl", COMPILER)
        .env("CFLAGS_x86_64_unknown_linux_musl", c.join(" "))
        .logged("package-build")?;
    Ok(paths::cargo_target()
        .join(TARGET)
        .join(PROFILE)
        .join("genspan"))
}

/// What must hold of it: it runs, needs nothing of a host, and tells nothing of this machine. Gives the
/// version that it says it is.
pub(super) fn check(binary: &Path) -> Result<String> {
    let shown = paths::shown(binary);
    let said = Cmd::new(binary).arg("--version").read();
    let said = said.with_context(|| format!("{shown} does not run"))?;
    let version = said.strip_prefix("genspan ");
    let version = version.with_context(|| format!("a version was expected: {said}"))?;
    let linked = Cmd::new("ldd").arg(binary).read().unwrap_or_default();
    ensure!(
        !linked.contains("=>"),
        "{shown} is linked to what a host may lack:\n{linked}"
    );
    let bytes = fs::read(binary).with_context(|| shown.clone())?;
    for (path, _) in ebpf::remapped() {
        if let Some(place) = found(&bytes, &path) {
            bail!("{shown} names a path of this machine: {place}");
        }
    }
    Ok(version.to_owned())
}

/// What begins with a path, where one does; not for one of a single name, such as `/src`, which is a part of
/// others' as well.
fn found(bytes: &[u8], path: &Path) -> Option<String> {
    if path.components().count() < 3 {
        return None;
    }
    let wanted = [path.as_os_str().as_encoded_bytes(), b"/"].concat();
    let at = bytes
        .windows(wanted.len())
        .position(|w| w == wanted.as_slice())?;
    let rest = bytes.get(at..)?.get(..120.min(bytes.len() - at))?;
    let end = rest.iter().position(|b| !(b' '..=b'~').contains(b));
    let rest = rest.get(..end.unwrap_or(rest.len()))?;
    Some(String::from_utf8_lossy(rest).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_wherever_it_stands() {
        let path = Path::new("/home/me");
        let place = found(b"\0\x01/home/me/src/lib.rs\0more", path);
        assert_eq!(place.as_deref(), Some("/home/me/src/lib.rs"));
        assert_eq!(found(b"x/home/me/", path).as_deref(), Some("/home/me/"));
        for other in [&b"/home/mels/x"[..], b"/home/me", b"/home/m", b""] {
            assert_eq!(found(other, path), None);
        }
        assert_eq!(found(b"/crate/src/lib.rs", Path::new("/src")), None);
    }
}
