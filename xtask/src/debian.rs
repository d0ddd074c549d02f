//! Debian's own CPython of a version that the system does not have: its packages unpacked into a
//! root directory of their own, where the live tests run it by `chroot`. Nothing is installed.

use crate::archive::Archive;
use crate::cmd::Cmd;
use crate::{paths, venv};
use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// The suite that they are taken from.
const SUITE: &str = "sid";

/// The version.
const VERSION: &str = "3.14";

/// What it needs: its own packages first, of which all versions are the same.
const PACKAGES: [&str; 17] = [
    "python3.14-minimal",
    "libpython3.14-minimal",
    "libpython3.14-stdlib",
    "libc6",
    "libgcc-s1",
    "libexpat1",
    "zlib1g",
    "libssl3t64",
    "libffi8",
    "libbz2-1.0",
    "liblzma5",
    "libsqlite3-0",
    "libuuid1",
    "libzstd1",
    "libncursesw6",
    "libtinfo6",
    "libreadline8t64",
];

/// What is installed in it from the package index, as an administrator would with `pip`.
const OF_INDEX: [&str; 6] = [
    "langchain-core",
    "msgspec",
    "langchain-openai",
    "fastapi",
    "uvicorn",
    "httpx",
];

/// The root directory; tests know it by this name.
fn root() -> PathBuf {
    paths::venvs().join("debian314")
}

/// Whether it is there.
pub(crate) fn is_ready() -> bool {
    root()
        .join("usr/bin")
        .join(format!("python{VERSION}"))
        .is_file()
}

/// Its standard library.
pub(crate) fn library() -> PathBuf {
    root().join(format!("usr/lib/python{VERSION}"))
}

/// Whether packages of the index are in it.
pub(crate) fn has_packages() -> bool {
    fs::read_to_string(list()).is_ok_and(|list| list == OF_INDEX.join("\n"))
}

/// Installs them. What is installed is not run here: Debian's interpreter runs in its root only.
pub(crate) fn add_packages() -> Result<()> {
    let dir = local().join("dist-packages");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| paths::shown(&dir))?;
    }
    venv::install_for(VERSION, &OF_INDEX, &dir)?;
    fs::write(list(), OF_INDEX.join("\n")).with_context(|| paths::shown(&list()))
}

/// Where Debian's interpreter looks for what is not of Debian.
fn local() -> PathBuf {
    let version = format!("python{VERSION}");
    root().join("usr/local/lib").join(version)
}

/// The file that says what was installed there.
fn list() -> PathBuf {
    local().join("genspan-recipe.txt")
}

/// Makes it.
pub(crate) fn make() -> Result<()> {
    let root = root();
    let parts = paths::target().join("debian");
    if parts.exists() {
        fs::remove_dir_all(&parts).with_context(|| paths::shown(&parts))?;
    }
    let archive = Archive::open(&parts, SUITE)?;
    let packages = archive.download(&PACKAGES)?;
    let made = paths::target().join("debian/root");
    for package in packages {
        Cmd::new("dpkg-deb")
            .arg("-x")
            .args([package, made.clone()])
            .timeout(60)
            .logged("debian-unpack")?;
    }
    // What a system's first package would have made.
    for name in ["bin", "lib", "lib64"] {
        if !made.join(name).exists() {
            symlink(format!("usr/{name}"), made.join(name))?;
        }
    }
    fs::create_dir_all(made.join("tmp"))?;
    fs::create_dir_all(paths::venvs())?;
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| paths::shown(&root))?;
    }
    fs::rename(&made, &root).with_context(|| paths::shown(&root))?;
    fs::remove_dir_all(&parts)?;
    Ok(())
}
