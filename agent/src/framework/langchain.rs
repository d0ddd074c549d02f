//! LangChain: runs of langchain-core, and of what is built on it.
//!
//! Every run is spoken for by a run manager (`langchain_core/callbacks/manager.py`, the same from
//! 0.1 to 1.x). Its constructor is the one place that all runs come by; what kind of run it is, its
//! name and its function are in the frames that called it. The function that begins a run holds its
//! manager until it returns, right after it has told it the end: so a run is over when its manager
//! is freed, at the latest. The ends of synchronous chains, and those that asynchronous runs tell
//! through one function that all share, are seen themselves.
//!
//! An error of a synchronous run is an exception in the frame of the function that began it. A
//! function may catch it (fallbacks do): then the run goes on, as its next child or its end shows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Hook, class_of, langchain_contents as contents, text_of};
use crate::model::defect::Defects;
use crate::model::exchange::ExchangeId;
use crate::model::framework::{
    Framework, Inside, RunEvent, RunFacts, RunHit, RunKind, RunLabel, RunStart, RunStep,
};
use crate::model::snapshot::{Snapshot, Subject};
use crate::model::time::BootTime;
use genspan_common::framework::hook;

/// What is watched, the most important first: the processor may not have room for all. Nothing is to
/// be had without the first two.
pub const HOOKS: [Hook; 4] = [
    Hook {
        function: "langchain_core.callbacks.manager:BaseRunManager",
        before: &[],
        arguments: &[],
        callers: &[],
        contents: 0,
        depths: &[],
        what: hook::GONE,
        number: 0,
        without: "no run is seen",
    },
    Hook {
        function: "langchain_core.callbacks.manager:BaseRunManager.__init__",
        before: &[],
        arguments: &["self", "run_id", "parent_run_id"],
        callers: &contents::GIVEN,
        contents: 3,
        depths: &[],
        what: hook::BEGINS,
        number: 0,
        without: "no run is seen",
    },
    Hook {
        function: "langchain_core.callbacks.manager:CallbackManagerForChainRun.on_chain_end",
        before: &[],
        arguments: &["self", "outputs"],
        callers: &[],
        contents: 1,
        depths: &[],
        what: hook::ENDS,
        number: 0,
        without: "a synchronous chain that handles an exception itself is told as failed",
    },
    Hook {
        function: "langchain_core.callbacks.manager:shielded.<locals>.wrapped",
        before: &[],
        arguments: &["args", "func"],
        callers: &[],
        contents: 2,
        depths: &[],
        what: hook::SHIELDED,
        number: 0,
        without: "an asynchronous run that handles an exception itself is told as failed",
    },
];

/// Class of what runs a graph of LangGraph.
const GRAPH: &[u8] = b"CompiledStateGraph";

/// What the prebuilt agents of LangGraph call the node that asks the model: `create_agent` of LangChain 1.x
/// and `create_react_agent`. The graph itself has the class of any other.
const ASKS: [&str; 2] = ["model", "agent"];

/// Class of what runs a node of LangGraph. Newer ones have a function of their own that begins the run and
/// returns: of synchronous nodes the kernel tells the frame of the one that calls that, and runs the node.
const NODE: &[u8] = b"RunnableSeq";

/// Runs under way that are followed; of more, the oldest are given up.
pub const MAX_RUNS: usize = 16_384;

/// How long after an exception a run is known to have ended by it, if nothing else was heard of it;
/// in nanoseconds.
pub const CAUGHT_WITHIN: u64 = 200_000_000;

/// How long after what it belongs to a run may end, in nanoseconds: then its end was not seen.
pub const OUTLIVES: u64 = 2_000_000_000;

/// Objects that speak for one run, at most.
const MAX_MANAGERS: usize = 64;

/// How far runs are followed to those that they belong to.
const MAX_DEPTH: usize = 64;

/// Bits of `co_flags`: a generator, a coroutine, an asynchronous generator.
const GENERATOR: u32 = 0x20;
const COROUTINE: u32 = 0x80;
const ASYNC_GENERATOR: u32 = 0x200;

/// An exception in the frame of a run.
#[derive(Clone, Debug)]
struct Failing {
    time: BootTime,
    class: String,
    /// How often it was seen there.
    times: u32,
}

