//! The kernels: Debian's for clouds, which have all that is needed without a module.

use crate::archive::Archive;
use crate::cmd::Cmd;
use crate::paths;
use crate::progress::step;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Its version as far as the suite will keep it.
    pub(super) version: &'static str,
    /// The suite of Debian that has it.
    pub(super) suite: &'static str,
}

/// All of them, the oldest first.
pub(super) const KERNELS: [Kernel; 4] = [
    Kernel {
        version: "5.10",
        suite: "bullseye",
    },
    Kernel {
        version: "6.1",
        suite: "bookworm",
    },
    Kernel {
        version: "6.12",
        suite: "trixie",
    },
    Kernel {
        version: "newest",
        suite: "sid",
    },
];

/// The package that depends on a suite's kernel.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// Packages that may have the kernel's image: since Debian 14 it is a package of its own.
const IMAGES: [&str; 2] = ["linux-image-", "linux-binary-"];

impl Kernel {
    /// The kernel by its version or its suite.
    pub(super) fn named(name: &str) -> Result<Self> {
        let found = KERNELS
            .into_iter()
            .find(|k| k.version == name || k.suite == name);
        found.with_context(|| {
            let names: Vec<&str> = KERNELS.iter().map(|k| k.version).collect();
            format!("no kernel `{name}`: there are {}", names.join(", "))
        })
    }

    /// Its image; fetched when it is not there, or when a newer one is asked for.
    pub(super) fn image(self, again: bool) -> Result<PathBuf> {
        let dir = super::dir().join("kernels").join(self.suite);
        let image = dir.join("vmlinuz");
        if image.is_file() && !again {
            return Ok(image);
        }
        let what = format!("fetching Linux {} of Debian {}", self.version, self.suite);
        step(&what, || self.fetch(&dir, &image))?;
        Ok(image)
    }

    fn fetch(self, dir: &Path, image: &Path) -> Result<()> {
        let parts = dir.join("parts");
        if parts.exists() {
            fs::remove_dir_all(&parts).with_context(|| paths::shown(&parts))?;
        }
        let archive = Archive::open(&parts.join("apt"), self.suite)?;
        let mut wanted = images(&archive.depends(PACKAGE)?);
        for package in wanted.clone() {
            wanted.extend(images(&archive.depends(&package)?));
        }
        let unpacked = parts.join("unpacked");
        for package in archive.download(&wanted)? {
            Cmd::new("dpkg-deb")
                .arg("-x")
                .args([&package, &unpacked])
                .timeout(120)
                .logged("debian-unpack")?;
        }
        let found =
            found(&unpacked).with_context(|| format!("no kernel in {}", wanted.join(", ")))?;
        fs::rename(&found, image).with_context(|| paths::shown(image))?;
        fs::remove_dir_all(&parts).with_context(|| paths::shown(&parts))
    }
}

/// Those of packages that may have the image.
fn images(packages: &[String]) -> Vec<String> {
    let may = |package: &&String| IMAGES.iter().any(|start| package.starts_with(start));
    packages.iter().filter(may).cloned().collect()
}

/// The kernel's image below a directory.
fn found(dir: &Path) -> Option<PathBuf> {
    let mut directories = vec![dir.to_owned()];
    while let Some(dir) = directories.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let kind = entry.file_type().ok()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() && name.to_string_lossy().starts_with("vmlinuz") {
                return Some(entry.path());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_by_version_and_suite() {
        assert_eq!(Kernel::named("6.1").unwrap().suite, "bookworm");
        assert_eq!(Kernel::named("sid").unwrap().version, "newest");
        let error = Kernel::named("4.19").unwrap_err().to_string();
        assert!(error.contains("5.10, 6.1"), "{error}");
    }

    #[test]
    fn packages_with_an_image() {
        let all = ["linux-base-7", "linux-binary-7-cloud-amd64", "kmod"].map(str::to_owned);
        assert_eq!(images(&all), ["linux-binary-7-cloud-amd64"]);
    }
}
