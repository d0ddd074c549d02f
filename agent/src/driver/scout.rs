//! Finds the processes of a host that are to be traced: those that are there at the start, those that
//! execute a program later, and, by looking at all of them now and then, whatever was missed.
//!
//! It is a thread of its own: looking at a process may take long where that is stuck in the kernel.

mod pods;

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError, channel,
    sync_channel,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::agenda::Agenda;
use crate::kubernetes::Cluster;
use crate::kubernetes::facts::PodFacts;
use crate::model::process::AppType;
use crate::target::classify::{Classification, Description, Evidence, classify};
use crate::target::discover::{self, Before, Depth, Discovery, Stat};
use crate::target::embedding;
use crate::target::process;
use crate::target::rules::{Candidate, NotTraced, Rules, Whereabouts};
use crate::target::settings::Settings;
use crate::target::survey;
pub use pods::Place;

/// How often all processes are looked through.
const SWEEP: Duration = Duration::from_secs(5);
/// When a process is looked at, after it was first seen: what it loads and that it listens shows late.
const LOOKS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// How often after that, as long as it is not traced.
const LATER: Duration = Duration::from_secs(300);
/// A program that is no Python by its name is looked at so often: it may load one.
const LOOKS_AT_OTHERS: usize = 4;
/// Most processes that are remembered.
const MAX_KNOWN: usize = 32_768;
/// Most programs that are remembered because they hold an interpreter under a name of their own; then the
/// memory starts anew.
const MAX_EMBEDDING: usize = 1024;
/// Most words for the thread that wait while it is stuck. What is told beyond it is dropped: the next
/// sweep finds it.
const MAX_WORDS: usize = 4096;
/// Longer than this, looking at one process is told.
const STUCK: Duration = Duration::from_secs(30);

/// What was found out about a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It is to be traced.
    Trace {
        /// Process.
        pid: u32,
        /// Its start in clock ticks after boot.
        start_ticks: u64,
        /// What it does not say itself of where it belongs.
        place: Place,
        /// What it is, and why.
        why: String,
    },
    /// More is known of where one belongs that is to be traced.
    Placed {
        /// Process.
        pid: u32,
        /// Its start in clock ticks after boot.
        start_ticks: u64,
        /// It.
        place: Place,
    },
    /// It is not, even if its parent is.
    Leave {
        /// Process.
        pid: u32,
        /// Why.
        why: NotTraced,
    },
    /// One that was left is gone.
    Gone(u32),
}

/// What is known of a process that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its start in clock ticks after boot.
    pub start_ticks: u64,
    /// What kind of application it is.
    pub kind: Option<AppType>,
    /// What says so.
    pub evidence: Option<String>,
    /// The name of its service.
    pub service: String,
    /// The version of its Python.
    pub python: Option<String>,
    /// Why that is not read, where it is of a kind that never is.
    pub unread: Option<String>,
    /// Whether it is to be traced.
    pub verdict: Result<(), NotTraced>,
}

/// Those that are Python or model servers, by process id.
type Sightings = Arc<Mutex<HashMap<u32, Sighting>>>;

enum Word {
    Executed(u32),
    Rules(Rules),
    /// Something changed about the pods of this node.
    Pods,
}

/// The thread, as the live run sees it.
#[derive(Debug)]
pub struct Scout {
    /// Those who tell of pods have it only as long as we have.
    words: Arc<SyncSender<Word>>,
    reports: Receiver<Report>,
    bell: Arc<EventFd>,
    busy: Busy,
    sightings: Sightings,
    /// All processes were looked through once.
    looked: Arc<AtomicBool>,
    lost: Arc<Lost>,
    cluster: Option<Cluster>,
}

/// What it could not do.
#[derive(Debug, Default)]
struct Lost {
    /// Programs that were executed and of which it was not told: the next sweep finds those that live.
    unheard: AtomicU64,
    /// Processes that were not remembered, since there were too many.
    refused: AtomicU64,
}

/// The process that is looked at, and since when.
type Busy = Arc<Mutex<Option<(u32, Instant)>>>;

