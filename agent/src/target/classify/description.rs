//! What is known of a process before it is told what it is: read off `/proc` by
//! [`crate::target::discover`], or written down by a test.

use serde::{Deserialize, Serialize};

/// A process, as it can be seen from outside. Nothing in it is secret: values of arguments and
/// variables that look so were left out when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Description {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// That of its parent.
    pub parent: u32,
    /// Start time in clock ticks after boot.
    pub start_ticks: u64,
    /// Real user id.
    pub user: u32,
    /// The kernel's name for it, at most 15 bytes.
    pub name: String,
    /// Its executable, as it sees it; empty when not known.
    pub executable: String,
    /// Whether it is a Python interpreter.
    pub python: bool,
    /// The interpreter's version, `3.N` or more exact.
    pub version: Option<String>,
    /// Why nothing is read of the interpreter's memory, where it is of a kind that never is.
    pub unread: Option<String>,
    /// Command line without secrets.
    pub command: Vec<String>,
    /// Those variables of its environment that are of use here ([`VARIABLES`]).
    pub environment: Vec<(String, String)>,
    /// Paths of the files of which it has code mapped, as it sees them.
    pub mapped: Vec<String>,
    /// Which known packages are installed on its `sys.path`.
    pub installed: Vec<Distribution>,
    /// Why `installed` may not be all, when it may not.
    pub installed_unseen: Option<String>,
    /// Names of the known modules that it has loaded; `None` when its memory was not read.
    pub modules: Option<Vec<String>>,
    /// The versions that loaded modules say of themselves, of those of which no distribution was found:
    /// what is bundled comes without.
    pub told: Vec<Distribution>,
    /// TCP ports at which it listens.
    pub ports: Vec<u16>,
    /// Id of the container that it runs in.
    pub container: Option<String>,
    /// Id (UID) of the Kubernetes pod.
    pub pod: Option<String>,
}

/// A distribution of a package: what a `*.dist-info` or `*.egg-info` is named after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Distribution {
    /// Normalized name (PyPA's specification of names: lower case, `-` between words).
    pub name: String,
    /// Version, as it is written.
    pub version: String,
}

impl Distribution {
    /// Reads the name of a folder or file of a `site-packages`: `openai-1.2.3.dist-info`,
    /// `PyYAML-6.0-py3.11.egg-info`. A name without a version is none.
    #[must_use]
    pub fn of_file_name(file: &str) -> Option<Self> {
        let stem = file
            .strip_suffix(".dist-info")
            .or_else(|| file.strip_suffix(".egg-info"))?;
        let (name, version) = stem.split_once('-')?;
        let version = version.split("-py").next().unwrap_or(version);
        if name.is_empty() || !version.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            name: normalized(name),
            version: version.to_owned(),
        })
    }
}

/// `name==version`, as tests write it.
impl From<String> for Distribution {
    fn from(text: String) -> Self {
        let (name, version) = text.split_once("==").unwrap_or((&text, ""));
        Self {
            name: normalized(name),
            version: version.to_owned(),
        }
    }
}

impl From<Distribution> for String {
    fn from(of: Distribution) -> Self {
        format!("{}=={}", of.name, of.version)
    }
}

/// The normalized name of a distribution.
#[must_use]
pub fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '-' | '_' | '.') {
            if !out.ends_with('-') {
                out.push('-');
            }
        } else {
            out.push(c.to_ascii_lowercase());
        }
    }
    out
}

/// Variables of a process's environment that tell what it is. No other one is kept.
pub const VARIABLES: [&str; 13] = [
    "APSARA_APM_APP_TYPE",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OLLAMA_HOST",
    "LLAMA_ARG_MODEL",
    "LLAMA_ARG_HF_REPO",
    "LLAMA_ARG_ALIAS",
    "LLAMA_ARG_PORT",
    "MODEL_ID",
    "NUM_SHARD",
    "MODEL",
    "PORT",
    "PEX",
];

/// Those of them that are said to whoever traces the process.
const TOLD: [&str; 3] = [
    "APSARA_APM_APP_TYPE",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
];

impl Description {
    /// Forgets what the process's environment says to those who trace it: what it is, what its service is called.
    /// What it says to the program itself stays.
    pub fn forget_told(&mut self) {
        self.environment
            .retain(|(name, _)| !TOLD.contains(&name.as_str()));
    }

    /// The value of a variable, when it is set to something.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(n, _)| n == name);
        found.map(|(_, v)| v.trim()).filter(|v| !v.is_empty())
    }

    /// The version of an installed distribution.
    #[must_use]
    pub fn version_of(&self, distribution: &str) -> Option<&str> {
        let found = self.installed.iter().find(|d| d.name == distribution);
        found.map(|d| d.version.as_str())
    }

    /// Whether a module is loaded: by the interpreter's own list, else by the files that are mapped.
    #[must_use]
    pub fn has_loaded(&self, module: &str) -> bool {
        match &self.modules {
            Some(modules) => modules.iter().any(|m| m == module),
            None => self.mapped.iter().any(|path| in_package(path, module)),
        }
    }
}

/// Whether a file belongs to a package: `…/site-packages/vllm/_C.abi3.so` to `vllm`.
fn in_package(path: &str, module: &str) -> bool {
    let folders = ["/site-packages/", "/dist-packages/"];
    let inside = folders.iter().find_map(|f| Some(path.split_once(f)?.1));
    inside.is_some_and(|inside| {
        let rest = inside.strip_prefix(module.replace('.', "/").as_str());
        rest.is_some_and(|rest| rest.starts_with('/') || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::{Distribution, in_package};

    #[test]
    fn distributions_are_told_by_their_folders() {
        for (file, want) in [
            ("openai-1.2.3.dist-info", Some(("openai", "1.2.3"))),
            (
                "llama_index_core-0.14.1.dist-info",
                Some(("llama-index-core", "0.14.1")),
            ),
            ("vllm-0.11.0+cpu.dist-info", Some(("vllm", "0.11.0+cpu"))),
            ("PyYAML-6.0-py3.11.egg-info", Some(("pyyaml", "6.0"))),
            (
                "zope.interface-7.0.dist-info",
                Some(("zope-interface", "7.0")),
            ),
            ("dbus_python.egg-info", None),
            ("-1.0.dist-info", None),
            ("openai", None),
            ("a-b.dist-info", None),
        ] {
            let got = Distribution::of_file_name(file);
            let got = got.as_ref().map(|d| (d.name.as_str(), d.version.as_str()));
            assert_eq!(got, want, "{file}");
        }
    }

    #[test]
    fn mapped_files_tell_packages() {
        let path = "/v/lib/python3.12/site-packages/vllm/_C.abi3.so";
        assert!(in_package(path, "vllm"));
        assert!(!in_package(path, "vll"));
        let flat = "/usr/lib/python3/dist-packages/_brotli.cpython-312.so";
        assert!(in_package(flat, "_brotli"));
        assert!(!in_package("/srv/vllm/_C.so", "vllm"));
    }
}
