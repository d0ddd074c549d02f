//! Asks model servers for their own metrics, where an operator wants that.
//!
//! A thread of its own asks one server after the other. It asks a process that listens in our own network
//! namespace where that listens, which is an address of this host; one in another namespace it asks at the address that
//! Kubernetes says its pod has, if it listens there. It does not go into other namespaces: that takes
//! `CAP_SYS_ADMIN`, which an agent gives up. No key is ever sent, and no redirection followed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::http;
use crate::metrics::Observation;
use crate::target::listening;

/// How often a server is asked unless something else is said.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// Most servers that are asked.
const MAX_SERVERS: usize = 64;
/// Most pages that wait to be taken.
const MAX_WAITING: usize = MAX_SERVERS;
/// One that does not let itself be asked is asked again after so many times the interval.
const SELDOM: u32 = 20;

/// A server that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its process.
    pub pid: u32,
    /// The start of that in clock ticks after boot.
    pub start_ticks: u64,
    /// What it is.
    pub engine: Engine,
    /// The port that its command line names.
    pub port: Option<u16>,
    /// Inode number of its network namespace.
    pub network: u64,
    /// The address of the pod that it is in.
    pub pod: Option<IpAddr>,
}

/// What a server said.
#[derive(Clone, Debug)]
pub struct Scraped {
    /// Its process.
    pub pid: u32,
    /// The start of that in clock ticks after boot.
    pub start_ticks: u64,
    /// What it said.
    pub found: Vec<Observation>,
}

/// The thread, as the live run sees it.
#[derive(Debug)]
pub struct Scraper {
    servers: SyncSender<Vec<Server>>,
    scraped: Receiver<Scraped>,
    counts: Arc<Counts>,
    agent: Arc<str>,
}

/// What did not work.
#[derive(Debug, Default)]
struct Counts {
    failed: AtomicU64,
    refused: AtomicU64,
    large: AtomicU64,
    senseless: AtomicU64,
    samples: AtomicU64,
    untaken: AtomicU64,
    silent: AtomicU64,
    elsewhere: AtomicU64,
    beyond: AtomicU64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Scraper {
    /// Starts it. `name` is what it calls itself (`User-Agent`), which nobody else does: by that its own requests
    /// are known.
    ///
    /// # Errors
    ///
    /// When there is no thread for it.
    pub fn start(interval: Duration, name: &str) -> io::Result<Self> {
        let (servers, heard) = sync_channel(1);
        let (tell, scraped) = sync_channel(MAX_WAITING);
        let counts = Arc::<Counts>::default();
        let agent: Arc<str> = name.into();
        let mut work = Work {
            interval,
            own: std::fs::metadata("/proc/self/ns/net").map(|m| m.ino()).ok(),
            known: HashMap::new(),
            beyond: HashSet::new(),
            counts: Arc::clone(&counts),
            agent: Arc::clone(&agent),
        };
        let log = tracing::dispatcher::get_default(Clone::clone);
        thread::Builder::new()
            .name("scrape".to_owned())
            .spawn(move || tracing::dispatcher::with_default(&log, || work.run(&heard, &tell)))?;
        Ok(Self {
            servers,
            scraped,
            counts,
            agent,
        })
    }

    /// These are the servers from here on. While the thread is busy it keeps to those of before.
    pub fn ask(&self, servers: Vec<Server>) {
        self.servers.try_send(servers).ok();
    }

    /// The next thing that one of them said.
    #[must_use]
    pub fn take(&self) -> Option<Scraped> {
        self.scraped.try_recv().ok()
    }

    /// What it calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.agent
    }

