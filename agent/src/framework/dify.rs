//! Dify: its workflow engines, of Dify 0.8 and later and of graphon. A run of a workflow, and each node that is
//! run in it.
//!
//! Which engine there was when, newest first:
//!
//! - graphon 0.7 and 0.8. Nodes are run by threads that every run starts for itself, without the context of who
//!   asked for it. What they have in common with their run is the registry of its frames: one object, that the
//!   engine has and each of its workers. A node that contains others (an iteration, a loop) is suspended while
//!   these are run in frames of their own, and has its end once, wherever it goes on.
//! - graphon 0.1 to 0.6, and before that the same within Dify (`dify_graph`, `core.workflow`, from Dify 1.11 on).
//!   There the queue of a run's events is what an engine and its workers have in common. A node that contains
//!   others makes an engine for each round, and runs it on its own thread or on those of a pool: so the node is
//!   among the callers of the function where such a run begins.
//! - Dify 1.9 and 1.10. As that, but a worker calls no hooks: a node begins where it is asked for its title, which
//!   is the first that is done once its execution has an id, and is over where the thread that handles what nodes
//!   tell hears of its result.
//! - Dify 0.8 to 1.8. The engine runs its nodes itself, and branches side by side on threads of a pool. Nodes
//!   that contain others do as above.
//!
//! `_start_execution` is called once, in the thread that asked, before there are workers; `_notify_graph_end` or
//! `_stop_execution` is the last that is done. From 1.11 on a worker calls the functions for the hooks of layers
//! around each node, whether there are layers or not. The oldest engine says of a node that it is over, and of a run if it
//! was not for a node that failed: then it is when nothing more begins in it.
//!
//! **What a node is run within.** Where a round has an engine of its own that engine's nodes are told below the
//! node that made it, and its run is not told. Where rounds are frames graphon 0.8 says so itself if it has
//! layers. Else a frame has the id of what its node waits for in its own: which node that is is known if only
//! one of its kind can be it, and it is not guessed if not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value as Json;

mod hooks;
mod told;

pub use hooks::{HOOKS, NODE_BEGINS, NODE_ENDS, RUN_BEGINS, RUN_ENDS, is_one};
pub use told::{REGISTRIES, kept};

use super::contents::said;
use crate::model::call::Message;
use crate::model::defect::Defects;
use crate::model::exchange::ExchangeId;
use crate::model::framework::{
    Framework, Inside, RunContents, RunEvent, RunFacts, RunKind, RunLabel,
};
use crate::model::snapshot::Snapshot;
use crate::model::time::BootTime;
use crate::model::weight;
use told::{Told, number_of};

/// Runs and nodes under way that are followed, each; of more, the oldest are given up.
pub const MAX_OPEN: usize = 16_384;

/// How long after its run a node may end, and how long nothing is done in a run that does not say that it is
/// over before it is taken to be, in nanoseconds.
const AFTER: u64 = 5_000_000_000;

/// How long after a run began the same hit may be told again, in nanoseconds.
const AGAIN: u64 = 100_000_000;

/// What a kind of node does.
fn kind_of(node: &str) -> RunKind {
    match node {
        "llm" => RunKind::Chat,
        "knowledge-retrieval" => RunKind::Retriever,
        "tool" | "http-request" | "code" => RunKind::Tool,
        "agent" => RunKind::Agent,
        _ => RunKind::Chain,
    }
}

/// The kinds of nodes that contain others.
const CONTAINERS: [&str; 2] = ["iteration", "loop"];

/// What a frame's id says of it: the id of what waits for it, and which kind of node does. None of one that
/// nobody waits for.
fn waits_for(frame: &str) -> Option<(&str, &'static str)> {
    CONTAINERS.into_iter().find_map(|kind| {
        let (before, _) = frame.rsplit_once(':')?;
        let waits = before.strip_suffix(kind)?.strip_suffix(':')?;
        Some((waits, kind))
    })
}

/// A run of a workflow under way.
#[derive(Debug)]
struct Workflow {
    /// Names it; of one round of a node that contains others it is not told.
    id: ExchangeId,
    /// What its nodes belong to: itself, or that node.
    run: ExchangeId,
    start: BootTime,
    tid: u32,
    /// Its nodes under way.
    nodes: BTreeSet<String>,
    /// It goes on with one that had paused: what some of its nodes are within began before.
    is_resumed: bool,
    /// It may not say that it is over.
    is_silent: bool,
    /// Since when nothing is done in one that does not, and the error of the node that was over then.
    idle: Option<(BootTime, Option<String>)>,
}

