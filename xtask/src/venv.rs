//! Python environments of the demo and the live tests, below `target/venv`.

use crate::cmd::Cmd;
use crate::python::{self, Interpreter, Minor};
use crate::{host, paths};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Which interpreter an environment wants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Python {
    /// This version.
    Version(Minor),
    /// The system's own.
    System,
}

/// An environment of the live tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Environment {
    /// Its directory below `target/venv`; tests know it by this name.
    pub(crate) name: &'static str,
    /// Its interpreter.
    pub(crate) python: Python,
    /// What is installed.
    packages: &'static [&'static str],
}

/// What web applications that call models are made of.
const WEB_PACKAGES: [&str; 10] = [
    "fastapi",
    "uvicorn",
    "uvicorn-worker",
    "uvloop",
    "httptools",
    "httpx",
    "aiohttp",
    "flask",
    "django",
    "gunicorn",
];

/// What there is for every version of Python.
const EACH_PYTHON: [&str; 2] = ["openai", "msgspec"];

/// The oldest LangChain that is supported.
const OLD_LANGCHAIN: [&str; 1] = ["langchain-core==0.1.52"];

/// SGLang with what is loaded of what it needs.
const fn sglang(version: &'static str) -> [&'static str; 8] {
    [
        "--no-deps",
        version,
        "annotated-types==0.8.0",
        "pydantic==2.14.4",
        "pydantic-core==2.50.5",
        "setproctitle==1.3.8",
        "typing-extensions==4.16.0",
        "typing-inspection==0.4.5",
    ]
}

