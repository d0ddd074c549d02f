//! Debian's own CPython of a version that the system does not have: its packages unpacked into a
//! root directory of their own, where the live tests run it by `chroot`. Nothing is installed.

use crate::cmd::Cmd;
use crate::{host, paths};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

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

/// Where Debian's own system keeps the keys of its archive.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

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

/// Makes it.
pub(crate) fn make() -> Result<()> {
    if !host::has_apt() || !Path::new(KEYS).is_file() {
        bail!("no Debian: its packages are fetched with apt-get, under the archive's keys");
    }
    let root = root();
    let parts = paths::target().join("debian");
    for dir in [&root, &parts] {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| paths::shown(dir))?;
        }
    }
    for dir in ["lists/partial", "cache/archives/partial", "packages"] {
        fs::create_dir_all(parts.join(dir))?;
    }
    let archive = archive()?;
    let sources = parts.join("sources.list");
    fs::write(
        &sources,
        format!("deb [signed-by={KEYS}] {archive} {SUITE} main\n"),
    )?;
    // A configuration and state of its own: the system's stays as it is.
    let apt = || {
        Cmd::new("apt-get")
            .arg("-q")
            .arg("-o")
            .arg(format!("Dir::Etc::SourceList={}", sources.display()))
            .args(["-o", "Dir::Etc::SourceParts=/dev/null"])
            .args(["-o", "Dir::Etc::PreferencesParts=/dev/null"])
            .arg("-o")
            .arg(format!(
                "Dir::State::Lists={}",
                parts.join("lists").display()
            ))
            .arg("-o")
            .arg(format!("Dir::Cache={}", parts.join("cache").display()))
            .args(["-o", "APT::Sandbox::User=root"])
            .dir(parts.join("packages"))
            .timeout(300)
    };
    host::retried(|| apt().arg("update").logged("debian-update"))?;
    let wanted = PACKAGES.map(|package| format!("{package}/{SUITE}"));
    host::retried(|| {
        apt()
            .arg("download")
            .args(&wanted)
            .logged("debian-download")
    })?;
    let made = paths::target().join("debian/root");
    for package in fs::read_dir(parts.join("packages"))?.flatten() {
        Cmd::new("dpkg-deb")
            .arg("-x")
            .args([package.path(), made.clone()])
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
    fs::rename(&made, &root).with_context(|| paths::shown(&root))?;
    fs::remove_dir_all(&parts)?;
    Ok(())
}

/// The archive that this system takes its packages from.
fn archive() -> Result<String> {
    let told = Cmd::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
        ])
        .read()
        .context("apt-get does not say where packages come from")?;
    let found = told
        .lines()
        .find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    Ok(found
        .context("no archive of Debian among the sources of apt")?
        .to_owned())
}
