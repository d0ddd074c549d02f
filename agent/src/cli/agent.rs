//! `genspan agent`

#[cfg(feature = "prometheus")]
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

#[cfg(feature = "prometheus")]
use super::args::Listen;
use super::args::{AgentArgs, RulesArgs, SharedArgs};
use super::config::ConfigFile;
use super::trace::{finish, seed, take_away};
use super::{confined, sinks, whole};
use crate::driver::budget::Governor;
use crate::driver::files;
use crate::driver::host::{Host, NewExports, Reloaded};
use crate::driver::live::{Engines, Live, LiveOptions};
use crate::driver::output::Output;
use crate::driver::privileges;
use crate::driver::scout::Scout;
use crate::driver::wait::Signals;
use crate::export::metrics::Source;
#[cfg(feature = "otlp")]
use crate::export::spool::Spool;
#[cfg(feature = "kubernetes")]
use crate::kubernetes::Cluster;
#[cfg(feature = "kubernetes")]
use crate::kubernetes::config::{Api, BadConfig, KubernetesFile, Place};
use crate::model::process::ContentPolicy;
use crate::probe::kernel::{Kernel, KernelOptions};
use crate::probe::multi;
use crate::probe::object;
use crate::probe::python::Purpose;
use crate::probe::sockets::SocketWay;
use crate::scrape::{self, Scraper};
use crate::state::handle::State;
use crate::target::rules::Rules;
#[cfg(feature = "prometheus")]
use crate::{state::SOCKET, state::server::Places};

/// So many open files are enough for a thousand processes.
const FILES: u64 = 20_000;

/// How long the start waits for the pods of this node.
#[cfg(feature = "kubernetes")]
const FIRST_LIST: Duration = Duration::from_secs(5);

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
    let source = sinks::source(&args.shared, interval(&file));
    #[cfg(feature = "prometheus")]
    let places = places(args)?;
    let title = Some("genspan agent".to_owned());
    let mut exporters = sinks::written(&args.shared, title)?;
    let scrapes = args.scrape_engines || file.scrape.engines;
    let sending = sinks::Sending {
        #[cfg(feature = "otlp")]
        spool: spool(args, &file)?,
        #[cfg(feature = "otlp")]
        file: file.export.clone(),
        #[cfg(feature = "otlp")]
        exports: state.exports().clone(),
        source: Some(source.clone()),
    };
    let (metrics, measured) = (source.clone(), source.clone());
    #[cfg(feature = "otlp")]
    let spools = sending.spool.is_some();
    #[cfg(not(feature = "otlp"))]
    let spools = false;
    // What is ours alone is open, and there is no other thread yet.
    let missing = privileges::missing(multi::are_perfs(false));
    if !missing.is_empty() {
        tracing::warn!("missing {}: see `genspan doctor`", missing.join(", "));
    }
    if args.keep_privileges {
        object::raise_memlock();
    } else {
        confined::give_up(false);
    }
    // First, so that it can be asked how far we are; it ends last.
    #[cfg(feature = "prometheus")]
    let _server = places.serve(state.clone(), source)?;
    sinks::sent(&args.shared, &sending, &mut exporters)?;
    let engines = scrapes.then(|| engines(&file, metrics)).transpose()?;
    let own = engines.as_ref().map(|e| e.scraper.name());
    let output = Output::new(exporters).without(own);
    let stacks = args.stacks || asks_for_stacks(&rules);
    let kernel = Kernel::load(&KernelOptions {
        ring_bytes: args.ring_size,
        message_bytes: args.shared.max_message,
        debug,
        perf_probes: false,
        sockets: SocketWay::Auto,
        python: true,
        functions: false,
        frameworks: args.frameworks,
        stacks,
    })?;
    #[cfg(feature = "kubernetes")]
    let cluster = cluster(&file)?;
    #[cfg(not(feature = "kubernetes"))]
    let cluster = None;
    let clustered = cluster.is_some();
    warn_of_cluster(&rules, clustered);
    let (given, config, shared) = (args.rules.clone(), args.config.clone(), args.shared.clone());
    let governor = Governor::new(file.budget);
    let trusts_environment = file.trust_process_env;
    let mut before = file;
    let host = Host {
        scout: Scout::start(rules, cluster).context("cannot look for processes")?,
        reload: Some(Box::new(move || {
            if config.is_none() {
                return Ok(None);
            }
            let read = ConfigFile::read(config.as_deref());
            let file = read.map_err(|error| whole(&error))?;
            let mut rules = rules_of(&given, &file);
            // What processes are called and are was made of that, or was not.
            rules.ignores_environment = !trusts_environment;
            warn_of_cluster(&rules, clustered);
            if !stacks && asks_for_stacks(&rules) {
                tracing::warn!("`stacks` in the configuration has changed: restart for it");
                rules
                    .settings
                    .iter_mut()
                    .for_each(|set| set.settings.stacks = None);
            }
            let exports = new_exports(&shared, &before, &file, spools, &measured);
            let exports = exports.map_err(|error| whole(&error))?;
            before.tell_what_waits(&file, spools);
            let budget = file.budget;
            before = file;
            Ok(Some(Reloaded {
                rules,
                budget,
                exports,
            }))
        })),
        state,
        governor,
        engines,
    };
    let mut live = Live::new(
        kernel,
        signals,
        output,
        LiveOptions {
            seed: seed(),
            settings: sinks::settings(&args.shared),
            content: ContentPolicy::default(),
            trusts_environment,
            forbid_content: args.shared.no_content,
            redactor,
            purpose: Purpose {
                contexts: true,
                stacks: args.stacks,
                others: false,
            },
            command: None,
            duration: None,
            recorder: None,
            functions: Default::default(),
            frameworks: args.frameworks,
            tell_losses: !sinks::is_pretty(&args.shared),
            host: Some(host),
            state: None,
        },
    );
    let ended = live.run();
    take_away(live);
    finish(ended, None)
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

