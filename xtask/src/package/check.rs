//! What was made is looked at as who gets it would: what is in it, whether it is whole, and whether what is
//! unpacked runs where nothing else is.

use super::COMPLETIONS;
use crate::cmd::{self, Cmd};
use crate::{host, paths};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Pages of the manual that there are at least: the program's, and those of its subcommands.
const PAGES: [&str; 6] = [
    "genspan.1",
    "genspan-agent.1",
    "genspan-doctor.1",
    "genspan-ps.1",
    "genspan-replay.1",
    "genspan-trace.1",
];

/// What else the tarball has.
const TARBALL: [&str; 9] = [
    "README.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "THIRD-PARTY.txt",
    "deploy/Containerfile",
    "deploy/kubernetes/genspan.yaml",
    "deploy/systemd/genspan.service",
    "docs/host.md",
];

/// What the Debian package puts where, besides pages and completions.
const INSTALLED: [&str; 8] = [
    "usr/bin/genspan",
    "usr/lib/systemd/system/genspan.service",
    "etc/genspan/rules.yaml",
    "etc/genspan/genspan.env",
    "usr/share/doc/genspan/copyright",
    "usr/share/doc/genspan/THIRD-PARTY.txt",
    "usr/share/doc/genspan/README.md",
    "usr/share/doc/genspan/docs/host.md",
];

/// Where the Debian package has completions, in the order of [`COMPLETIONS`].
const PLACES: [&str; 3] = [
    "usr/share/bash-completion/completions/genspan",
    "usr/share/zsh/vendor-completions/_genspan",
    "usr/share/fish/vendor_completions.d/genspan.fish",
];

/// The checksums are those of the files beside them.
pub(super) fn sums(dir: &Path) -> Result<()> {
    let checked = Cmd::new("sha256sum").args(["--quiet", "--strict", "--check", "SHA256SUMS"]);
    let checked = checked.dir(dir).run();
    checked.context("the checksums are of other files")
}

/// The tarball, which has one directory of this name.
pub(super) fn tarball(file: &Path, name: &str, version: &str) -> Result<()> {
    let place = Unpacked::new("tarball")?;
    let tar = Cmd::new("tar").arg("-xzf").arg(file).arg("-C");
    tar.arg(&place.0).run()?;
    let all = fs::read_dir(&place.0)?.count();
    let root = place.0.join(name);
    ensure!(all == 1 && root.is_dir(), "{name} is not alone in it");
    present(&root, &TARBALL)?;
    ensure!(!root.join("debian").exists(), "Debian's papers are in it");
    for page in PAGES {
        is_page(&root.join("man").join(page))?;
    }
    for (shell, completion) in COMPLETIONS {
        is_completion(shell, &root.join("completions").join(completion))?;
    }
    runs(&root, "genspan", version)
}

/// The Debian package.
pub(super) fn deb(file: &Path, version: &str) -> Result<()> {
    for (field, want) in [
        ("Package", "genspan".to_owned()),
        ("Version", format!("{version}-1")),
        ("Architecture", "amd64".to_owned()),
    ] {
        let told = Cmd::new("dpkg-deb")
            .arg("--field")
            .arg(file)
            .arg(field)
            .read();
        ensure!(
            told.as_ref() == Some(&want),
            "{field} is {told:?} and not {want}"
        );
    }
    let told = Cmd::new("dpkg-deb").arg("--info").arg(file).read();
    let told = told.context("dpkg-deb cannot read it")?;
    for part in [
        "conffiles",
        "postinst",
        "prerm",
        "postrm",
        "init-system-helpers",
    ] {
        ensure!(told.contains(part), "it has no {part}:\n{told}");
    }
    let place = Unpacked::new("deb")?;
    Cmd::new("dpkg-deb")
        .arg("-x")
        .arg(file)
        .arg(&place.0)
        .run()?;
    present(&place.0, &INSTALLED)?;
    for page in PAGES {
        let packed = place
            .0
            .join("usr/share/man/man1")
            .join(format!("{page}.gz"));
        let page = place.0.join(page);
        let content = Cmd::new("gzip").arg("-dc").arg(&packed).read();
        let content = content.with_context(|| paths::shown(&packed))?;
        fs::write(&page, content)?;
        is_page(&page)?;
    }
    for ((shell, _), completion) in COMPLETIONS.iter().zip(PLACES) {
        is_completion(shell, &place.0.join(completion))?;
    }
    runs(&place.0, "usr/bin/genspan", version)
}

/// A directory that is gone with this value.
struct Unpacked(PathBuf);

impl Unpacked {
    fn new(name: &str) -> Result<Self> {
        let dir = super::dir().join(format!("check-{name}"));
        super::emptied(&dir)?;
        fs::create_dir_all(&dir).with_context(|| paths::shown(&dir))?;
        Ok(Self(dir))
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// All of these are files, and none is empty.
fn present(root: &Path, files: &[&str]) -> Result<()> {
    for file in files {
        let found = fs::metadata(root.join(file)).with_context(|| format!("{file} is missing"))?;
        ensure!(found.is_file() && found.len() > 0, "{file} is empty");
    }
    Ok(())
}

/// It is one of the manual's pages, with its parts.
fn is_page(file: &Path) -> Result<()> {
    let shown = paths::shown(file);
    let text = fs::read_to_string(file).with_context(|| shown.clone())?;
    for part in [".TH genspan", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
        ensure!(text.contains(part), "{shown} has no {part}");
    }
    Ok(())
}

/// It completes the program's subcommands, and the shell can read it, where it is here.
fn is_completion(shell: &str, file: &Path) -> Result<()> {
    let shown = paths::shown(file);
    let text = fs::read_to_string(file).with_context(|| shown.clone())?;
    for part in ["genspan", "agent", "doctor", "--otlp-endpoint"] {
        // Fish names options without their dashes.
        let part = if shell == "fish" {
            part.trim_start_matches('-')
        } else {
            part
        };
        ensure!(text.contains(part), "{shown} does not know {part}");
    }
    if cmd::find(shell).is_some() {
        Cmd::new(shell).arg("-n").arg(file).run()?;
    }
    Ok(())
}

/// It is the version that it should be; as root it is run with nothing of this machine to be seen.
fn runs(root: &Path, program: &str, version: &str) -> Result<()> {
    let command = if host::is_root() {
        Cmd::new("chroot").arg(root).arg(format!("/{program}"))
    } else {
        Cmd::new(root.join(program))
    };
    let said = command.arg("--version").read();
    let want = format!("genspan {version}");
    ensure!(
        said.as_ref() == Some(&want),
        "{program} says {said:?} and not {want}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_or_empty_is_named() {
        let place = std::env::temp_dir().join(format!("genspan-package-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("full"), "x").unwrap();
        fs::write(place.join("empty"), "").unwrap();
        let said = |files: &[&str]| format!("{:?}", present(&place, files));
        assert_eq!(said(&["full"]), "Ok(())");
        assert!(said(&["full", "empty"]).contains("empty is empty"));
        assert!(said(&["none"]).contains("none is missing"));
        fs::remove_dir_all(&place).unwrap();
    }
}