impl Workflow {
    /// Whether it is one round of a node that contains others.
    fn is_round(&self) -> bool {
        self.id != self.run
    }
}

/// A node under way.
#[derive(Debug)]
struct Node {
    run: ExchangeId,
    registry: u64,
    kind: RunKind,
    /// Which of [`CONTAINERS`] it is.
    contains: Option<&'static str>,
    /// What it waits for, once that is known: the id in the frames of its rounds.
    waits: Option<String>,
    order: u64,
    /// Since when its run is over.
    late: Option<BootTime>,
}

/// The workflows of all processes.
#[derive(Debug, Default)]
pub struct Workflows {
    /// By process and registry.
    runs: BTreeMap<(u32, u64), Workflow>,
    /// By process and id of the execution.
    nodes: HashMap<(u32, String), Node>,
    /// The keys of both, the oldest first.
    run_ages: BTreeMap<ExchangeId, (u32, u64)>,
    node_ages: BTreeMap<ExchangeId, (u32, String)>,
    /// Nodes whose run is over, and since when.
    late: BTreeSet<(BootTime, ExchangeId)>,
    /// Runs that may be over, and since when.
    idle: BTreeSet<(BootTime, (u32, u64))>,
    /// Runs and nodes given up because there were too many.
    pub refused: u64,
}

impl Workflows {
    /// A function of the engine was entered. `next` names a run, if one begins.
    pub fn told(
        &mut self,
        (number, found): (u32, &Snapshot),
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        self.tick(found.time, out);
        let value = found.values.first().and_then(Option::as_ref);
        let Some(Ok(told)) = value.map(|value| serde_json::from_value::<Told>(value.clone()))
        else {
            return;
        };
        match number {
            RUN_BEGINS => self.run_begins(found, told, next, out),
            NODE_BEGINS => self.node_begins(found, told, next, out),
            NODE_ENDS => self.node_ends(found, told, out),
            RUN_ENDS => {
                let key = (found.pid, told.registry);
                self.end_run(key, found.time, (told.error, Defects::NONE), out);
            }
            _ => {}
        }
    }

