//! Set-up: what building, the demo and the tests need, found or installed.

use crate::cmd::Cmd;
use crate::progress::{note, step};
use crate::python::{self, Interpreter};
use crate::toolchain::Compiler;
use crate::{debian, free_threaded, fuzz, helm, host, linker, static_python, toolchain, venv};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::time::Instant;

/// What to set up.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also what only the tests need: a Python environment for each Python and SDK, cargo-fuzz.
    #[arg(long)]
    tests: bool,
}

/// The Python that runs the demo.
pub(crate) struct DemoPython {
    /// The interpreter.
    pub(crate) path: PathBuf,
    /// Whether the real `openai` package is there.
    pub(crate) has_openai: bool,
}

/// The subcommand.
pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let mut missing = Vec::new();
    let mut keep = |result: Result<()>| {
        if let Err(error) = result {
            missing.push(format!("{error:#}"));
        }
    };
    keep(rust_components());
    keep(for_building());
    keep(for_demo().map(|_| ()));
    if options.tests {
        for skipped in for_tests()? {
            note(&skipped);
        }
    }
    if missing.is_empty() {
        println!(
            "ready: {} ({:.1} s)",
            inventory(),
            start.elapsed().as_secs_f64()
        );
        return Ok(());
    }
    println!("\nmissing:");
    for piece in &missing {
        println!("- {}", piece.replace('\n', "\n  "));
    }
    bail!(
        "{} of the pieces above could not be installed from here",
        missing.len()
    );
}

/// What building needs: a compiler and a linker for the eBPF side.
pub(crate) fn for_building() -> Result<()> {
    if toolchain::ready().is_some() {
        return Ok(());
    }
    if host::can_apt() {
        step("refreshing the package lists", host::apt_update)?;
    }
    // A compiler is of use only with a linker that reads what it writes.
    let usable = |compiler: &Compiler| linker::can_build(compiler.version().llvm);
    if !toolchain::compilers().iter().any(usable) {
        step(
            "installing a compiler for the eBPF side",
            toolchain::install,
        )?;
    }
    let compilers = toolchain::compilers();
    let Some(compiler) = compilers.iter().find(|compiler| usable(compiler)) else {
        match compilers.first() {
            Some(compiler) => bail!("{}", linker::remedy(compiler.version().llvm)),
            None => bail!("{}", toolchain::remedy()),
        }
    };
    if toolchain::ready().is_none() {
        let llvm = compiler.version().llvm;
        let what = format!("building bpf-linker for LLVM {llvm} (one or two minutes)");
        step(&what, || linker::install(llvm))?;
    }
    toolchain::required().map(|_| ())
}

/// What the demo needs: a Python, and the `openai` package if an index can be reached.
pub(crate) fn for_demo() -> Result<DemoPython> {
    let python = demo_interpreter()?;
    if !venv::demo_ready(&python) {
        let what = format!(
            "making a Python {}.{} environment with the openai package",
            python.minor.0, python.minor.1
        );
        if step(&what, || venv::make_demo(&python)).is_err() {
            note(
                "the openai package could not be installed (target/log/pip.log has the reason); the \
                 demo will use Python's own HTTP client",
            );
            return Ok(DemoPython {
                path: python.path,
                has_openai: false,
            });
        }
    }
    Ok(DemoPython {
        path: venv::interpreter_of("demo"),
        has_openai: true,
    })
}

/// What the tests need besides; returns a line for each environment that is missing.
pub(crate) fn for_tests() -> Result<Vec<String>> {
    let mut skipped = Vec::new();
    for environment in &venv::TESTS {
        let name = environment.name;
        let made = environment.interpreter().and_then(|python| {
            if environment.is_ready(&python) {
                return Ok(());
            }
            let (major, minor) = python.minor;
            let what = format!("making the environment {name} (Python {major}.{minor})");
            step(&what, || environment.make(&python))
        });
        if let Err(error) = made {
            skipped.push(format!("environment {name} is missing: {error:#}"));
        }
    }
    if !debian::is_ready() {
        let made = step("unpacking Debian's Python 3.14", debian::make);
        if let Err(error) = made {
            skipped.push(format!("Debian's Python 3.14 is missing: {error:#}"));
        }
    }
    if debian::is_ready() && !debian::has_packages() {
        let made = step(
            "adding packages to Debian's Python 3.14",
            debian::add_packages,
        );
        if let Err(error) = made {
            skipped.push(format!(
                "packages of Debian's Python 3.14 are missing: {error:#}"
            ));
        }
    }
    if !free_threaded::is_ready() {
        if let Err(error) = step("making a Python without the GIL", free_threaded::make) {
            skipped.push(format!("a Python without the GIL is missing: {error:#}"));
        }
    }
    if !static_python::is_ready() {
        let what = "building a Python with OpenSSL in it";
        if let Err(error) = step(what, static_python::make) {
            skipped.push(format!("a Python with OpenSSL in it is missing: {error:#}"));
        }
    }
    if !helm::is_ready() {
        if let Err(error) = step("fetching helm", helm::make) {
            skipped.push(format!("helm is missing: {error:#}"));
        }
    }
    if fuzz::has_nightly() && !fuzz::has_cargo_fuzz() {
        if let Err(error) = step("building cargo-fuzz (about a minute)", fuzz::install) {
            skipped.push(format!("cargo-fuzz is missing: {error:#}"));
        }
    }
    Ok(skipped)
}

fn demo_interpreter() -> Result<Interpreter> {
    let found = python::for_demo();
    let enough = |python: &Interpreter| python.has_venv;
    if !found.as_ref().is_some_and(enough) && host::can_apt() {
        step("installing Python", || {
            host::apt_install(&["python3", "python3-venv"])
        })?;
        return python::for_demo().map_or_else(no_python, Ok);
    }
    found.map_or_else(no_python, Ok)
}

fn no_python() -> Result<Interpreter> {
    bail!(
        "no Python of at least {}.{} with the ssl module was found (on Debian and Ubuntu: apt-get \
         install python3 python3-venv)",
        python::OLDEST.0,
        python::OLDEST.1
    )
}

fn rust_components() -> Result<()> {
    let has = |tool: &str| Cmd::cargo().args([tool, "--version"]).read().is_some();
    if has("fmt") && has("clippy") {
        return Ok(());
    }
    let install = || {
        Cmd::new("rustup")
            .args(["component", "add", "rustfmt", "clippy"])
            .timeout(300)
            .logged("rustup-components")
    };
    match step("installing rustfmt and clippy", install) {
        Ok(()) => Ok(()),
        Err(_) => bail!(
            "rustfmt and clippy (rustup component add rustfmt clippy, or your system's packages \
             of these names)"
        ),
    }
}

/// What is used, in one line.
fn inventory() -> String {
    let compiler = toolchain::ready().map_or_else(String::new, |compiler| compiler.name());
    let linker = linker::installed().map_or_else(String::new, |linker| linker.version);
    let python = match venv::installed_version("demo", "openai") {
        Some(version) => format!("Python with openai {version}"),
        None => "Python without the openai package".to_owned(),
    };
    format!("{compiler}, bpf-linker {linker}, {python}")
}