/// The exporters that a file asks for that was read again, where it asks for others than before, or names
/// certificates, which may be others. None where the command line says where to send to.
#[cfg(feature = "otlp")]
fn new_exports(
    shared: &SharedArgs,
    before: &ConfigFile,
    file: &ConfigFile,
    spools: bool,
    source: &Source,
) -> anyhow::Result<Option<NewExports>> {
    let same = before.export == file.export && !file.export.has_certificates();
    if same || spools || file.export.spool.is_some() || !shared.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let sending = sinks::Sending {
        file: file.export.clone(),
        ..sinks::Sending::default()
    };
    let (sent, _) = sinks::network(shared, &sending, source)?;
    Ok(Some(NewExports {
        sent,
        told: sending.exports,
    }))
}

#[cfg(not(feature = "otlp"))]
fn new_exports(
    _: &SharedArgs,
    _: &ConfigFile,
    _: &ConfigFile,
    _: bool,
    _: &Source,
) -> anyhow::Result<Option<NewExports>> {
    Ok(None)
}

/// How often model servers are asked.
fn interval(file: &ConfigFile) -> Duration {
    file.scrape.interval.unwrap_or(scrape::INTERVAL)
}

/// Asks model servers for their own metrics. What they say goes to `source`.
fn engines(file: &ConfigFile, source: Source) -> anyhow::Result<Engines> {
    // By a name that nobody else has, our own requests are known among those that are traced.
    let name = concat!("genspan/", env!("CARGO_PKG_VERSION"));
    let name = format!("{name} (scrape {:032x})", seed());
    let scraper = Scraper::start(interval(file), &name).context("cannot ask model servers")?;
    Ok(Engines { scraper, source })
}

/// Asks Kubernetes for the pods of this node, where there is one to ask. What is in them is known before the
/// first process is looked at, unless that takes too long.
#[cfg(feature = "kubernetes")]
fn cluster(file: &ConfigFile) -> anyhow::Result<Option<Cluster>> {
    let settings = &file.kubernetes;
    let place = settings.place(&|name| std::env::var(name).ok());
    let Some(cluster) = started(settings, place)? else {
        return Ok(None);
    };
    if !cluster.wait_listed(FIRST_LIST) {
        tracing::warn!("Kubernetes has not told its pods yet: what it says is filled in later");
    }
    Ok(Some(cluster))
}

/// Starts to ask there. Where nobody said that it is to be asked, one that cannot be is told in the log and left:
/// without, container and pod are what their cgroups say.
#[cfg(feature = "kubernetes")]
fn started(
    settings: &KubernetesFile,
    place: Result<Option<Place>, BadConfig>,
) -> anyhow::Result<Option<Cluster>> {
    let start = |place| Cluster::start(place, settings.chosen());
    match place.and_then(|place| place.map(start).transpose()) {
        Err(error) if settings.api == Api::Auto && settings.kubeconfig.is_none() => {
            tracing::warn!("{error}");
            Ok(None)
        }
        started => Ok(started?),
    }
}

/// Says so where rules ask for what nobody knows.
pub(super) fn warn_of_cluster(rules: &Rules, clustered: bool) {
    if !clustered && rules.ask_cluster() {
        tracing::warn!(
            "rules ask for what Kubernetes knows, and there is none to ask (docs/kubernetes.md): what runs in \
             a pod is not traced"
        );
    }
}

/// Whether call paths are to be told of a process that a rule fits: the programs in the kernel are made for that when
/// they are loaded.
fn asks_for_stacks(rules: &Rules) -> bool {
    let mut all = rules.settings.iter();
    all.any(|set| set.settings.stacks == Some(true))
}

/// The rules of the command line and those of the file.
fn rules_of(given: &RulesArgs, file: &ConfigFile) -> Rules {
    let mut rules = given.rules();
    rules.include.extend(file.rules.include.iter().cloned());
    rules.exclude.extend(file.rules.exclude.iter().cloned());
    let others = file.rules.include_other.iter().cloned();
    rules.include_other.extend(others);
    rules.settings.extend(file.settings.iter().cloned());
    rules.ignores_environment = !file.trust_process_env;
    rules
}

#[cfg(all(test, feature = "kubernetes"))]
mod tests {
    use super::{Api, BadConfig, KubernetesFile, Place, started};
    use crate::kubernetes::config::{Asked, Token};

    #[test]
    fn what_nobody_asked_for_may_fail() {
        let place = Place {
            tls: true,
            host: "192.0.2.1".to_owned(),
            port: 443,
            path: String::new(),
            authority: b"no certificate".to_vec(),
            unchecked: false,
            token: Token::None,
            identity: None,
            node: "n".to_owned(),
            asked: Asked::Api,
        };
        let auto = KubernetesFile::default();
        let on = KubernetesFile {
            api: Api::On,
            ..KubernetesFile::default()
        };
        let named = KubernetesFile {
            kubeconfig: Some("config".into()),
            ..KubernetesFile::default()
        };
        for (settings, fails) in [(auto, false), (on, true), (named, true)] {
            let bad = started(&settings, Ok(Some(place.clone())));
            assert!(bad.is_err() == fails && bad.is_ok_and(|c| c.is_none()) != fails);
            let nameless = started(&settings, Err(BadConfig::NoNode));
            assert_eq!(nameless.is_err(), fails);
            assert!(started(&settings, Ok(None)).unwrap().is_none());
        }
    }
}
