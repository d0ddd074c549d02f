//! Spans of what agent frameworks do: chains, agents, models that answer within the process, tools,
//! retrievers (semconv 2).

use super::attributes::Set;
use super::span::At;
use super::stage::Known;
use super::{dialect, engine};
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::Role;
use crate::model::framework::{Framework, RunFacts, RunKind};
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
        size_of::<Self>() + size_of::<RunFacts>() + name
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
        Framework::Vllm => "vllm",
    };
    set.add(attr::FRAMEWORK, framework);
    if facts.framework == Framework::Vllm {
        // It has ids of another kind, and says what it did.
        return;
    }
    set.add(attr::RUN_ID, uuid(facts.run));
    set.may(attr::RUN_NAME, facts.name.clone());
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
        set.may(attribute, name.clone());
    }
    attributes(&mut set, facts);
    if let Some((Some(asked), work)) = &at.engine {
        engine::of_run(&mut set, asked, work);
    }
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
    let title = match name.filter(|_| is_shown) {
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
