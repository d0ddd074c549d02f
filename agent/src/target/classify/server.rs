//! Model servers and their parts, by the command lines and the titles of their processes.
//!
//! Sources: the servers' documented commands, and the titles that they give their processes
//! (`set_process_title` of vLLM, `setproctitle` of SGLang; Ray's workers are called after their class).

use super::program::{How, Program};
use crate::model::process::AppType;

/// A server of models, or a gateway to such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the servers' own")]
pub enum Server {
    Vllm,
    Sglang,
    Tgi,
    Triton,
    Ollama,
    LlamaCpp,
    Litellm,
    Lmdeploy,
    Xinference,
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Vllm,
        Self::Sglang,
        Self::Tgi,
        Self::Triton,
        Self::Ollama,
        Self::LlamaCpp,
        Self::Litellm,
        Self::Lmdeploy,
        Self::Xinference,
    ];

    /// Its name as a provider (`gen_ai.provider.name` of what it serves) and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Tgi => "text_generation_inference",
            Self::Triton => "triton",
            Self::Ollama => "ollama",
            Self::LlamaCpp => "llama_cpp",
            Self::Litellm => "litellm",
            Self::Lmdeploy => "lmdeploy",
            Self::Xinference => "xinference",
        }
    }

    /// What a process of it is. A gateway loads no model: it is an application that calls some.
    #[must_use]
    pub const fn makes(self) -> AppType {
        match self {
            Self::Litellm => AppType::App,
            _ => AppType::Model,
        }
    }

    /// Whether a part of it is traced: what clients speak HTTP with, and SGLang's schedulers, which alone know when what
    /// was done with a request.
    #[must_use]
    pub const fn has_traced(self, part: Part) -> bool {
        part.speaks_http() || matches!((self, part), (Self::Sglang, Part::Scheduler))
    }

    /// The distribution that has its version, where it is a Python package.
    #[must_use]
    pub const fn distribution(self) -> Option<&'static str> {
        match self {
            Self::Vllm => Some("vllm"),
            Self::Sglang => Some("sglang"),
            Self::Tgi => Some("text-generation-server"),
            Self::LlamaCpp => Some("llama-cpp-python"),
            Self::Litellm => Some("litellm"),
            Self::Lmdeploy => Some("lmdeploy"),
            Self::Xinference => Some("xinference"),
            Self::Triton | Self::Ollama => None,
        }
    }
}

/// What a process does within its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Speaks HTTP with clients; what is asked and answered passes it.
    Api,
    /// Starts and watches the others.
    Launcher,
    /// Hands requests on to one of several servers.
    Router,
    /// Plans batches and drives the workers.
    Engine,
    /// Plans batches.
    Scheduler,
    /// Makes text of tokens.
    Detokenizer,
    /// Shares work out among engines.
    Coordinator,
    /// Runs the model, or a share of it.
    Worker,
    /// Something else of it.
    Helper,
}

impl Part {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Launcher => "launcher",
            Self::Router => "router",
            Self::Engine => "engine",
            Self::Scheduler => "scheduler",
            Self::Detokenizer => "detokenizer",
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Helper => "helper",
        }
    }

    /// Whether clients, or what stands for them, may speak HTTP with it.
    #[must_use]
    pub const fn speaks_http(self) -> bool {
        matches!(self, Self::Api | Self::Router | Self::Launcher)
    }
}

/// A program of a server.
struct Known {
    /// Module or program; a module stands for those within it, too.
    name: &'static str,
    /// What it must be told to do.
    verbs: &'static [&'static str],
    server: Server,
    part: Part,
}

const fn known(
    name: &'static str,
    verbs: &'static [&'static str],
    server: Server,
    part: Part,
) -> Known {
    Known {
        name,
        verbs,
        server,
        part,
    }
}