impl Scout {
    /// Starts to look. `cluster` knows the pods of this node.
    ///
    /// # Errors
    ///
    /// When the system has no thread or descriptor for it.
    pub fn start(rules: Rules, cluster: Option<Cluster>) -> io::Result<Self> {
        let (words, heard) = sync_channel(MAX_WORDS);
        let words = Arc::new(words);
        if let Some(cluster) = &cluster {
            pods::listen(cluster, &words);
        }
        let (tell, reports) = channel();
        let bell = Arc::new(EventFd::from_flags(
            EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC,
        )?);
        let busy = Busy::default();
        let sightings = Sightings::default();
        let looked = Arc::new(AtomicBool::new(false));
        let lost = Arc::<Lost>::default();
        let mut search = Search {
            rules,
            embedding: HashSet::new(),
            lost: Arc::clone(&lost),
            discovery: Discovery::default(),
            cluster: cluster.clone(),
            known: HashMap::new(),
            agenda: Agenda::default(),
            parents: HashMap::new(),
            users: HashMap::new(),
            tell,
            bell: Arc::clone(&bell),
            busy: Arc::clone(&busy),
            sightings: Arc::clone(&sightings),
            looked: Arc::clone(&looked),
        };
        // Ends when nobody listens to it any more; a look that is stuck does not hold us up.
        thread::Builder::new()
            .name("scout".to_owned())
            .spawn(move || search.run(&heard))?;
        Ok(Self {
            words,
            reports,
            bell,
            busy,
            sightings,
            looked,
            lost,
            cluster,
        })
    }

