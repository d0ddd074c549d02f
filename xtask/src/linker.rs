//! `bpf-linker`: found, checked against the compiler's LLVM, installed from source.

use crate::cmd::{self, Cmd};
use crate::host;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The version that is installed when there is none.
const VERSION: &str = "0.13.0";

/// A linker that is here.
#[derive(Clone, Debug)]
pub(crate) struct Linker {
    /// What it says its version is.
    pub(crate) version: String,
    /// Major version of the LLVM it is linked to, unless that is built in.
    llvm: Option<u32>,
}

impl Linker {
    /// Whether it reads what a compiler with this LLVM writes: bitcode of a newer LLVM is not
    /// understood by an older one.
    pub(crate) fn fits(&self, compiler_llvm: u32) -> bool {
        self.llvm.is_none_or(|llvm| llvm >= compiler_llvm)
    }
}

/// The linker on PATH or among cargo's binaries.
pub(crate) fn installed() -> Option<Linker> {
    let path = cmd::find("bpf-linker")?;
    let version = Cmd::new(&path).arg("--version").read()?;
    let llvm = Cmd::new("ldd")
        .arg(&path)
        .read()
        .and_then(|libraries| linked_llvm(&libraries));
    Some(Linker {
        version: version.trim_start_matches("bpf-linker ").to_owned(),
        llvm,
    })
}

/// Whether a linker for this LLVM can be built here: its headers are there or can be installed.
pub(crate) fn can_build(llvm: u32) -> bool {
    has_headers(llvm) || (host::can_apt() && host::apt_has(&llvm_package(llvm)))
}

fn has_headers(llvm: u32) -> bool {
    llvm_prefix(llvm).join("include/llvm-c").is_dir()
}

/// Builds the linker for a compiler with this LLVM.
pub(crate) fn install(llvm: u32) -> Result<()> {
    let prefix = llvm_prefix(llvm);
    if !has_headers(llvm) {
        if !host::can_apt() {
            bail!("{}", remedy(llvm));
        }
        // The compiler and the two libraries are what linking to LLVM takes besides LLVM.
        host::apt_install(&[&llvm_package(llvm), "g++", "zlib1g-dev", "libzstd-dev"])?;
    }
    host::retried(|| {
        Cmd::cargo()
            .env(
                "CARGO_TARGET_DIR",
                crate::paths::target().join("bpf-linker"),
            )
            // The first is for bpf-linker's own search, which else takes whatever llvm-config is
            // first on PATH; the second is for llvm-sys.
            .env("LLVM_PREFIX", &prefix)
            .env(format!("LLVM_SYS_{llvm}1_PREFIX"), &prefix)
            .args(["install", "bpf-linker", "--version", VERSION, "--locked"])
            .args(["--force", "--no-default-features", "--features"])
            .arg(format!("llvm-{llvm}"))
            .timeout(1800)
            .logged("bpf-linker")
    })?;
    match installed() {
        Some(linker) if linker.fits(llvm) => Ok(()),
        Some(_) => bail!(
            "bpf-linker was built, but another one is found first: {}. Remove that one",
            cmd::find("bpf-linker").unwrap_or_default().display()
        ),
        None => bail!("bpf-linker was built but does not run; see target/log/bpf-linker.log"),
    }
}

/// The package with this LLVM's headers and libraries.
pub(crate) fn llvm_package(llvm: u32) -> String {
    format!("llvm-{llvm}-dev")
}

/// How to get a linker by hand.
pub(crate) fn remedy(llvm: u32) -> String {
    let prefix = llvm_prefix(llvm);
    format!(
        "bpf-linker for LLVM {llvm} is missing. Either of these is enough:\n\
         \x20 - the program of bpf-linker's release page on PATH (or: cargo binstall bpf-linker)\n\
         \x20 - LLVM {llvm} with its headers ({} on Debian and Ubuntu) and\n\
         \x20   LLVM_PREFIX={prefix} LLVM_SYS_{llvm}1_PREFIX={prefix} cargo install bpf-linker \
         --version {VERSION} --locked --no-default-features --features llvm-{llvm}",
        llvm_package(llvm),
        prefix = prefix.display(),
    )
}

fn llvm_prefix(llvm: u32) -> PathBuf {
    Path::new("/usr/lib").join(format!("llvm-{llvm}"))
}

/// The LLVM in `ldd`'s list: `libLLVM.so.22.1`, `libLLVM-19.so.1`.
fn linked_llvm(libraries: &str) -> Option<u32> {
    libraries.lines().find_map(|line| {
        let name = line.trim().strip_prefix("libLLVM")?;
        let digits: String = name
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_of_a_linker_is_read() {
        let new = "\tlinux-vdso.so.1\n\tlibLLVM.so.22.1 => /lib/libLLVM.so.22.1 (0x0)\n";
        assert_eq!(linked_llvm(new), Some(22));
        assert_eq!(linked_llvm("\tlibLLVM-19.so.1 => x"), Some(19));
        assert_eq!(linked_llvm("\tlibc.so.6 => x"), None);
    }

    #[test]
    fn an_older_linker_does_not_fit() {
        let linker = |llvm| Linker {
            version: String::new(),
            llvm,
        };
        assert!(linker(Some(22)).fits(22) && linker(Some(23)).fits(22));
        assert!(!linker(Some(21)).fits(22));
        assert!(linker(None).fits(22));
    }
}
