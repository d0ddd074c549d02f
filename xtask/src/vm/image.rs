//! What the virtual machine runs: genspan, a Python with its standard library, the programs of the
//! tests, certificates. All of it is this system's own, with the shared libraries that it needs.

use super::cpio::{Content, Tree};
use crate::certs::Certs;
use crate::cmd::Cmd;
use crate::progress::note;
use crate::python::Interpreter;
use crate::{paths, venv};
use anyhow::{Context as _, Result};
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Parts of Python's standard library that nothing here imports.
const LEFT_OUT: [&str; 12] = [
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "pydoc_data",
    "distutils",
    "site-packages",
    "dist-packages",
    "unittest",
];

/// Of the repository's Python programs, what is for other tests.
const NOT_HERE: [&str; 3] = ["live", "replay", "__pycache__"];

/// Of the live tests' programs, what the machines run too.
const LIVE: [&str; 2] = ["live/pieces.py", "live/langchain_runs.py"];

/// The environment of this system's Python with LangChain: its packages are taken along where it is there.
const PACKAGES_OF: &str = "langchain-system";

/// Where things are in the machine; `tests/python/vm/guest.py` knows them.
const GENSPAN: &str = "/usr/bin/genspan";
const PROGRAMS: &str = "/programs";
const CERTS: &str = "/certs";
const PACKAGES: &str = "/site-packages";

/// Writes the archive that the kernel unpacks.
pub(super) fn write(to: &Path, genspan: &Path, python: &Interpreter, certs: &Certs) -> Result<()> {
    let mut tree = Tree::default();
    tree.add("/dev/console", Content::Device(5, 1), false);
    executable(&mut tree, GENSPAN, genspan)?;
    executable(&mut tree, &python.path, &python.path)?;
    let library = standard_library(python)?;
    directory(&mut tree, &library, &library, &LEFT_OUT)?;
    let programs = paths::python_programs();
    directory(&mut tree, Path::new(PROGRAMS), &programs, &NOT_HERE)?;
    for name in LIVE {
        let content = Content::File(programs.join(name));
        tree.add(Path::new(PROGRAMS).join(name), content, false);
    }
    match packages() {
        Some(from) => directory(&mut tree, Path::new(PACKAGES), &from, &LEFT_OUT)?,
        None => note(&format!(
            "no LangChain: no environment {PACKAGES_OF} (cargo xtask setup --tests)"
        )),
    }
    for file in [certs.authority(), certs.certificate(), certs.key()] {
        let name = file.file_name().context("a certificate without a name")?;
        tree.add(
            Path::new(CERTS).join(name),
            Content::File(file.clone()),
            false,
        );
    }
    let init = format!("#!{} {PROGRAMS}/vm/guest.py\n", python.path.display());
    tree.add("/init", Content::Text(init), true);
    let file = fs::File::create(to).with_context(|| paths::shown(to))?;
    let mut file = BufWriter::new(file);
    tree.write(&mut file)
        .and_then(|()| file.flush())
        .with_context(|| paths::shown(to))
}

/// The directory with LangChain's packages.
fn packages() -> Option<PathBuf> {
    let interpreter = venv::interpreter_of(PACKAGES_OF);
    let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let told = Cmd::new(&interpreter).args(["-I", "-c", ask]).read()?;
    Some(PathBuf::from(told))
}

/// Where a Python has its standard library.
fn standard_library(python: &Interpreter) -> Result<PathBuf> {
    let ask = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let told = Cmd::new(&python.path).args(["-I", "-c", ask]).read();
    let told = told.with_context(|| format!("{} does not run", python.path.display()))?;
    Ok(PathBuf::from(told))
}

/// Adds a program or a library, with the libraries that it is linked to.
fn executable(tree: &mut Tree, at: impl AsRef<Path>, file: &Path) -> Result<()> {
    tree.add(at, Content::File(file.to_owned()), true);
    let told = Cmd::new("ldd").arg(file).read();
    // One that is linked to nothing makes it fail.
    for library in linked(&told.unwrap_or_default()) {
        if !tree.has(&library) {
            tree.add(&library, Content::File(library.clone()), true);
        }
    }
    Ok(())
}

/// The files in what `ldd` says.
fn linked(told: &str) -> Vec<PathBuf> {
    told.lines()
        .filter_map(|line| {
            let line = line.trim();
            let path = line.split_once("=> ").map_or(line, |(_, path)| path);
            let path = path.split_once(" (").map_or(path, |(path, _)| path);
            path.starts_with('/').then(|| PathBuf::from(path))
        })
        .collect()
}

/// Adds what is below a directory.
fn directory(tree: &mut Tree, at: &Path, from: &Path, without: &[&str]) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| from.display().to_string())?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        // A link to nowhere is left out, as are files for linking.
        let Ok(kind) = fs::metadata(entry.path()) else {
            continue;
        };
        if without.contains(&text.as_ref()) || text.starts_with("config-") {
            continue;
        }
        let (inside, path) = (at.join(&name), entry.path());
        if kind.is_dir() {
            directory(tree, &inside, &path, without)?;
        } else if text.ends_with(".so") {
            executable(tree, inside, &path)?;
        } else if text.ends_with(".py") || text.ends_with(".pyc") || text == "METADATA" {
            tree.add(inside, Content::File(path), false);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::linked;
    use std::path::Path;

    #[test]
    fn libraries_are_read() {
        let told = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x3)\n\tlibgone.so => not found\n";
        let want = ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(Path::new);
        assert_eq!(linked(told), want);
        assert!(linked("\tstatically linked\n").is_empty());
    }
}