/// The environments of the live tests.
pub(crate) const TESTS: [Environment; 44] = [
    // The newest SDK with everything that changes how it speaks.
    environment(
        "sdk-new",
        Python::Version((3, 12)),
        &[
            "openai",
            "httpx[brotli,zstd]",
            "httpx2[brotli,zstd]",
            "uvloop",
        ],
    ),
    // The first SDK of its present form, on the oldest Python that it runs on.
    environment(
        "sdk-old",
        Python::Version((3, 8)),
        &["openai==1.0.0", "httpx<0.26"],
    ),
    // Clients and servers without an SDK.
    environment(
        "clients",
        Python::Version((3, 11)),
        &[
            "httpx[brotli,zstd]",
            "requests",
            "aiohttp",
            "uvloop",
            "gunicorn",
            "brotli",
            "zstandard",
        ],
    ),
    // Clients with a BoringSSL of their own: with names for its functions, and without.
    environment(
        "boringssl",
        Python::Version((3, 12)),
        &["curl_cffi", "grpcio"],
    ),
    // Servers of every kind, and what gateways call with.
    environment(
        "servers",
        Python::Version((3, 12)),
        &[
            "fastapi",
            "uvicorn[standard]",
            "uvicorn-worker",
            "hypercorn",
            "gunicorn",
            "httpx",
            "requests",
        ],
    ),
    // HTTP/2: the newest SDK over it, and a server that speaks it.
    environment(
        "http2",
        Python::Version((3, 12)),
        &["openai", "httpx[http2,brotli,zstd]", "uvloop"],
    ),
    // WebSocket: the SDKs that speak it, and the packages that they and others do it with.
    environment(
        "websocket",
        Python::Version((3, 12)),
        &[
            "openai[realtime]",
            "websockets",
            "aiohttp",
            "websocket-client",
            "dashscope",
            "uvloop",
        ],
    ),
    // The newest packages of other providers.
    environment(
        "packages",
        Python::Version((3, 12)),
        &[
            "anthropic",
            "boto3",
            "cohere",
            "dashscope",
            "aiohttp",
            "certifi",
            "google-genai",
            "mistralai",
            "ollama",
            "httpx",
        ],
    ),
    // The Model Context Protocol: its own package, which has client and server.
    environment("mcp", Python::Version((3, 12)), &["mcp"]),
    // The newest SDK that each Python takes; and structs of msgspec, of which objects are made in SGLang.
    environment("py38", Python::Version((3, 8)), &EACH_PYTHON),
    environment("py39", Python::Version((3, 9)), &EACH_PYTHON),
    environment("py310", Python::Version((3, 10)), &EACH_PYTHON),
    environment("py311", Python::Version((3, 11)), &EACH_PYTHON),
    environment("py312", Python::Version((3, 12)), &EACH_PYTHON),
    environment("py313", Python::Version((3, 13)), &EACH_PYTHON),
    // Web applications that call models.
    environment("web311", Python::Version((3, 11)), &WEB_PACKAGES),
    environment("web312", Python::Version((3, 12)), &WEB_PACKAGES),
    environment("web313", Python::Version((3, 13)), &WEB_PACKAGES),
    environment("web-system", Python::System, &WEB_PACKAGES),
    // What is handed to workers.
    environment(
        "celery",
        Python::Version((3, 12)),
        &["celery", "flask", "httpx"],
    ),
    // LangChain, the newest that each Python takes: with web applications, with LangGraph, and alone.
    environment(
        "langchain312",
        Python::Version((3, 12)),
        // LangGraph comes with `langchain`.
        &[
            "langchain",
            "langchain-openai",
            "fastapi",
            "uvicorn",
            "httpx",
        ],
    ),
    environment("langchain313", Python::Version((3, 13)), &["langchain"]),
    environment(
        "langchain311",
        Python::Version((3, 11)),
        &["langchain-core"],
    ),
    environment("langchain39", Python::Version((3, 9)), &["langchain-core"]),
    environment("langchain-system", Python::System, &["langchain-core"]),
    // The oldest that is supported, on the same.
    environment("langchain-old312", Python::Version((3, 12)), &OLD_LANGCHAIN),
    environment("langchain-old313", Python::Version((3, 13)), &OLD_LANGCHAIN),
    environment("langchain-old311", Python::Version((3, 11)), &OLD_LANGCHAIN),
    environment("langchain-old39", Python::Version((3, 9)), &OLD_LANGCHAIN),
    environment("langchain-old-system", Python::System, &OLD_LANGCHAIN),
    // Sample applications with the in-process instrumentations that genspan is compared with: versions
    // are those that the expected result was made with.
    environment(
        "compare-openai",
        Python::Version((3, 12)),
        &[
            "fastapi==0.165.0",
            "uvicorn==0.54.0",
            "openai==3.57.0",
            "opentelemetry-sdk==1.45.2",
            "opentelemetry-instrumentation-fastapi==0.66b2",
            "opentelemetry-instrumentation-genai-openai==1.3b0",
            "opentelemetry-instrumentation-openai==0.62.4",
            "openinference-instrumentation-openai==0.1.66",
        ],
    ),
    environment(
        "compare-langchain",
        Python::Version((3, 12)),
        &[
            "fastapi==0.165.0",
            "uvicorn==0.54.0",
            "langchain==0.3.30",
            "langchain-core==0.3.86",
            "langchain-community==0.3.31",
            "opentelemetry-sdk==1.45.2",
            "opentelemetry-instrumentation-fastapi==0.66b2",
            "opentelemetry-instrumentation-langchain==0.62.4",
            "openinference-instrumentation-langchain==0.1.80",
        ],
    ),
    // LlamaIndex: the newest, and the oldest that is supported.
    environment(
        "llamaindex313",
        Python::Version((3, 13)),
        &["llama-index-core", "fastapi", "uvicorn", "httpx"],
    ),
    environment(
        "llamaindex311",
        Python::Version((3, 11)),
        &["llama-index-core==0.10.28", "fastapi", "uvicorn", "httpx"],
    ),
    // Dify's engine: without what it takes documents apart with, which is half a gigabyte.
    environment(
        "dify",
        Python::Version((3, 12)),
        &[
            "--no-deps",
            "graphon==0.8.0",
            "annotated-types==0.8.0",
            "anyio==4.16.0",
            "attrs==26.1.0",
            "certifi",
            "charset-normalizer==3.5.3",
            "h11==0.16.0",
            "httpcore==1.0.9",
            "httpx==0.28.1",
            "idna==3.20",
            "jsonschema==4.26.0",
            "jsonschema-specifications==2025.9.1",
            "pydantic==2.14.4",
            "pydantic-core==2.50.5",
            "referencing==0.37.0",
            "rpds-py==2026.9.1",
            "typing-extensions==4.16.0",
            "typing-inspection==0.4.5",
        ],
    ),
    // What makes bundles, and what is bundled.
    environment(
        "bundle",
        Python::Version((3, 12)),
        &["pyinstaller", "openai"],
    ),
    // Its engine before, with what `dify` has beside it: the first of its kind but one, the last of that, and the
    // first of the next.
    environment(
        "dify-0.1",
        Python::Version((3, 12)),
        &["--no-deps", "graphon==0.1.2"],
    ),
    environment(
        "dify-0.6",
        Python::Version((3, 12)),
        &["--no-deps", "graphon==0.6.0"],
    ),
    environment(
        "dify-0.7",
        Python::Version((3, 12)),
        &["--no-deps", "graphon==0.7.0"],
    ),
    // SGLang without what it needs, which is gigabytes: the first of its kind that is supported, one that names its
    // processes, and one that frees what a request had by a function of its own.
    environment(
        "sglang-0.4.0",
        Python::Version((3, 11)),
        &sglang("sglang==0.4.0"),
    ),
    environment(
        "sglang-0.4.6",
        Python::Version((3, 12)),
        &sglang("sglang==0.4.6.post5"),
    ),
    environment(
        "sglang-0.5.6",
        Python::Version((3, 13)),
        &sglang("sglang==0.5.6"),
    ),
    // The system's: on Debian an executable without symbols.
    environment("system", Python::System, &["openai"]),
    // Kubernetes's schemas; `helm` is put beside them.
    environment(
        "kubernetes",
        Python::Version((3, 12)),
        &["kubernetes-validate"],
    ),
];

