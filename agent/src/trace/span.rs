//! The span of a call.

use super::attributes::{self, Set};
use super::content;
use super::dialect;
use super::engine;
use super::mcp;
use super::parents::Place;
use super::path;
use super::redaction;
use super::retry::Attempted;
use super::run;
use super::stage::Known;
use crate::model::call::{ModelCall, Operation};
use crate::model::engine::{EngineAsked, EngineWork};
use crate::model::exchange::Role;
use crate::model::framework::RunFacts;
use crate::model::request::Begun;
use crate::model::span::{Span, SpanEvent, SpanKind};
use crate::model::stack::CallPath;
use crate::model::time::ClockOffset;
use crate::redact::Redactor;
use crate::vocabulary::{Names, attr, event, operation};
use std::borrow::Cow;

/// The span's name: of a model call the operation and the model, of an agent's run the operation
/// alone, as only its id is known.
fn name(call: &ModelCall) -> String {
    if let Some(asked) = &call.request.mcp {
        return mcp::name(asked);
    }
    let name = operation::name(call.operation);
    let target = match call.operation {
        Operation::FetchResponse | Operation::InvokeAgent | Operation::InvokeWorkflow => None,
        _ => call.request.model.as_deref(),
    };
    target.map_or_else(|| name.to_owned(), |target| format!("{name} {target}"))
}

/// Where and when a span is.
pub(super) struct At {
    pub(super) place: Place,
    pub(super) offset: ClockOffset,
    /// It says how its parent was found.
    pub(super) tell_source: bool,
    /// What else its attributes are called.
    pub(super) names: Names,
    /// From where in its program it was sent.
    pub(super) path: Option<Box<CallPath>>,
    /// What an engine did for it, and what that was asked for where no request says so.
    pub(super) engine: Option<(Option<Box<EngineAsked>>, Box<EngineWork>)>,
}

impl At {
    /// Says how the parent was found.
    pub(super) fn source(&self, set: &mut Set) {
        if let Some((_, source)) = self.place.parent.filter(|_| self.tell_source) {
            set.add(attr::PARENT_SOURCE, source.name());
        }
    }

    /// Says from where in its program it was sent.
    pub(super) fn path(&self, set: &mut Set) {
        if let Some(path) = &self.path {
            path::attributes(set, path);
        }
    }
}

/// The beginning of a call.
pub(super) fn begun(call: &ModelCall) -> Begun {
    Begun {
        exchange: call.exchange,
        connection: call.connection,
        role: call.role,
        tid: call.tid,
        start: call.start,
        propagated: call.propagated.clone(),
        stream: None,
    }
}

/// The kind of span of an exchange.
pub(super) const fn kind(role: Role) -> SpanKind {
    match role {
        Role::Client => SpanKind::Client,
        Role::Server => SpanKind::Server,
    }
}

/// Makes the span of a call.
pub(super) fn of_call(
    at: At,
    known: &Known,
    attempted: Attempted,
    run: Option<&RunFacts>,
    redactor: &Redactor,
) -> Span {
    let Attempted { mut call, resends } = attempted;
    let policy = &known.content;
    let offset = at.offset;
    if let Some((_, work)) = &at.engine {
        engine::fill(&mut call, work);
    }
    let mut set = Set::new(policy.max_attribute_chars, redactor);
    attributes::of_call(&mut set, &call, known.model_server.as_deref(), resends);
    dialect::of_call(&mut set, &call, at.names);
    if let Some(run) = run {
        run::told_of(&mut set, run);
    }
    if let Some((_, work)) = &at.engine {
        engine::attributes(&mut set, work);
    }
    at.source(&mut set);
    at.path(&mut set);
    if !policy.on_spans {
        // Of what was said, not of what is told.
        content::sizes(&mut set, &call);
    }
    if policy.on_spans || policy.on_events {
        redaction::content(redactor, &mut call);
    }
    let mut events = Vec::new();
    if policy.emits_events() {
        let mut details = Set::new(policy.max_attribute_chars, redactor);
        if policy.on_events {
            content::full(&mut details, &call, policy);
        }
        let mut tell = |name, told: Set<'_>| {
            events.push(SpanEvent {
                name: Cow::Borrowed(name),
                time: offset.wall(call.end),
                attributes: told.done(),
            });
        };
        tell(event::OPERATION_DETAILS, details);
        if let Some(error) = &call.error {
            let mut failure = Set::new(policy.max_attribute_chars, redactor);
            failure.add(attr::EXCEPTION_TYPE, error.kind.clone());
            // It may quote what was sent.
            let message = error.message.as_ref().filter(|_| policy.on_events);
            failure.may(attr::EXCEPTION_MESSAGE, message.cloned());
            tell(event::OPERATION_EXCEPTION, failure);
        }
    }
    if policy.on_spans {
        content::full(&mut set, &call, policy);
    }
    let start = offset.wall(call.start);
    let error = call.error.as_ref().map(|e| {
        let message = e.message.as_ref().filter(|_| policy.on_spans);
        message.cloned().unwrap_or_default()
    });
    Span {
        trace_id: at.place.trace,
        span_id: at.place.span,
        parent_span_id: at.place.parent.map(|(span, _)| span),
        // Half of it would be another one.
        trace_state: at.place.state.filter(|s| redactor.text(s) == s.as_str()),
        name: redactor.text(&name(&call)).into_owned(),
        kind: kind(call.role),
        start,
        end: offset.wall(call.end).max(start),
        error,
        attributes: set.done(),
        events,
        chunk_gaps: call.response.chunk_gaps,
        pid: call.connection.pid,
        resource: known.resource.clone(),
        sampled: known.share.has(at.place.trace),
    }
}
