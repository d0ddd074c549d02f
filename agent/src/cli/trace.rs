//! `genspan trace`

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use super::agent::warn_of_cluster;
use super::args::TraceArgs;
use super::{confined, sinks};
use crate::capture::record::{Header, Recorder};
use crate::driver::budget::Governor;
use crate::driver::child::{self, HeldChild};
use crate::driver::host::Host;
use crate::driver::live::{Ended, Live, LiveError, LiveOptions};
use crate::driver::output::Output;
use crate::driver::scout::Scout;
use crate::driver::wait::Signals;
use crate::model::process::ContentPolicy;
use crate::probe::attach::TraceError;
use crate::probe::kernel::{AttachError, Kernel, KernelOptions};
use crate::probe::python::Purpose;
use crate::probe::removal;
use crate::state::handle::State;
#[cfg(feature = "prometheus")]
use crate::state::server::Places;
use crate::target::process::{self, ProcessError};

/// How long a command may take from the end of its main thread to its own.
const LAST_STEPS: Duration = Duration::from_secs(5);

pub(super) fn run(args: &TraceArgs, debug: bool) -> anyhow::Result<ExitCode> {
    // Wrong processes are the likeliest mistake: say so before anything else is done.
    let pids = pids(&args.pid, args.others)?;
    let redactor = sinks::redactor(&args.shared)?;
    let signals = Signals::take().context("cannot wait for signals")?;
    let kernel = Kernel::load(&KernelOptions {
        ring_bytes: args.ring_size,
        message_bytes: args.shared.max_message,
        debug,
        perf_probes: args.perf_probes,
        sockets: args.sockets.into(),
        python: args.python,
        functions: !args.function.is_empty(),
        frameworks: args.frameworks && args.python,
        stacks: args.stacks,
    })?;
    let seed = seed();
    let recorder = args
        .record
        .as_deref()
        .map(|path| recorder(path, seed))
        .transpose()?;
    #[cfg(feature = "prometheus")]
    let told = args.socket.as_deref().map(told).transpose()?;
    let mut exporters = sinks::written(&args.shared, Some(title(args)))?;
    // What is ours alone is open, and there is no other thread yet. A command of the user's is not to be
    // bound by what we give up.
    if args.exec.is_empty() && !args.keep_privileges {
        confined::give_up(args.perf_probes);
    }
    #[cfg(feature = "prometheus")]
    let (state, _server) = match told {
        Some((places, state)) => {
            let source = sinks::source(&args.shared, crate::scrape::INTERVAL);
            let server = places.serve(state.clone(), source);
            (Some(state), Some(server?))
        }
        None => (None, None),
    };
    #[cfg(not(feature = "prometheus"))]
    let state: Option<State> = None;
    sinks::sent(&args.shared, &sinks::Sending::default(), &mut exporters)?;
    let output = Output::new(exporters);
    let host = if args.all {
        let rules = args.rules.rules();
        warn_of_cluster(&rules, false);
        Some(Host {
            scout: Scout::start(rules, None).context("cannot look for processes")?,
            reload: None,
            state: state
                .clone()
                .map_or_else(State::new, Ok)
                .context("cannot keep a state")?,
            governor: Governor::default(),
            engines: None,
        })
    } else {
        None
    };
    let held = if args.exec.is_empty() {
        None
    } else {
        Some(HeldChild::start(&args.exec).with_context(|| cannot_start(args))?)
    };
    let mut live = Live::new(
        kernel,
        signals,
        output,
        LiveOptions {
            seed,
            settings: sinks::settings(&args.shared),
            content: ContentPolicy::default(),
            trusts_environment: true,
            forbid_content: args.shared.no_content,
            redactor,
            purpose: Purpose {
                contexts: args.python,
                stacks: args.stacks,
                others: args.others,
            },
            command: held.as_ref().map(HeldChild::pid),
            duration: args.duration,
            recorder,
            functions: (args.function.clone(), args.function_probe.into()),
            frameworks: args.frameworks && args.python,
            tell_losses: !sinks::is_pretty(&args.shared),
            host,
            state,
        },
    );
    for pid in pids {
        live.add(pid).map_err(explain)?;
    }
    let child = match held {
        Some(held) => {
            live.add(held.pid()).map_err(explain)?;
            Some(held.release().with_context(|| cannot_start(args))?)
        }
        None => None,
    };
    let ended = live.run();
    take_away(live);
    finish(ended, child)
}

/// Where the state is told, and what keeps it.
#[cfg(feature = "prometheus")]
fn told(socket: &Path) -> anyhow::Result<(Places, State)> {
    let mut places = Places::default();
    places.at_socket(socket)?;
    Ok((places, State::new().context("cannot keep a state")?))
}

