//! For which served request a Python process makes a call: by the `contextvars` contexts in which
//! requests are read and answered and calls are made.
//!
//! CPython copies a context for every task, callback and thread that is to go on working for the
//! same cause, so the chain of copies is the chain of causes. A request is tied to a context in two
//! ways:
//!
//! - It was *born* for it: the first copy that the thread makes after it read the request, before
//!   it reads or writes anything else. Servers that make a task per request (uvicorn, hypercorn) do
//!   that while they handle the bytes. This is known before the handler runs.
//! - It is *answered* in it: the response is written there. This proves, and comes late.
//!
//! Births are believed once an answer of the same process has confirmed one, and no more when one
//! was contradicted. A call belongs to the request of the nearest context on its chain that has
//! one. Where only an answer can tell, the call waits for it. Of a call in no context nothing is said
//! here, unless its thread runs an event loop: then it is nobody's. None is better than a wrong one.
//!
//! Work that is given to a thread pool is taken for a context as well: it is a copy of that in which it
//! was given, and what the thread of the pool makes is made in it. Its address is odd. Where it was given
//! in none, it is known for whom it is only if its thread handled one request by itself.
//!
//! Addresses of contexts are used again, so each copy has a number of its own, in the order of the
//! kernel's records. Pure, and bounded: what is too old is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use genspan_common::python::POOLED;

use crate::model::event::{ConnectionId, Direction};
use crate::model::exchange::ExchangeId;
use crate::model::request::Begun;

/// Copies of contexts that are remembered, over all processes.
pub const MAX_CONTEXTS: usize = 1 << 17;
/// Served requests that are remembered, calls under way, connections and threads: each.
pub const MAX_REMEMBERED: usize = 1 << 15;
/// How far a chain of copies is followed.
const MAX_DEPTH: usize = 256;
/// Runs of frameworks that one context is remembered to be in.
const MAX_RUNS_OF_A_CONTEXT: usize = 32;
/// Requests that one context is remembered to have worked for: the latest.
const MAX_REQUESTS_OF_A_CONTEXT: usize = 4;

/// A copy of a context, or one that was there before the first copy was seen.
#[derive(Debug)]
struct Context {
    pid: u32,
    address: u64,
    /// The one that it was copied from.
    parent: Option<u64>,
    /// When it was first seen.
    at: u64,
    /// It was made then: the copy was seen.
    made: bool,
    /// What it works for, from when on.
    works_for: Vec<Work>,
    /// Runs of frameworks that are under way in it, with when each began.
    runs: Vec<(u64, ExchangeId)>,
    /// The watched function that was under way where it was copied.
    maker: Option<ExchangeId>,
}

/// Whether what has this address is no context but work of a thread pool.
const fn is_work(address: u64) -> bool {
    address & POOLED != 0
}

#[derive(Clone, Copy, Debug)]
struct Work {
    from: u64,
    request: ExchangeId,
    born: bool,
}

/// A served request.
#[derive(Debug)]
struct Request {
    connection: ConnectionId,
    tid: u32,
    /// When it was read.
    at: u64,
    born: Option<u64>,
}

/// A call under way, or waiting.
#[derive(Clone, Copy, Debug)]
struct Call {
    pid: u32,
    tid: u32,
    at: u64,
    context: Option<u64>,
}

/// What a thread does.
#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    /// The request that it read last.
    request: Option<ExchangeId>,
    /// That request, until something else happens: in which context it was read, if in any.
    fresh: Option<Option<u64>>,
    /// It read the heads of several requests at once: whose copies it makes until it moves bytes
    /// again cannot be told.
    several: bool,
    /// It runs an event loop that serves: it reads requests in contexts, or is in one right after.
    loops: bool,
    /// It read a request while the one before it was not answered: it need not handle by itself what it
    /// reads.
    hands_on: bool,
}

/// What is known of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Process {
    /// Its contexts are told.
    followed: bool,
    /// An answer came from the context that was born for its request.
    confirmed: bool,
    /// One came from another.
    contradicted: bool,
}

impl Process {
    /// Whether births are to be believed.
    const fn is_trusted(self) -> bool {
        self.confirmed && !self.contradicted
    }
}

/// What is known of a call's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The call was made for this request.
    Request(ExchangeId),
    /// It may yet be found: a request that is not answered could be the one.
    Later,
    /// It was made for no request, or for none that can be told.
    Nobody,
    /// Its context says nothing: it was made in none, by a thread that runs no event loop, or
    /// contexts of its process are not known.
    Unknown,
}

