//! Dify: its workflow engine graphon (0.1 to 0.8). A run of a workflow, and each node that is run in it.
//!
//! Nodes are run by threads that every run starts for itself, without the context of who asked for it.
//! What they have in common with their run is the registry of its frames: one object, that the engine
//! has and each of its workers. So a node belongs to the run by the address of that.
//!
//! `Engine._start_execution` is called once, in the thread that asked, before there are workers;
//! `Engine._notify_graph_end` is the last that is done. A worker calls the functions for the hooks of
//! layers around each node, whether there are layers or not. A node that contains others (an
//! iteration, a loop) is suspended while these are run, and has its end once, wherever it goes on.
//!
//! A node leads to its configuration, in which there may be credentials. Of it and of its data the
//! attributes alone are copied, nothing of what these contain; and of those what [`kept`] names is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use genspan_common::framework::hook;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Hook;
use super::contents::said;
use crate::model::call::Message;
use crate::model::defect::Defects;
use crate::model::exchange::ExchangeId;
use crate::model::framework::{
    Framework, Inside, RunContents, RunEvent, RunFacts, RunKind, RunLabel,
};
use crate::model::snapshot::{CLASS, Snapshot, without_classes};
use crate::model::time::BootTime;
use crate::model::weight;

/// Number of the hook where a workflow begins to be run.
pub const RUN_BEGINS: u32 = 4;
/// Number of the hook where it is over.
pub const RUN_ENDS: u32 = 5;
/// Number of the hook where a node begins to be run.
pub const NODE_BEGINS: u32 = 6;
/// Number of the hook where it is over.
pub const NODE_ENDS: u32 = 7;

/// The attribute of an engine and of its workers by which they are told to belong together.
pub const REGISTRY: &str = "_frame_registry";

/// Runs and nodes under way that are followed, each; of more, the oldest are given up.
pub const MAX_OPEN: usize = 16_384;

/// How long after its run a node may end, in nanoseconds.
const AFTER: u64 = 5_000_000_000;

/// How long after a run began the same hit may be told again, in nanoseconds.
const AGAIN: u64 = 100_000_000;

/// The functions that are watched, the most important first.
pub const HOOKS: [Hook; 4] = [
    Hook {
        function: "graphon.engine.engine:Engine._start_execution",
        before: Some("graphon.graph_engine.graph_engine:GraphEngine._start_execution"),
        arguments: &["self"],
        callers: &[],
        contents: 1,
        depths: &[2],
        what: hook::SNAPSHOT,
        number: RUN_BEGINS,
        without: "no run of a workflow is seen",
    },
    Hook {
        function: "graphon.engine.worker.worker:Worker._invoke_node_run_start_hooks",
        before: Some("graphon.graph_engine.worker:Worker._invoke_node_run_start_hooks"),
        arguments: &["self", "node"],
        callers: &[],
        contents: 2,
        depths: &[1, 2],
        what: hook::SNAPSHOT,
        number: NODE_BEGINS,
        without: "the nodes of workflows are not seen",
    },
    Hook {
        function: "graphon.engine.worker.worker:Worker._invoke_node_run_end_hooks",
        before: Some("graphon.graph_engine.worker:Worker._invoke_node_run_end_hooks"),
        // The last says by being there that contents are wanted.
        arguments: &["self", "node", "error", "result_event", "error"],
        callers: &[],
        contents: 3,
        depths: &[1, 1, 1, 2],
        what: hook::SNAPSHOT,
        number: NODE_ENDS,
        without: "nodes are told as unfinished, with the end of their run",
    },
    Hook {
        function: "graphon.engine.engine:Engine._notify_graph_end",
        before: Some("graphon.graph_engine.graph_engine:GraphEngine._notify_graph_end"),
        arguments: &["self"],
        callers: &[],
        contents: 1,
        depths: &[2],
        what: hook::SNAPSHOT,
        number: RUN_ENDS,
        without: "runs of workflows are told as unfinished",
    },
];

/// Whether a number is that of one of these hooks.
#[must_use]
pub const fn is_one(number: u32) -> bool {
    matches!(number, RUN_BEGINS | RUN_ENDS | NODE_BEGINS | NODE_ENDS)
}

/// What is kept of a hit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Told {
    /// Address of the registry.
    registry: u64,
    /// The id of the workflow.
    workflow: Option<String>,
    /// The id of this execution of a node.
    execution: Option<String>,
    /// The id of the node in its workflow.
    node: Option<String>,
    /// What the node is called.
    title: Option<String>,
    /// What kind of node it is (`llm`, `tool`).
    kind: Option<String>,
    /// It failed, by an error of this type.
    error: Option<String>,
    /// What it was given and gave, where that is wanted.
    inputs: Option<Json>,
    outputs: Option<Json>,
    /// Of a model.
    model: Option<String>,
    prompts: Option<Json>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
}

/// What is kept of the arguments of a hook: ids, names, and what a node was given and gave. Nothing else
/// of a node or of an engine is told or recorded. `registry` is the address of what the first argument
/// has as [`REGISTRY`].
#[must_use]
pub fn kept(number: u32, values: &[Option<Json>], registry: Option<u64>) -> Vec<Option<Json>> {
    let value = |index: usize| values.get(index).and_then(Option::as_ref);
    let Some(registry) = registry else {
        return Vec::new();
    };
    let mut told = Told {
        registry,
        ..Told::default()
    };
    if let RUN_BEGINS | RUN_ENDS = number {
        let state = value(0).and_then(|engine| engine.get("_graph_execution"));
        told.workflow = text(state, "workflow_id");
        told.error = state
            .and_then(|state| state.get("error"))
            .and_then(class_of_error)
            .filter(|_| number == RUN_ENDS);
    } else {
        let node = value(1);
        told.execution = text(node, "_node_execution_id");
        told.node = text(node, "_node_id").or_else(|| text(node, "id"));
        if number == NODE_BEGINS {
            let data = node.and_then(|node| node.get("_node_data"));
            told.title = text(data, "title");
            told.kind = text(data, "type");
        } else {
            let wanted = value(4).is_some();
            let result = value(3).and_then(|event| event.get("node_run_result"));
            ends(&mut told, (value(2), result), wanted);
        }
    }
    vec![serde_json::to_value(told).ok()]
}

