//! What can be asked for, as `--help` shows it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::python::wanted::{BadWanted, Wanted};
use crate::redact::{PathRule, Pattern, Selection};

/// Traces the calls that Python processes make to language models, from the kernel: no change
/// of their code, no restart, no SDK.
#[derive(Debug, Parser)]
#[command(
    name = "genspan",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,

    /// Tell what genspan itself does, on standard error (GENSPAN_LOG=FILTER for more)
    #[arg(long, global = true)]
    pub(super) debug: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Trace running processes, or a command from its start
    #[cfg(feature = "kernel")]
    Trace(TraceArgs),
    /// Trace all Python processes of this host that call models or serve, those that come later too
    #[cfg(feature = "kernel")]
    Agent(AgentArgs),
    /// Show the Python processes of this host: what each of them is, and why
    #[cfg(feature = "kernel")]
    Ps(PsArgs),
    /// Show the spans of a recording (made with `trace --record`)
    Replay(ReplayArgs),
    /// Say what this host allows, and what to do about what it does not
    #[cfg(feature = "kernel")]
    Doctor(DoctorArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages: one of genspan and one of each command
    Man(ManArgs),
}

const TRACE_EXAMPLES: &str = "\
Examples:
  genspan trace --pid 4242                         what process 4242 asks its models
  genspan trace --pid 4242 -v                      with the messages
  genspan trace -- python app.py                   from the first instruction
  genspan trace --all --exclude 'user=root'        whatever calls models or serves on this host
  genspan trace --pid 4242 --format json > spans.jsonl
  genspan trace --pid 4242 --function 'app:answer(question)'
  genspan trace --pid 4242 --otlp-endpoint http://localhost:4317

The traced processes' own environment is honoured: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
APSARA_APM_APP_TYPE (microservice, app, model),
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT (True, False, NO_CONTENT, SPAN_ONLY,
EVENT_ONLY, SPAN_AND_EVENT), OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT (true, false),
OTEL_INSTRUMENTATION_GENAI_MESSAGE_CONTENT_MAX_LENGTH, OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT and
PROFILER_GENAI_SPLITAPP_ENABLE (True: each workflow of Dify is a service of its own). Of
genspan's own environment: OTEL_EXPORTER_OTLP_*, OTEL_BSP_*, OTEL_BLRP_*, OTEL_METRICS_EXPORTER,
OTEL_LOGS_EXPORTER, OTEL_METRIC_EXPORT_INTERVAL,
OTEL_SEMCONV_STABILITY_OPT_IN, NO_COLOR.";

#[derive(Args, Debug)]
#[command(after_help = TRACE_EXAMPLES)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["pid", "all", "exec"])))]
#[command(group(clap::ArgGroup::new("others of those named").args(["others"]).conflicts_with("all")))]
#[cfg_attr(
    feature = "kernel",
    command(group(
        clap::ArgGroup::new("rules of all")
            .multiple(true)
            .args(["include", "exclude", "include_other"])
            .conflicts_with_all(["pid", "exec"])
    ))
)]
pub(super) struct TraceArgs {
    /// Processes to trace, with their children
    #[arg(short, long, value_name = "PID", num_args = 1.., value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) pid: Vec<u32>,

    /// All Python processes of this host that call models or serve, those that come later too: what
    /// `genspan ps` shows as traced
    #[arg(long)]
    pub(super) all: bool,

    #[cfg(feature = "kernel")]
    #[command(flatten)]
    pub(super) rules: RulesArgs,

    /// Of the processes of --pid, the command and their children, read those, too, that are not Python: what they
    /// ask over OpenSSL, their own or a library's (Node), and over plain sockets. With --all it is --include-other
    #[arg(long)]
    pub(super) others: bool,