    /// Whether no node is waited for whose run is over, and no run that may be.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.late.is_empty() && self.idle.is_empty()
    }

    /// Nothing happened until now.
    pub fn tick(&mut self, now: BootTime, out: &mut Vec<RunEvent>) {
        while let Some((over, node)) = self.late.first().copied()
            && now.since(over) > AFTER
        {
            self.late.pop_first();
            if let Some(key) = self.node_ages.get(&node).cloned() {
                self.end_node(&key, over, (None, Defects::UNFINISHED), out);
            }
        }
        while let Some((since, key)) = self.idle.first().copied()
            && now.since(since) > AFTER
        {
            self.idle.pop_first();
            let idle = self.runs.get_mut(&key).and_then(|run| run.idle.take());
            let error = idle.and_then(|(_, error)| error);
            self.end_run(key, since, (error, Defects::NONE), out);
        }
    }

    /// A process is gone, or (none) nothing more will come: what is under way does not end any more.
    pub fn stop(&mut self, pid: Option<u32>, now: BootTime, out: &mut Vec<RunEvent>) {
        let is_of = |of: u32| pid.is_none_or(|pid| pid == of);
        let mut nodes: Vec<_> = self
            .nodes
            .iter()
            .filter(|((of, _), _)| is_of(*of))
            .collect();
        nodes.sort_by_key(|(_, node)| node.run);
        let keys: Vec<_> = nodes.into_iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.end_node(&key, now, (None, Defects::UNFINISHED), out);
        }
        let runs = self.runs.keys().copied().filter(|(of, _)| is_of(*of));
        for key in runs.collect::<Vec<_>>() {
            self.end_run(key, now, (None, Defects::UNFINISHED), out);
        }
    }

    fn run_begins(
        &mut self,
        found: &Snapshot,
        told: Told,
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        let key = (found.pid, told.registry);
        if let Some(known) = self.runs.get(&key) {
            let is_same = known.tid == found.tid && known.nodes.is_empty();
            if is_same && found.time.since(known.start) < AGAIN {
                return;
            }
            // Its end was not seen, and another one has its place in memory.
            self.end_run(key, found.time, (None, Defects::UNFINISHED), out);
        }
        if self.runs.len() >= MAX_OPEN
            && let Some(oldest) = self.run_ages.values().next().copied()
        {
            self.refused += 1;
            self.end_run(oldest, found.time, (None, Defects::UNFINISHED), out);
        }
        let id = next();
        // One of its callers is a node that contains others: this is one round of it.
        let mut callers = told.within.into_iter();
        let around = callers.find_map(|caller| {
            let node = self.nodes.get(&(found.pid, caller))?;
            node.contains.map(|_| node.run)
        });
        if around.is_none() {
            out.push(RunEvent::Began(Box::new(RunFacts {
                exchange: id,
                pid: found.pid,
                tid: found.tid,
                start: found.time,
                context: found.context,
                framework: Framework::Dify,
                run: 0,
                label: RunLabel::None,
                parent: None,
                kind: RunKind::Chain,
                name: told.workflow,
                subject: None,
                // Who asked for it reads its events, and does as he likes in between.
                inside: Inside::Nowhere,
                is_generator: false,
            })));
        }
        let workflow = Workflow {
            id,
            run: around.unwrap_or(id),
            start: found.time,
            tid: found.tid,
            nodes: BTreeSet::new(),
            is_resumed: told.is_resumed,
            is_silent: told.is_silent,
            idle: None,
        };
        self.runs.insert(key, workflow);
        self.run_ages.insert(id, key);
    }

    fn node_begins(
        &mut self,
        found: &Snapshot,
        told: Told,
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        let Some(execution) = told.execution.clone() else {
            return;
        };
        let key = (found.pid, execution.clone());
        if self.nodes.contains_key(&key) {
            // The same hit once more.
            return;
        }
        let around = (found.pid, told.registry);
        if self.nodes.len() >= MAX_OPEN
            && self.runs.contains_key(&around)
            && let Some(oldest) = self.node_ages.values().next().cloned()
        {
            self.refused += 1;
            self.end_node(&oldest, found.time, (None, Defects::UNFINISHED), out);
        }
        let within = self.node_around(around, &told);
        let Some(workflow) = self.runs.get_mut(&around) else {
            // It was under way when the engine was found.
            return;
        };
        if let Some((since, _)) = workflow.idle.take() {
            self.idle.remove(&(since, around));
        }
        let run = next();
        let name = told.kind.unwrap_or_default();
        let kind = kind_of(&name);
        let contains = CONTAINERS.into_iter().find(|kind| *kind == name);
        let id = number_of(&execution);
        out.push(RunEvent::Began(Box::new(RunFacts {
            exchange: run,
            pid: found.pid,
            tid: found.tid,
            start: found.time,
            context: found.context,
            framework: Framework::Dify,
            run: id.unwrap_or_default(),
            label: match id {
                Some(_) => RunLabel::Uuid,
                None => RunLabel::Text(execution.clone()),
            },
            parent: Some(within.unwrap_or(workflow.run)),
            kind,
            name: told.title.or(told.node),
            subject: None,
            // While others are run within it, it is not what its thread does.
            inside: match contains {
                Some(_) => Inside::Nowhere,
                None => Inside::Thread,
            },
            is_generator: false,
        })));
        workflow.nodes.insert(execution);
        let node = Node {
            run,
            registry: told.registry,
            kind,
            contains,
            waits: None,
            order: found.time.0,
            late: None,
        };
        self.node_ages.insert(run, key.clone());
        self.nodes.insert(key, node);
    }

    /// The node that one of this run is within, if that can be known.
    fn node_around(&mut self, run: (u32, u64), told: &Told) -> Option<ExchangeId> {
        let of_run = |node: &&mut Node| node.registry == run.1;
        for within in &told.within {
            let key = (run.0, within.clone());
            if told.execution.as_ref() != Some(within)
                && let Some(node) = self.nodes.get_mut(&key).filter(of_run)
            {
                return Some(node.run);
            }
        }
        let (waits, kind) = waits_for(told.frame.as_deref()?)?;
        let workflow = self.runs.get(&run).filter(|run| !run.is_resumed)?;
        let mut only = None;
        for execution in &workflow.nodes {
            let key = (run.0, execution.clone());
            let Some(node) = self.nodes.get(&key).filter(|n| n.contains == Some(kind)) else {
                continue;
            };
            match &node.waits {
                Some(other) if other == waits => return Some(node.run),
                Some(_) => {}
                // Two of which it may be either: it is neither's.
                None if only.is_some() => return None,
                None => only = Some(key),
            }
        }
        let node = self.nodes.get_mut(&only?)?;
        node.waits = Some(waits.to_owned());
        Some(node.run)
    }

    fn node_ends(&mut self, found: &Snapshot, mut told: Told, out: &mut Vec<RunEvent>) {
        let Some(execution) = told.execution.take() else {
            return;
        };
        let key = (found.pid, execution);
        let Some(node) = self.nodes.get(&key) else {
            return;
        };
        let error = told.error.take();
        if let Some(contents) = contents(node.kind, told) {
            out.push(RunEvent::Contents {
                exchange: node.run,
                contents: Box::new(contents),
            });
        }
        self.end_node(&key, found.time, (error, Defects::NONE), out);
    }

    fn end_node(
        &mut self,
        key: &(u32, String),
        end: BootTime,
        (error, defects): (Option<String>, Defects),
        out: &mut Vec<RunEvent>,
    ) {
        let Some(node) = self.nodes.remove(key) else {
            return;
        };
        self.node_ages.remove(&node.run);
        if let Some(over) = node.late {
            self.late.remove(&(over, node.run));
        }
        let run = (key.0, node.registry);
        if let Some(workflow) = self.runs.get_mut(&run)
            && workflow.nodes.remove(&key.1)
            && workflow.is_silent
            && workflow.nodes.is_empty()
        {
            let since = BootTime(end.0.max(node.order));
            workflow.idle = Some((since, error.clone()));
            self.idle.insert((since, run));
        }
        out.push(RunEvent::Ended {
            exchange: node.run,
            end: BootTime(end.0.max(node.order)),
            error,
            defects,
        });
    }

    fn end_run(
        &mut self,
        key: (u32, u64),
        end: BootTime,
        (error, defects): (Option<String>, Defects),
        out: &mut Vec<RunEvent>,
    ) {
        let Some(workflow) = self.runs.remove(&key) else {
            return;
        };
        self.run_ages.remove(&workflow.id);
        let is_round = workflow.is_round();
        if let Some((since, _)) = workflow.idle {
            self.idle.remove(&(since, key));
        }
        // A worker may be about to say so of its node.
        for node in workflow.nodes {
            if let Some(node) = self.nodes.get_mut(&(key.0, node)) {
                node.late = Some(end);
                self.late.insert((end, node.run));
            }
        }
        if !is_round {
            out.push(RunEvent::Ended {
                exchange: workflow.run,
                end,
                error,
                defects,
            });
        }
    }
}

