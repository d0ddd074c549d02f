//! `genspan agent`

#[cfg(feature = "prometheus")]
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

#[cfg(feature = "prometheus")]
use super::args::Listen;
use super::args::{AgentArgs, RulesArgs};
use super::config::ConfigFile;
use super::sinks;
use super::trace::{finish, seed};
use crate::driver::budget::Governor;
use crate::driver::files;
use crate::driver::host::{Host, Reloaded};
use crate::driver::live::{Live, LiveOptions};
use crate::driver::output::Output;
use crate::driver::privileges;
use crate::driver::scout::Scout;
use crate::driver::seccomp;
use crate::driver::wait::Signals;
#[cfg(feature = "otlp")]
use crate::export::spool::Spool;
use crate::model::process::ContentPolicy;
use crate::probe::kernel::{Kernel, KernelOptions};
use crate::probe::object;
use crate::probe::python::Purpose;
use crate::probe::sockets::SocketWay;
use crate::state::handle::State;
use crate::target::rules::Rules;
#[cfg(feature = "prometheus")]
use crate::{state::SOCKET, state::server::Places};

/// So many open files are enough for a thousand processes.
const FILES: u64 = 20_000;

/// What the spool may take unless something else is said.
#[cfg(feature = "otlp")]
const SPOOL_BYTES: u64 = 1 << 30;

/// Where the state is told unless the command line says otherwise.
#[cfg(feature = "prometheus")]
const LISTEN: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9465);

pub(super) fn run(args: &AgentArgs, debug: bool) -> anyhow::Result<ExitCode> {
    // Wrong settings are told before anything else is done.
    let file = ConfigFile::read(args.config.as_deref())?;
    let rules = rules_of(&args.rules, &file);
    let redactor = sinks::redactor(&args.shared)?;
    let signals = Signals::take().context("cannot wait for signals")?;
    let files = files::raise_limit();
    if files < FILES {
        tracing::warn!(
            "only {files} files may be open, and each traced process takes some twenty: raise the limit \
             (ulimit -Hn, LimitNOFILE=) for more than {} processes",
            files / 20
        );
    }
    let state = State::new().context("cannot keep a state")?;
    let source = sinks::source(&args.shared);
    #[cfg(feature = "prometheus")]
    let places = places(args)?;
    let title = Some("genspan agent".to_owned());
    let mut exporters = sinks::written(&args.shared, title)?;
    let sending = sinks::Sending {
        #[cfg(feature = "otlp")]
        spool: spool(args, &file)?,
        #[cfg(feature = "otlp")]
        file: file.export.clone(),
        #[cfg(feature = "otlp")]
        exports: state.exports().clone(),
        source: cfg!(feature = "prometheus").then(|| source.clone()),
    };
    // What is ours alone is open, and there is no other thread yet.
    give_up_privileges(args);
    // First, so that it can be asked how far we are; it ends last.
    #[cfg(feature = "prometheus")]
    let _server = places.serve(state.clone(), source)?;
    sinks::sent(&args.shared, sending, &mut exporters)?;
    let output = Output::new(exporters);
    let kernel = Kernel::load(&KernelOptions {
        ring_bytes: args.ring_size,
        message_bytes: args.shared.max_message,
        debug,
        perf_probes: false,
        sockets: SocketWay::Auto,
        python: true,
        functions: false,
        frameworks: args.frameworks,
        stacks: args.stacks,
    })?;
    let (given, config) = (args.rules.clone(), args.config.clone());
    let governor = Governor::new(file.budget);
    let mut before = file;
    let host = Host {
        scout: Scout::start(rules).context("cannot look for processes")?,
        reload: Some(Box::new(move || {
            if config.is_none() {
                return Ok(None);
            }
            let read = ConfigFile::read(config.as_deref());
            let file = read.map_err(|error| format!("{error:#}"))?;
            let rules = rules_of(&given, &file);
            before.tell_what_waits(&file);
            let budget = file.budget;
            before = file;
            Ok(Some(Reloaded { rules, budget }))
        })),
        state,
        governor,
    };
    let mut live = Live::new(
        kernel,
        signals,
        output,
        LiveOptions {
            seed: seed(),
            settings: sinks::settings(&args.shared),
            content: ContentPolicy::default(),
            forbid_content: args.shared.no_content,
            redactor,
            purpose: Purpose {
                contexts: true,
                stacks: args.stacks,
            },
            command: None,
            duration: None,
            recorder: None,
            functions: Default::default(),
            frameworks: args.frameworks,
            tell_losses: !sinks::is_pretty(&args.shared),
            host: Some(host),
        },
    );
    finish(live.run(), None)
}

/// Gives up what tracing does not take.
fn give_up_privileges(args: &AgentArgs) {
    object::raise_memlock();
    let missing = privileges::missing();
    if !missing.is_empty() {
        tracing::warn!("missing {}: see `genspan doctor`", missing.join(", "));
    }
    if args.keep_privileges {
        return;
    }
    if let Err(error) = privileges::drop_rest() {
        tracing::warn!("privileges that are not needed are kept: {error}");
    }
    if let Err(error) = seccomp::forbid() {
        tracing::warn!("system calls that are not needed are allowed: {error}");
    }
}

/// Where the state is told. What nobody asked for may fail: another agent, or another program, may
/// have the address.
#[cfg(feature = "prometheus")]
fn places(args: &AgentArgs) -> anyhow::Result<Places> {
    let mut places = Places::default();
    let at = match args.listen {
        None => places
            .at(LISTEN)
            .inspect_err(|error| tracing::warn!("{error}"))
            .ok(),
        Some(Listen::At(address)) => Some(places.at(address)?),
        Some(Listen::Nowhere) => None,
    };
    if let Some(address) = at {
        if !address.ip().is_loopback() {
            tracing::warn!("the state at {address} can be read by whoever reaches this host");
        }
        tracing::info!("state: http://{address}/status");
    }
    match args.socket.as_deref() {
        None => {
            if let Err(error) = places.at_socket(Path::new(SOCKET)) {
                tracing::warn!("{error}");
            }
        }
        Some(path) if path == Path::new("none") => {}
        Some(path) => places.at_socket(path)?,
    }
    Ok(places)
}

/// Opens the directory for what cannot be delivered, if one is asked for.
#[cfg(feature = "otlp")]
fn spool(args: &AgentArgs, file: &ConfigFile) -> anyhow::Result<Option<Spool>> {
    let of_file = file.export.spool.as_ref();
    let directory = args.spool.as_deref();
    let Some(directory) = directory.or_else(|| of_file.map(|s| s.directory.as_path())) else {
        anyhow::ensure!(args.spool_size.is_none(), "--spool-size needs --spool");
        return Ok(None);
    };
    let size = args.spool_size.or_else(|| of_file?.max_bytes);
    let spool = Spool::open(directory, size.map_or(SPOOL_BYTES, |size| size.0));
    Ok(Some(spool?))
}

/// The rules of the command line and those of the file.
fn rules_of(given: &RulesArgs, file: &ConfigFile) -> Rules {
    let mut rules = given.rules();
    rules.include.extend(file.rules.include.iter().cloned());
    rules.exclude.extend(file.rules.exclude.iter().cloned());
    rules
}
