//! A live run: what the kernel sends goes into the pipeline, what comes out to the exporters,
//! until told to stop or nothing is left to trace.

mod changes;
mod engines;
mod found;
mod limits;
mod looked;
mod standing;
mod timers;

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::BufWriter;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::capture::decode;
use crate::capture::function;
use crate::capture::record::{RecordError, Recorder};
use crate::driver::functions::Functions;
use crate::driver::host::{Host, Left};
use crate::driver::losses;
use crate::driver::memory;
use crate::driver::output::Output;
use crate::driver::scout::Place;
use crate::driver::snapshots::Snapshots;
use crate::driver::stacks::Stacks;
use crate::driver::wait::{self, Signals};
use crate::driver::watching::FunctionProbe;
use crate::export::{ExportError, Exporter as _, Loss};
use crate::model::event::{Data, Event, SocketRole};
use crate::model::function::FunctionFacts;
use crate::model::process::ContentPolicy;
use crate::model::time::ClockOffset;
use crate::pipeline::{CopyMode, Pipeline, Settings};
use crate::probe::attach::{Attachments, TraceError, Traced};
use crate::probe::kernel::Kernel;
use crate::probe::python::Purpose;
use crate::python::wanted::Wanted;
use crate::redact::Redactor;
use crate::state::handle::State;
use crate::state::status::Phase;
use crate::target::process::{self, Target};
pub use engines::Engines;
use genspan_common::map::mode;
use standing::Standing;
use timers::Timers;

/// How often the rings are looked at while there is traffic.
const BUSY_WAIT: Duration = Duration::from_millis(5);
/// Rounds without traffic after which we sleep until the kernel wakes us.
const QUIET_ROUNDS: u32 = 20;
/// Longest sleep.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// By how many nanoseconds wall time must have moved against boot time for that to be told. A clock that
/// is set right a little at a time moves by as much in a fifth of a second (`MAXFREQ`, 500 ppm,
/// `include/linux/timex.h`).
const CLOCK_SLACK: u64 = 100_000;
/// Records taken before anything else gets its turn: a forked child is to be probed before its
/// first call.
const BATCH: usize = 1024;

/// Why a live run ended early.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A recording was asked for and cannot be written.
    #[error("the recording cannot be written: {0}")]
    Record(#[from] RecordError),
    /// Nobody takes the spans any more.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Why a live run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All traced processes ended.
    NothingLeft,
    /// The time that was asked for is over.
    Duration,
    /// A signal told us to.
    Signal(Signal),
}

/// What a live run needs.
pub struct LiveOptions {
    /// Seed of the trace ids.
    pub seed: u128,
    /// What can be set of the pipeline.
    pub settings: Settings,
    /// Content settings where a process's environment says nothing.
    pub content: ContentPolicy,
    /// What processes say in their environment of how they are to be traced counts.
    pub trusts_environment: bool,
    /// What an operator says of content whatever a process's environment says.
    pub forbid_content: bool,
    /// What is redacted.
    pub redactor: Redactor,
    /// Process id of the command that we started, if we did.
    pub command: Option<u32>,
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// Where to record to.
    pub recorder: Option<Recorder<BufWriter<File>>>,
    /// What Python interpreters are looked at for.
    pub purpose: Purpose,
    /// The functions that are watched.
    pub functions: (Vec<Wanted>, FunctionProbe),
    /// Frameworks are looked for.
    pub frameworks: bool,
    /// Tell the losses in the log at the end, where no exporter shows them.
    pub tell_losses: bool,
    /// Where processes come from that nobody names. With it, the run does not end when none is left.
    pub host: Option<Host>,
    /// What those who ask are told, where that is no host's.
    pub state: Option<State>,
}

/// A live run.
pub struct Live {
    kernel: Kernel,
    attachments: Attachments,
    core: Core,
    functions: Functions,
    stacks: Stacks,
    snapshots: Snapshots,
    signals: Signals,
    duration: Option<Duration>,
    /// Processes whose leader ended while threads still ran.
    lingering: BTreeSet<u32>,
    undecodable: u64,
    tell_losses: bool,
    /// Which libraries of which process were told of.
    told: HashSet<(u32, String)>,
    /// The command that we started, until a signal was left to it.
    command: Option<u32>,
    host: Option<Host>,
    state: Option<State>,
    /// Processes that are not traced as children either.
    left: Left,
    standing: Standing,
    /// How far wall time is from boot time, as it was told last.
    clock: Option<ClockOffset>,
}