/// The processes meant: each once, and each Python unless others are asked for.
fn pids(given: &[u32], others: bool) -> Result<Vec<u32>, ProcessError> {
    let mut pids = Vec::new();
    for pid in given {
        let group = process::group_of(*pid)?;
        let target = process::look(group, &ContentPolicy::default(), true)?;
        let started = if target.python || others {
            vec![target.pid]
        } else {
            pythons_of(target.pid)
        };
        if started.is_empty() {
            process::require_python(target)?;
        }
        for pid in started {
            if !pids.contains(&pid) {
                pids.push(pid);
            }
        }
    }
    Ok(pids)
}

/// The Pythons that a process of another kind has started: what it bundles (PyInstaller, Nuitka), or what
/// a shell script runs. Their own children come with them.
fn pythons_of(pid: u32) -> Vec<u32> {
    /// Most processes below it that are looked at.
    const MOST: usize = 256;
    let mut found = Vec::new();
    let mut waiting = process::children(pid);
    for _ in 0..MOST {
        let Some(child) = waiting.pop() else { break };
        match process::look(child, &ContentPolicy::default(), true) {
            Ok(target) if target.python => found.push(child),
            // Gone by now is as good as none.
            _ => waiting.extend(process::children(child)),
        }
    }
    found.sort_unstable();
    found
}

fn explain(error: TraceError) -> anyhow::Error {
    match error {
        TraceError::Process(ProcessError::NotFound(pid))
        | TraceError::Attach(AttachError::Gone(pid)) => {
            anyhow::Error::from(ProcessError::Gone(pid))
        }
        error => error.into(),
    }
}

fn cannot_start(args: &TraceArgs) -> String {
    let program = args
        .exec
        .first()
        .map(|p| p.to_string_lossy().into_owned())
        .unwrap_or_default();
    format!("cannot start {program}")
}

fn title(args: &TraceArgs) -> String {
    if args.all {
        "genspan trace --all".to_owned()
    } else if args.exec.is_empty() {
        let pids: Vec<_> = args.pid.iter().map(u32::to_string).collect();
        format!("genspan trace --pid {}", pids.join(" "))
    } else {
        let words: Vec<_> = args
            .exec
            .iter()
            .map(|w| w.to_string_lossy().into_owned())
            .collect();
        let words = crate::target::command::without_secrets(&words);
        format!("genspan trace -- {}", words.join(" "))
    }
}

/// A recording holds what was said: for its owner only.
fn recorder(path: &Path, seed: u128) -> anyhow::Result<Recorder<BufWriter<File>>> {
    let name = path.display();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write the recording {name}"))?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let header = Header::new(seed, kernel.trim().to_owned());
    Recorder::new(BufWriter::new(file), &header)
        .with_context(|| format!("cannot write the recording {name}"))
}

/// Something that no other run has: so that trace ids of two runs never meet.
pub(super) fn seed() -> u128 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let draw = || u128::from(RandomState::new().build_hasher().finish());
    (draw() << 64) | draw()
}

/// Lets go of what was traced: no thread that removes probes may be killed by our own end.
pub(super) fn take_away(live: Live) {
    drop(live);
    let left = removal::finish();
    if left > 0 {
        tracing::info!("{left} probes go with this process, which takes the kernel a while");
    }
}

pub(super) fn finish(
    ended: Result<Ended, LiveError>,
    child: Option<Child>,
) -> anyhow::Result<ExitCode> {
    let over = matches!(ended, Ok(Ended::NothingLeft));
    let code = match ended {
        Ok(Ended::NothingLeft | Ended::Duration) => ExitCode::SUCCESS,
        Ok(Ended::Signal(Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP)) => ExitCode::SUCCESS,
        Ok(Ended::Signal(_)) => ExitCode::FAILURE,
        // `genspan trace … | head` is no failure.
        Err(LiveError::Export(e)) if e.is_closed() => ExitCode::SUCCESS,
        Err(e) => return Err(e.into()),
    };
    let Some(mut child) = child else {
        return Ok(code);
    };
    let mut status = child.try_wait();
    // Its end was heard of before it was over.
    let begun = Instant::now();
    while over && matches!(status, Ok(None)) && begun.elapsed() < LAST_STEPS {
        std::thread::sleep(Duration::from_millis(2));
        status = child.try_wait();
    }
    match status {
        Ok(Some(status)) => Ok(ExitCode::from(child::exit_code(status))),
        // We ended before the command did: leave it alone.
        Ok(None) => Ok(code),
        Err(e) => Err(e).context("the command's end could not be learnt"),
    }
}
