//! Builds the eBPF programs.

use crate::cmd::{self, Cmd};
use crate::paths;
use crate::toolchain::{self, Compiler, TARGET};
use anyhow::{Context as _, Result};
use object::build::elf::{Builder, SectionData};
use object::elf;
use std::fs;
use std::path::{Path, PathBuf};

/// How to build.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Optimise as for a release (what `build`, `test` and `demo` use).
    #[arg(long)]
    release: bool,
}

/// The subcommand.
pub(crate) fn run(options: &Options) -> Result<()> {
    let changed = build(options.release)?;
    let object = paths::bpf_object();
    let state = if changed { "new" } else { "unchanged" };
    println!("{} ({state})", paths::shown(&object));
    Ok(())
}

/// Builds the object and puts it where the agent's build looks for it. Tells whether it changed:
/// an unchanged file is left alone, so that the agent is not built again.
pub(crate) fn build(release: bool) -> Result<bool> {
    compile("genspan", release)?;
    install(&built("genspan", release))
}

/// Builds the empty programs of the benchmarks and gives the object.
pub(crate) fn build_bench() -> Result<PathBuf> {
    compile("bench", true)?;
    Ok(built("bench", true))
}

/// Where cargo puts an object.
fn built(name: &str, release: bool) -> PathBuf {
    let profile = if release { "release" } else { "debug" };
    paths::root()
        .join("ebpf/target")
        .join(TARGET)
        .join(profile)
        .join(name)
}

fn compile(name: &str, release: bool) -> Result<()> {
    let compiler = toolchain::required()?;
    let dir = paths::root().join("ebpf");
    let mut flags = vec!["-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    let remapped = remapped().into_iter();
    flags.extend(remapped.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
    let command = match &compiler {
        Compiler::Nightly(_) => {
            Cmd::new("rustup").args(["run", "nightly", "cargo", "build", "-Z", "build-std=core"])
        }
        // The bootstrap switch lets this compiler take aya-ebpf's unstable features.
        Compiler::System(rustc, _) => Cmd::new("cargo")
            .env("RUSTC", rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .arg("build"),
    };
    let command = command
        .dir(&dir)
        .env("PATH", cmd::path_with_cargo_bin())
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .without_env("RUSTC_WRAPPER")
        .args(["--quiet", "--locked", "--bin", name, "--target", TARGET]);
    let command = if release {
        command.arg("--release")
    } else {
        command
    };
    command.logged("build-ebpf").with_context(|| {
        format!(
            "the eBPF programs could not be built with {} (set {}=nightly or =system to choose the \
             compiler; complaints about bitcode mean that bpf-linker is older than it)",
            compiler.name(),
            toolchain::CHOICE
        )
    })
}

/// Directories of this machine that compilers write into what they make, and what stands for each there. The
/// line table of the eBPF programs is in the agent, and is what the verifier tells them by.
pub(crate) fn remapped() -> Vec<(PathBuf, &'static str)> {
    let mut paths = vec![(paths::root(), "genspan")];
    let sources = cmd::cargo_bin().and_then(|bin| Some(bin.parent()?.join("registry/src")));
    paths.extend(sources.map(|sources| (sources, "crates")));
    let system = Cmd::new("rustc").args(["--print", "sysroot"]).read();
    if let Some(system) = system.map(PathBuf::from) {
        // All of rustup's compilers, or the library of the only one.
        let of_rustup = system.parent().filter(|dir| dir.ends_with("toolchains"));
        let library = of_rustup.map_or_else(|| system.join("lib/rustlib"), Path::to_owned);
        paths.push((library, "rust"));
    }
    let target = paths::cargo_target();
    if !target.starts_with(paths::root()) {
        paths.push((target, "target"));
    }
    paths
}

fn install(built: &Path) -> Result<bool> {
    let object = paths::bpf_object();
    let new = fs::read(built).with_context(|| format!("no object at {}", built.display()))?;
    let new = without_debug_info(&new)
        .with_context(|| format!("what is at {} cannot be used", built.display()))?;
    if fs::read(&object).is_ok_and(|old| old == new) {
        return Ok(false);
    }
    let parent = object.parent().unwrap_or(&object);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    // Moved into place whole: a build of the agent may be reading it.
    let partial = object.with_extension("o.part");
    fs::write(&partial, new).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, &object).with_context(|| format!("cannot write {}", object.display()))?;
    Ok(true)
}

/// The object without what is for debuggers only: four fifths of it, which the agent would read at its start and
/// keep room for. Types and lines that the kernel and its verifier take (`.BTF`, `.BTF.ext`) stay; bpf-linker
/// makes them of the rest.
fn without_debug_info(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        let name = name.strip_prefix(b".rel").unwrap_or(name);
        section.delete = name.starts_with(b".debug");
    }
    builder.delete_orphans();
    // LLVM has one table for names of sections and of symbols, this writer two.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}