/// How a run ends.
#[derive(Clone, Debug)]
struct End {
    time: BootTime,
    error: Option<String>,
    defects: Defects,
}

/// A run under way.
#[derive(Debug)]
struct Open {
    facts: RunFacts,
    /// The frame in which it began, and its code.
    owner: (u64, u64),
    /// The code's `co_flags`.
    owner_flags: u32,
    /// What spoke for it first, in the function that began it.
    first: u64,
    /// What speaks for it.
    managers: Vec<u64>,
    is_async: bool,
    /// It is a graph of LangGraph: what belongs to it are its nodes.
    is_graph: bool,
    /// It is a node of one, which the function that began it may not be around.
    is_node: bool,
    /// How many were begun together with it, before it.
    position: usize,
    failing: Option<Failing>,
    /// Those that belong to it and are under way.
    children: BTreeSet<ExchangeId>,
    /// What it belongs to was over then.
    orphaned: Option<BootTime>,
    /// By this exception.
    failed_around: Option<String>,
}

impl Open {
    /// Whether its end comes by itself: that of a tool or a retriever is not watched.
    const fn is_told(&self) -> bool {
        !matches!(self.facts.kind, RunKind::Tool | RunKind::Retriever)
    }

    /// Whether an exception in its frame is its end: a tool's function may handle it, and raises it
    /// once more when it does not.
    fn has_failed(&self) -> bool {
        let enough = if matches!(self.facts.kind, RunKind::Tool) {
            2
        } else {
            1
        };
        self.failing.as_ref().is_some_and(|f| f.times >= enough)
    }

    /// How it ends when nothing tells so: by its exception, if one was seen, else with these defects.
    fn given_up(&self, now: BootTime, defects: Defects) -> End {
        match self.failing.as_ref().filter(|_| self.has_failed()) {
            Some(failing) => End {
                time: failing.time,
                error: Some(failing.class.clone()),
                defects: Defects::NONE,
            },
            None => End {
                time: self.orphaned.unwrap_or(now),
                // A synchronous node that tells no end has failed, and its graph by that.
                error: self
                    .failed_around
                    .clone()
                    .filter(|_| self.is_node && !self.is_async),
                defects,
            },
        }
    }
}

/// The runs of all processes.
#[derive(Debug, Default)]
pub struct Runs {
    open: BTreeMap<ExchangeId, Open>,
    managers: HashMap<(u32, u64), ExchangeId>,
    contents: contents::Contents,
    ids: HashMap<(u32, u128), ExchangeId>,
    /// By the frame in which they began.
    owners: BTreeSet<(u32, u64, ExchangeId)>,
    /// Synchronous ones whose end nobody tells, by process and thread.
    quiet: BTreeSet<(u32, u32, ExchangeId)>,
    /// Runs given up because there were too many.
    pub refused: u64,
}

impl Runs {
    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A framework does something. `next` names a run, if one begins.
    pub fn hit(
        &mut self,
        hit: &RunHit<'_>,
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        match &hit.what {
            RunStep::Begins(start) => self.begins(hit, start, next, out),
            RunStep::Ends { manager } => {
                if let Some(id) = self.managers.get(&(hit.pid, *manager)).copied() {
                    self.ended(id, hit.time, None, Defects::NONE, out);
                }
            }
            RunStep::Told {
                manager,
                method,
                class,
            } => {
                let Some(id) = self.managers.get(&(hit.pid, *manager)).copied() else {
                    return;
                };
                if method.ends_with(b"_error") {
                    let class = class_of(class);
                    self.ended(id, hit.time, Some(class), Defects::NONE, out);
                } else if method.ends_with(b"_end") {
                    self.ended(id, hit.time, None, Defects::NONE, out);
                }
            }
            RunStep::Raised {
                owner,
                owner_code,
                class,
            } => self.raised(hit, (*owner, *owner_code), class, out),
            RunStep::Gone { manager, returned } => self.gone(hit, *manager, *returned, out),
        }
    }

