//! The sample applications as genspan tells them from outside, against what in-process instrumentations
//! report of the same requests; and the tables of `docs/frameworks.md` that show it.

use crate::progress::step;
use crate::venv::{self, Environment, Python, environment};
use crate::{build, certs, host, paths};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::ExitCode;

/// The environments that are not among the live tests': they are large, or what instruments in them
/// shares files with what does in another. What an instrumentation needs of the application's packages
/// decides the versions: the newest that know LlamaIndex 0.10.28 are old.
const ENVIRONMENTS: [Environment; 6] = [
    environment(
        "compare-dashscope",
        Python::Version((3, 12)),
        &[
            "fastapi",
            "uvicorn",
            "dashscope",
            "opentelemetry-sdk",
            "opentelemetry-instrumentation-fastapi",
            "loongsuite-instrumentation-dashscope",
        ],
    ),
    environment(
        "compare-llamaindex",
        Python::Version((3, 11)),
        &[
            "fastapi",
            "uvicorn",
            "aiohttp",
            "numpy<2",
            "llama-index-core==0.10.28",
            "llama-index-readers-file<0.2",
            "llama-index-embeddings-dashscope==0.1.3",
            "llama-index-llms-dashscope==0.1.2",
            "llama-index-vector-stores-chroma==0.1.6",
            "chromadb==0.4.24",
            "opentelemetry-sdk",
            "opentelemetry-instrumentation-fastapi",
            "openinference-instrumentation-llama-index==1.4.2",
        ],
    ),
    // It patches classes of the package's older form too, and wants them there.
    environment(
        "compare-llamaindex-openllmetry",
        Python::Version((3, 11)),
        &[
            "fastapi",
            "uvicorn",
            "aiohttp",
            "numpy<2",
            "llama-index-core==0.10.28",
            "llama-index-readers-file<0.2",
            "llama-index-embeddings-dashscope==0.1.3",
            "llama-index-llms-dashscope==0.1.2",
            "llama-index-vector-stores-chroma==0.1.6",
            "chromadb==0.4.24",
            "llama-index==0.10.28",
            "opentelemetry-sdk",
            "opentelemetry-instrumentation-fastapi",
            "opentelemetry-instrumentation-llamaindex==0.23.0",
            "setuptools<80",
        ],
    ),
    environment(
        "compare-llamaindex-aliyun",
        Python::Version((3, 11)),
        &[
            "fastapi",
            "uvicorn",
            "aiohttp",
            "numpy<2",
            "llama-index-core==0.10.28",
            "llama-index-readers-file<0.2",
            "llama-index-embeddings-dashscope==0.1.3",
            "llama-index-llms-dashscope==0.1.2",
            "llama-index-vector-stores-chroma==0.1.6",
            "chromadb==0.4.24",
            "opentelemetry-sdk",
            "opentelemetry-instrumentation-fastapi",
            "aliyun-instrumentation-llama-index==1.0.1",
        ],
    ),
    environment(
        "compare-langchain-loongsuite",
        Python::Version((3, 12)),
        &[
            "fastapi",
            "uvicorn",
            "langchain<1",
            "langchain-community",
            "opentelemetry-sdk",
            "opentelemetry-instrumentation-fastapi",
            "loongsuite-instrumentation-langchain",
        ],
    ),
    environment(
        "compare-dify",
        Python::Version((3, 12)),
        &[
            "fastapi",
            "uvicorn",
            "graphon==0.8.0",
            "openai",
            "opentelemetry-sdk",
            "opentelemetry-instrumentation-fastapi",
            "opentelemetry-instrumentation-openai",
        ],
    ),
];

/// Those of the live tests that take part too.
const SMALL: [&str; 2] = ["compare-openai", "compare-langchain"];

/// What the comparison itself runs in.
const PROGRAM: &str = "web312";

/// What to compare.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A genspan that is built already [default: build one].
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// Only these applications: openai, dashscope, llamaindex, langchain, dify.
    #[arg(long, value_name = "NAMES")]
    pub(crate) only: Option<String>,
    /// Keep the result as what is expected from now on, and put the tables into docs/frameworks.md.
    #[arg(long)]
    pub(crate) write: bool,
}

/// The subcommand.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary)
            .ok()
            .filter(|file| file.is_file())
            .with_context(|| format!("no such file: {}", binary.display()))?,
        None => build::run()?,
    };
    for name in SMALL.iter().chain([&PROGRAM]) {
        let Some(environment) = venv::TESTS.iter().find(|e| e.name == *name) else {
            bail!("the table of environments has no {name}");
        };
        ready(environment)?;
    }
    for environment in &ENVIRONMENTS {
        ready(environment)?;
    }
    let certs = certs::ensure()?;
    // It makes a network of its own, for which it takes root; genspan needs that too. Each of its
    // waits has an end, after which it ends what it started.
    let mut command = host::privileged(&venv::interpreter_of(PROGRAM), &[])?
        .arg(paths::python_programs().join("compare/run.py"))
        .arg(&binary)
        .arg(&certs.dir)
        .arg(paths::venvs());
    if let Some(only) = &options.only {
        command = command.args(["--only", only]);
    }
    if options.write {
        command = command
            .arg("--write")
            .arg(paths::root().join("docs/frameworks.md"));
    }
    let status = command.status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn ready(environment: &Environment) -> Result<()> {
    let python = environment.interpreter()?;
    if environment.is_ready(&python) {
        return Ok(());
    }
    step(
        &format!("making the Python environment {}", environment.name),
        || environment.make(&python),
    )
}

/// The names of the environments that are not the live tests'.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ENVIRONMENTS.iter().map(|environment| environment.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_are_there_and_no_others_names() {
        for name in SMALL.iter().chain([&PROGRAM]) {
            assert!(venv::TESTS.iter().any(|e| e.name == *name));
        }
        for environment in &ENVIRONMENTS {
            assert!(venv::TESTS.iter().all(|e| e.name != environment.name));
        }
    }
}
