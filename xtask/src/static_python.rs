//! A CPython with OpenSSL in its executable and no symbols, as uv's and conda's are, for the live tests.
//!
//! It is Debian's: the interpreter from the static library that Debian builds with a profile (PGO), the
//! modules `_ssl` and `_hashlib` from its source, built here with a profile and across files (LTO), and
//! Debian's static OpenSSL. That takes seconds, where a whole CPython takes many minutes.

use crate::archive::Archive;
use crate::cmd::Cmd;
use crate::{host, paths, python};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The environment; tests know it by this name.
fn root() -> PathBuf {
    paths::venvs().join("static")
}

/// Its interpreter.
fn program(root: &Path) -> PathBuf {
    root.join("bin/python3")
}

/// Whether it is there.
pub(crate) fn is_ready() -> bool {
    program(&root()).is_file()
}

/// What the profile is of: modules imported, and a handshake begun.
const EXERCISE: &str = "import hashlib, ssl
context = ssl.create_default_context()
for _ in range(50):
    hashlib.sha256(b'x' * 4096).hexdigest()
    tls = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname='localhost')
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
";

/// Makes it.
pub(crate) fn make() -> Result<()> {
    let system = python::system().context("no usable /usr/bin/python3 here")?;
    let version = format!("{}.{}", system.minor.0, system.minor.1);
    let headers = PathBuf::from(format!("/usr/include/python{version}"));
    let needed = [format!("libpython{version}-dev"), "libssl-dev".to_owned()];
    let has = |file: &str| {
        Cmd::new("cc")
            .arg(format!("-print-file-name={file}"))
            .read()
    };
    let has_ssl = has("libssl.a").is_some_and(|path| path.starts_with('/'));
    if !(headers.is_dir() && has_ssl) {
        if !host::can_apt() {
            bail!("{} are needed (apt-get install)", needed.join(" and "));
        }
        host::apt_install(&needed.each_ref().map(String::as_str))?;
    }
    let parts = paths::target().join("static-python");
    if parts.exists() {
        fs::remove_dir_all(&parts).with_context(|| paths::shown(&parts))?;
    }
    let archive = Archive::open_sources(&parts, &host::codename().context("no code name")?)?;
    let source = archive.source(&format!("python{version}"))?;
    Cmd::new("tar")
        .arg("-xf")
        .arg(&source)
        .arg("-C")
        .arg(&parts)
        .args(["--strip-components=1", "--wildcards", "*/Modules/*"])
        .timeout(120)
        .logged("static-unpack")?;
    let library = static_library(&system.path, &version)?;
    let build = Build {
        parts: &parts,
        headers,
        library,
    };
    build.run(&["-fprofile-generate", "-fprofile-update=atomic"])?;
    let built = parts.join("python3");
    Cmd::new(&built)
        .args(["-c", EXERCISE])
        .timeout(60)
        .logged("static-exercise")?;
    build.run(&[
        "-fprofile-use",
        "-fprofile-correction",
        "-Wno-missing-profile",
    ])?;
    Cmd::new("strip")
        .arg(&built)
        .timeout(60)
        .logged("static-strip")?;
    settle(&built, &version)?;
    fs::remove_dir_all(&parts).with_context(|| paths::shown(&parts))
}

/// A tree of its own, by which the interpreter finds its library.
fn settle(built: &Path, version: &str) -> Result<()> {
    let root = root();
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| paths::shown(&root))?;
    }
    for part in ["bin", "lib"] {
        fs::create_dir_all(root.join(part)).with_context(|| paths::shown(&root))?;
    }
    let library = format!("python{version}");
    symlink(
        Path::new("/usr/lib").join(&library),
        root.join("lib").join(library),
    )?;
    fs::copy(built, program(&root)).with_context(|| paths::shown(&root))?;
    Ok(())
}

/// Where the static library of the system's interpreter is.
fn static_library(python: &Path, version: &str) -> Result<PathBuf> {
    let code = "import sysconfig; print(sysconfig.get_config_var('LIBPL'))";
    let folder = Cmd::new(python).args(["-I", "-c", code]).read();
    let library = PathBuf::from(folder.context("no configuration of the system's Python")?)
        .join(format!("libpython{version}.a"));
    if !library.is_file() {
        bail!(
            "no {} (apt-get install libpython{version}-dev)",
            library.display()
        );
    }
    Ok(library)
}

struct Build<'a> {
    parts: &'a Path,
    headers: PathBuf,
    library: PathBuf,
}

impl Build<'_> {
    /// Builds the executable, with these options more.
    fn run(&self, more: &[&str]) -> Result<()> {
        // The module of sockets has headers that nobody needs here.
        fs::write(
            self.parts.join("without.h"),
            "#undef HAVE_BLUETOOTH_BLUETOOTH_H\n",
        )?;
        let modules = self.parts.join("Modules");
        let own = paths::root().join("tests/c/static_python.c");
        let sources = [own, modules.join("_ssl.c"), modules.join("_hashopenssl.c")];
        let options = |command: Cmd| {
            command
                .dir(self.parts)
                .args(["-O3", "-flto", "-fno-pie", "-w", "-DPy_BUILD_CORE_BUILTIN"])
                .args(["-include", "pyconfig.h", "-include", "without.h", "-I."])
                .arg("-I")
                .arg(&self.headers)
                .arg("-I")
                .arg(self.headers.join("internal"))
                .arg("-I")
                .arg(&modules)
                .args(more)
                .timeout(120)
        };
        let mut objects = Vec::new();
        for source in &sources {
            let object = self.parts.join(source.file_stem().unwrap_or_default());
            let object = object.with_extension("o");
            options(Cmd::new("cc"))
                .arg("-c")
                .arg(source)
                .arg("-o")
                .arg(&object)
                .logged("static-compile")?;
            objects.push(object);
        }
        options(Cmd::new("cc"))
            // The interpreter's functions are for extension modules; OpenSSL's are for nobody.
            .args(["-no-pie", "-Wl,--export-dynamic"])
            .args(["-Wl,--exclude-libs,libssl.a:libcrypto.a", "-o", "python3"])
            .args(&objects)
            .arg(&self.library)
            .args([
                "-l:libssl.a",
                "-l:libcrypto.a",
                "-lexpat",
                "-lz",
                "-lm",
                "-ldl",
                "-lpthread",
            ])
            .logged("static-link")
    }
}
