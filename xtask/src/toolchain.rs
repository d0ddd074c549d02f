//! The compiler for the eBPF side: a nightly with the sources of `core`, or a system rustc that
//! brings `core` for the BPF target along.

use crate::cmd::Cmd;
use crate::{host, linker};
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The target of the eBPF programs.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Says which compiler to take when both are there: `nightly` or `system`.
pub(crate) const CHOICE: &str = "GENSPAN_BPF_TOOLCHAIN";

/// The system's compiler.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// Packages that bring a system compiler with `core` for BPF, under the names in use.
const PACKAGES: [[&str; 2]; 2] = [
    ["rustc-web", "libstd-rust-web-dev-bpf"],
    ["rustc", "libstd-rust-dev-bpf"],
];

/// A compiler that can build the eBPF programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// rustup's nightly with rust-src: `core` is built along (`-Z build-std`).
    Nightly(Version),
    /// A system rustc with a prebuilt `core`.
    System(PathBuf, Version),
}

/// What a compiler says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// `1.96.0`
    pub(crate) release: String,
    /// Major version of its LLVM: the linker's must not be older.
    pub(crate) llvm: u32,
}

impl Compiler {
    /// Its version.
    pub(crate) fn version(&self) -> &Version {
        match self {
            Self::Nightly(version) | Self::System(_, version) => version,
        }
    }

    /// As it is shown.
    pub(crate) fn name(&self) -> String {
        let kind = match self {
            Self::Nightly(_) => "rustup's nightly",
            Self::System(..) => "the system's rustc",
        };
        format!("{kind} {}", self.version().release)
    }
}

fn rustup(args: &[&str]) -> Cmd {
    Cmd::new("rustup")
        .env("RUSTUP_AUTO_INSTALL", "0")
        .args(args)
}

fn choice() -> String {
    std::env::var(CHOICE).unwrap_or_default()
}

/// Compilers that are here, the preferred first.
pub(crate) fn compilers() -> Vec<Compiler> {
    let choice = choice();
    let mut found = Vec::new();
    if choice != "system" {
        found.extend(nightly());
    }
    if choice != "nightly" {
        found.extend(system());
    }
    found
}

/// The compiler to use: one that the linker here fits.
pub(crate) fn ready() -> Option<Compiler> {
    let linker = linker::installed()?;
    compilers()
        .into_iter()
        .find(|compiler| linker.fits(compiler.version().llvm))
}

/// The compiler to use, or what to do about there being none.
pub(crate) fn required() -> Result<Compiler> {
    match ready() {
        Some(compiler) => Ok(compiler),
        None => bail!("the eBPF compiler or linker is missing: run `cargo xtask setup`"),
    }
}

/// Installs a compiler: the system's packages where that can be done, else rustup's nightly.
pub(crate) fn install() -> Result<()> {
    let choice = choice();
    if choice != "nightly" && host::can_apt() {
        host::apt_update()?;
        let on_offer = |packages: &&[&str; 2]| packages.iter().all(|name| host::apt_has(name));
        if let Some(packages) = PACKAGES.iter().find(on_offer) {
            return host::apt_install(packages);
        }
    }
    if choice == "system" {
        bail!("{}", remedy());
    }
    // A nightly that is here stays the one it is: installing it again would update it under the
    // user's other work.
    let has_nightly = rustup(&["run", "nightly", "rustc", "--version"])
        .read()
        .is_some();
    let done = if has_nightly {
        rustup(&["component", "add", "rust-src", "--toolchain", "nightly"])
    } else {
        rustup(&[
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "-c",
            "rust-src",
        ])
    }
    .timeout(600)
    .logged("rustup-nightly");
    if done.is_ok() {
        return Ok(());
    }
    bail!("{}", remedy());
}

/// How to get a compiler by hand.
pub(crate) fn remedy() -> String {
    let [packages, _] = PACKAGES;
    format!(
        "no compiler for {TARGET} could be installed. Either of these is enough:\n\
         \x20 - rustup toolchain install nightly --component rust-src\n\
         \x20 - Debian, Ubuntu (as root): apt-get install {} {}",
        packages.join(" "),
        linker::llvm_package(22)
    )
}

fn nightly() -> Option<Compiler> {
    let rustc = |args: &[&str]| rustup(&["run", "nightly", "rustc"]).args(args).read();
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
    let sources = sysroot.join("lib/rustlib/src/rust/library/core");
    if !sources.is_dir() {
        return None;
    }
    Some(Compiler::Nightly(parse_version(&rustc(&["-vV"])?)?))
}

fn system() -> Option<Compiler> {
    let rustc = Path::new(SYSTEM_RUSTC);
    let libs = Cmd::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .read()?;
    let has_core = fs::read_dir(libs).ok()?.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    });
    if !has_core {
        return None;
    }
    let version = parse_version(&Cmd::new(rustc).arg("-vV").read()?)?;
    Some(Compiler::System(rustc.to_path_buf(), version))
}

fn parse_version(text: &str) -> Option<Version> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    Some(Version {
        release: field("release: ")?.to_owned(),
        llvm: field("LLVM version: ")?.split('.').next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let text = "rustc 1.96.0 (x)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        let version = parse_version(text).unwrap();
        assert_eq!((version.release.as_str(), version.llvm), ("1.96.0", 22));
        assert_eq!(parse_version("rustc 1.0"), None);
    }
}