    /// A process executed a program.
    pub fn executed(&self, pid: u32) {
        if self.words.try_send(Word::Executed(pid)).is_err() {
            self.lost.unheard.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Other rules hold from here on.
    pub fn set_rules(&self, rules: Rules) {
        if let Err(TrySendError::Full(_)) = self.words.try_send(Word::Rules(rules)) {
            tracing::error!(
                "the rules stay as they were: too much waits to be looked at; send SIGHUP again later"
            );
        }
    }

    /// The next thing that it found out.
    #[must_use]
    pub fn take(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Becomes readable when there is something to take.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// The bell was heard.
    pub fn hush(&self) {
        // Nothing to read is as good.
        self.bell.read().ok();
    }

    /// What was seen so far: every Python and model server.
    #[must_use]
    pub fn sightings(&self) -> HashMap<u32, Sighting> {
        let sightings = self.sightings.lock();
        sightings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether all processes were looked through once.
    #[must_use]
    pub fn has_looked(&self) -> bool {
        self.looked.load(Ordering::Relaxed)
    }

    /// What it could not do so far: each reason, and how often.
    #[must_use]
    pub fn losses(&self) -> Vec<(&'static str, u64)> {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let mut all = vec![
            (
                "programs found late: too many were executed at once",
                count(&self.lost.unheard),
            ),
            (
                "processes not looked at for now: there are too many",
                count(&self.lost.refused),
            ),
        ];
        all.extend(self.cluster.iter().flat_map(Cluster::losses));
        all
    }

    /// The process at which it has been looking for very long.
    #[must_use]
    pub fn stuck(&self) -> Option<u32> {
        let busy = *self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.filter(|(_, since)| since.elapsed() > STUCK)
            .map(|(pid, _)| pid)
    }
}

/// What is remembered of a process.
struct Known {
    start_ticks: u64,
    /// Its executable: another one is another program.
    executable: String,
    since: Instant,
    looks: usize,
    /// What need not be looked at again, as long as it is looked at often.
    before: Before,
    /// What was told of it.
    told: Option<Result<(), NotTraced>>,
    /// What it is, of a Python, a model server, or what a rule for others may choose.
    seen: Option<(Description, Classification)>,
    /// The pod that it is in, as far as Kubernetes tells.
    pod: Option<PodFacts>,
    /// What was told of where it belongs.
    placed: Option<Place>,
}

struct Search {
    rules: Rules,
    discovery: Discovery,
    cluster: Option<Cluster>,
    known: HashMap<u32, Known>,
    /// Executables that are no Python by their names and were seen to be one.
    embedding: HashSet<String>,
    lost: Arc<Lost>,
    agenda: Agenda,
    parents: HashMap<u32, u32>,
    users: HashMap<u32, Option<String>>,
    tell: Sender<Report>,
    bell: Arc<EventFd>,
    busy: Busy,
    sightings: Sightings,
    looked: Arc<AtomicBool>,
}

impl Search {
    fn run(&mut self, heard: &Receiver<Word>) {
        let mut sweep = Instant::now();
        loop {
            let now = Instant::now();
            if now >= sweep {
                self.sweep();
                sweep = Instant::now() + SWEEP;
            }
            // One at a time: what was executed meanwhile goes ahead of all that was looked at before.
            loop {
                match heard.try_recv() {
                    Ok(word) => self.hear(word),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            if let Some(pid) = self.agenda.take(Instant::now()) {
                self.busy(Some(pid));
                let done = self.look(pid);
                self.busy(None);
                if done.is_err() {
                    return;
                }
                continue;
            }
            self.looked.store(true, Ordering::Relaxed);
            let until = self.agenda.next().map_or(sweep, |due| due.min(sweep));
            match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(word) => self.hear(word),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// A program was executed: whatever was known of the process is past.
    fn executed(&mut self, pid: u32) {
        self.forget(pid);
        if let Some(stat) = discover::stat(pid) {
            self.meet(pid, &stat);
        }
    }

    fn forget(&mut self, pid: u32) {
        self.agenda.remove(pid);
        if let Some(old) = self.known.remove(&pid) {
            self.gone(pid, &old);
        }
    }

    fn meet(&mut self, pid: u32, stat: &Stat) {
        if pid == std::process::id() {
            return;
        }
        if self.known.len() >= MAX_KNOWN {
            self.lost.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.parents.insert(pid, stat.parent);
        let executable = discover::executable(pid).unwrap_or_default();
        self.busy(Some(pid));
        let python = process::python_version(Path::new(&executable), &[]).is_some()
            || self.embedding.contains(&executable)
            || embedding::of_process(pid).is_some();
        self.busy(None);
        let since = Instant::now();
        // Most of what is executed is no Python and soon over.
        let looks = if python { 0 } else { 2 };
        let new = Known {
            start_ticks: stat.start_ticks,
            executable,
            since,
            looks,
            before: Before::default(),
            told: None,
            seen: None,
            pod: None,
            placed: None,
        };
        self.known.insert(pid, new);
        self.agenda.set(pid, since + LOOKS[looks], looks > 0);
    }

    /// Looks through all processes: for those that were not heard of, and those that are gone.
    fn sweep(&mut self) {
        let all = discover::all();
        self.parents = all.iter().map(|(pid, stat)| (*pid, stat.parent)).collect();
        let known = self.known.keys().copied();
        let gone: Vec<u32> = known.filter(|pid| !all.contains_key(pid)).collect();
        for pid in gone {
            self.forget(pid);
        }
        for (pid, stat) in all {
            let same = self.known.get(&pid).map(|known| {
                stat.start_ticks == known.start_ticks
                    && discover::executable(pid).is_none_or(|now| now == known.executable)
            });
            match same {
                Some(true) => {}
                Some(false) => self.executed(pid),
                None => self.meet(pid, &stat),
            }
        }
    }

    fn gone(&self, pid: u32, old: &Known) {
        self.sighted().remove(&pid);
        if matches!(old.told, Some(Err(_))) {
            self.report(Report::Gone(pid)).ok();
        }
    }

    fn sighted(&self) -> MutexGuard<'_, HashMap<u32, Sighting>> {
        let sightings = self.sightings.lock();
        sightings.unwrap_or_else(PoisonError::into_inner)
    }

    fn judge_anew(&mut self, rules: Rules) {
        self.rules = rules;
        let now = Instant::now();
        // Programs of all kinds may be asked for now.
        let others = !self.rules.include_other.is_empty();
        let judged = |known: &Known| known.seen.is_some() || others;
        for (pid, known) in self.known.iter().filter(|(_, known)| judged(known)) {
            self.agenda.set(*pid, now, known.looks > 0);
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Executed(pid) => self.executed(pid),
            Word::Rules(rules) => self.judge_anew(rules),
            // One that nobody hears any more is seen when the next one is told.
            Word::Pods => drop(self.pods_changed()),
        }
    }

    fn busy(&self, pid: Option<u32>) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy = pid.map(|pid| (pid, Instant::now()));
    }

    fn look(&mut self, pid: u32) -> Result<(), ()> {
        let Some(known) = self.known.get_mut(&pid) else {
            return Ok(());
        };
        // An interpreter that was just executed has nothing to say yet.
        let depth = if known.looks == 0 && known.since.elapsed() < LOOKS[1] {
            Depth::Outside
        } else {
            Depth::Inside
        };
        known.looks += 1;
        let looks = known.looks;
        let next = LOOKS.get(looks).map(|after| known.since + *after);
        let described = self.discovery.describe_again(pid, depth, &mut known.before);
        let Ok(mut process) = described else {
            // Gone, or on its way to another program, or not ours to look at.
            self.look_again(pid, next);
            return Ok(());
        };
        if self.rules.ignores_environment {
            process.forget_told();
        }
        let what = classify(&process);
        // Of all kinds, where rules may choose one, or one did.
        let others = !self.rules.include_other.is_empty() || known.told == Some(Ok(()));
        let known_kind = process.python || what.server.is_some();
        let next = next.filter(|_| known_kind || looks < LOOKS_AT_OTHERS);
        if next.is_none() {
            // It is looked at seldom from here on, if at all.
            known.before = Before::default();
        }
        if !known_kind && !others {
            self.look_again(pid, next);
            return Ok(());
        }
        if process.python && process::python_version(Path::new(&known.executable), &[]).is_none() {
            if self.embedding.len() >= MAX_EMBEDDING {
                self.embedding.clear();
            }
            self.embedding.insert(known.executable.clone());
        }
        known.seen = Some((process, what));
        self.find_pod(pid);
        self.conclude(pid, next)
    }

    /// Tells what follows from what is known of a process, where that has changed. It is looked at again at
    /// `next`, or later.
    fn conclude(&mut self, pid: u32, next: Option<Instant>) -> Result<(), ()> {
        let (service, place) = self.service(pid);
        let (verdict, settings) = self.verdict(pid, &service);
        let place = place.with(settings);
        let is_other = |(process, what): &(Description, Classification)| {
            !process.python && what.server.is_none()
        };
        if verdict == Err(NotTraced::NotPython)
            && let Some(known) = self.known.get_mut(&pid)
            && known.told.is_none()
            && known.seen.as_ref().is_some_and(is_other)
        {
            // Rules were to choose among programs of all kinds: this is none of those, and nobody asks for it.
            known.seen = None;
            self.look_again(pid, next);
            return Ok(());
        }
        self.sight(pid, &service, &verdict);
        let settled = matches!(verdict, Ok(()) | Err(NotTraced::NotPython));
        let later = (!settled).then(|| Instant::now() + LATER);
        self.look_again(pid, next.or(later));
        let Some(known) = self.known.get_mut(&pid) else {
            return Ok(());
        };
        let start_ticks = known.start_ticks;
        let report = match &verdict {
            _ if known.told.as_ref() != Some(&verdict) => match verdict.clone() {
                Ok(()) => Report::Trace {
                    pid,
                    start_ticks,
                    place: place.clone(),
                    why: known.seen.as_ref().map(reason).unwrap_or_default(),
                },
                Err(why) => Report::Leave { pid, why },
            },
            Ok(()) if known.placed.as_ref() != Some(&place) => Report::Placed {
                pid,
                start_ticks,
                place: place.clone(),
            },
            _ => return Ok(()),
        };
        known.told = Some(verdict);
        known.placed = Some(place);
        self.report(report)
    }

    /// A process that was looked at is to be looked at again from this time on, if at all; sooner where that is
    /// intended already: what changes about its pod puts nothing off.
    fn look_again(&mut self, pid: u32, at: Option<Instant>) {
        if let Some(at) = at {
            self.agenda.set_sooner(pid, at);
        }
    }

    /// Notes what is known of a process, for those who ask.
    fn sight(&self, pid: u32, service: &str, verdict: &Result<(), NotTraced>) {
        let Some(known) = self.known.get(&pid) else {
            return;
        };
        let Some((process, what)) = &known.seen else {
            return;
        };
        let sighting = Sighting {
            start_ticks: known.start_ticks,
            kind: what.kind,
            evidence: what.evidence.first().map(said),
            service: service.to_owned(),
            python: process.version.clone().filter(|_| process.python),
            unread: process.unread.clone(),
            verdict: verdict.clone(),
        };
        self.sighted().insert(pid, sighting);
    }

    fn verdict(&mut self, pid: u32, service: &str) -> (Result<(), NotTraced>, Settings) {
        let Some(Known {
            seen: Some((process, what)),
            pod,
            ..
        }) = self.known.get(&pid)
        else {
            return (Err(NotTraced::Nothing), Settings::default());
        };
        let user = process.user;
        let name = self.users.entry(user);
        let name = name.or_insert_with(|| discover::user_name(user)).clone();
        let candidate = Candidate {
            process,
            what,
            service,
            pod: Whereabouts::of(process.pod.as_deref(), pod.as_ref()),
        };
        let name = |_| name.clone();
        let settings = self.rules.settings_of(&candidate, name);
        (self.rules.judge(&candidate, name), settings)
    }

    fn report(&self, report: Report) -> Result<(), ()> {
        self.tell.send(report).map_err(|_| ())?;
        // Full of unheard rings is as good as one more.
        self.bell.write(1).ok();
        Ok(())
    }
}

/// `app, loaded: openai 2.1.0`
fn reason((process, what): &(Description, Classification)) -> String {
    if !process.python {
        return "not Python, and asked for by `include_other`".to_owned();
    }
    let told = |e: &Evidence| format!("{}, {}", e.makes.name(), said(e));
    what.evidence.first().map(told).unwrap_or_default()
}

/// `loaded: openai 2.1.0`
fn said(evidence: &Evidence) -> String {
    let source = evidence.source.name().replace('_', " ");
    format!("{source}: {}", evidence.what)
}

#[cfg(test)]
mod tests;