    /// What a run is given, or gives: kept where it is `wanted`, but for what is no content.
    pub fn values(&mut self, found: &Snapshot, wanted: bool) {
        let Subject::Run { hook, manager } = found.subject else {
            return;
        };
        let Some(id) = self.managers.get(&(found.pid, manager)) else {
            return;
        };
        if let Some(run) = self.open.get(id) {
            if hook == hook::GONE && run.first != manager {
                // What a function gives that has a copy is not what the run does.
                return;
            }
            let of = contents::Of {
                kind: run.facts.kind,
                is_async: run.is_async,
                position: (run.owner.0 != 0).then_some(run.position),
            };
            let is_begin = hook == hook::BEGINS;
            self.contents.add(*id, of, is_begin, &found.values);
            if !wanted {
                self.contents.kept.leave_out(*id);
            }
        }
    }

    /// What the model of a run says besides what it is asked and answers, where that is not wanted.
    pub fn counts(&mut self, found: &Snapshot) {
        let Subject::Counts { hook, of } = found.subject else {
            return;
        };
        let Some(id) = self.managers.get(&(found.pid, of)) else {
            return;
        };
        let is_own = |run: &&Open| hook != hook::GONE || run.first == of;
        let run = self.open.get(id).filter(is_own);
        if run.is_some_and(|run| run.facts.kind.is_model()) {
            self.contents
                .count(*id, hook == hook::BEGINS, &found.values);
        }
    }

    /// Contents of runs that were not kept because there were too many.
    #[must_use]
    pub const fn contents_refused(&self) -> u64 {
        self.contents.kept.refused
    }

    /// Nothing happened until now.
    pub fn tick(&mut self, now: BootTime, out: &mut Vec<RunEvent>) {
        let due: Vec<_> = self
            .open
            .iter()
            .filter_map(|(id, run)| {
                let caught = |f: &Failing| now.since(f.time) > CAUGHT_WITHIN;
                let failed = run.has_failed() && run.failing.as_ref().is_some_and(caught);
                let lost = run.orphaned.is_some_and(|over| now.since(over) > OUTLIVES);
                (failed || lost).then_some(*id)
            })
            .collect();
        for id in due {
            self.give_up(id, Defects::END_LATE, now, out);
        }
    }