/// What a node was given and gave, as its span says it; none where that is not wanted.
fn contents(kind: RunKind, told: Told) -> Option<RunContents> {
    let mut all = RunContents::default();
    if kind.is_model() {
        all.request.model = told.model;
        let prompts = told.prompts.as_ref().and_then(Json::as_array);
        let prompts = prompts.into_iter().flatten();
        all.request.messages = prompts.filter_map(message).collect();
        let answer = told
            .outputs
            .as_ref()
            .and_then(|outputs| outputs.get("text"));
        let answer = answer.and_then(Json::as_str);
        all.response.messages = answer
            .map(|text| said("assistant", text))
            .into_iter()
            .collect();
        all.response.usage.input = told.input_tokens;
        all.response.usage.output = told.output_tokens;
    } else {
        all.given = told.inputs;
        all.got = told.outputs;
        if kind == RunKind::Retriever {
            let query = all.given.as_mut().and_then(|given| given.get_mut("query"));
            let query = query.map(Json::take);
            all.given = query.or(all.given);
        }
    }
    let values = [&all.given, &all.got]
        .into_iter()
        .flatten()
        .map(weight::value);
    let messages = all.request.messages.iter().chain(&all.response.messages);
    let model = all.request.model.as_ref().map_or(0, String::len);
    all.bytes = values.sum::<usize>() + messages.map(Message::held_bytes).sum::<usize>() + model;
    (all != RunContents::default()).then_some(all)
}

fn message(prompt: &Json) -> Option<Message> {
    let role = prompt.get("role")?.as_str()?;
    Some(said(role, prompt.get("text")?.as_str()?))
}

#[cfg(test)]
#[path = "dify_tests.rs"]
mod tests;
