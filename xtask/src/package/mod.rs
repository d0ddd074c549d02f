//! What is handed to users: a static binary with its manual pages, completions and the files of `deploy/`,
//! as a tarball, as a Debian package, and as what the Containerfile takes.

mod binary;
mod check;
mod deb;
mod notices;

use crate::cmd::Cmd;
use crate::progress::step;
use crate::{ebpf, paths, setup};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Shells, and the names under which their completions are installed.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "genspan.bash"),
    ("zsh", "_genspan"),
    ("fish", "genspan.fish"),
];

/// What to make.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The tarball only, no Debian package
    #[arg(long)]
    pub(crate) no_deb: bool,
}

/// The subcommand.
pub(crate) fn run(options: &Options) -> Result<()> {
    // What is missing shows before minutes were spent.
    setup::for_building()?;
    binary::toolchain()?;
    if !options.no_deb {
        deb::tool()?;
    }
    step("building the eBPF programs", || ebpf::build(true))?;
    let binary = step("building a static genspan (some minutes)", binary::build)?;
    let version = binary::check(&binary)?;
    let stage = dir().join("stage");
    let time = Time::of_last_commit();
    emptied(&dir())?;
    step("gathering what belongs to it", || {
        gather(&binary, &stage)?;
        deb::papers(&stage, &version, &time)
    })?;
    let name = format!("genspan-{version}-x86_64-linux");
    let tarball = step("packing the tarball", || pack(&stage, &name, &time))?;
    let package = match options.no_deb {
        true => None,
        false => Some(step("making the Debian package", || deb::make(&time))?),
    };
    let made: Vec<PathBuf> = [tarball.clone()]
        .into_iter()
        .chain(package.clone())
        .collect();
    let sums = sums(&made)?;
    step("looking at what was made", || {
        check::sums(&dir())?;
        check::tarball(&tarball, &name, &version).context("the tarball")?;
        match &package {
            Some(package) => check::deb(package, &version).context("the Debian package"),
            None => Ok(()),
        }
    })?;
    for file in made.iter().chain([&sums]) {
        println!("{}", paths::shown(file));
    }
    Ok(())
}

/// Where the static binary is built, and what it is built from.
pub(crate) fn built() -> PathBuf {
    paths::cargo_target().join(binary::TARGET)
}

/// Where packages are.
fn dir() -> PathBuf {
    paths::target().join("package")
}

/// When what is packaged was changed last: the same sources give the same bytes at any time.
struct Time {
    /// In seconds since 1970.
    seconds: String,
    /// As in mail (RFC 5322).
    text: String,
}

impl Time {
    /// Of the last commit; outside of a clone the beginning of time.
    fn of_last_commit() -> Self {
        let told = |format: &str| {
            Cmd::new("git")
                .args(["log", "-1", &format!("--format={format}")])
                .read()
                .filter(|text| !text.is_empty())
        };
        Self {
            seconds: told("%ct").unwrap_or_else(|| "0".to_owned()),
            text: told("%cD").unwrap_or_else(|| "Thu, 1 Jan 1970 00:00:00 +0000".to_owned()),
        }
    }
}

/// Puts together what a package has.
fn gather(binary: &Path, stage: &Path) -> Result<()> {
    let completions = stage.join("completions");
    fs::create_dir_all(&completions).with_context(|| paths::shown(&completions))?;
    let own = stage.join("genspan");
    fs::copy(binary, &own).with_context(|| paths::shown(binary))?;
    Cmd::new(&own).arg("man").arg(stage.join("man")).run()?;
    for (shell, file) in COMPLETIONS {
        let script = Cmd::new(&own).args(["completions", shell]).read();
        let script = script.with_context(|| format!("no completions for {shell}"))?;
        fs::write(completions.join(file), script + "\n")?;
    }
    for file in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(paths::root().join(file), stage.join(file)).with_context(|| file.to_owned())?;
    }
    fs::write(stage.join("THIRD-PARTY.txt"), notices::text()?)?;
    for folder in ["deploy", "docs"] {
        let copy = Cmd::new("cp").arg("-r").arg(paths::root().join(folder));
        copy.arg(stage).run()?;
    }
    Ok(())
}

/// The tarball: the same content gives the same bytes.
fn pack(stage: &Path, name: &str, time: &Time) -> Result<PathBuf> {
    let file = dir().join(format!("{name}.tar.gz"));
    Cmd::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--mode=u=rwX,go=rX", "--format=ustar"])
        .arg(format!("--mtime=@{}", time.seconds))
        .arg(format!("--transform=s,^\\.,{name},"))
        // What only the Debian package has.
        .args(["--exclude=./debian", "--use-compress-program=gzip -n9"])
        .arg("-cf")
        .arg(&file)
        .arg("-C")
        .arg(stage)
        .arg(".")
        .run()?;
    Ok(file)
}

/// Checksums of what was made, as `sha256sum --check` reads them beside it.
fn sums(files: &[PathBuf]) -> Result<PathBuf> {
    let names = files.iter().filter_map(|file| file.file_name());
    let said = Cmd::new("sha256sum").args(names).dir(dir()).read();
    let said = said.context("sha256sum told no checksums")?;
    let file = dir().join("SHA256SUMS");
    fs::write(&file, said + "\n").with_context(|| paths::shown(&file))?;
    Ok(file)
}

/// A directory that is not there any more.
fn emptied(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| paths::shown(path))?;
    }
    Ok(())
}