/// An environment with these packages.
pub(crate) const fn environment(
    name: &'static str,
    python: Python,
    packages: &'static [&'static str],
) -> Environment {
    Environment {
        name,
        python,
        packages,
    }
}

/// What the demo's environment has in it.
const DEMO_PACKAGES: [&str; 2] = ["openai", "httpx"];

impl Environment {
    /// The interpreter for it.
    pub(crate) fn interpreter(&self) -> Result<Interpreter> {
        match self.python {
            Python::Version(minor) => python::find(minor).with_context(|| {
                format!(
                    "no Python {}.{} here (pyenv, PATH and /usr/bin were looked at; for example: \
                     pyenv install {0}.{1})",
                    minor.0, minor.1
                )
            }),
            Python::System => python::system().context("no usable /usr/bin/python3 here"),
        }
    }

    /// Whether it is there as the table wants it.
    pub(crate) fn is_ready(&self, python: &Interpreter) -> bool {
        is_ready(self.name, &self.recipe(python))
    }

    /// Makes it.
    pub(crate) fn make(&self, python: &Interpreter) -> Result<()> {
        let dir = fresh(self.name)?;
        let uv = uv()?;
        uv_command(&uv)
            .args(["venv", "--no-python-downloads", "--python"])
            .args([&python.path, &dir])
            .timeout(120)
            .logged(&format!("venv-{}", self.name))?;
        host::retried(|| {
            uv_command(&uv)
                .args(["pip", "install", "--python"])
                .arg(dir.join("bin/python"))
                .args(self.packages)
                .timeout(300)
                .logged(&format!("venv-{}", self.name))
        })?;
        mark(&dir, &self.recipe(python))
    }

    fn recipe(&self, python: &Interpreter) -> String {
        recipe(python, self.packages)
    }
}

/// The demo's environment, when it is there.
pub(crate) fn demo_ready(python: &Interpreter) -> bool {
    is_ready("demo", &recipe(python, &DEMO_PACKAGES))
}

/// Makes the demo's environment.
pub(crate) fn make_demo(python: &Interpreter) -> Result<()> {
    if !python.has_venv {
        bail!(
            "{} cannot make environments (on Debian and Ubuntu: apt-get install python3-venv)",
            python.path.display()
        );
    }
    let dir = fresh("demo")?;
    plain_venv(python, &dir)?;
    pip(&dir, &DEMO_PACKAGES)?;
    mark(&dir, &recipe(python, &DEMO_PACKAGES))
}

/// The interpreter of an environment.
pub(crate) fn interpreter_of(name: &str) -> PathBuf {
    paths::venvs().join(name).join("bin/python")
}

/// Unpacks a package of the index into a directory, without what it depends on.
pub(crate) fn unpack(package: &str, dir: &Path) -> Result<()> {
    let uv = uv()?;
    host::retried(|| {
        uv_command(&uv)
            .args(["pip", "install", "--no-deps", "--python"])
            .arg(interpreter_of("uv"))
            .args(["--target".as_ref(), dir.as_os_str(), package.as_ref()])
            .timeout(300)
            .logged("unpack")
    })
}