/// The pipeline with what records its input and takes its output.
struct Core {
    pipeline: Pipeline,
    recorder: Option<Recorder<BufWriter<File>>>,
    output: Output,
    forbid_content: bool,
    announced: HashSet<u32>,
}

impl Core {
    /// Feeds an event that is not a record of the data ring.
    fn event(&mut self, event: &Event<'_>) -> Result<(), LiveError> {
        if let Some(recorder) = &mut self.recorder {
            recorder.event(event)?;
        }
        self.pipeline.event(event);
        Ok(())
    }

    fn announce(&mut self, target: &Target) -> Result<(), LiveError> {
        let mut facts = Box::new(target.facts.clone());
        if self.forbid_content {
            facts.content.on_spans = false;
            facts.content.on_events = false;
        }
        self.announced.insert(facts.pid);
        for (name, expected) in &target.rejected {
            tracing::warn!(
                pid = facts.pid,
                "{name} in the environment of the process is not used: expected {expected}"
            );
        }
        self.event(&Event::Process {
            facts,
            time: wait::boot_time(),
        })
    }
}

impl Live {
    /// A run that traces nothing yet.
    #[must_use]
    pub fn new(kernel: Kernel, signals: Signals, output: Output, options: LiveOptions) -> Self {
        Self {
            kernel,
            attachments: Attachments::new(
                options.content,
                options.trusts_environment,
                options.purpose,
            ),
            core: Core {
                pipeline: Pipeline::with(options.seed, options.settings)
                    .with_redactor(options.redactor),
                recorder: options.recorder,
                output,
                forbid_content: options.forbid_content,
                announced: HashSet::new(),
            },
            functions: Functions::new(
                options.functions,
                !options.forbid_content,
                options.frameworks,
            ),
            stacks: Stacks::default(),
            snapshots: Snapshots::default(),
            signals,
            duration: options.duration,
            lingering: BTreeSet::new(),
            undecodable: 0,
            tell_losses: options.tell_losses,
            told: HashSet::new(),
            command: options.command,
            host: options.host,
            state: options.state,
            left: Left::default(),
            standing: Standing::default(),
            clock: None,
        }
    }

    /// Starts to trace a process and its descendants.
    ///
    /// # Errors
    ///
    /// When the process cannot be traced; a descendant that cannot be is only told.
    pub fn add(&mut self, pid: u32) -> Result<(), TraceError> {
        self.add_placed(pid, None).map(drop)
    }

    /// As [`Self::add`], and takes note of where the process belongs before its functions are watched, and
    /// before its children are looked at, which have its settings: says whether that is new.
    fn add_placed(&mut self, pid: u32, place: Option<Place>) -> Result<bool, TraceError> {
        self.attachments.add(&mut self.kernel, pid, None)?;
        let changed = place.is_some_and(|place| self.take_place(pid, place));
        if self.command == Some(pid) {
            self.attachments.prepare(&mut self.kernel, pid)?;
        }
        let asleep = self.command != Some(pid) && !self.traced(pid).is_some_and(Traced::reachable);
        if asleep && let Some(traced) = self.attachments.get(pid) {
            let name = &traced.target.facts.service_name;
            if traced.sockets.are_read() {
                tracing::info!(
                    "tracing {name} (pid {pid}): plain sockets; no TLS library loaded yet"
                );
            } else {
                tracing::info!("waiting for {name} (pid {pid}): no TLS library loaded yet");
            }
        }
        self.tell_attached(pid);
        // Once it is traced, so that whom it forks from here on is told of; and before it is watched:
        // those have its watchpoints, and these have none.
        let mut next = process::children(pid);
        self.watch(pid);
        let mut seen = HashSet::new();
        while let Some(child) = next.pop() {
            if !seen.insert(child) {
                continue;
            }
            let left = self.left.has(child);
            if !left {
                let added = self.attachments.add(&mut self.kernel, child, Some(pid));
                if let Err(error) = added {
                    tracing::debug!("{error}");
                }
            }
            next.extend(process::children(child));
            if !left && self.attachments.get(child).is_some() {
                self.attachments.follow_listening(&mut self.kernel, child);
                self.tell_attached(child);
                self.watch(child);
            }
        }
        Ok(changed)
    }