    /// What did not work so far: each reason, and how often.
    #[must_use]
    pub fn losses(&self) -> [(&'static str, u64); 9] {
        let counts = &self.counts;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        [
            (
                "requests for model servers' metrics: no answer",
                count(&counts.failed),
            ),
            (
                "requests for model servers' metrics: refused",
                count(&counts.refused),
            ),
            (
                "requests for model servers' metrics: the answer is too long",
                count(&counts.large),
            ),
            (
                "lines of model servers' metrics that make no sense",
                count(&counts.senseless),
            ),
            (
                "samples of model servers' metrics not taken: too many",
                count(&counts.samples),
            ),
            (
                "pages of model servers' metrics not taken: too many wait",
                count(&counts.untaken),
            ),
            (
                "model servers not asked for their metrics: not listening",
                count(&counts.silent),
            ),
            (
                "model servers not asked for their metrics: in another network",
                count(&counts.elsewhere),
            ),
            (
                "model servers not asked for their metrics: too many",
                count(&counts.beyond),
            ),
        ]
    }
}

/// What is remembered of a server.
struct Known {
    due: Instant,
    /// Where it is asked, and in which network namespace: no other one is asked there as long as this one is.
    at: Option<(u64, SocketAddr)>,
    /// Why it is not asked or does not answer, which was told.
    told: Option<Trouble>,
}

/// What a server is not asked for, or does not answer with. Each is told when it begins, and not again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It does not listen where it would be asked.
    Silent,
    /// It is in another network namespace, and cannot be reached from here.
    Elsewhere,
    /// It was asked, and gave no page.
    NoPage,
}

struct Work {
    interval: Duration,
    /// Our own network namespace.
    own: Option<u64>,
    known: HashMap<(u32, u64), Known>,
    /// Those that are too many.
    beyond: HashSet<(u32, u64)>,
    counts: Arc<Counts>,
    agent: Arc<str>,
}

/// What came of asking.
enum Outcome {
    Said(Vec<Observation>),
    /// Another process is asked at its address already: vLLM's API servers (`--api-server-count`) share a socket.
    Shared,
    /// Ask again as usual.
    Failed(Trouble, String),
    /// Ask again much later.
    Refused(String),
}