/// Puts packages and what they depend on into a directory, for an interpreter of this version that need not be here.
pub(crate) fn install_for(version: &str, packages: &[&str], dir: &Path) -> Result<()> {
    let uv = uv()?;
    host::retried(|| {
        uv_command(&uv)
            .args(["pip", "install", "--only-binary", ":all:"])
            .args(["--python-version", version, "--python"])
            .arg(interpreter_of("uv"))
            .arg("--target")
            .arg(dir)
            .args(packages)
            .timeout(300)
            .logged("install-for")
    })
}

/// Puts what a package has for an interpreter of this version and ABI into a directory, without what it depends
/// on: by pip, which takes an ABI.
pub(crate) fn install_built_for(
    (version, abi): (&str, &str),
    package: &str,
    dir: &Path,
) -> Result<()> {
    uv()?;
    Cmd::new(interpreter_of("uv"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-compile",
        ])
        .args([
            "--disable-pip-version-check",
            "--timeout",
            "15",
            "--retries",
            "2",
        ])
        .args(["--only-binary", ":all:", "--implementation", "cp"])
        .args(["--platform", "manylinux2014_x86_64"])
        .args(["--python-version", version, "--abi", abi, "--target"])
        .arg(dir)
        .arg(package)
        .timeout(300)
        .logged("install-built-for")
}

/// The version of an installed package, for a line that says what there is.
pub(crate) fn installed_version(name: &str, package: &str) -> Option<String> {
    let code = format!("import importlib.metadata as m; print(m.version('{package}'))");
    Cmd::new(interpreter_of(name))
        .args(["-I", "-c", &code])
        .read()
}

/// uv, which makes many environments fast; installed from the package index.
fn uv() -> Result<PathBuf> {
    let dir = paths::venvs().join("uv");
    let program = dir.join("bin/uv");
    if Cmd::new(&program).arg("--version").read().is_some() {
        return Ok(program);
    }
    let python = python::for_demo()
        .filter(|python| python.has_venv)
        .context("no Python that can make environments (Debian, Ubuntu: python3-venv)")?;
    fresh("uv")?;
    plain_venv(&python, &dir)?;
    pip(&dir, &["uv"])?;
    Ok(program)
}

/// uv with pip's settings of this machine: its certificates and its index.
fn uv_command(uv: &Path) -> Cmd {
    let pairs = [
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
        ("PIP_CERT", "SSL_CERT_FILE"),
    ];
    let command = Cmd::new(uv)
        .env("UV_CACHE_DIR", paths::target().join("uv-cache"))
        .env("UV_NO_PROGRESS", "1")
        .without_env("VIRTUAL_ENV");
    pairs.iter().fold(command, |command, (pip, uv)| {
        match (std::env::var_os(pip), std::env::var_os(uv)) {
            (Some(value), None) => command.env(uv, value),
            _ => command,
        }
    })
}

fn plain_venv(python: &Interpreter, dir: &Path) -> Result<()> {
    Cmd::new(&python.path)
        .args(["-m", "venv"])
        .arg(dir)
        .timeout(120)
        .logged("venv")
}

fn pip(dir: &Path, packages: &[&str]) -> Result<()> {
    Cmd::new(dir.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(["--timeout", "15", "--retries", "2"])
        .args(packages)
        .timeout(300)
        .logged("pip")
}

fn recipe(python: &Interpreter, packages: &[&str]) -> String {
    format!("{}\n{}\n", python.path.display(), packages.join("\n"))
}

/// The file that says what an environment was made from.
fn marker(dir: &Path) -> PathBuf {
    dir.join("genspan-recipe.txt")
}

fn is_ready(name: &str, recipe: &str) -> bool {
    let dir = paths::venvs().join(name);
    interpreter_of(name).is_file() && fs::read_to_string(marker(&dir)).is_ok_and(|r| r == recipe)
}

fn mark(dir: &Path, recipe: &str) -> Result<()> {
    fs::write(marker(dir), recipe).with_context(|| format!("cannot write in {}", dir.display()))
}

/// An environment's directory, emptied of what an interrupted run may have left.
fn fresh(name: &str) -> Result<PathBuf> {
    let dir = paths::venvs().join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(paths::venvs())
        .with_context(|| format!("cannot make {}", paths::venvs().display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_not_taken() {
        let mut names: Vec<&str> = TESTS.iter().map(|e| e.name).chain(["demo", "uv"]).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