    /// The traced process with this id.
    #[must_use]
    pub fn traced(&self, pid: u32) -> Option<&Traced> {
        self.attachments.get(pid)
    }

    /// Gets ready to tell the call paths of a process. Looks for the functions that are to be watched
    /// in it, and tells of those found.
    fn watch(&mut self, pid: u32) {
        if self
            .traced(pid)
            .is_some_and(|t| t.interpreter.tells_stacks())
        {
            self.stacks.expect(pid);
        }
        if let Some(traced) = self.traced(pid).filter(|traced| traced.target.python) {
            let contents = self.copies_of(traced);
            let found = self.functions.add(&mut self.kernel, pid, contents);
            self.tell_functions(found);
        }
    }

    /// Functions are told of before their calls: what is in the ring comes after it.
    fn tell_functions(&mut self, found: Vec<FunctionFacts>) {
        for facts in found {
            let event = Event::Function {
                facts: Box::new(facts),
                time: wait::boot_time(),
            };
            if let Err(error) = self.core.event(&event) {
                tracing::error!("{error}");
            }
        }
        // In whose context something is done shows in which run or coroutine it is done.
        for pid in self.functions.to_follow() {
            self.attachments.calls(&mut self.kernel, pid);
            self.attachments.serves(&mut self.kernel, pid);
        }
    }

    fn tell_attached(&mut self, pid: u32) {
        let Some(traced) = self.attachments.get(pid) else {
            return;
        };
        if !traced.is_read() || !traced.reachable() {
            return;
        }
        let facts = &traced.target.facts;
        let version = facts.runtime_version.as_deref().unwrap_or("");
        let program = match traced.target.python {
            true => format!("Python {version}"),
            false => traced.target.executable.display().to_string(),
        };
        let name = &facts.service_name;
        let libraries: Vec<_> = traced
            .libraries
            .iter()
            .filter(|l| l.is_read())
            .map(|l| l.path.to_string_lossy())
            .collect();
        let libraries = libraries.join(", ");
        if !self.told.insert((pid, libraries.clone())) {
            return;
        }
        tracing::info!("tracing {name} (pid {pid}, {program}): {libraries}");
    }

    /// Runs until something ends it. Tells everything that is under way, then the losses.
    ///
    /// # Errors
    ///
    /// When a recording cannot be written or nobody takes the spans.
    pub fn run(&mut self) -> Result<Ended, LiveError> {
        memory::forget_start(crate::probe::object::bytes());
        let ended = self.follow()?;
        if let Some(state) = self.state() {
            state.enter(Phase::Stopping);
        }
        // What the kernel still holds, and no more: functions may be called faster than we read.
        self.functions.release();
        self.data(usize::MAX)?;
        self.core.pipeline.finish();
        self.core.output.spans(&mut self.core.pipeline)?;
        if let Some(recorder) = &mut self.core.recorder {
            recorder.flush()?;
            let withheld = recorder.withheld();
            if withheld > 0 {
                tracing::warn!(
                    "not in the recording: {withheld} records in which secrets cannot be blanked \
                     (HTTP/2)"
                );
            }
        }
        let lost = self.losses();
        if self.tell_losses {
            for found in self.core.pipeline.redacted() {
                tracing::info!("redacted: {} {}", found.count, found.rule);
            }
            for loss in &lost {
                tracing::warn!("lost: {} {}", loss.count, loss.name);
            }
        }
        self.core.output.redacted(&self.core.pipeline);
        match self.core.output.exporters().shutdown(&lost) {
            Ok(()) => {}
            Err(e) if e.is_closed() => {}
            Err(e) => tracing::error!("{e}"),
        }
        Ok(ended)
    }