/// What was seen, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Contexts, requests, calls, connections, threads and processes forgotten because there were
    /// too many.
    pub evicted: u64,
    /// Requests whose answer came from another context than that born for them.
    pub births_contradicted: u64,
}

/// The contexts, requests and calls of all processes.
#[derive(Debug, Default)]
pub struct Lineage {
    /// Counts what is seen.
    now: u64,
    contexts: VecDeque<Context>,
    /// Number of the first of them.
    first: u64,
    current: HashMap<(u32, u64), u64>,
    /// The address of the context in which bytes go over a connection. It is told when it changes:
    /// which context has it is only known when it is looked up.
    flows: HashMap<(ConnectionId, Direction), Option<u64>>,
    threads: HashMap<(u32, u32), Thread>,
    requests: BTreeMap<ExchangeId, Request>,
    /// Those that are not answered, by process.
    open: BTreeSet<(u32, ExchangeId)>,
    /// The latest request of each served connection.
    latest: HashMap<ConnectionId, ExchangeId>,
    calls: BTreeMap<ExchangeId, Call>,
    processes: HashMap<u32, Process>,
    counters: Counters,
}

impl Lineage {
    /// Whether the thread of what began runs an event loop that serves, as far as is known.
    #[must_use]
    pub fn is_loop(&self, begun: &Begun) -> bool {
        let key = (begun.connection.pid, begun.tid);
        self.threads.get(&key).is_some_and(|thread| thread.loops)
    }