    /// Command to start and trace
    #[arg(last = true, value_name = "COMMAND", id = "exec",
          value_hint = clap::ValueHint::CommandWithArguments)]
    pub(super) exec: Vec<OsString>,

    /// A span for every call of this Python function, as in app:answer or pkg.mod:Class.method;
    /// with arguments to tell behind it, as in `app:answer(question, user)`. May be given more
    /// than once, the most important first: the processor has room for two in a process
    #[arg(long, value_name = "MODULE:NAME", value_parser = function)]
    pub(super) function: Vec<Wanted>,

    /// How functions are seen: by watchpoints of the processor, of which there are four for each thread
    /// and a function takes two; or where the interpreter runs them, which costs every call of any Python
    /// function of the process: its frames up to Python 3.10, the instruction RESUME from 3.11 on
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto")]
    pub(super) function_probe: FunctionProbes,

    /// Do not look for agent frameworks (LangChain, LlamaIndex, Dify) and inference engines (vLLM, SGLang): their
    /// chains, nodes, tools and retrievers, and what engines count of each request, have spans or are on them
    /// where one is loaded, which costs its process some watchpoints
    #[arg(long = "no-frameworks", action = ArgAction::SetFalse)]
    pub(super) frameworks: bool,

    /// Tell from where in its program each call is made: the Python call path (code.stacktrace), and
    /// its innermost line that is not a library's
    #[arg(long)]
    pub(super) stacks: bool,

    /// Tell how it stands to `genspan ps --socket PATH` and `genspan doctor --socket PATH`, for our own user
    /// alone: which processes are traced, by what, and what that costs them
    #[cfg(feature = "prometheus")]
    #[arg(long, value_name = "PATH", help_heading = "State")]
    pub(super) socket: Option<PathBuf>,

    /// Stop after this long: 30, 30s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) duration: Option<Duration>,

    /// Do not give up the privileges that tracing does not take. With a command they are never given up,
    /// since the command is to have them
    #[arg(long, help_heading = "Tuning")]
    pub(super) keep_privileges: bool,

    /// Take down what the kernel sends, for `genspan replay` (without keys and cookies; with
    /// all content)
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,

    /// Size of the buffer between kernel and genspan: 1M to 256M, a power of two
    #[arg(long, value_name = "BYTES", default_value = "8M", value_parser = ring_size,
          help_heading = "Tuning")]
    pub(super) ring_size: u32,

    /// Place probes by perf events, as on kernels before 6.13: a forked child's first calls may
    /// then be missed
    #[arg(long, help_heading = "Tuning")]
    pub(super) perf_probes: bool,

    /// How calls without TLS are read: in the C library of the traced process, or by trampolines or
    /// tracepoints of the kernel, which cost every process a little
    #[arg(
        long,
        value_enum,
        value_name = "WAY",
        default_value = "auto",
        help_heading = "Tuning"
    )]
    pub(super) sockets: Sockets,

    /// Do not follow Python's contexts: of an event loop that serves several requests at a time only
    /// headers then tell which of them a model call was made for
    #[arg(long = "no-python", action = ArgAction::SetFalse, help_heading = "Tuning")]
    pub(super) python: bool,

    #[command(flatten)]
    pub(super) shared: SharedArgs,
}

/// How functions are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FunctionProbes {
    /// By watchpoints; those for which none is left or to be had where the interpreter runs them, from Linux 6.13 on
    Auto,
    /// By watchpoints or not at all
    Watchpoints,
    /// Where the interpreter runs their frames: up to Python 3.10
    Interpreter,
    /// Where the interpreter runs RESUME, by which they begin: from Python 3.11 on
    Resume,
}

#[cfg(feature = "kernel")]
impl From<FunctionProbes> for crate::driver::watching::FunctionProbe {
    fn from(asked: FunctionProbes) -> Self {
        match asked {
            FunctionProbes::Auto => Self::Auto,
            FunctionProbes::Watchpoints => Self::Watchpoints,
            FunctionProbes::Interpreter => Self::Interpreter,
            FunctionProbes::Resume => Self::Resume,
        }
    }
}

/// How plain sockets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Sockets {
    /// In the C library; where it cannot be probed by trampolines, or else by tracepoints
    Auto,
    /// In the C library or not at all
    Libc,
    /// By BPF trampolines on the kernel's functions for sockets (Linux 5.15); an error where the kernel
    /// takes none
    Fentry,
    /// By tracepoints on sockets, or on system calls before Linux 6.3
    Tracepoints,
    /// By the tracepoint on all system calls
    Syscalls,
    /// Not at all
    Off,
}