impl Work {
    fn run(&mut self, heard: &Receiver<Vec<Server>>, tell: &SyncSender<Scraped>) {
        let mut servers: Vec<Server> = Vec::new();
        loop {
            let now = Instant::now();
            let next = self.known.values().map(|known| known.due).min();
            let wait = next.map_or(self.interval, |due| due.saturating_duration_since(now));
            match heard.recv_timeout(wait) {
                Ok(new) => servers = self.take_up(new),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for server in &servers {
                let key = (server.pid, server.start_ticks);
                let now = Instant::now();
                if self.known.get(&key).is_none_or(|known| known.due > now) {
                    continue;
                }
                let outcome = self.scrape(server);
                let (after, trouble) = match outcome {
                    Outcome::Said(found) => {
                        let scraped = Scraped {
                            pid: server.pid,
                            start_ticks: server.start_ticks,
                            found,
                        };
                        match tell.try_send(scraped) {
                            Ok(()) => {}
                            Err(TrySendError::Full(_)) => add(&self.counts.untaken, 1),
                            Err(TrySendError::Disconnected(_)) => return,
                        }
                        (self.interval, None)
                    }
                    Outcome::Shared => (self.interval, None),
                    Outcome::Failed(trouble, why) => (self.interval, Some((trouble, why))),
                    Outcome::Refused(why) => (self.interval * SELDOM, Some((Trouble::NoPage, why))),
                };
                self.came(key, Instant::now() + after, trouble);
            }
        }
    }

    /// What came of a server: tells what is new about its trouble, and counts it if it is not even asked.
    fn came(&mut self, key: (u32, u64), due: Instant, trouble: Option<(Trouble, String)>) {
        let Some(known) = self.known.get_mut(&key) else {
            return;
        };
        known.due = due;
        let before = std::mem::replace(&mut known.told, trouble.as_ref().map(|(t, _)| *t));
        let Some((trouble, why)) = trouble.filter(|(now, _)| before != Some(*now)) else {
            return;
        };
        match trouble {
            Trouble::Silent => add(&self.counts.silent, 1),
            Trouble::Elsewhere => add(&self.counts.elsewhere, 1),
            // Counted for each request.
            Trouble::NoPage => {}
        }
        tracing::warn!("no metrics of the model server {}: {why}", key.0);
    }

    /// Which of them are asked: one of those whose command lines name the same port. Others that share a socket show
    /// when they are to be asked.
    fn take_up(&mut self, mut new: Vec<Server>) -> Vec<Server> {
        new.sort_unstable_by_key(|server| server.pid);
        let mut seen = HashSet::new();
        new.retain(|server| {
            let Some(port) = server.port else { return true };
            seen.insert((server.network, server.pod, port))
        });
        let key = |server: &Server| (server.pid, server.start_ticks);
        let beyond = new.get(MAX_SERVERS..).unwrap_or_default();
        let beyond: HashSet<_> = beyond.iter().map(key).collect();
        add(
            &self.counts.beyond,
            beyond.difference(&self.beyond).count() as u64,
        );
        self.beyond = beyond;
        new.truncate(MAX_SERVERS);
        let now = Instant::now();
        let keys: HashSet<_> = new.iter().map(key).collect();
        self.known.retain(|key, _| keys.contains(key));
        for key in keys {
            let new = || Known {
                due: now,
                at: None,
                told: None,
            };
            self.known.entry(key).or_insert_with(new);
        }
        new
    }

    fn scrape(&mut self, server: &Server) -> Outcome {
        let key = (server.pid, server.start_ticks);
        let address = self.reach(server);
        let at = address.as_ref().ok().map(|a| (server.network, *a));
        let mut others = self.known.iter().filter(|(other, _)| **other != key);
        let is_shared = at.is_some() && others.any(|(_, known)| known.at == at);
        if let Some(known) = self.known.get_mut(&key) {
            known.at = at.filter(|_| !is_shared);
        }
        match address {
            Err((trouble, why)) => Outcome::Failed(trouble, why),
            Ok(_) if is_shared => Outcome::Shared,
            Ok(address) => self.ask(server.engine, address),
        }
    }

    /// The address at which a server is asked.
    fn reach(&self, server: &Server) -> Result<SocketAddr, (Trouble, String)> {
        let listens = listening::addresses(server.pid);
        let here = self.own == Some(server.network);
        let port = port(&listens, server.port, server.engine.usual_port());
        address(&listens, port, here, server.pod).ok_or_else(|| match server.pod {
            _ if listens.iter().all(|a| a.port() != port) => (
                Trouble::Silent,
                format!("it does not listen at port {port}"),
            ),
            Some(pod) if !here => (
                Trouble::Elsewhere,
                format!(
                    "it is in another network namespace, and does not listen at its pod's {pod}"
                ),
            ),
            _ => (
                Trouble::Elsewhere,
                "it is in another network namespace, and no pod with an address".to_owned(),
            ),
        })
    }

    fn ask(&self, engine: Engine, address: SocketAddr) -> Outcome {
        match http::get(address, &self.agent) {
            Ok(page) => {
                let page = engine.read(&page);
                add(&self.counts.senseless, page.senseless);
                add(&self.counts.samples, page.beyond);
                Outcome::Said(page.found)
            }
            Err(http::Failure::Status(status)) => {
                add(&self.counts.refused, 1);
                let why = match status {
                    401 | 403 => "its metrics want a key, and none is ever sent",
                    404 => "it serves no metrics",
                    _ => "its metrics cannot be had",
                };
                Outcome::Refused(format!("{why} ({status} from {address})"))
            }
            Err(http::Failure::Large) => {
                add(&self.counts.large, 1);
                Outcome::Refused(format!("what {address} says is too long"))
            }
            Err(http::Failure::Io(error)) => {
                add(&self.counts.failed, 1);
                Outcome::Failed(Trouble::NoPage, format!("{address}: {error}"))
            }
        }
    }
}

/// The port at which a server is asked: the one that it was told, else its usual one, else the only one at which it
/// listens.
fn port(listens: &[SocketAddr], told: Option<u16>, usual: u16) -> u16 {
    if let Some(port) = told {
        return port;
    }
    let mut ports = listens.iter().map(SocketAddr::port);
    match ports.next() {
        Some(first) if first != usual && ports.all(|port| port == first) => first,
        _ => usual,
    }
}

/// Where a server is asked that listens at these addresses.
fn address(
    listens: &[SocketAddr],
    usual: u16,
    here: bool,
    pod: Option<IpAddr>,
) -> Option<SocketAddr> {
    let mut at = listens.iter().filter(|address| address.port() == usual);
    if !here {
        // What another namespace has on its loopback is not ours to reach.
        let pod = pod?;
        let fits = |a: &&SocketAddr| a.ip().is_unspecified() || a.ip() == pod;
        return at.find(fits).map(|a| SocketAddr::new(pod, a.port()));
    }
    // An address at which somebody listens here is one of this host. Of several it is the same one each time, for all
    // that share their sockets.
    at.min().map(|address| {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, address.port())
    })
}