    /// A process is gone, or (none) nothing more will come: its runs do not end any more.
    pub fn stop(&mut self, pid: Option<u32>, now: BootTime, out: &mut Vec<RunEvent>) {
        let all = self.open.iter().rev();
        let ids: Vec<_> = all
            .filter(|(_, run)| pid.is_none_or(|pid| run.facts.pid == pid))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.give_up(id, Defects::UNFINISHED, now, out);
        }
    }

    fn begins(
        &mut self,
        hit: &RunHit<'_>,
        start: &RunStart<'_>,
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        let Some(run) = start.run else {
            return;
        };
        let manager = (hit.pid, start.manager);
        let known = self.ids.get(&(hit.pid, run)).copied();
        // What was at this address is no more.
        if self
            .managers
            .get(&manager)
            .is_some_and(|of| known != Some(*of))
        {
            self.gone(hit, start.manager, false, out);
        }
        if let Some(known) = known {
            // Another object speaks for it as well.
            if let Some(run) = self.open.get_mut(&known)
                && run.managers.len() < MAX_MANAGERS
                && !run.managers.contains(&start.manager)
            {
                run.managers.push(start.manager);
                self.managers.insert(manager, known);
            }
            return;
        }
        let Some((kind, is_async)) = kind_of(start) else {
            return;
        };
        let parent = start.parent.and_then(|id| self.ids.get(&(hit.pid, id)));
        // Who names none may still run in the function of another one (fallbacks do).
        let parent = parent.copied().or_else(|| self.around(hit, start));
        if let Some(parent) = parent {
            self.goes_on(parent);
        }
        if !is_async {
            self.passed_by(hit, parent, out);
        }
        if self.open.len() >= MAX_RUNS
            && let Some(oldest) = self.open.keys().next().copied()
        {
            self.refused += 1;
            self.give_up(oldest, Defects::UNFINISHED, hit.time, out);
        }
        let position = self.joins(hit, start, out);
        let is_one_of_many = position > 0;
        let id = next();
        let is_generator = start.owner_flags & (GENERATOR | ASYNC_GENERATOR) != 0;
        let inside = match kind {
            // When it is over is not known in time.
            RunKind::Tool | RunKind::Retriever if !start.followed => Inside::Nowhere,
            // Which of them something is done in is not known.
            _ if is_one_of_many => Inside::Nowhere,
            // Others may run while it waits for who takes its next piece.
            RunKind::Chain | RunKind::Agent if is_generator => Inside::Nowhere,
            _ if is_async => Inside::Context,
            _ => Inside::Thread,
        };
        let facts = RunFacts {
            exchange: id,
            pid: hit.pid,
            tid: hit.tid,
            start: hit.time,
            context: start.context,
            framework: Framework::LangChain,
            run,
            parent,
            kind,
            name: name_of(start),
            inside,
            is_generator,
            label: RunLabel::Uuid,
            subject: None,
        };
        out.push(RunEvent::Began(Box::new(facts.clone())));
        self.managers.insert(manager, id);
        self.ids.insert((hit.pid, run), id);
        let open = Open {
            facts,
            owner: (start.owner, start.owner_code),
            owner_flags: start.owner_flags,
            first: start.manager,
            managers: vec![start.manager],
            is_async,
            is_node: start.owner_class == NODE,
            is_graph: kind == RunKind::Chain && start.owner_class == GRAPH,
            position,
            failing: None,
            children: BTreeSet::new(),
            orphaned: None,
            failed_around: None,
        };
        if start.owner != 0 {
            self.owners.insert((hit.pid, start.owner, id));
        }
        if !open.is_told() && !is_async {
            self.quiet.insert((hit.pid, hit.tid, id));
        }
        if let Some(parent) = parent.and_then(|parent| self.open.get_mut(&parent)) {
            parent.children.insert(id);
            let is_chain = |run: &Open| run.facts.kind == RunKind::Chain;
            let name = open.facts.name.as_deref().unwrap_or_default();
            if parent.is_graph && is_chain(parent) && is_chain(&open) && ASKS.contains(&name) {
                parent.facts.kind = RunKind::Agent;
                out.push(RunEvent::Agent(parent.facts.exchange));
            }
        }
        self.open.insert(id, open);
    }

    /// A run begins in a frame: those that began in it before, and go on, are begun together with it
    /// (a batch), of which it gives how many there are. One that failed is over: the frame is that
    /// of another call.
    fn joins(&mut self, hit: &RunHit<'_>, start: &RunStart<'_>, out: &mut Vec<RunEvent>) -> usize {
        let (first, last) = (ExchangeId(0), ExchangeId(u64::MAX));
        let all = (hit.pid, start.owner, first)..=(hit.pid, start.owner, last);
        let before: Vec<_> = self.owners.range(all).map(|(_, _, id)| *id).collect();
        let mut count = 0;
        for id in before {
            let Some(run) = self.open.get(&id) else {
                continue;
            };
            if run.owner != (start.owner, start.owner_code) {
                continue;
            }
            if run.has_failed() {
                self.give_up(id, Defects::END_LATE, hit.time, out);
            } else if !run.is_node {
                count += 1;
                out.push(RunEvent::Left(id));
            }
        }
        count
    }

    /// The run in whose function another one begins.
    fn around(&self, hit: &RunHit<'_>, start: &RunStart<'_>) -> Option<ExchangeId> {
        let frame = start.around.filter(|_| start.parent.is_none())?;
        let (first, last) = (ExchangeId(0), ExchangeId(u64::MAX));
        let mut all = self
            .owners
            .range((hit.pid, frame, first)..=(hit.pid, frame, last));
        all.next_back().map(|(_, _, id)| *id)
    }

    /// A run has a new child: what was raised in it was caught.
    fn goes_on(&mut self, id: ExchangeId) {
        if let Some(run) = self.open.get_mut(&id)
            && !matches!(run.facts.kind, RunKind::Tool)
        {
            run.failing = None;
        }
    }

    /// A thread begins a run that belongs to this one, or to none: what it did before that is not
    /// around it is over, where nobody tells so.
    fn passed_by(&mut self, hit: &RunHit<'_>, parent: Option<ExchangeId>, out: &mut Vec<RunEvent>) {
        let (first, last) = (ExchangeId(0), ExchangeId(u64::MAX));
        let all = (hit.pid, hit.tid, first)..=(hit.pid, hit.tid, last);
        let quiet = self.quiet.range(all).map(|(_, _, id)| *id);
        let is_around = |id| parent.is_some_and(|parent| self.belongs(parent, id));
        let over: Vec<_> = quiet.filter(|id| !is_around(*id)).collect();
        for id in over.into_iter().rev() {
            self.give_up(id, Defects::END_LATE, hit.time, out);
        }
    }

    /// Whether a run belongs to another one, or to one that does.
    fn belongs(&self, run: ExchangeId, to: ExchangeId) -> bool {
        let mut next = Some(run);
        for _ in 0..MAX_DEPTH {
            match next {
                Some(id) if id == to => return true,
                Some(id) => next = self.open.get(&id).and_then(|run| run.facts.parent),
                None => return false,
            }
        }
        false
    }

    /// What speaks for a run is freed.
    fn gone(&mut self, hit: &RunHit<'_>, manager: u64, returned: bool, out: &mut Vec<RunEvent>) {
        let Some(id) = self.managers.remove(&(hit.pid, manager)) else {
            return;
        };
        let Some(run) = self.open.get_mut(&id) else {
            return;
        };
        if run.first == manager && returned {
            // Copies that somebody keeps are told nothing any more.
            self.give_up(id, Defects::NONE, hit.time, out);
            return;
        }
        // Somebody kept it, or an exception keeps the frame with it.
        run.managers.retain(|one| *one != manager);
        if run.managers.is_empty() {
            self.give_up(id, Defects::END_LATE, hit.time, out);
        }
    }

    /// An exception passes a frame in which runs began.
    fn raised(
        &mut self,
        hit: &RunHit<'_>,
        owner: (u64, u64),
        class: &[u8],
        out: &mut Vec<RunEvent>,
    ) {
        let (first, last) = (ExchangeId(0), ExchangeId(u64::MAX));
        let all = (hit.pid, owner.0, first)..=(hit.pid, owner.0, last);
        let class = class_of(class);
        let mut graphs = Vec::new();
        for (_, _, id) in self.owners.range(all) {
            let Some(run) = self.open.get_mut(id).filter(|run| run.owner == owner) else {
                continue;
            };
            if ends_a_loop(&class, run.owner_flags) {
                continue;
            }
            // Synchronous code stays on its thread.
            if !run.is_async && run.facts.tid != hit.tid && !run.facts.is_generator {
                continue;
            }
            let is_tool = matches!(run.facts.kind, RunKind::Tool);
            let times = run.failing.as_ref().map_or(0, |failing| failing.times);
            // The first one counts: a tool's is that which it raises once more.
            if times == 0 || is_tool {
                run.failing = Some(Failing {
                    time: hit.time,
                    class: class.clone(),
                    times: times.saturating_add(1),
                });
            }
            out.push(RunEvent::Left(*id));
            if run.is_graph {
                graphs.push(*id);
            }
        }
        for graph in graphs {
            self.leaves_nodes(graph, hit, &class, out);
        }
    }

    /// An exception passes the frame of a graph: nodes that its thread ran are over, and have failed unless
    /// they tell something else.
    fn leaves_nodes(
        &mut self,
        graph: ExchangeId,
        hit: &RunHit<'_>,
        class: &str,
        out: &mut Vec<RunEvent>,
    ) {
        let children = self.open.get(&graph).map(|run| run.children.clone());
        for id in children.into_iter().flatten() {
            let Some(node) = self.open.get_mut(&id) else {
                continue;
            };
            let is_here = node.is_node && !node.is_async && node.facts.tid == hit.tid;
            if is_here && node.orphaned.is_none() {
                node.orphaned = Some(hit.time);
                node.failed_around = Some(class.to_owned());
                out.push(RunEvent::Left(id));
            }
        }
    }

    /// A run ends without telling.
    fn give_up(
        &mut self,
        id: ExchangeId,
        defects: Defects,
        now: BootTime,
        out: &mut Vec<RunEvent>,
    ) {
        if let Some(run) = self.open.get(&id) {
            let end = run.given_up(now, defects);
            self.ends(id, end, out);
        }
    }

    /// A run is over, and what belongs to it and does not tell its end.
    fn ended(
        &mut self,
        id: ExchangeId,
        time: BootTime,
        error: Option<String>,
        defects: Defects,
        out: &mut Vec<RunEvent>,
    ) {
        let end = End {
            time,
            error,
            defects,
        };
        self.ends(id, end, out);
    }

    fn ends(&mut self, id: ExchangeId, end: End, out: &mut Vec<RunEvent>) {
        // What belongs to it stands behind it, however deep a program nests what it runs.
        let mut over = vec![(id, end)];
        let mut next = 0;
        while let Some((id, end)) = over.get(next) {
            next += 1;
            let time = end.time;
            let error = end.error.clone();
            let run = self.open.get_mut(id);
            let children = run.map(|run| std::mem::take(&mut run.children));
            for child in children.into_iter().flatten() {
                let Some(of) = self.open.get_mut(&child) else {
                    continue;
                };
                if of.is_told() && !of.has_failed() {
                    // Its own end may come yet.
                    if of.orphaned.is_none() {
                        of.orphaned = Some(time);
                        of.failed_around.clone_from(&error);
                    }
                } else {
                    over.push((child, of.given_up(time, Defects::END_LATE)));
                }
            }
        }
        for (id, end) in over.into_iter().rev() {
            self.over(id, end, out);
        }
    }

    /// A run is over, whatever belongs to it.
    fn over(&mut self, id: ExchangeId, end: End, out: &mut Vec<RunEvent>) {
        let Some(run) = self.open.remove(&id) else {
            return;
        };
        let pid = run.facts.pid;
        for manager in &run.managers {
            let key = (pid, *manager);
            if self.managers.get(&key) == Some(&id) {
                self.managers.remove(&key);
            }
        }
        self.ids.remove(&(pid, run.facts.run));
        self.owners.remove(&(pid, run.owner.0, id));
        self.quiet.remove(&(pid, run.facts.tid, id));
        let parent = run
            .facts
            .parent
            .and_then(|parent| self.open.get_mut(&parent));
        if let Some(parent) = parent {
            parent.children.remove(&id);
        }
        if let Some(contents) = self.contents.kept.take(id, end.error.is_some()) {
            out.push(RunEvent::Contents {
                exchange: id,
                contents,
            });
        }
        out.push(RunEvent::Ended {
            exchange: id,
            end: end.time,
            error: end.error,
            defects: end.defects,
        });
    }
}