/// The first one whose name fits and whose verbs are there decides.
const PROGRAMS: [Known; 28] = [
    known("vllm", &["serve"], Server::Vllm, Part::Api),
    known("vllm.entrypoints.cli", &["serve"], Server::Vllm, Part::Api),
    known("vllm.entrypoints.openai", &[], Server::Vllm, Part::Api),
    known("vllm.entrypoints.api_server", &[], Server::Vllm, Part::Api),
    // Looks at a model's class in a process of its own (`models.registry`).
    known("vllm.model_executor", &[], Server::Vllm, Part::Helper),
    known("sglang", &["serve"], Server::Sglang, Part::Api),
    known("sglang.launch_server", &[], Server::Sglang, Part::Api),
    known("sglang.srt", &[], Server::Sglang, Part::Api),
    known(
        "sglang_router.launch_server",
        &[],
        Server::Sglang,
        Part::Launcher,
    ),
    known(
        "sglang_router.launch_router",
        &[],
        Server::Sglang,
        Part::Router,
    ),
    known("text-generation-launcher", &[], Server::Tgi, Part::Launcher),
    known("text-generation-router", &[], Server::Tgi, Part::Api),
    known(
        "text-generation-server",
        &["serve"],
        Server::Tgi,
        Part::Worker,
    ),
    known("tritonserver", &[], Server::Triton, Part::Api),
    known(
        "triton_python_backend_stub",
        &[],
        Server::Triton,
        Part::Worker,
    ),
    known("ollama", &["serve"], Server::Ollama, Part::Api),
    known("ollama", &["runner"], Server::Ollama, Part::Worker),
    known("ollama_llama_server", &[], Server::Ollama, Part::Worker),
    known("llama-server", &[], Server::LlamaCpp, Part::Api),
    known("llama_cpp.server", &[], Server::LlamaCpp, Part::Api),
    known("litellm", &[], Server::Litellm, Part::Api),
    known("litellm.proxy", &[], Server::Litellm, Part::Api),
    known(
        "lmdeploy",
        &["serve", "api_server"],
        Server::Lmdeploy,
        Part::Api,
    ),
    known(
        "lmdeploy",
        &["serve", "gradio"],
        Server::Lmdeploy,
        Part::Api,
    ),
    known(
        "lmdeploy",
        &["serve", "proxy"],
        Server::Lmdeploy,
        Part::Router,
    ),
    known("xinference-local", &[], Server::Xinference, Part::Api),
    known("xinference-supervisor", &[], Server::Xinference, Part::Api),
    known("xinference-worker", &[], Server::Xinference, Part::Worker),
];

/// Programs of the same packages that ask a server, or several, instead of being one.
const CLIENTS: [(&str, &[&str]); 8] = [
    ("vllm", &["bench", "serve"]),
    ("vllm", &["chat"]),
    ("vllm", &["complete"]),
    ("vllm.benchmarks.serve", &[]),
    ("vllm.entrypoints.cli", &["bench", "serve"]),
    ("vllm.entrypoints.cli", &["chat"]),
    ("sglang.bench_serving", &[]),
    ("ollama", &["run"]),
];

/// Beginnings of the titles that processes give themselves. The kernel keeps 15 bytes of one beside
/// the command line; those here are no longer, but where two would be the same.
const TITLES: [(&str, Server, Part); 15] = [
    ("VLLM::EngineCor", Server::Vllm, Part::Engine),
    ("VLLM::APIServer", Server::Vllm, Part::Api),
    ("VLLM::Worker", Server::Vllm, Part::Worker),
    ("VLLM::DPCoordin", Server::Vllm, Part::Coordinator),
    ("VLLM::", Server::Vllm, Part::Helper),
    ("ray::RayWorkerW", Server::Vllm, Part::Worker),
    ("ray::RayWorkerP", Server::Vllm, Part::Worker),
    ("sglang::schedul", Server::Sglang, Part::Scheduler),
    ("sglang::detoken", Server::Sglang, Part::Detokenizer),
    ("sglang::data_pa", Server::Sglang, Part::Coordinator),
    ("sglang::router", Server::Sglang, Part::Router),
    ("sglang::http", Server::Sglang, Part::Api),
    ("sglang::tokeniz", Server::Sglang, Part::Api),
    ("sglang::", Server::Sglang, Part::Helper),
    ("sglang-router", Server::Sglang, Part::Router),
];

/// A process of a model server, as its command line or its title tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Which server.
    pub server: Server,
    /// What the process does in it.
    pub part: Part,
    /// The words that told it.
    pub words: String,
    /// What stands behind the program and its verbs; nothing behind a title.
    pub arguments: &'a [String],
}

/// The model server that a command line runs, or that the kernel's name for the process tells.
#[must_use]
pub fn of<'a>(command: &'a [String], name: &str) -> Option<Found<'a>> {
    let title = command.first().map_or("", String::as_str);
    let titled = |text: &str| TITLES.iter().find(|(start, ..)| text.starts_with(start));
    if let Some((_, server, part)) = titled(title).or_else(|| titled(name)) {
        let words = if titled(title).is_some() { title } else { name };
        return Some(Found {
            server: *server,
            part: *part,
            words: words.trim_end().to_owned(),
            arguments: &[],
        });
    }
    let program = Program::of(command)?;
    let found = PROGRAMS
        .iter()
        .find(|known| is(&program, known.name, known.verbs))?;
    let words = [&[program.short_name()], found.verbs].concat().join(" ");
    Some(Found {
        server: found.server,
        part: found.part,
        words,
        arguments: program.arguments.get(found.verbs.len()..)?,
    })
}