#[cfg(test)]
mod tests {
    use super::{
        Counts, Engine, HashMap, HashSet, Instant, Known, MAX_SERVERS, Outcome, Server, Trouble,
        Work, address, port,
    };
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::atomic::Ordering;

    fn work() -> Work {
        Work {
            interval: super::INTERVAL,
            own: std::fs::metadata("/proc/self/ns/net").map(|m| m.ino()).ok(),
            known: HashMap::new(),
            beyond: HashSet::new(),
            counts: std::sync::Arc::<Counts>::default(),
            agent: "test/1".into(),
        }
    }

    fn server(pid: u32, port: u16, network: u64) -> Server {
        Server {
            pid,
            start_ticks: 1,
            engine: Engine::Vllm,
            port: Some(port),
            network,
            pod: None,
        }
    }

    #[test]
    fn those_that_are_too_many_are_counted_once() {
        let mut work = work();
        let all = |n: usize| -> Vec<_> { (0..n as u32).map(|n| server(n, 1, n.into())).collect() };
        let beyond = |work: &Work| work.counts.beyond.load(Ordering::Relaxed);
        assert_eq!(work.take_up(all(MAX_SERVERS)).len(), MAX_SERVERS);
        assert_eq!(beyond(&work), 0);
        for (number, counted) in [(2, 2), (2, 2), (3, 3), (0, 3), (1, 4)] {
            let asked = work.take_up(all(MAX_SERVERS + number));
            assert_eq!((asked.len(), work.known.len()), (MAX_SERVERS, MAX_SERVERS));
            assert_eq!(beyond(&work), counted);
        }
        // One of those that share a socket.
        let shared = vec![server(1, 1, 1), server(2, 1, 1), server(3, 2, 1)];
        assert_eq!(work.take_up(shared).len(), 2);
    }

    #[test]
    fn those_that_cannot_be_asked_are_counted_once() {
        let mut work = work();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pid = std::process::id();
        let own = work.own.unwrap();
        let free = if port == 1 { 2 } else { 1 };
        let mut reach = server(pid, port, own + 1);
        reach.pod = Some("192.0.2.9".parse().unwrap());
        for (server, want, said) in [
            (
                server(pid, free, own),
                Trouble::Silent,
                "does not listen at port",
            ),
            (
                server(pid, port, own + 1),
                Trouble::Elsewhere,
                "no pod with an address",
            ),
            (reach, Trouble::Elsewhere, "at its pod's 192.0.2.9"),
        ] {
            let Outcome::Failed(trouble, why) = work.scrape(&server) else {
                panic!("{said}: it was asked");
            };
            assert_eq!(trouble, want);
            assert!(why.contains(said), "{why}");
        }
        work.take_up(vec![server(pid, port, own)]);
        let counted = |work: &Work| {
            let counts = &work.counts;
            [&counts.silent, &counts.elsewhere].map(|c| c.load(Ordering::Relaxed))
        };
        for (trouble, want) in [
            (Some(Trouble::Silent), [1, 0]),
            (Some(Trouble::Silent), [1, 0]),
            (Some(Trouble::Elsewhere), [1, 1]),
            (None, [1, 1]),
            (Some(Trouble::NoPage), [1, 1]),
            (Some(Trouble::Silent), [2, 1]),
        ] {
            let due = Instant::now();
            work.came((pid, 1), due, trouble.map(|t| (t, "so".to_owned())));
            assert_eq!(counted(&work), want, "{trouble:?}");
            assert_eq!(work.known[&(pid, 1)].due, due);
        }
    }

