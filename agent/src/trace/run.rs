//! Spans of what agent frameworks do: chains, agents, models that answer within the process, tools,
//! retrievers (semconv 2).

use super::attributes::Set;
use super::dialect;
use super::span::At;
use super::stage::Known;
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::Role;
use crate::model::framework::{Framework, RunFacts, RunKind, RunLabel};
use crate::model::request::Begun;
use crate::model::span::{Span, SpanKind};
use crate::model::time::BootTime;
use crate::redact::Redactor;
use crate::vocabulary::{attr, operation};

/// What the name of a step within a workflow has before it.
const STEP: &str = "chain";

/// A run that is over.
#[derive(Clone, Debug)]
pub(super) struct RunOver {
    pub(super) facts: Box<RunFacts>,
    pub(super) end: BootTime,
    /// Class of the exception that ended it.
    pub(super) error: Option<String>,
    pub(super) defects: Defects,
}

impl RunOver {
    /// The memory that it holds, roughly.
    pub(super) fn bytes(&self) -> usize {
        let name = self.facts.name.as_ref().map_or(0, String::len);
        let subject = self.facts.subject.as_ref().map_or(0, String::len);
        let label = match &self.facts.label {
            RunLabel::Prefixed(text) | RunLabel::Text(text) => text.len(),
            RunLabel::Uuid | RunLabel::None => 0,
        };
        size_of::<Self>() + size_of::<RunFacts>() + name + subject + label
    }
}

/// The beginning of a run.
pub(super) fn begun(facts: &RunFacts) -> Begun {
    Begun {
        exchange: facts.exchange,
        // It goes over none: what names the run stands in its place.
        connection: ConnectionId {
            pid: facts.pid,
            ssl: u64::from(facts.tid),
            generation: facts.start.0,
        },
        role: Role::Client,
        tid: facts.tid,
        start: facts.start,
        propagated: None,
        stream: None,
    }
}

/// What is told of a run, also where a call stands for it.
pub(super) fn attributes(set: &mut Set<'_>, facts: &RunFacts) {
    let framework = match facts.framework {
        Framework::LangChain => "langchain",
        Framework::LlamaIndex => "llama_index",
    };
    set.add(attr::FRAMEWORK, framework);
    set.may(attr::RUN_ID, id(facts));
    set.may(attr::RUN_NAME, facts.name.clone());
}

/// The id of a run, as its framework writes it.
fn id(facts: &RunFacts) -> Option<String> {
    Some(match &facts.label {
        RunLabel::Uuid => uuid(facts.run),
        RunLabel::Prefixed(prefix) => format!("{prefix}-{}", uuid(facts.run)),
        RunLabel::Text(text) => text.clone(),
        RunLabel::None => return None,
    })
}

/// A UUID as it is written.
fn uuid(number: u128) -> String {
    let text = format!("{number:032x}");
    let mut parts = Vec::new();
    let mut rest = text.as_str();
    for size in [8, 4, 4, 4, 12] {
        let (part, more) = rest.split_at(size.min(rest.len()));
        parts.push(part);
        rest = more;
    }
    parts.join("-")
}

/// The span of a run.
pub(super) fn of_run(at: At, known: &Known, over: &RunOver, redactor: &Redactor) -> Span {
    let facts = &over.facts;
    let mut set = Set::new(known.content.max_attribute_chars, redactor);
    let name = facts.name.clone();
    let subject = facts.subject.clone().or_else(|| name.clone());
    // The whole of what was asked for, or a step of it.
    let is_root = facts.parent.is_none();
    let (operation, kind) = match facts.kind {
        RunKind::Chain if is_root => (Some(operation::INVOKE_WORKFLOW), SpanKind::Internal),
        RunKind::Chain => (None, SpanKind::Internal),
        RunKind::Agent => (Some(operation::INVOKE_AGENT), SpanKind::Internal),
        RunKind::Completion => (Some(operation::TEXT_COMPLETION), SpanKind::Internal),
        RunKind::Chat => (Some(operation::CHAT), SpanKind::Internal),
        RunKind::Tool => (Some(operation::EXECUTE_TOOL), SpanKind::Internal),
        RunKind::Retriever => (Some(operation::RETRIEVAL), SpanKind::Client),
        RunKind::Embedding => (Some(operation::EMBEDDINGS), SpanKind::Internal),
        RunKind::Reranker => (Some(operation::RERANK_DOCUMENTS), SpanKind::Internal),
    };
    set.may(attr::OPERATION_NAME, operation);
    let named = match facts.kind {
        RunKind::Chain if is_root => Some(attr::WORKFLOW_NAME),
        RunKind::Agent => Some(attr::AGENT_NAME),
        RunKind::Tool => Some(attr::TOOL_NAME),
        // What a model run and a retriever are named is no model and no source of data.
        _ => None,
    };
    if let Some(attribute) = named {
        set.may(attribute, subject.clone());
    }
    attributes(&mut set, facts);
    dialect::of_run(&mut set, facts, at.names);
    set.may(attr::ERROR_TYPE, over.error.clone());
    if !over.defects.is_none() {
        let names: Vec<String> = over.defects.names().map(str::to_owned).collect();
        set.add(attr::DEFECTS, names);
    }
    at.source(&mut set);
    let start = at.offset.wall(facts.start);
    let shown = operation.unwrap_or(STEP);
    let is_shown = named.is_some() || operation.is_none();
    // A step is called what it is named, what has a name of its own what that is.
    let called = if named.is_some() { subject } else { name };
    let title = match called.filter(|_| is_shown) {
        Some(name) => format!("{shown} {name}"),
        None => shown.to_owned(),
    };
    Span {
        trace_id: at.place.trace,
        span_id: at.place.span,
        parent_span_id: at.place.parent.map(|(span, _)| span),
        // Half of it would be another one.
        trace_state: at.place.state.filter(|s| redactor.text(s) == s.as_str()),
        name: redactor.text(&title).into_owned(),
        kind,
        start,
        end: at.offset.wall(over.end).max(start),
        error: over.error.as_ref().map(|_| String::new()),
        attributes: set.done(),
        events: Vec::new(),
        chunk_gaps: None,
        pid: facts.pid,
        resource: known.resource.clone(),
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
