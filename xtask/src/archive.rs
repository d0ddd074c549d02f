//! Packages from a suite of Debian that this system need not be of: fetched, never installed, with a
//! configuration and state of apt of their own.

use crate::cmd::Cmd;
use crate::{host, paths};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Where Debian's own system keeps the keys of its archive.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite of the archive; its lists and packages are below `dir`.
pub(crate) struct Archive {
    dir: PathBuf,
    suite: String,
}

impl Archive {
    /// Reads the lists of a suite into a directory.
    pub(crate) fn open(dir: &Path, suite: &str) -> Result<Self> {
        Self::open_as("deb", dir, suite)
    }

    /// The same of its sources.
    pub(crate) fn open_sources(dir: &Path, suite: &str) -> Result<Self> {
        Self::open_as("deb-src", dir, suite)
    }

    fn open_as(what: &str, dir: &Path, suite: &str) -> Result<Self> {
        if !host::has_apt() || !Path::new(KEYS).is_file() {
            bail!("no Debian: its packages are fetched with apt-get, under the archive's keys");
        }
        for part in ["lists/partial", "cache/archives/partial", "packages"] {
            fs::create_dir_all(dir.join(part)).with_context(|| paths::shown(dir))?;
        }
        let mirror = mirror()?;
        fs::write(
            dir.join("sources.list"),
            format!("{what} [signed-by={KEYS}] {mirror} {suite} main\n"),
        )?;
        let archive = Self {
            dir: dir.to_owned(),
            suite: suite.to_owned(),
        };
        host::retried(|| archive.apt("apt-get").arg("update").logged("debian-update"))?;
        Ok(archive)
    }

    /// A command of apt for this suite alone: the system's configuration and state stay as they are.
    fn apt(&self, command: &str) -> Cmd {
        let set = |name: &str, part: &str| format!("{name}={}", self.dir.join(part).display());
        Cmd::new(command)
            .arg("-q")
            .arg("-o")
            .arg(set("Dir::Etc::SourceList", "sources.list"))
            .args(["-o", "Dir::Etc::SourceParts=/dev/null"])
            .args(["-o", "Dir::Etc::PreferencesParts=/dev/null"])
            .arg("-o")
            .arg(set("Dir::State::Lists", "lists"))
            .arg("-o")
            .arg(set("Dir::Cache", "cache"))
            .args(["-o", "APT::Sandbox::User=root"])
            .args(["-o", "Acquire::Languages=none"])
            .dir(self.dir.join("packages"))
            .timeout(300)
    }

    /// Names of the packages that one depends on.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let told = self
            .apt("apt-cache")
            .args(["depends", package])
            .read()
            .with_context(|| format!("Debian {} has no {package}", self.suite))?;
        Ok(depended(&told))
    }

    /// Fetches the source of a package, as its authors published it; gives the archive.
    pub(crate) fn source(&self, package: &str) -> Result<PathBuf> {
        host::retried(|| {
            self.apt("apt-get")
                .args(["source", "--download-only", package])
                .logged("debian-source")
        })?;
        let files = fs::read_dir(self.dir.join("packages"))?.flatten();
        let mut files = files.map(|file| file.path());
        let archive = files.find(|path| path.to_string_lossy().contains(".orig.tar."));
        archive.with_context(|| format!("the source of {package} has no archive"))
    }

    /// Fetches packages; gives their files.
    pub(crate) fn download(&self, packages: &[impl AsRef<str>]) -> Result<Vec<PathBuf>> {
        let wanted: Vec<String> = packages
            .iter()
            .map(|package| format!("{}/{}", package.as_ref(), self.suite))
            .collect();
        host::retried(|| {
            self.apt("apt-get")
                .arg("download")
                .args(&wanted)
                .logged("debian-download")
        })?;
        let files = fs::read_dir(self.dir.join("packages"))?;
        let mut files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        files.sort();
        Ok(files)
    }
}

/// The names in what `apt-cache depends` says.
fn depended(told: &str) -> Vec<String> {
    told.lines()
        .filter_map(|line| line.trim_start().strip_prefix("Depends: "))
        .map(str::to_owned)
        .collect()
}

/// The archive that this system takes its packages from.
fn mirror() -> Result<String> {
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

#[cfg(test)]
mod tests {
    use super::depended;

    #[test]
    fn dependencies_are_read() {
        let told = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-50-cloud-amd64\n \
                    |Depends: dracut\n  Recommends: apparmor\n";
        assert_eq!(depended(told), ["linux-image-6.1.0-50-cloud-amd64"]);
    }
}