    #[test]
    fn those_that_share_a_socket_are_asked_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let serving = std::thread::spawn({
            let listener = listener.try_clone().unwrap();
            move || {
                for stream in listener.incoming().take(3) {
                    let mut stream = stream.unwrap();
                    let mut request = [0; 4096];
                    assert!(stream.read(&mut request).unwrap() > 0);
                    let none =
                        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    stream.write_all(none).unwrap();
                }
            }
        });
        let mut work = work();
        let own = work.own.unwrap();
        let of = |start_ticks: u64, network: u64| Server {
            start_ticks,
            pod: Some(at.ip()),
            ..server(std::process::id(), at.port(), network)
        };
        // Two processes here, and one elsewhere that has the same address.
        let all = [of(1, own), of(2, own), of(3, own + 1)];
        for one in &all {
            let known = Known {
                due: Instant::now(),
                at: None,
                told: None,
            };
            work.known.insert((one.pid, one.start_ticks), known);
        }
        let ask = |work: &mut Work, which: usize| match work.scrape(&all[which]) {
            Outcome::Refused(_) => "asked",
            Outcome::Shared => "shared",
            Outcome::Said(_) | Outcome::Failed(..) => "neither",
        };
        for (which, want) in [(0, "asked"), (1, "shared"), (2, "asked"), (1, "shared")] {
            assert_eq!(ask(&mut work, which), want, "{which}");
        }
        // The first one is gone.
        work.known.remove(&(all[0].pid, 1));
        assert_eq!(ask(&mut work, 1), "asked");
        serving.join().unwrap();
    }

    #[test]
    fn ports_are_those_that_servers_were_told() {
        let at = |ports: &[u16]| -> Vec<_> {
            ports.iter().map(|p| ([127, 0, 0, 1], *p).into()).collect()
        };
        for (listens, told, want) in [
            (&[9000, 9001][..], Some(9001), 9001),
            (&[9000, 8000], None, 8000),
            (&[9000, 9000], None, 9000),
            (&[9000, 9001], None, 8000),
            (&[], None, 8000),
        ] {
            assert_eq!(port(&at(listens), told, 8000), want, "{listens:?}");
        }
    }

    #[test]
    fn servers_are_asked_at_their_own_addresses_alone() {
        let pod = Some("10.0.0.7".parse().unwrap());
        for (listens, here, pod, want) in [
            (&["0.0.0.0:8000"][..], true, None, Some("127.0.0.1:8000")),
            (&["[::]:8000"], true, None, Some("[::1]:8000")),
            (
                &["127.0.0.1:9", "192.0.2.1:8000"],
                true,
                pod,
                Some("192.0.2.1:8000"),
            ),
            (
                &["[::]:8000", "0.0.0.0:8000"],
                true,
                None,
                Some("127.0.0.1:8000"),
            ),
            (&["127.0.0.1:8001"], true, None, None),
            (&[], true, pod, None),
            (&["0.0.0.0:8000"], false, None, None),
            (&["0.0.0.0:8000"], false, pod, Some("10.0.0.7:8000")),
            (&["[::]:8000"], false, pod, Some("10.0.0.7:8000")),
            (&["127.0.0.1:8000"], false, pod, None),
            (&["10.0.0.7:8000"], false, pod, Some("10.0.0.7:8000")),
            (&["10.0.0.8:8000"], false, pod, None),
        ] {
            let listens: Vec<_> = listens.iter().map(|a| a.parse().unwrap()).collect();
            let got = address(&listens, 8000, here, pod).map(|a| a.to_string());
            assert_eq!(got.as_deref(), want, "{listens:?} {here} {pod:?}");
        }
    }
}
