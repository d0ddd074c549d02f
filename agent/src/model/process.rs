//! What is known of a traced process: gathered by looking at it, recorded, replayed.

use serde::{Deserialize, Serialize};

/// Facts about one process, as they go into resources and settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessFacts {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// Start time of the process in clock ticks after boot (`/proc/PID/stat`, field 22): with
    /// `pid` it names the process for good.
    pub start_ticks: u64,
    /// `service.name`.
    pub service_name: String,
    /// Path of the executable, inside the process's own root.
    pub executable: String,
    /// Language runtime's name (`cpython`), when it is one.
    pub runtime_name: Option<String>,
    /// Language runtime's version, as exactly as it can be seen (`3.11`, `3.12.1`).
    pub runtime_version: Option<String>,
    /// What kind of application its environment says that it is (`APSARA_APM_APP_TYPE`).
    pub app_type: Option<AppType>,
    /// Inode number of its network namespace; zero when that could not be learnt.
    pub network: u64,
    /// The model server that it is, by its command line: the provider of what it serves (`vllm`,
    /// `sglang`, `ollama`, `llama_cpp`).
    pub model_server: Option<String>,
    /// Command line without the values of arguments that look like secrets.
    pub command: Vec<String>,
    /// `host.name`.
    pub host_name: String,
    /// Resource attributes that were found out of where it runs: its host, its container, its pod.
    pub detected: Vec<(String, Detected)>,
    /// Further resource attributes, from `OTEL_RESOURCE_ATTRIBUTES` of the process.
    pub resource: Vec<(String, String)>,
    /// Each of its applications, which are workflows of Dify, is told as a service of its own
    /// (`PROFILER_GENAI_SPLITAPP_ENABLE`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub split_applications: bool,
    /// Settings of `design/cli.md` as the process's own environment has them.
    pub content: ContentPolicy,
}

/// The value of a resource attribute that was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Detected {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
    /// Several.
    List(Vec<String>),
}

/// What kind of application a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppType {
    /// Anything else that serves HTTP.
    Microservice,
    /// One that calls models.
    App,
    /// A model server.
    Model,
}

impl AppType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Microservice, Self::App, Self::Model];

    /// As it is said in settings and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Microservice => "microservice",
            Self::App => "app",
            Self::Model => "model",
        }
    }
}

/// What may be said of messages' content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentPolicy {
    /// Content goes into span attributes; off means sizes only.
    pub on_spans: bool,
    /// Content goes into events.
    pub on_events: bool,
    /// Whether there are events at all; unless it is said, where content goes into them.
    pub emit_events: Option<bool>,
    /// Characters (Unicode scalar values) to which each text of a message is cut.
    pub max_message_chars: usize,
    /// Characters to which every string attribute is cut; structured ones stay valid JSON.
    pub max_attribute_chars: Option<usize>,
}

impl Default for ContentPolicy {
    fn default() -> Self {
        Self {
            on_spans: true,
            on_events: false,
            emit_events: None,
            max_message_chars: 4096,
            max_attribute_chars: None,
        }
    }
}

impl ContentPolicy {
    /// Whether calls are told as events too.
    #[must_use]
    pub fn emits_events(&self) -> bool {
        self.emit_events.unwrap_or(self.on_events)
    }
}
