//! What a process is, by what is known of it: the kind of its application with the evidence for
//! that, frameworks with versions, and the model server that it is part of.
//!
//! Pure: [`Description`] says what was seen, [`classify`] what it means.

pub mod arguments;
pub mod description;
pub mod packages;
pub mod program;
pub mod server;
pub mod service;
#[cfg(test)]
mod table_tests;

pub use description::{Description, Distribution};

use crate::model::process::AppType;
use packages::{Known, Role};
use program::Program;
use server::{Part, Server};

/// Where evidence comes from, the weightiest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `APSARA_APM_APP_TYPE` of its environment.
    Variable,
    /// Its command line, or the title that it gave itself.
    CommandLine,
    /// A package that it has loaded.
    Loaded,
    /// A package that is installed where it would find it.
    Installed,
    /// It listens.
    Listening,
}

impl Source {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Variable => "variable",
            Self::CommandLine => "command_line",
            Self::Loaded => "loaded",
            Self::Installed => "installed",
            Self::Listening => "listening",
        }
    }
}

/// A reason to take a process for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Where it comes from.
    pub source: Source,
    /// What it speaks for.
    pub makes: AppType,
    /// What was seen: `openai 2.1.0`, `vllm serve`, `port 8000`.
    pub what: String,
}

/// A package of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name of the distribution, or of the module when none was found.
    pub name: String,
    /// Its version, when it was found.
    pub version: Option<String>,
    /// What it is for.
    pub role: Role,
    /// Loaded, not only installed.
    pub loaded: bool,
}

/// The model server that a process is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelServer {
    /// Which.
    pub server: Server,
    /// What this process does in it.
    pub part: Part,
    /// What it was told.
    pub told: arguments::Told,
    /// Its version.
    pub version: Option<String>,
}

/// What a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classification {
    /// What kind of application; `None` for what neither calls models nor serves anybody.
    pub kind: Option<AppType>,
    /// Why, the weightiest first: the first one decided.
    pub evidence: Vec<Evidence>,
    /// What it is made of: what is loaded first.
    pub packages: Vec<Package>,
    /// The model server that it is part of.
    pub server: Option<ModelServer>,
}

/// Modules whose names others use too: they count only where their distribution is installed.
const COMMON_WORDS: [&str; 2] = ["agents", "together"];

/// Names by which programs are known to serve HTTP: servers, and what starts one.
const WEB_SERVERS: [&str; 13] = [
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
    "uwsgi",
    "streamlit",
    "chainlit",
    "jupyter-lab",
    "jupyter-notebook",
    "http.server",
    "mcp-proxy",
];

/// Those that serve when they are told to.
const WEB_COMMANDS: [(&str, &str); 6] = [
    ("flask", "run"),
    ("fastapi", "run"),
    ("fastapi", "dev"),
    ("manage", "runserver"),
    ("django", "runserver"),
    ("bentoml", "serve"),
];

/// Says what a process is.
#[must_use]
pub fn classify(process: &Description) -> Classification {
    let found = server::of(&process.command, &process.name);
    let server = found.as_ref().map(|found| ModelServer {
        server: found.server,
        part: found.part,
        told: arguments::of(found, process),
        version: found
            .server
            .distribution()
            .and_then(|d| process.version_of(d))
            .map(str::to_owned),
    });
    let mut evidence = Vec::new();
    if let Some(kind) = process.variable("APSARA_APM_APP_TYPE").and_then(app_type) {
        let what = format!("APSARA_APM_APP_TYPE={}", kind.name());
        evidence.push(Evidence {
            source: Source::Variable,
            makes: kind,
            what,
        });
    }
    if let Some(found) = &found {
        evidence.push(Evidence {
            source: Source::CommandLine,
            makes: found.server.makes(),
            what: found.words.clone(),
        });
    }
    if let Some(words) = server::client_of(&process.command) {
        evidence.push(Evidence {
            source: Source::CommandLine,
            makes: AppType::App,
            what: words,
        });
    }
    let packages = packages_of(process);
    // What runs beside a program that uses `multiprocessing`, and nothing of its own, calls nobody.
    let tracks = Program::of(&process.command).is_some_and(|run| run.is_tracker());
    for (known, package) in &packages {
        let Some(makes) = known.makes().filter(|_| package.loaded || !tracks) else {
            continue;
        };
        let what = match &package.version {
            Some(version) => format!("{} {version}", package.name),
            None => package.name.clone(),
        };
        let source = if package.loaded {
            Source::Loaded
        } else {
            Source::Installed
        };
        evidence.push(Evidence {
            source,
            makes,
            what,
        });
    }
    evidence.extend(serves(process).map(|(source, what)| Evidence {
        source,
        makes: AppType::Microservice,
        what,
    }));
    // Within a source a model server wins over an application, whatever comes first in a table.
    let rank = |kind: AppType| match kind {
        AppType::Model => 0,
        AppType::App => 1,
        AppType::Microservice => 2,
    };
    evidence.sort_by_key(|e| match e.makes {
        // That something serves HTTP says what it is only if nothing else does.
        AppType::Microservice if e.source != Source::Variable => (1, e.source, 2),
        kind => (0, e.source, rank(kind)),
    });
    let mut packages: Vec<Package> = packages.into_iter().map(|(_, package)| package).collect();
    packages.sort_by_key(|p| !p.loaded);
    Classification {
        kind: evidence.first().map(|e| e.makes),
        evidence,
        packages,
        server,
    }
}

fn app_type(text: &str) -> Option<AppType> {
    AppType::ALL
        .into_iter()
        .find(|kind| kind.name().eq_ignore_ascii_case(text))
}

/// The known packages that a process has, in the order of the table.
fn packages_of(process: &Description) -> Vec<(&'static Known, Package)> {
    let found = packages::ALL.iter().filter_map(|known| {
        let installed = known
            .distributions
            .iter()
            .find_map(|name| Some((*name, process.version_of(name)?)));
        let common = COMMON_WORDS.contains(&known.module) && installed.is_none();
        let loaded = process.has_loaded(known.module) && !common;
        if installed.is_none() && !loaded {
            return None;
        }
        let name = installed.map_or(known.module, |(name, _)| name);
        let told = || {
            process
                .told
                .iter()
                .find(|t| t.name == known.distributions[0])
        };
        let version = installed.map(|(_, version)| version);
        let version = version.or_else(|| told().map(|t| t.version.as_str()));
        let package = Package {
            name: name.to_owned(),
            version: version.map(str::to_owned),
            role: known.role,
            loaded,
        };
        Some((known, package))
    });
    found.collect()
}

/// Whether a process serves HTTP, as far as can be told from outside.
fn serves(process: &Description) -> Option<(Source, String)> {
    if let Some(run) = Program::of(&process.command) {
        let name = run.short_name();
        if WEB_SERVERS.contains(&name) {
            return Some((Source::CommandLine, name.to_owned()));
        }
        // Options may stand before what it is told to do: `flask --app shop run`.
        let told = WEB_COMMANDS.iter().find(|(program, does)| {
            *program == name && run.arguments.iter().any(|argument| argument == does)
        });
        if let Some((program, does)) = told {
            return Some((Source::CommandLine, format!("{program} {does}")));
        }
        if name.starts_with("gunicorn: ") {
            return Some((Source::CommandLine, "gunicorn".to_owned()));
        }
    }
    let port = process.ports.first()?;
    Some((Source::Listening, format!("port {port}")))
}