    /// All losses so far.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        let mut lost = losses::of_kernel(&self.kernel.losses());
        lost.extend(losses::of_pipeline(&self.core.pipeline));
        lost.extend(losses::named(&[(
            "records that make no sense",
            self.undecodable,
        )]));
        lost.extend(losses::named(&[(
            "TLS libraries found by their code and given up: a call showed that they are something else",
            self.attachments.given_up(),
        )]));
        lost.extend(losses::named(&self.snapshots.losses()));
        if let Some(host) = &self.host {
            lost.extend(losses::named(&host.scout.losses()));
            lost.extend(losses::named(&[(
                "items that exports dropped whose place others took",
                host.state.exports().dropped_before(),
            )]));
            let engines = host.engines.as_ref();
            lost.extend(
                engines
                    .into_iter()
                    .flat_map(|e| losses::named(&e.scraper.losses())),
            );
        }
        lost
    }

    fn follow(&mut self) -> Result<Ended, LiveError> {
        if self.host.is_some()
            && let Err(error) = self.kernel.tell_all_execs()
        {
            tracing::warn!("programs that are executed are found late: {error}");
        }
        let started = Instant::now();
        let mut timers = Timers::new(started);
        let mut quiet = 0;
        self.clock()?;
        loop {
            self.tell_state();
            // What a process is before what it says.
            let changed = self.control()? | self.found()?;
            let (hurries, found) = self.functions.hurry(&mut self.kernel);
            self.tell_functions(found);
            let at = wait::boot_time();
            let taken = self.data(BATCH)?;
            let now = Instant::now();
            if timers.sweep.due(now) {
                self.sweep()?;
                self.keep_limits(now - started);
                self.ask_engines();
                if let Some(pid) = self.host.as_ref().and_then(|h| h.scout.stuck()) {
                    tracing::warn!(
                        "looking at process {pid} takes very long: others wait for that"
                    );
                }
                let lost = self.losses();
                self.core.output.exporters().losses(&lost);
                self.core.output.redacted(&self.core.pipeline);
            }
            if timers.tick.due(now) {
                self.clock()?;
                self.attachments.tick(&mut self.kernel);
                let found = self.functions.tick(&mut self.kernel);
                self.tell_functions(found);
                self.take_engines()?;
                // What waits in the ring is older than what time it is: nothing is given up that may be in it.
                let time = if taken == BATCH {
                    self.core.pipeline.now()
                } else {
                    at
                };
                self.core.event(&Event::Tick { time })?;
                self.core.output.spans(&mut self.core.pipeline)?;
            }
            if timers.redraw.due(now) {
                self.kernel.flush_log();
                self.core
                    .output
                    .progress(&self.core.pipeline, wait::boot_time());
                self.core.output.flush()?;
            }
            if let Some(signal) = self.signals.take_next()
                && self.stop_on(signal)
            {
                return Ok(Ended::Signal(signal));
            }
            if self.duration.is_some_and(|d| now - started >= d) {
                return Ok(Ended::Duration);
            }
            if self.attachments.is_empty() && self.host.is_none() {
                return Ok(Ended::NothingLeft);
            }
            if taken == BATCH {
                continue;
            }
            quiet = if taken > 0 || changed || hurries {
                0
            } else {
                quiet + 1
            };
            let left = self.duration.map(|d| d.saturating_sub(now - started));
            self.sleep(quiet, left)?;
        }
    }

    /// Whether a signal ends the run. While a command of ours runs, the first one is the
    /// command's business: Ctrl-C it got from the terminal as we did, others are handed on; we
    /// end when it does.
    fn stop_on(&mut self, signal: Signal) -> bool {
        if signal == Signal::SIGHUP
            && let Some(host) = &mut self.host
            && host.reload(self.core.output.exporters())
        {
            return false;
        }
        let Some(pid) = self.command.take() else {
            return true;
        };
        if signal != Signal::SIGINT
            && let Ok(pid) = i32::try_from(pid)
            && let Err(error) = kill(Pid::from_raw(pid), signal)
        {
            tracing::debug!("{signal} could not be handed on: {error}");
        }
        false
    }

    fn sleep(&mut self, quiet: u32, left: Option<Duration>) -> Result<(), LiveError> {
        let cap = |d: Duration| left.map_or(d, |l| d.min(l));
        if quiet < QUIET_ROUNDS {
            // Not on the data ring: it is looked at anyway, and waking us costs the process.
            let bells = std::iter::once(self.kernel.control_fd()).chain(self.bells());
            let bells: Vec<_> = bells.collect();
            wait::wait(&bells, &self.signals, cap(BUSY_WAIT));
            return Ok(());
        }
        self.kernel.wake_on_next();
        if self.data(BATCH)? > 0 {
            return Ok(());
        }
        if let Some(recorder) = &mut self.core.recorder {
            recorder.flush()?;
        }
        let rings = [self.kernel.data_fd(), self.kernel.control_fd()];
        let rings: Vec<_> = rings.into_iter().chain(self.bells()).collect();
        wait::wait(&rings, &self.signals, cap(IDLE_WAIT));
        Ok(())
    }

    /// Takes up to `most` records of the data ring.
    fn data(&mut self, most: usize) -> Result<usize, LiveError> {
        let mut taken = 0;
        let mut serving = BTreeSet::new();
        let tells_paths = !self.sheds_detail();
        while taken < most {
            let Some(record) = self.kernel.data().next() else {
                break;
            };
            taken += 1;
            let event = match decode::data(&record) {
                Ok(event) => event,
                Err(error) => {
                    self.undecodable += 1;
                    tracing::debug!("{error}");
                    continue;
                }
            };
            let pid = match &event {
                Event::Data(Data { connection, .. }) | Event::Socket { connection, .. } => {
                    Some(connection.pid)
                }
                Event::FunctionBegan { call, .. } => Some(call.pid),
                Event::Run(hit) => Some(hit.pid),
                Event::Span(hit) => Some(hit.pid),
                // The first that some frameworks tell of a process.
                Event::RawSnapshot(raw) => Some(raw.pid),
                _ => None,
            };
            if let Some(pid) = pid {
                // Let go of; its probes are removed a little later.
                if self.left.has(pid) {
                    continue;
                }
                if let Some(traced) = self.attachments.get(pid) {
                    if !traced.is_read() {
                        continue;
                    }
                    if !self.core.announced.contains(&pid) {
                        self.core.announce(&traced.target)?;
                    }
                } else if !self.core.announced.contains(&pid)
                    && let Some(root) = looked::root(&event, &record)
                    && let Some(traced) = self.attachments.get(root)
                {
                    // It was not looked at yet, or ended before: it is what it was forked from.
                    self.core.announce(&traced.target.forked(pid))?;
                }
            }
            if let Event::FunctionBegan { call, .. } = &event
                && function::is_ahead(&record)
            {
                self.functions.note_ahead(call.pid);
            }
            let to = (&mut self.stacks, &mut self.snapshots, &self.functions);
            let is_python = |pid| self.attachments.get(pid).is_some_and(|t| t.target.python);
            let is_told = |pid| tells_paths && is_python(pid);
            if looked::tell(&event, to, &mut self.core, is_told)? {
                continue;
            }
            if let Event::Socket {
                connection, socket, ..
            } = &event
                && socket.role == SocketRole::Accepted
                && self
                    .attachments
                    .get(connection.pid)
                    .is_some_and(|t| t.interpreter.is_open())
            {
                serving.insert(connection.pid);
            }
            if let Some(recorder) = &mut self.core.recorder {
                recorder.record(&record, &event)?;
            }
            self.core.pipeline.event(&event);
        }
        for pid in serving {
            self.attachments.serves(&mut self.kernel, pid);
        }
        for pid in self.core.pipeline.callers() {
            self.attachments.calls(&mut self.kernel, pid);
        }
        if taken > 0 {
            for (connection, copy) in self.core.pipeline.modes() {
                let number = match copy {
                    CopyMode::Whole => mode::WHOLE,
                    CopyMode::Heads => mode::HEADS,
                    CopyMode::Outline => mode::OUTLINE,
                    CopyMode::Nothing => mode::NOTHING,
                };
                tracing::debug!(?connection, ?copy, "copying");
                self.kernel.set_mode(connection, number);
            }
            self.core.output.spans(&mut self.core.pipeline)?;
        }
        Ok(taken)
    }

    /// Tells how far wall time is from boot time, when that has changed.
    fn clock(&mut self) -> Result<(), LiveError> {
        let offset = wait::clock_offset();
        let told = self.clock.map(|told| told.0.abs_diff(offset.0));
        if told.is_some_and(|moved| moved < CLOCK_SLACK) {
            return Ok(());
        }
        self.clock = Some(offset);
        let time = wait::boot_time();
        self.core.event(&Event::Clock { offset, time })
    }
}
