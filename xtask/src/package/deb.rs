//! The Debian package, made by cargo-deb of what was gathered. Which file goes where is said by
//! `package.metadata.deb` in `agent/Cargo.toml`.

use super::{Time, binary, dir, emptied};
use crate::cmd::Cmd;
use crate::paths;
use crate::progress::step;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The tool, and its version.
const CARGO_DEB: [&str; 2] = ["cargo-deb", "3.8.0"];

/// Whom the package's papers name.
const AUTHORS: &str = "The genspan authors";

/// Where the tool is: below `target`, not among the user's own.
fn program() -> PathBuf {
    paths::target().join("tools/bin").join(CARGO_DEB[0])
}

/// Finds or builds the tool.
pub(super) fn tool() -> Result<()> {
    let [name, version] = CARGO_DEB;
    let said = Cmd::new(program()).arg("--version").read();
    if said.is_some_and(|said| said.contains(version)) {
        return Ok(());
    }
    step("building cargo-deb (some minutes)", || {
        Cmd::cargo()
            .args(["install", name, "--locked", "--version", version, "--root"])
            .arg(paths::target().join("tools"))
            .logged("cargo-deb-install")
    })
    .context("without cargo-deb there is no Debian package; `--no-deb` makes the tarball alone")
}

/// What Debian wants beside the files (Debian policy 4.4, 12.5): the changelog in its form, and the
/// licences in its form.
pub(super) fn papers(stage: &Path, version: &str, time: &Time) -> Result<()> {
    let dir = stage.join("debian");
    fs::create_dir_all(&dir).with_context(|| paths::shown(&dir))?;
    let date = &time.text;
    let changelog = format!(
        "genspan ({version}-1) unstable; urgency=medium\n\n  \
         * What changed is told in /usr/share/doc/genspan/CHANGELOG.md.\n\n \
         -- {AUTHORS} <genspan@localhost>  {date}\n"
    );
    fs::write(dir.join("changelog"), changelog)?;
    let mit = fs::read_to_string(paths::root().join("LICENSE-MIT")).context("LICENSE-MIT")?;
    fs::write(dir.join("copyright"), copyright(&mit))?;
    Ok(())
}

/// The licences, machine-readable.
fn copyright(mit: &str) -> String {
    let mut text = format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: genspan\n\
         Source: https://github.com/genspan/genspan\n\
         Comment: The binary has parts of others, who are named with their licences in\n \
         /usr/share/doc/genspan/THIRD-PARTY.txt.\n\n\
         Files: *\n\
         Copyright: (c) {AUTHORS}\n\
         License: Expat or Apache-2.0\n\n\
         License: Apache-2.0\n \
         The text is in /usr/share/common-licenses/Apache-2.0.\n\n\
         License: Expat\n"
    );
    for line in mit.lines().map(str::trim_end) {
        let line = if line.is_empty() { "." } else { line };
        text.push(' ');
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Makes the package of what was gathered.
pub(super) fn make(time: &Time) -> Result<PathBuf> {
    let out = dir().join("deb");
    emptied(&out)?;
    Cmd::new(program())
        .args(["--no-build", "--no-strip", "--package", "genspan"])
        .args(["--target", binary::TARGET, "--output"])
        .arg(&out)
        .env("SOURCE_DATE_EPOCH", &time.seconds)
        .env("CARGO_TARGET_DIR", paths::cargo_target())
        .logged("cargo-deb")?;
    let made = fs::read_dir(&out).with_context(|| paths::shown(&out))?;
    let mut made = made.flatten().map(|file| file.path());
    let made = made.find(|file| file.extension().is_some_and(|end| end == "deb"));
    let made = made.context("cargo-deb made no package")?;
    let file = dir().join(made.file_name().context("a package without a name")?);
    fs::rename(&made, &file).with_context(|| paths::shown(&file))?;
    fs::remove_dir(&out).with_context(|| paths::shown(&out))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_paragraphs_of_debians_form() {
        let text = copyright("MIT License\n\nPermission is  \ngranted\n");
        assert!(text.ends_with("License: Expat\n MIT License\n .\n Permission is\n granted\n"));
        // A line is a field, goes on with one, or parts two paragraphs.
        for line in text.lines().filter(|line| !line.is_empty()) {
            let field = line
                .split_once(": ")
                .is_some_and(|(name, _)| !name.contains(' '));
            assert!(field || line.starts_with(' '), "{line}");
        }
    }
}