/// What kind of run begins, and whether it is asynchronous; none when only what speaks for one is
/// copied (`get_sync`, `get_noop_manager`).
fn kind_of(start: &RunStart<'_>) -> Option<(RunKind, bool)> {
    let method = std::str::from_utf8(start.method).ok()?;
    // To 3.10 it is the method alone.
    let (class, method) = method.rsplit_once('.').unwrap_or(("", method));
    let kind = match method {
        "on_chain_start" if start.owner_class == b"AgentExecutor" => RunKind::Agent,
        "on_chain_start" => RunKind::Chain,
        "on_llm_start" => RunKind::Completion,
        "on_chat_model_start" => RunKind::Chat,
        "on_tool_start" => RunKind::Tool,
        "on_retriever_start" => RunKind::Retriever,
        _ => return None,
    };
    let is_async = class.starts_with("Async") || start.flags & COROUTINE != 0;
    Some((kind, is_async))
}

/// Whether an exception of this class, in a frame of code with these flags, is the end of a loop there: it leaves no
/// generator and no coroutine, which make a `RuntimeError` of it (PEP 479, PEP 525). From a coroutine
/// `StopAsyncIteration` may go on, but is what each `async for` in it ends by; and a run that it ends tells so.
fn ends_a_loop(class: &str, flags: u32) -> bool {
    match class {
        "StopIteration" => flags & (GENERATOR | COROUTINE | ASYNC_GENERATOR) != 0,
        "StopAsyncIteration" => flags & (COROUTINE | ASYNC_GENERATOR) != 0,
        _ => false,
    }
}

/// The name of a run: that which it was given, else the class of what runs.
fn name_of(start: &RunStart<'_>) -> Option<String> {
    match start.name {
        Some(name) => Some(text_of(&name)),
        None if start.owner_class.is_empty() => None,
        None => Some(class_of(start.owner_class)),
    }
}

#[cfg(test)]
#[path = "langchain_tests.rs"]
mod tests;