fn ends(told: &mut Told, (error, result): (Option<&Json>, Option<&Json>), contents: bool) {
    let status = text(result, "status");
    told.error = match error.and_then(class_of_error) {
        Some(class) => Some(class),
        None if matches!(status.as_deref(), Some("failed" | "exception")) => {
            Some(text(result, "error_type").unwrap_or_else(|| "_OTHER".to_owned()))
        }
        None => None,
    };
    let Some(result) = result.filter(|_| contents) else {
        return;
    };
    let part = |name: &str| {
        let found = result
            .get(name)?
            .as_object()
            .filter(|all| !all.is_empty())?;
        let mut found = Json::Object(found.clone());
        without_classes(&mut found);
        Some(found)
    };
    told.inputs = part("inputs");
    told.outputs = part("outputs");
    let process = part("process_data");
    let of = |name: &str| {
        let all = [process.as_ref(), told.inputs.as_ref()];
        all.into_iter().flatten().find_map(|of| of.get(name))
    };
    told.model = of("model_name").and_then(Json::as_str).map(str::to_owned);
    told.prompts = of("prompts").cloned();
    let usage = result.get("llm_usage");
    let count = |name: &str| usage?.get(name)?.as_i64().filter(|n| *n >= 0);
    told.input_tokens = count("prompt_tokens");
    told.output_tokens = count("completion_tokens");
}

/// A member that is a text, and not what stands for one that is missing.
fn text(of: Option<&Json>, name: &str) -> Option<String> {
    let text = of?.get(name)?.as_str()?;
    let is_one = !text.is_empty() && !text.starts_with('<');
    is_one.then(|| text.to_owned())
}

/// The class of an exception, as snapshots have one: what it says is not told.
fn class_of_error(error: &Json) -> Option<String> {
    let name = match error {
        Json::String(text) => text.split(':').next()?,
        other => other.get(CLASS)?.as_str()?,
    };
    let name = name.trim_matches(['<', '>']).rsplit('.').next()?;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    (!name.is_empty()).then(|| {
        let is_class = name.chars().all(is_name) && !matches!(name, "unreadable" | "omitted");
        if is_class { name } else { "_OTHER" }.to_owned()
    })
}

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

/// Whether a kind of node contains others, which are run while it is suspended.
fn contains_nodes(node: &str) -> bool {
    matches!(node, "iteration" | "loop")
}

/// A run of a workflow under way.
#[derive(Debug)]
struct Workflow {
    run: ExchangeId,
    start: BootTime,
    tid: u32,
    /// Its nodes under way.
    nodes: BTreeSet<String>,
}

/// A node under way.
#[derive(Debug)]
struct Node {
    run: ExchangeId,
    registry: u64,
    kind: RunKind,
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

    /// Whether no node is waited for whose run is over.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.late.is_empty()
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
        let run = next();
        out.push(RunEvent::Began(Box::new(RunFacts {
            exchange: run,
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
        let workflow = Workflow {
            run,
            start: found.time,
            tid: found.tid,
            nodes: BTreeSet::new(),
        };
        self.runs.insert(key, workflow);
        self.run_ages.insert(run, key);
    }

    fn node_begins(
        &mut self,
        found: &Snapshot,
        told: Told,
        next: impl FnOnce() -> ExchangeId,
        out: &mut Vec<RunEvent>,
    ) {
        let Some(execution) = told.execution else {
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
        let Some(workflow) = self.runs.get_mut(&around) else {
            // It was under way when the engine was found.
            return;
        };
        let run = next();
        let name = told.kind.unwrap_or_default();
        let kind = kind_of(&name);
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
            parent: Some(workflow.run),
            kind,
            name: told.title.or(told.node),
            subject: None,
            inside: if contains_nodes(&name) {
                Inside::Nowhere
            } else {
                Inside::Thread
            },
            is_generator: false,
        })));
        workflow.nodes.insert(execution);
        let node = Node {
            run,
            registry: told.registry,
            kind,
            order: found.time.0,
            late: None,
        };
        self.node_ages.insert(run, key.clone());
        self.nodes.insert(key, node);
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
        if let Some(workflow) = self.runs.get_mut(&(key.0, node.registry)) {
            workflow.nodes.remove(&key.1);
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
        self.run_ages.remove(&workflow.run);
        // A worker may be about to say so of its node.
        for node in workflow.nodes {
            if let Some(node) = self.nodes.get_mut(&(key.0, node)) {
                node.late = Some(end);
                self.late.insert((end, node.run));
            }
        }
        out.push(RunEvent::Ended {
            exchange: workflow.run,
            end,
            error,
            defects,
        });
    }
}

/// The number of a UUID as it is written.
fn number_of(id: &str) -> Option<u128> {
    let digits: String = id.chars().filter(|c| *c != '-').collect();
    let is_uuid = id.len() == 36 && digits.len() == 32;
    is_uuid.then(|| u128::from_str_radix(&digits, 16).ok())?
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