/// The port that the command line of a model server names.
#[must_use]
pub fn port(command: &[String]) -> Option<u16> {
    let found = of(command, "")?;
    let process = super::Description {
        command: command.to_vec(),
        ..super::Description::default()
    };
    super::arguments::of(&found, &process).port
}

/// Whether this command line asks model servers rather than being one: the words that say so.
#[must_use]
pub fn client_of(command: &[String]) -> Option<String> {
    let program = Program::of(command)?;
    let (_, verbs) = CLIENTS
        .iter()
        .find(|(name, verbs)| is(&program, name, verbs))?;
    Some([&[program.short_name()], *verbs].concat().join(" "))
}

fn is(program: &Program<'_>, name: &str, verbs: &[&str]) -> bool {
    let module = program.how == How::Module;
    let inner = program.short_name().strip_prefix(name);
    let named = match inner {
        // A file of one's own may be called like a module, or like a command with `.py` behind it.
        Some("") => module || !(name.contains('.') || program.name.ends_with(".py")),
        Some(inner) => module && inner.starts_with('.'),
        None => false,
    };
    named
        && program.arguments.len() >= verbs.len()
        && program.arguments.iter().zip(verbs).all(|(a, v)| a == v)
}

#[cfg(test)]
mod tests {
    use super::{Part, Server, client_of, of};

    #[test]
    fn command_lines() {
        use Part::{Api, Engine, Router, Scheduler, Worker};
        for (line, want) in [
            (
                "/usr/bin/python3 /opt/bin/vllm serve m --port 1",
                Some((Server::Vllm, Api)),
            ),
            ("vllm serve m", Some((Server::Vllm, Api))),
            ("vllm bench serve", None),
            (
                "python -m vllm.entrypoints.openai.api_server --model m",
                Some((Server::Vllm, Api)),
            ),
            (
                "python3.12 -O -m vllm.entrypoints.cli.main serve m",
                Some((Server::Vllm, Api)),
            ),
            ("python3.12 -m vllm.entrypoints.cli.main bench serve", None),
            ("python -m vllm.benchmarks.serve", None),
            ("VLLM::EngineCore", Some((Server::Vllm, Engine))),
            (
                "ray::RayWorkerWrapper.execute_method",
                Some((Server::Vllm, Worker)),
            ),
            ("ray::IDLE", None),
            (
                "python -m sglang.launch_server --model-path m",
                Some((Server::Sglang, Api)),
            ),
            ("sglang::scheduler", Some((Server::Sglang, Scheduler))),
            (
                "python -m sglang_router.launch_router",
                Some((Server::Sglang, Router)),
            ),
            ("python -m sglang.bench_serving", None),
            ("sglang serve m", Some((Server::Sglang, Api))),
            (
                "python -m llama_cpp.server --model m.gguf",
                Some((Server::LlamaCpp, Api)),
            ),
            ("/usr/local/bin/ollama serve", Some((Server::Ollama, Api))),
            ("ollama run m", None),
            ("python app.py vllm serve", None),
            ("python -m vllm.entrypointsish", None),
            ("python vllm.entrypoints.openai.py", None),
            ("python vllm.py serve m", None),
            ("bash -c vllm serve", None),
            ("python", None),
            ("", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let got = of(&words, "").map(|f| (f.server, f.part));
            assert_eq!(got, want, "{line}");
        }
        assert_eq!(of(&[], ""), None);
        let line = ["python".to_owned(), "x.py".to_owned()];
        let cut = of(&line, "VLLM::EngineCor");
        assert_eq!(cut.map(|f| f.part), Some(Engine));
    }

    #[test]
    fn clients_are_no_servers() {
        for (line, want) in [
            ("vllm bench serve --model m", Some("vllm bench serve")),
            ("vllm chat", Some("vllm chat")),
            (
                "python -m sglang.bench_serving --backend vllm",
                Some("sglang.bench_serving"),
            ),
            ("vllm serve m", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(client_of(&words).as_deref(), want, "{line}");
            assert!(want.is_none() || of(&words, "").is_none(), "{line}");
        }
    }
}