    /// What was seen so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether anything is known of this process's contexts.
    #[must_use]
    pub fn follows(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|p| p.followed)
    }

    /// A context was copied.
    #[cfg(test)]
    pub fn copied(&mut self, pid: u32, tid: u32, parent: Option<u64>, child: u64) {
        self.copied_in((pid, tid), parent, child, None);
    }

    /// A context was copied, while this watched function was under way that did it.
    pub fn copied_in(
        &mut self,
        (pid, tid): (u32, u32),
        parent: Option<u64>,
        child: u64,
        maker: Option<ExchangeId>,
    ) {
        self.now += 1;
        bounded(&mut self.processes, pid, &mut self.counters.evicted).followed = true;
        // Work of a pool may give another one work, and is in no context.
        let context = parent.filter(|address| !is_work(*address));
        let parent = parent.map(|address| self.context(pid, address));
        let serial = self.add(pid, child, parent, true);
        if let Some(own) = self.get_mut(serial) {
            own.maker = maker;
        }
        let parent = parent.filter(|_| context.is_some());
        let now = self.now;
        let thread = bounded(&mut self.threads, (pid, tid), &mut self.counters.evicted);
        // Only a copy may be made for the request that was read.
        let fresh = if is_work(child) {
            None
        } else {
            thread.fresh.take()
        };
        // Who is in a context already right after it read a request is called by an event loop. Who
        // handles it by itself is in none; what it may start then (`asyncio.run`) proves nothing.
        thread.loops |= fresh.is_some() && parent.is_some();
        let loops = thread.loops || thread.hands_on;
        let Some(request) = thread.request else {
            return;
        };
        match (fresh, parent) {
            // Of a read in a context only that one's copy counts.
            (Some(read_in), Some(_)) if read_in.is_none() || read_in == parent => {
                if let Some(known) = self.requests.get_mut(&request) {
                    known.born = Some(serial);
                    let from = known.at;
                    self.assign(serial, from, request, true);
                }
            }
            // A thread that handles a request by itself copies its own context for a helper.
            (_, None) if !loops => self.assign(serial, now, request, false),
            _ => {}
        }
    }

    /// Bytes go over a connection in this context from here on.
    pub fn flows(&mut self, connection: ConnectionId, direction: Direction, context: Option<u64>) {
        self.now += 1;
        bounded(
            &mut self.processes,
            connection.pid,
            &mut self.counters.evicted,
        )
        .followed = true;
        *bounded(
            &mut self.flows,
            (connection, direction),
            &mut self.counters.evicted,
        ) = context;
    }

    /// A thread moves bytes over a connection: call it before what the bytes lead to.
    pub fn moved(&mut self, pid: u32, tid: u32) {
        if let Some(thread) = self.threads.get_mut(&(pid, tid)) {
            thread.fresh = None;
            thread.several = false;
        }
    }

    /// The head of a request was read by a process that serves it.
    pub fn asked(&mut self, request: ExchangeId, connection: ConnectionId, tid: u32) {
        self.now += 1;
        let read_in = self.flow(connection, Direction::Read);
        let process = bounded(
            &mut self.processes,
            connection.pid,
            &mut self.counters.evicted,
        );
        // Of a copy that is the first one seen it is not known whether it is the first one that was made.
        let followed = process.followed;
        let thread = bounded(
            &mut self.threads,
            (connection.pid, tid),
            &mut self.counters.evicted,
        );
        thread.several |= thread.fresh.is_some();
        let before = thread.request;
        thread.hands_on |=
            before.is_some_and(|before| self.open.contains(&(connection.pid, before)));
        thread.request = (!thread.several).then_some(request);
        thread.fresh = (followed && !thread.several).then_some(read_in);
        thread.loops |= read_in.is_some();
        if self.requests.len() >= MAX_REMEMBERED
            && let Some((id, gone)) = self.requests.pop_first()
        {
            self.counters.evicted += 1;
            self.open.remove(&(gone.connection.pid, id));
            if self.latest.get(&gone.connection) == Some(&id) {
                self.latest.remove(&gone.connection);
            }
        }
        // What came before it on its connection is over.
        if let Some(before) = self.latest.insert(connection, request) {
            self.answered(connection.pid, before);
        }
        self.open.insert((connection.pid, request));
        let at = self.now;
        self.requests.insert(
            request,
            Request {
                connection,
                tid,
                at,
                born: None,
            },
        );
    }

    /// A request need not be waited for any more; gives whether that is new.
    fn answered(&mut self, pid: u32, request: ExchangeId) -> bool {
        self.open.remove(&(pid, request))
    }

    /// Something is written to the client of a served connection, on which requests are answered
    /// one after the other. Gives whether that tells something new.
    pub fn answers(&mut self, connection: ConnectionId) -> bool {
        let Some(&id) = self.latest.get(&connection) else {
            return false;
        };
        if !self.answered(connection.pid, id) {
            return false;
        }
        let Some(&Request { at, born, .. }) = self.requests.get(&id) else {
            return false;
        };
        let Some(written_in) = self.flow(connection, Direction::Write) else {
            return true;
        };
        let process = bounded(
            &mut self.processes,
            connection.pid,
            &mut self.counters.evicted,
        );
        if let Some(born) = born {
            if descends(&self.contexts, self.first, written_in, born) {
                process.confirmed = true;
                self.assign(born, at, id, false);
                return true;
            }
            process.contradicted = true;
            self.counters.births_contradicted += 1;
        }
        self.assign(written_in, at, id, false);
        // A response that is streamed by a helper: the handler itself ran in what that was copied
        // from, if that was made for this request.
        if let Some(parent) = self.get(written_in).and_then(|c| c.parent)
            && self
                .get(parent)
                .is_some_and(|c| c.made && c.at > at && c.works_for.is_empty())
        {
            self.assign(parent, at, id, false);
        }
        true
    }

    /// The head of a request was written by a process that calls somebody.
    pub fn calls(&mut self, call: ExchangeId, connection: ConnectionId, tid: u32) {
        if !self.follows(connection.pid) {
            return;
        }
        self.now += 1;
        if self.calls.len() >= MAX_REMEMBERED {
            self.calls.pop_first();
            self.counters.evicted += 1;
        }
        let context = self.flow(connection, Direction::Write);
        self.calls.insert(
            call,
            Call {
                pid: connection.pid,
                tid,
                at: self.now,
                context,
            },
        );
    }

    /// A run of a framework begins in this context. What is done in that and in copies of it is done
    /// in the run, until it is over, if it is `around`.
    pub fn ran(
        &mut self,
        run: ExchangeId,
        (pid, tid): (u32, u32),
        context: Option<u64>,
        around: bool,
    ) {
        if !self.follows(pid) {
            return;
        }
        self.now += 1;
        if self.calls.len() >= MAX_REMEMBERED {
            self.calls.pop_first();
            self.counters.evicted += 1;
        }
        let context = context.map(|address| self.context(pid, address));
        let at = self.now;
        let call = Call {
            pid,
            tid,
            at,
            context,
        };
        self.calls.insert(run, call);
        if around
            && let Some(context) = context.and_then(|serial| self.get_mut(serial))
            && context.runs.len() < MAX_RUNS_OF_A_CONTEXT
        {
            context.runs.push((at, run));
        }
    }

    /// Nothing more is done in a run.
    pub fn left(&mut self, run: ExchangeId) {
        let context = self.calls.get(&run).and_then(|call| call.context);
        if let Some(context) = context.and_then(|serial| self.get_mut(serial)) {
            context.runs.retain(|(_, id)| *id != run);
        }
    }

    /// The run of a framework in which a call is made: the latest of the nearest context that has
    /// one, of those that count.
    #[must_use]
    pub fn run_of(
        &self,
        call: ExchangeId,
        counts: impl Fn(ExchangeId) -> bool,
    ) -> Option<ExchangeId> {
        let call = self.calls.get(&call)?;
        let (mut at, mut next) = (call.at, call.context);
        for _ in 0..MAX_DEPTH {
            let context = self.get(next?)?;
            let mut runs = context.runs.iter().rev();
            let run = runs.find(|(from, run)| *from < at && counts(*run));
            if let Some((_, run)) = run {
                return Some(*run);
            }
            at = context.at;
            next = context.parent;
        }
        None
    }

    /// The nearest watched function in which a context was copied that a call's context comes from, of
    /// those that count.
    pub fn maker_of(
        &self,
        call: ExchangeId,
        counts: impl Fn(ExchangeId) -> bool,
    ) -> Option<ExchangeId> {
        let mut next = self.calls.get(&call)?.context;
        for _ in 0..MAX_DEPTH {
            let context = self.get(next?)?;
            if let Some(maker) = context.maker.filter(|maker| counts(*maker)) {
                return Some(maker);
            }
            next = context.parent;
        }
        None
    }

    /// Whether a call is made by work that was given to a thread pool.
    #[must_use]
    pub fn is_pooled(&self, call: ExchangeId) -> bool {
        let context = self.calls.get(&call).and_then(|call| call.context);
        let context = context.and_then(|serial| self.get(serial));
        context.is_some_and(|context| is_work(context.address))
    }

    /// For which request a call is made.
    #[must_use]
    pub fn of_call(&self, call: ExchangeId) -> Found {
        let Some(call) = self.calls.get(&call) else {
            return Found::Unknown;
        };
        let Some(context) = call.context else {
            let thread = self.threads.get(&(call.pid, call.tid));
            return match thread {
                Some(thread) if thread.loops => Found::Nobody,
                _ => Found::Unknown,
            };
        };
        let process = self.processes.get(&call.pid).copied().unwrap_or_default();
        let trusted = process.is_trusted();
        let mut at = call.at;
        let mut next = Some(context);
        let mut only_work = true;
        for _ in 0..MAX_DEPTH {
            let Some(context) = next.and_then(|serial| self.get(serial)) else {
                break;
            };
            let work = context
                .works_for
                .iter()
                .rev()
                .find(|w| w.from <= at && (!w.born || trusted));
            if let Some(work) = work {
                return if self.is_superseded(work.request, at, trusted) {
                    Found::Later
                } else {
                    Found::Request(work.request)
                };
            }
            at = context.at;
            next = context.parent;
            only_work &= is_work(context.address);
        }
        // Work that was given by who was in no context: it says nothing of who does it.
        if only_work && next.is_none() {
            return Found::Unknown;
        }
        if self.may_yet_be(call) {
            Found::Later
        } else {
            Found::Nobody
        }
    }

    /// A call was told, or will not be: nothing more is asked of it.
    pub fn told(&mut self, call: ExchangeId) {
        self.calls.remove(&call);
    }

    /// A request was answered to the end: what its thread does from now on is not for it. Gives
    /// its process if that tells something new.
    pub fn over(&mut self, request: ExchangeId) -> Option<u32> {
        let known = self.requests.get(&request)?;
        let (pid, tid) = (known.connection.pid, known.tid);
        if let Some(thread) = self.threads.get_mut(&(pid, tid))
            && thread.request == Some(request)
        {
            thread.request = None;
        }
        self.answered(pid, request).then_some(pid)
    }

    /// A connection is gone. Gives its process if that tells something new.
    pub fn closed(&mut self, connection: ConnectionId) -> Option<u32> {
        self.flows.remove(&(connection, Direction::Write));
        self.flows.remove(&(connection, Direction::Read));
        let latest = self.latest.remove(&connection)?;
        self.over(latest)
    }

    /// Records of copied contexts were lost: which address stands for which context is not known
    /// any more.
    pub fn lost_copies(&mut self) {
        self.current.clear();
    }

    /// A process is gone.
    pub fn exited(&mut self, pid: u32) {
        if self.processes.remove(&pid).is_none() {
            return;
        }
        self.flows
            .retain(|(connection, _), _| connection.pid != pid);
        self.latest.retain(|connection, _| connection.pid != pid);
        self.threads.retain(|(of, _), _| *of != pid);
        self.requests.retain(|_, r| r.connection.pid != pid);
        self.current.retain(|(of, _), _| *of != pid);
        self.calls.retain(|_, call| call.pid != pid);
        self.open.retain(|(of, _)| *of != pid);
    }

    /// Whether a context that worked for this request may have gone on to a later one of the same
    /// connection, of which it is not known yet where it is worked for.
    fn is_superseded(&self, request: ExchangeId, at: u64, trusted: bool) -> bool {
        let Some(known) = self.requests.get(&request) else {
            return false;
        };
        let Some(latest) = self.latest.get(&known.connection) else {
            return false;
        };
        *latest != request
            && self.open.contains(&(known.connection.pid, *latest))
            && self
                .requests
                .get(latest)
                .is_some_and(|latest| latest.at <= at && !(trusted && latest.born.is_some()))
    }

    /// Whether a request that was read before the call may be found to be the one.
    fn may_yet_be(&self, call: &Call) -> bool {
        let pid = call.pid;
        let all = (pid, ExchangeId(0))..=(pid, ExchangeId(u64::MAX));
        let mut open = self.open.range(all);
        open.any(|(_, id)| self.requests.get(id).is_some_and(|r| r.at < call.at))
    }

    /// The context in which bytes go over a connection now.
    fn flow(&mut self, connection: ConnectionId, direction: Direction) -> Option<u64> {
        let address = self.flows.get(&(connection, direction)).copied().flatten();
        address.map(|address| self.context(connection.pid, address))
    }

    fn get(&self, serial: u64) -> Option<&Context> {
        let index = usize::try_from(serial.checked_sub(self.first)?).ok()?;
        self.contexts.get(index)
    }

    fn get_mut(&mut self, serial: u64) -> Option<&mut Context> {
        let index = usize::try_from(serial.checked_sub(self.first)?).ok()?;
        self.contexts.get_mut(index)
    }

    /// The context that now has this address.
    fn context(&mut self, pid: u32, address: u64) -> u64 {
        match self.current.get(&(pid, address)) {
            Some(serial) => *serial,
            None => self.add(pid, address, None, false),
        }
    }

    fn add(&mut self, pid: u32, address: u64, parent: Option<u64>, made: bool) -> u64 {
        if self.contexts.len() >= MAX_CONTEXTS
            && let Some(gone) = self.contexts.pop_front()
        {
            let key = (gone.pid, gone.address);
            if self.current.get(&key) == Some(&self.first) {
                self.current.remove(&key);
            }
            self.first += 1;
            self.counters.evicted += 1;
        }
        let serial = self.first + self.contexts.len() as u64;
        self.contexts.push_back(Context {
            pid,
            address,
            parent,
            at: self.now,
            made,
            works_for: Vec::new(),
            runs: Vec::new(),
            maker: None,
        });
        self.current.insert((pid, address), serial);
        serial
    }

    fn assign(&mut self, serial: u64, from: u64, request: ExchangeId, born: bool) {
        let index = serial.checked_sub(self.first);
        let index = index.and_then(|i| usize::try_from(i).ok());
        let Some(context) = index.and_then(|i| self.contexts.get_mut(i)) else {
            return;
        };
        context.works_for.retain(|w| w.request != request);
        if context.works_for.len() >= MAX_REQUESTS_OF_A_CONTEXT {
            context.works_for.remove(0);
        }
        context.works_for.push(Work {
            from,
            request,
            born,
        });
        context.works_for.sort_by_key(|w| w.from);
    }
}

/// Whether a context was copied from another one, or from its copies.
fn descends(contexts: &VecDeque<Context>, first: u64, serial: u64, from: u64) -> bool {
    let mut next = Some(serial);
    for _ in 0..MAX_DEPTH {
        match next {
            Some(serial) if serial == from => return true,
            Some(serial) => {
                let index = serial
                    .checked_sub(first)
                    .and_then(|i| usize::try_from(i).ok());
                next = index.and_then(|i| contexts.get(i)).and_then(|c| c.parent);
            }
            None => return false,
        }
    }
    false
}

/// The value under a key, made when there is none. What would be one too many empties the table,
/// which is counted: it is filled again by what goes on. What is told only when it changes, as the
/// context of a connection, is unknown until then, so that nobody is said rather than a wrong one.
fn bounded<'t, K: std::hash::Hash + Eq, V: Default>(
    table: &'t mut HashMap<K, V>,
    key: K,
    evicted: &mut u64,
) -> &'t mut V {
    if table.len() >= MAX_REMEMBERED && !table.contains_key(&key) {
        *evicted += table.len() as u64;
        table.clear();
    }
    table.entry(key).or_default()
}

#[cfg(test)]
#[path = "lineage_tests.rs"]
mod tests;