#[cfg(feature = "kernel")]
impl From<Sockets> for crate::probe::sockets::SocketWay {
    fn from(asked: Sockets) -> Self {
        match asked {
            Sockets::Auto => Self::Auto,
            Sockets::Libc => Self::Libc,
            Sockets::Fentry => Self::Fentry,
            Sockets::Tracepoints => Self::Tracepoints,
            Sockets::Syscalls => Self::Syscalls,
            Sockets::Off => Self::Off,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// The recording
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,

    #[command(flatten)]
    pub(super) shared: SharedArgs,
}

#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// As one JSON document
    #[arg(long)]
    pub(super) json: bool,

    /// Load every eBPF program, also those that are loaded only on demand, and tell of each what
    /// the kernel says; with NAME, those that have it in their names
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub(super) programs: Option<String>,

    /// Also how functions, frameworks and parents are or would be seen in this process, and what that
    /// costs it; may be given more than once
    #[cfg(feature = "kernel")]
    #[arg(long = "pid", value_name = "PID")]
    pub(super) pids: Vec<u32>,

    #[cfg(feature = "kernel")]
    #[command(flatten)]
    pub(super) ask: AskArgs,
}

#[cfg(feature = "kernel")]
const PS_EXAMPLES: &str = "\
Examples:
  genspan ps                                       what is or would be traced, and why
  genspan ps --json | jq '.processes[] | select(.type == \"app\")'
  genspan ps --exclude 'user=root'                 what a rule would leave out

Types: `model` (a model server), `app` (it calls models), `microservice` (it serves HTTP). In this
order counts what says so: APSARA_APM_APP_TYPE in the environment of the process, its command line,
what it has loaded, what is installed where it imports from, that it listens.";

#[cfg(feature = "kernel")]
#[derive(Args, Debug)]
#[command(after_help = PS_EXAMPLES)]
pub(super) struct PsArgs {
    /// As one JSON document
    #[arg(long)]
    pub(super) json: bool,

    /// Also processes that are not Python, where they have a TLS library
    #[arg(long)]
    pub(super) others: bool,

    #[command(flatten)]
    pub(super) ask: AskArgs,

    #[command(flatten)]
    pub(super) rules: RulesArgs,
}

#[cfg(feature = "kernel")]
const AGENT_EXAMPLES: &str = "\
Examples:
  genspan agent --otlp-endpoint http://localhost:4317
  genspan agent --include type=app --exclude 'user=root'
  genspan agent --config rules.yaml                read again on SIGHUP
  curl -s localhost:9465/status                    each process: attached, or why not

The configuration file is YAML: lists of rules under `include` and `exclude`, as on the command line;
those of the command line are added. Endpoints, each with its own headers and certificates, and a
directory for what they do not take stand under `export` (docs/export.md), what holds of the processes that a
rule fits under `settings`, and with `trust_process_env: false` what a process's own environment says of how
it is to be traced counts for nothing (docs/host.md). SIGTERM and Ctrl-C stop it, with all told that is under
way.
`genspan ps` with the same rules shows what would be traced, and why. Environment: as for
`genspan trace`.";

#[cfg(feature = "kernel")]
#[derive(Args, Debug)]
#[command(after_help = AGENT_EXAMPLES)]
pub(super) struct AgentArgs {
    /// Take rules, beside those given here, and where to send to from this YAML file (docs/host.md)
    #[arg(long, value_name = "FILE", help_heading = "Processes")]
    pub(super) config: Option<PathBuf>,

    #[command(flatten)]
    pub(super) rules: RulesArgs,

    /// Tell from where in its program each call is made: the Python call path (code.stacktrace), and
    /// its innermost line that is not a library's
    #[arg(long)]
    pub(super) stacks: bool,

    /// Do not look for agent frameworks (LangChain, LlamaIndex, Dify) and inference engines (vLLM, SGLang): their
    /// chains, nodes, tools and retrievers, and what engines count of each request, have spans or are on them
    /// where one is loaded, which costs its process some watchpoints
    #[arg(long = "no-frameworks", action = ArgAction::SetFalse)]
    pub(super) frameworks: bool,

