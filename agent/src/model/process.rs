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
    /// Of which traces its spans are told.
    #[serde(skip_serializing_if = "Share::is_all")]
    pub share: Share,
}

/// A share of all traces. Which ones follows from their ids alone, as OpenTelemetry has it
/// (<https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/>): processes with the same share
/// tell the same traces, and one with a larger share those and others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u64);

/// So many values have the random bits of a trace's id: the last 56.
const VALUES: u64 = 1 << 56;

impl Share {
    /// All of them.
    pub const ALL: Self = Self(VALUES);

    /// Of a number between zero and one.
    #[must_use]
    pub fn of(share: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "it is between zero and a power of two"
        )]
        let of_values = |share: f64| Self((share * VALUES as f64) as u64);
        (0.0..=1.0).contains(&share).then(|| of_values(share))
    }

    /// Whether a trace is one of them.
    #[must_use]
    pub const fn has(self, trace: u128) -> bool {
        let random = trace % VALUES as u128;
        random >= VALUES.saturating_sub(self.0) as u128
    }

    /// Whether all are.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::ALL
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::ALL
    }
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

#[cfg(test)]
mod tests {
    use super::{ProcessFacts, Share};

    #[test]
    fn shares_are_of_the_ids_of_traces() {
        let random = |n: u32| (u128::from(n) << 64) + u128::from(n) * ((1 << 56) / 1000);
        let told = |share: f64| {
            let share = Share::of(share).unwrap();
            (0..1000)
                .filter(|n| share.has(random(*n)))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(1.0).len(), 1000);
        assert!(told(0.0).is_empty());
        let (few, many) = (told(0.1), told(0.5));
        assert!((99..=101).contains(&few.len()) && (499..=501).contains(&many.len()));
        assert!(few.iter().all(|n| many.contains(n)));
        for no_share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::of(no_share), None);
        }
    }

    #[test]
    fn a_share_is_recorded_where_it_is_not_all() {
        let mut facts = ProcessFacts::default();
        let written = serde_json::to_string(&facts).unwrap();
        assert!(!written.contains("share"), "{written}");
        facts.share = Share::of(0.25).unwrap();
        let written = serde_json::to_string(&facts).unwrap();
        assert_eq!(
            serde_json::from_str::<ProcessFacts>(&written).unwrap(),
            facts
        );
    }
}

/// The code of a module's body that a process begins to run, by addresses in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleBody {
    /// The code object, which is freed when it has run.
    pub code: u64,
    /// How many constants it has.
    pub count: u64,
    /// The first of them, the code of functions and classes among them.
    pub constants: Vec<u64>,
}
