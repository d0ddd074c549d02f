//! Spans of what agent frameworks do: chains, agents, models that answer within the process, tools,
//! retrievers (semconv 2).

use super::attributes::{self, Set};
use super::json::prefix;
use super::span::At;
use super::stage::Known;
use super::{by_path, content, dialect, engine, redaction};
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::Role;
use crate::model::framework::{Framework, RunContents, RunFacts, RunKind, RunLabel};
use crate::model::process::ContentPolicy;
use crate::model::request::Begun;
use crate::model::span::{Span, SpanKind};
use crate::model::time::BootTime;
use crate::redact::Redactor;
use crate::vocabulary::{attr, operation};
use serde_json::Value as Json;

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
    pub(super) contents: Option<Box<RunContents>>,
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
        let contents = self.contents.as_ref().map_or(0, |c| c.bytes);
        size_of::<Self>() + size_of::<RunFacts>() + name + subject + label + contents
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
pub(super) fn told_of(set: &mut Set<'_>, facts: &RunFacts) {
    let framework = match facts.framework {
        Framework::LangChain => "langchain",
        Framework::LlamaIndex => "llama_index",
        Framework::Vllm => "vllm",
        Framework::Dify => "dify",
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
pub(super) fn of_run(at: At, known: &Known, over: RunOver, redactor: &Redactor) -> Span {
    let facts = &over.facts;
    let mut set = Set::new(known.content.max_attribute_chars, redactor);
    let name = facts.name.clone();
    // What only a tool itself says, where its framework calls it by its class: content.
    let wanted = over.contents.as_ref().filter(|_| known.content.on_spans);
    let own = wanted.and_then(|c| c.name.clone());
    let subject = own.or_else(|| facts.subject.clone().or_else(|| name.clone()));
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
    told_of(&mut set, facts);
    if let Some((Some(asked), work)) = &at.engine {
        engine::of_run(&mut set, asked, work);
    }
    dialect::of_run(&mut set, facts, at.names);
    let contents = over.contents.unwrap_or_default();
    let model = contents.request.model.clone();
    if facts.kind.is_model() {
        attributes::of_model(&mut set, &contents.request, &contents.response);
    }
    set.may(attr::ERROR_TYPE, over.error.clone());
    if !over.defects.is_none() {
        let names: Vec<String> = over.defects.names().map(str::to_owned).collect();
        set.add(attr::DEFECTS, names);
    }
    at.source(&mut set);
    if known.content.on_spans {
        content(&mut set, facts.kind, *contents, &known.content, redactor);
    }
    let start = at.offset.wall(facts.start);
    let shown = operation.unwrap_or(STEP);
    let is_shown = named.is_some() || operation.is_none();
    let is_model = facts.kind.is_model();
    // A step is called what it is named, what has a name of its own what that is.
    let called = if named.is_some() { subject } else { name };
    let shown_name = if is_model {
        model
    } else {
        called.filter(|_| is_shown)
    };
    let title = match shown_name {
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
        sampled: known.share.has(at.place.trace),
    }
}

/// What a run was given and gave: redacted, then cut.
fn content(
    set: &mut Set<'_>,
    kind: RunKind,
    mut contents: RunContents,
    policy: &ContentPolicy,
    redactor: &Redactor,
) {
    let max = policy.max_message_chars;
    if kind.is_model() {
        if redactor.has_paths() {
            by_path::messages(redactor, &mut contents.request.messages);
            by_path::messages(redactor, &mut contents.response.messages);
        }
        // What is longer than the kernel copies was cut there.
        redaction::messages(redactor, &mut contents.request.messages, true);
        redaction::messages(redactor, &mut contents.response.messages, true);
        let (asked, said) = (&contents.request.messages, &contents.response.messages);
        content::messages(set, attr::INPUT_MESSAGES, asked, max);
        content::messages(set, attr::OUTPUT_MESSAGES, said, max);
        return;
    }
    let (given, got) = match kind {
        RunKind::Tool => (attr::TOOL_CALL_ARGUMENTS, attr::TOOL_CALL_RESULT),
        RunKind::Retriever => (attr::RETRIEVAL_QUERY_TEXT, attr::RETRIEVAL_DOCUMENTS),
        _ => (attr::INPUT_VALUE, attr::OUTPUT_VALUE),
    };
    set.may(attr::TOOL_CALL_ID, contents.call_id);
    set.may(attr::TOOL_DESCRIPTION, contents.description);
    for (name, value) in [(given, contents.given), (got, contents.got)] {
        let Some(mut value) = value else { continue };
        redactor.value_document(&mut value);
        redactor.json(&mut value, true);
        match value {
            // A question is a text, as it was asked.
            Json::String(text) if name == attr::RETRIEVAL_QUERY_TEXT => {
                let limit = max.min(set.limit.unwrap_or(max));
                set.add_fitting(name, prefix(&text, limit).to_owned());
            }
            value => content::document(set, name, &value, max),
        }
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