    /// Ask vLLM and SGLang for their own metrics, where they serve them: running and waiting requests,
    /// use of the cache (docs/metrics.md)
    #[arg(long, help_heading = "Output")]
    pub(super) scrape_engines: bool,

    /// Tell its own state at this address, PORT (on loopback) or HOST:PORT, or `none`: /status,
    /// /metrics, /healthz, /readyz [default: 9465, if that is free]
    #[cfg(feature = "prometheus")]
    #[arg(long, value_name = "ADDR", value_parser = listen, help_heading = "State")]
    pub(super) listen: Option<Listen>,

    /// Tell it to `genspan ps` and `genspan doctor` at this socket, which is for its own user alone,
    /// or `none` [default: /run/genspan/agent.sock, if that can be had]
    #[cfg(feature = "prometheus")]
    #[arg(long, value_name = "PATH", help_heading = "State")]
    pub(super) socket: Option<PathBuf>,

    /// Keep in this directory what an OTLP endpoint does not take, until it does: it is bounded,
    /// survives a restart, and must be ours alone to write to
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "DIR", help_heading = "Output",
          value_hint = clap::ValueHint::DirPath)]
    pub(super) spool: Option<PathBuf>,

    /// Room for that: 512M, 2G; when it is full, the oldest goes [default: 1G]
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "BYTES", help_heading = "Output")]
    pub(super) spool_size: Option<crate::export::size::Size>,

    /// Do not give up the privileges that tracing does not take
    #[arg(long, help_heading = "Tuning")]
    pub(super) keep_privileges: bool,

    /// Size of the buffer between kernel and genspan: 1M to 256M, a power of two
    #[arg(long, value_name = "BYTES", default_value = "16M", value_parser = ring_size,
          help_heading = "Tuning")]
    pub(super) ring_size: u32,

    #[command(flatten)]
    pub(super) shared: SharedArgs,
}

/// Where the state is told.
#[cfg(all(feature = "kernel", feature = "prometheus"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listen {
    /// At this address.
    At(std::net::SocketAddr),
    /// At none.
    Nowhere,
}

#[cfg(all(feature = "kernel", feature = "prometheus"))]
fn listen(text: &str) -> Result<Listen, String> {
    if text == "none" {
        return Ok(Listen::Nowhere);
    }
    let address = prometheus_address(text);
    address.map(Listen::At).map_err(|said| said + ", or none")
}

/// How a running agent is asked.
#[cfg(feature = "kernel")]
#[derive(Args, Clone, Debug)]
pub(super) struct AskArgs {
    /// Ask the running agent at this socket, or `none` [default: /run/genspan/agent.sock]
    #[arg(long, value_name = "PATH", default_value = crate::state::SOCKET, hide_default_value = true)]
    pub(super) socket: PathBuf,
}

/// Which processes are traced where nobody names them.
#[cfg(feature = "kernel")]
#[derive(Args, Clone, Debug)]
pub(super) struct RulesArgs {
    /// Trace only processes that one of these fits: KEY=PATTERN, where KEY is name (of the service),
    /// command, exe, user, container, pod or type, and for `genspan agent`, where Kubernetes is asked,
    /// namespace, deployment, workload or label:KEY; `*` stands for anything; may be given more than once
    #[arg(long, value_name = "RULE", help_heading = "Processes")]
    pub(super) include: Vec<crate::target::rules::Rule>,

    /// Trace none that one of these fits, whatever --include says
    #[arg(long, value_name = "RULE", help_heading = "Processes")]
    pub(super) exclude: Vec<crate::target::rules::Rule>,

    /// Trace also programs that are not Python which one of these fits, as in `exe=*/node`: what they ask over
    /// OpenSSL, their own or a library's, and over plain sockets; without the requests that they serve as parents
    #[arg(long, value_name = "RULE", help_heading = "Processes")]
    pub(super) include_other: Vec<crate::target::rules::Rule>,
}

#[cfg(feature = "kernel")]
impl RulesArgs {
    pub(super) fn rules(&self) -> crate::target::rules::Rules {
        crate::target::rules::Rules {
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            include_other: self.include_other.clone(),
            ..Default::default()
        }
    }
}

