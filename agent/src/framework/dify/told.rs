//! What is kept of the objects that are copied where a function of Dify's engines is entered: ids, names, and
//! what a node was given and gave. Nothing else of a node or of an engine is told or recorded.
//!
//! A node leads to its configuration, in which there may be credentials. Of it and of its data the
//! attributes alone are copied, nothing of what these contain; and of those what is named here is kept.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::hooks::{CALLERS, NODE_BEGINS, RUN_BEGINS, RUN_ENDS};
use crate::model::snapshot::{CLASS, without_classes};

/// The attributes of an engine and of its workers by which they are told to belong together, the newest
/// version's first. Where there is none the engine itself runs its nodes.
pub const REGISTRIES: [&str; 2] = ["_frame_registry", "_event_queue"];

/// What is kept of a hit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    /// Address of the registry.
    pub(super) registry: u64,
    /// The id of the workflow.
    pub(super) workflow: Option<String>,
    /// The id of this execution of a node.
    pub(super) execution: Option<String>,
    /// The id of the node in its workflow.
    pub(super) node: Option<String>,
    /// What the node is called.
    pub(super) title: Option<String>,
    /// What kind of node it is (`llm`, `tool`).
    pub(super) kind: Option<String>,
    /// It failed, by an error of this type.
    pub(super) error: Option<String>,
    /// Ids of what may be the execution of a node that it is run within.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) within: Vec<String>,
    /// The id of the frame that the worker is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frame: Option<String>,
    /// The engine says of no run that it failed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_silent: bool,
    /// It goes on with a run that had paused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_resumed: bool,
    /// What it was given and gave, where that is wanted.
    pub(super) inputs: Option<Json>,
    pub(super) outputs: Option<Json>,
    /// Of a model.
    pub(super) model: Option<String>,
    pub(super) prompts: Option<Json>,
    pub(super) input_tokens: Option<i64>,
    pub(super) output_tokens: Option<i64>,
}

/// What is kept of the arguments of a hook. `registry` is the address of what the first argument has as one of
/// [`REGISTRIES`], or its own.
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
    match number {
        RUN_BEGINS | RUN_ENDS => {
            let engine = value(0);
            let state = engine.and_then(|engine| engine.get("_graph_execution"));
            let given = engine.and_then(|engine| engine.get("init_params"));
            told.workflow = text(state, "workflow_id").or_else(|| text(given, "workflow_id"));
            told.is_silent = state.is_none() && given.is_some();
            if number == RUN_BEGINS {
                told.is_resumed = value(1) == Some(&Json::Bool(true));
                let callers = (2..2 + CALLERS).filter_map(|index| execution(value(index)));
                told.within = callers.collect();
                told.within.dedup();
            } else {
                let error = state.and_then(|state| state.get("error"));
                told.error = error.and_then(class_of_error);
            }
        }
        NODE_BEGINS => {
            let node = value(1);
            told.execution = execution(node);
            told.node = node_id(node);
            told.frame = text(value(0), "_current_frame_id");
            let within = value(2).and_then(Json::as_str);
            let is_id = |id: &&str| number_of(id).is_some();
            told.within = within
                .filter(is_id)
                .map(str::to_owned)
                .into_iter()
                .collect();
            let of = |name: &str| node?.get(name).filter(|data| data.is_object());
            let data = of("_node_data").or_else(|| of("node_data"));
            told.title = text(data, "title");
            told.kind = text(data, "type").or_else(|| kind_of_class(node?));
        }
        _ => {
            let event = value(3);
            if event.is_some_and(is_no_result) {
                return Vec::new();
            }
            // What tells of a result may name what had it.
            let node = value(1).or(event);
            told.execution = execution(node);
            told.node = node_id(node);
            let wanted = value(4).is_some();
            let result = event.and_then(|event| event.get("node_run_result"));
            // What tells of the result may be that itself.
            let result = result.or_else(|| event.filter(|event| event.get("status").is_some()));
            ends(&mut told, (value(2), result), wanted);
        }
    }
    vec![serde_json::to_value(told).ok()]
}

/// The id of an execution of a node. Engines of their own threads give the node itself that id.
fn execution(node: Option<&Json>) -> Option<String> {
    text(node, "_node_execution_id")
        .or_else(|| text(node, "id").filter(|id| number_of(id).is_some()))
}

/// Whether it is what the engine of Dify 1.9 tells of a node before that has a result, or of what comes after.
fn is_no_result(event: &Json) -> bool {
    let class = event.get(CLASS).and_then(Json::as_str);
    let name = class.and_then(|class| class.rsplit('.').next());
    name.and_then(|name| name.strip_prefix("NodeRun")?.strip_suffix("Event"))
        .is_some_and(|what| !matches!(what, "Succeeded" | "Failed" | "Exception"))
}

/// The id of a node in its workflow.
fn node_id(node: Option<&Json>) -> Option<String> {
    let names = ["_node_id", "node_id", "id"];
    names.into_iter().find_map(|name| text(node, name))
}

fn ends(told: &mut Told, (error, result): (Option<&Json>, Option<&Json>), contents: bool) {
    let status = result.and_then(|result| word(result.get("status")?));
    told.error = match error.and_then(class_of_error) {
        Some(class) => Some(class),
        None if matches!(status, Some("failed" | "exception")) => {
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

/// A text, or what an enumeration has for one.
fn word(value: &Json) -> Option<&str> {
    value.as_str().or_else(|| value.get("_value_")?.as_str())
}

/// A member that is a text, and not what stands for one that is missing.
fn text(of: Option<&Json>, name: &str) -> Option<String> {
    let text = word(of?.get(name)?)?;
    let is_one = !text.is_empty() && !text.starts_with('<');
    is_one.then(|| text.to_owned())
}

/// What kind of node a class is for, by where it is: older engines do not say so in a node's data.
fn kind_of_class(node: &Json) -> Option<String> {
    let (_, module) = node.get(CLASS)?.as_str()?.split_once(".nodes.")?;
    let (kind, _) = module.split_once('.')?;
    Some(kind.replace('_', "-"))
}

/// The class of an exception, as snapshots have one: what it says is not told.
pub(super) fn class_of_error(error: &Json) -> Option<String> {
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

/// The number of a UUID as it is written.
pub(super) fn number_of(id: &str) -> Option<u128> {
    let digits: String = id.chars().filter(|c| *c != '-').collect();
    let is_uuid = id.len() == 36 && digits.len() == 32;
    is_uuid.then(|| u128::from_str_radix(&digits, 16).ok())?
}
