//! What an agent says of itself: the document at `/status`.

use crate::export::status::ExportStatus;
use serde::{Deserialize, Serialize};

/// An agent's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How far it is: see [`Phase`].
    pub phase: Phase,
    /// Seconds since it was started.
    pub uptime_seconds: f64,
    /// Seconds since this was true; much only where it does not get round to telling.
    pub age_seconds: f64,
    /// What it costs.
    pub own: Own,
    /// What it may cost, and what it leaves out for that.
    pub limits: Limits,
    /// What it counted since the start.
    pub counts: Counts,
    /// What did not get through, by reason, since the start; reasons that never applied are left
    /// out.
    pub losses: Vec<Count>,
    /// What was redacted, by rule, since the start.
    pub redacted: Vec<Count>,
    /// How the exports over the network get on.
    pub exports: Vec<ExportStatus>,
    /// Traced processes, and those that were looked at and are not traced; by process id.
    pub processes: Vec<ProcessStatus>,
}

/// How far an agent is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its programs are being loaded into the kernel.
    #[default]
    Loading,
    /// The processes of the host are looked through for the first time.
    Looking,
    /// It traces.
    Ready,
    /// It was told to stop and hands on what it has.
    Stopping,
}

impl Phase {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Looking => "looking",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}

/// What the agent's own process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Own {
    /// Processor time, in user space and in the kernel, of all threads.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// Threads.
    pub threads: u64,
}

/// What an agent may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Processor time, in cores, if there is a limit.
    pub cpu_cores: Option<f64>,
    /// Resident memory, if there is a limit.
    pub memory_bytes: Option<u64>,
    /// Cores that were used in the last seconds; zero without a limit.
    pub used_cpu_cores: f64,
    /// What is not told to keep to them.
    pub left_out: Shed,
    /// Calls that were told without their content for that, since the start.
    pub calls_without_content: u64,
}

/// What is not told, so that the limits hold: each leaves out what the one before it does, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shed {
    /// Nothing.
    #[default]
    Nothing,
    /// The content of messages.
    Content,
    /// HTTP requests that are no model calls, and the call paths of calls.
    Detail,
}

/// What an agent counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Records taken from the kernel.
    pub records: u64,
    /// Payload bytes in them.
    pub bytes: u64,
    /// Connections first seen.
    pub connections: u64,
    /// Spans told.
    pub spans: u64,
    /// Of those, model calls, made and served.
    pub calls: u64,
    /// Of those, the ones of which something was not seen (`genspan.defects`).
    pub calls_incomplete: u64,
    /// Spans that were not told, of traces beyond the share that is to be.
    pub spans_unsampled: u64,
}

/// A reason or rule, and how often it applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Count {
    /// What.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// How it stands with a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attached {
    /// What it says is read.
    Attached,
    /// It is followed, but has nothing yet that could be read.
    Waiting,
    /// It should be traced, and could not be.
    Failed,
    /// It is not to be traced.
    #[default]
    NotTraced,
}

impl Attached {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Attached, Self::Waiting, Self::Failed, Self::NotTraced];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::NotTraced => "not_traced",
        }
    }
}

/// A process as the agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessStatus {
    /// Its id on the host.
    pub pid: u32,
    /// Its start in clock ticks after boot: with the id it names the process for good.
    pub start_ticks: u64,
    /// How it stands with it.
    pub state: Attached,
    /// Why it is not traced, or what could not be read of it.
    pub why_not: Vec<String>,
    /// `app`, `model`, `microservice`; none of a child that is traced with its parent.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What says so.
    pub evidence: Option<String>,
    /// The name of its service.
    pub service: String,
    /// The version of its Python.
    pub python: Option<String>,
    /// The traced process that it was forked from.
    pub parent: Option<u32>,
    /// Since when it is traced: seconds since 1970.
    pub since_unix_seconds: Option<u64>,
    /// TLS libraries that are read, as the process sees their paths.
    pub tls: Vec<String>,
    /// Of those, the ones whose functions have no names and were found by their code.
    pub tls_by_code: Vec<ByCode>,
    /// Whether its plain sockets are read.
    pub sockets: bool,
    /// Spans told of it.
    pub spans: u64,
    /// Of those, model calls, made and served.
    pub calls: u64,
    /// Of those, the ones of which something was not seen.
    pub calls_incomplete: u64,
    /// How its Python is looked into, and what that costs it.
    pub mechanisms: Vec<Mechanism>,
}

/// A TLS library whose functions were found by their code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ByCode {
    /// Its file, as the process sees it.
    pub library: String,
    /// A read and a write of the process showed that they are what they were taken for. Before that, nothing is told
    /// but such calls.
    pub verified: bool,
}

/// A way in which the Python of a process is looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mechanism {
    /// As [`crate::state::mechanisms::Way::name`] has it: `watchpoints`, `resume`, `imports`, …
    pub name: String,
    /// Watchpoints of each thread that it takes, of [`crate::state::mechanisms::WATCHPOINTS`].
    pub taken: u32,
    /// What for: functions and frameworks.
    pub used_by: Vec<String>,
    /// Of watchpoints: how many calls were found by the registers of their threads alone, as in builds that
    /// tell a thread of its new frame late.
    pub ahead: u64,
    /// What it costs the process.
    pub cost: String,
}