/// What every command that gives spans understands.
#[derive(Args, Clone, Debug)]
pub(super) struct SharedArgs {
    /// How to write spans [default: pretty on a terminal, json otherwise]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Output")]
    pub(super) format: Option<Format>,

    /// Write spans there instead of standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(super) output: Option<PathBuf>,

    /// Show messages too; twice: all attributes (pretty format)
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(super) verbose: u8,

    /// Send spans, events and metrics to this OTLP endpoint as well; may be given more than once
    #[arg(long, value_name = "URL", help_heading = "Output")]
    pub(super) otlp_endpoint: Vec<String>,

    /// How to speak to them [default: grpc on port 4317, else http/protobuf]
    #[arg(long, value_name = "PROTOCOL", value_parser = ["grpc", "http/protobuf"],
          help_heading = "Output")]
    pub(super) otlp_protocol: Option<String>,

    /// Serve metrics for Prometheus at this address: PORT (on loopback) or HOST:PORT
    #[cfg(feature = "prometheus")]
    #[arg(long, value_name = "ADDR", value_parser = prometheus_address, help_heading = "Output")]
    pub(super) prometheus: Option<std::net::SocketAddr>,

    /// Names of metrics and attributes where the conventions renamed some (docs/names.md)
    /// [default: from OTEL_SEMCONV_STABILITY_OPT_IN, else legacy]
    #[arg(long, value_enum, value_name = "NAMES", help_heading = "Output")]
    pub(super) vocabulary: Option<Vocabulary>,

    /// Attributes that spans have beside those of the conventions
    #[arg(
        long,
        value_enum,
        value_name = "DIALECT",
        default_value = "none",
        help_heading = "Output"
    )]
    pub(super) dialect: Dialect,

    /// Never tell the content of messages, whatever the traced process's environment says
    #[arg(long, help_heading = "Content")]
    pub(super) no_content: bool,

    /// What is replaced by [redacted:RULE] wherever it is told: keys (of providers, clouds and
    /// services, tokens, private keys, passwords in URLs), pii (email, phone, credit_card), all,
    /// none, or single rules; docs/privacy.md lists them
    /// [default: keys]
    #[arg(
        long,
        value_name = "RULE",
        value_delimiter = ',',
        help_heading = "Content"
    )]
    pub(super) redact: Option<Vec<Selection>>,

    /// A rule of your own: what the regular expression matches, or its group `secret`, in any
    /// text; may be given more than once
    #[arg(long, value_name = "NAME=REGEX", help_heading = "Content")]
    pub(super) redact_pattern: Vec<Pattern>,

    /// A rule of your own: what the JSON path (RFC 9535) leads to in messages, tool arguments and
    /// answers, as in $..password; may be given more than once
    #[arg(long, value_name = "[NAME=]PATH", help_heading = "Content")]
    pub(super) redact_path: Vec<PathRule>,

    /// Take rules from a YAML file, beside those given here (docs/privacy.md)
    #[arg(long, value_name = "FILE", help_heading = "Content")]
    pub(super) redact_file: Option<PathBuf>,

    /// Spans for HTTP requests that are no model calls, made and served: the frame into which
    /// model calls hang
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Spans"
    )]
    pub(super) http_spans: HttpSpans,

    /// Do not say on each span how its parent was found (genspan.parent.source)
    #[arg(long, help_heading = "Spans")]
    pub(super) no_parent_source: bool,

    /// How much of one message is looked at before its middle is left out: 64K to 64M
    #[arg(long, value_name = "BYTES", default_value = "4M", value_parser = message_size,
          help_heading = "Tuning")]
    pub(super) max_message: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One line per call, for people
    Pretty,
    /// One JSON document per line, for programs
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Vocabulary {
    /// Those that libraries and dashboards use today
    Legacy,
    /// Those of the newest conventions
    Current,
    /// Both, side by side
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Dialect {
    /// None
    None,
    /// Those of Alibaba Cloud's ARMS and LoongSuite, as gen_ai.span.kind
    Aliyun,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum HttpSpans {
    /// For all processes but model servers (vLLM, SGLang; APSARA_APM_APP_TYPE=model)
    Auto,
    /// For all processes
    On,
    /// For none
    Off,
}

impl From<HttpSpans> for crate::pipeline::HttpSpans {
    fn from(asked: HttpSpans) -> Self {
        match asked {
            HttpSpans::Auto => Self::Auto,
            HttpSpans::On => Self::On,
            HttpSpans::Off => Self::Off,
        }
    }
}

#[cfg(feature = "prometheus")]
fn prometheus_address(text: &str) -> Result<std::net::SocketAddr, String> {
    let text = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = text.parse::<u16>() {
        return Ok((std::net::Ipv4Addr::LOCALHOST, port).into());
    }
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    text.parse()
        .map_err(|_| "expected something like 9464 or 127.0.0.1:9464".to_owned())
}

fn function(text: &str) -> Result<Wanted, String> {
    text.parse().map_err(|e: BadWanted| e.to_string())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a number with s, m or h behind it".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| "expected a number".to_owned())?;
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|d| !d.is_zero())
        .ok_or_else(|| "expected a time that is longer than nothing".to_owned())
}

fn size(text: &str, range: std::ops::RangeInclusive<u32>) -> Result<u32, String> {
    let wrong = || {
        format!(
            "expected a size from {} to {} bytes",
            range.start(),
            range.end()
        )
    };
    let (number, unit) = match text.strip_suffix(['K', 'k']) {
        Some(n) => (n, 1 << 10),
        None => match text.strip_suffix(['M', 'm']) {
            Some(n) => (n, 1 << 20),
            None => (text, 1u32),
        },
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(unit)
        .filter(|n| range.contains(n))
        .ok_or_else(wrong)
}

fn ring_size(text: &str) -> Result<u32, String> {
    let size = size(text, 1 << 20..=256 << 20)?;
    if size.is_power_of_two() {
        Ok(size)
    } else {
        Err("expected a power of two".to_owned())
    }
}

fn message_size(text: &str) -> Result<u32, String> {
    size(text, 64 << 10..=64 << 20)
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(genspan completions bash)               for this shell alone
  genspan completions bash > ~/.local/share/bash-completion/completions/genspan
  genspan completions zsh > ~/.zfunc/_genspan      with ~/.zfunc in fpath, before compinit
  genspan completions fish > ~/.config/fish/completions/genspan.fish";

#[derive(Args, Debug)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
}

const MAN_EXAMPLES: &str = "\
Examples:
  sudo genspan man /usr/local/share/man/man1       where `man genspan` finds them
  genspan man /tmp/pages && man -l /tmp/pages/genspan-trace.1";

#[derive(Args, Debug)]
#[command(after_help = MAN_EXAMPLES)]
pub(super) struct ManArgs {
    /// Where to: a directory, which is made if need be
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::{Cli, duration, message_size, ring_size};
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[cfg(all(feature = "kernel", feature = "prometheus"))]
    #[test]
    fn places_to_listen() {
        use super::{Listen, listen};
        assert_eq!(listen("none"), Ok(Listen::Nowhere));
        assert_eq!(listen("0"), Ok(Listen::At(([127, 0, 0, 1], 0).into())));
        assert!(listen("nowhere").unwrap_err().ends_with("or none"));
    }

    #[cfg(feature = "prometheus")]
    #[test]
    fn addresses() {
        use super::prometheus_address as parse;
        for (text, want) in [
            ("9464", "127.0.0.1:9464"),
            (":9464", "127.0.0.1:9464"),
            ("localhost:1", "127.0.0.1:1"),
            ("0.0.0.0:9464", "0.0.0.0:9464"),
            ("[::1]:9464", "[::1]:9464"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), want);
        }
        assert!(parse("99999").is_err() && parse("a.example:1").is_err() && parse("").is_err());
    }

    #[test]
    fn values() {
        assert_eq!(duration("90").unwrap().as_secs(), 90);
        assert_eq!(duration("1.5m").unwrap().as_secs(), 90);
        assert!(duration("5d").is_err() && duration("-1").is_err() && duration("0").is_err());
        assert_eq!(ring_size("8M"), Ok(8 << 20));
        assert!(ring_size("3M").is_err() && ring_size("512M").is_err() && ring_size("x").is_err());
        assert_eq!(message_size("64K"), Ok(65_536));
        assert!(message_size("99999999999M").is_err());
    }
}
