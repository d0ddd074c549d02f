//! Runs of frameworks among what spans may belong to, and the request that a model run is: what
//! calls a model in a framework and the request that goes over the wire are one call.

use super::lineage::Found;
use super::{Asked, Enclosing, MAX_FOLLOWED, Parents, Place, Source};
use crate::model::exchange::{ExchangeId, Role};
use crate::model::framework::Inside;
use crate::model::request::Begun;
use std::sync::Arc;

/// What is known of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// It calls a model.
    pub is_model: bool,
    /// What is done in it.
    pub inside: Inside,
    /// Only the first request is known to be done in it.
    pub once: bool,
    /// Its function returned: what is done by others, on its thread or in its context, is not done
    /// in it, but for its request.
    pub(super) streams: bool,
    /// It may make several requests for what is one thing (embeddings of many texts): these are parts
    /// of it then, and one that is the only one is its call.
    pub many: bool,
    /// It made several.
    pub(super) several: bool,
    /// Nothing more is done in it.
    pub(super) is_over: bool,
    /// The request that is taken for its call.
    pub(super) request: Option<ExchangeId>,
}

impl Run {
    /// A run of which no request is known.
    #[must_use]
    pub const fn new(is_model: bool, inside: Inside, once: bool) -> Self {
        Self {
            is_model,
            inside,
            once,
            streams: false,
            many: false,
            several: false,
            is_over: false,
            request: None,
        }
    }
}

impl Parents {
    /// A run of a framework begins: in this context, and as a part of that run.
    pub fn ran(
        &mut self,
        begun: Begun,
        parent: Option<ExchangeId>,
        run: Run,
        context: Option<u64>,
    ) {
        if self.nodes.len() >= MAX_FOLLOWED {
            self.refused += 1;
            return;
        }
        let id = begun.exchange;
        let thread = (begun.connection.pid, begun.tid);
        let around = run.inside == Inside::Context;
        self.lineage.ran(id, thread, context, around);
        let known = |id: &ExchangeId| self.nodes.contains_key(id) || self.ended.contains_key(id);
        let within = match parent.filter(known) {
            Some(parent) => Some((parent, Source::Run)),
            None => match self.enclosing(&begun, Asked::Other) {
                Enclosing::Request(id, source) => Some((id, source)),
                Enclosing::Later => {
                    self.waiting.insert((begun.connection.pid, id));
                    self.inside(&begun, Asked::Other)
                }
                Enclosing::Nobody => None,
            },
        };
        if run.inside == Inside::Thread {
            self.calls.began(&begun);
        }
        self.insert(begun, within);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.run = Some(run);
        }
        if let Some((parent, source)) = within {
            self.depend(id, parent);
            if source == Source::Function
                && let Found::Request(served) = self.lineage.of_call(id)
            {
                self.adopt(parent, served);
            }
        }
    }

    /// A run that began is that of an application that is a service of its own.
    pub fn serves(&mut self, run: ExchangeId, application: Arc<str>) {
        if let Some(node) = self.nodes.get_mut(&run) {
            node.application = Some(application);
        }
    }

    /// Nothing more is done in a run.
    pub fn leaves(&mut self, run: ExchangeId) {
        self.lineage.left(run);
        if let Some(node) = self.nodes.get_mut(&run) {
            if let Some(run) = &mut node.run {
                run.is_over = true;
            }
            self.calls.over(&node.begun);
        }
    }

    /// A run's function returned a stream, which is read later.
    pub fn streams(&mut self, run: ExchangeId) {
        let Some(known) = self.nodes.get_mut(&run).and_then(|node| node.run.as_mut()) else {
            return;
        };
        known.once = true;
        known.streams = true;
        if known.request.is_some() {
            self.leaves(run);
        }
    }

    /// A request is made in a run: the first one of a model run is taken for its call.
    pub(super) fn requested(&mut self, request: ExchangeId, run: ExchangeId) {
        let Some(node) = self.nodes.get_mut(&run) else {
            return;
        };
        let Some(known) = &mut node.run else {
            return;
        };
        let once = known.once;
        let first = known.request.filter(|_| known.many);
        if let Some(first) = first {
            known.several = true;
            self.part(first);
        } else if known.is_model && known.request.is_none() && !known.several {
            known.request = Some(request);
            if let Some(node) = self.nodes.get_mut(&request) {
                node.merged = Some(run);
            }
        }
        if once {
            self.leaves(run);
        }
    }

    /// The run that a request is the call of, which is told now; none when it stands for itself.
    #[must_use]
    pub fn merged(&self, request: ExchangeId) -> Option<ExchangeId> {
        let node = self.nodes.get(&request)?;
        node.merged.filter(|_| node.begun.propagated.is_none())
    }

    /// A request is not what its run did, after all: it is part of it. Gives whether it was taken
    /// for that.
    pub fn part(&mut self, request: ExchangeId) -> bool {
        let Some(node) = self.nodes.get_mut(&request) else {
            return false;
        };
        let Some(run) = node.merged.take() else {
            return false;
        };
        node.place = None;
        if let Some(run) = self.nodes.get_mut(&run).and_then(|node| node.run.as_mut()) {
            run.request = None;
        }
        true
    }

    /// A run is told by itself: what was taken for its call is part of it.
    pub fn alone(&mut self, run: ExchangeId) {
        let node = self.nodes.get(&run);
        let request = node.and_then(|node| node.run).and_then(|run| run.request);
        if let Some(request) = request {
            self.part(request);
        }
    }

    /// Where the call of a run stands: in the place of the run, which is not told itself.
    pub fn take_merged(&mut self, begun: &Begun, run: ExchangeId) -> Place {
        let place = self.settle(run);
        let own = self.take(begun);
        match place {
            // Something that belongs to it may have been told already.
            Some(place) => Place {
                span: own.span,
                ..place
            },
            None => own,
        }
    }

    /// Whether a request is to wait: its run may make others, and is not over.
    pub(super) fn awaits_others(&self, request: ExchangeId) -> bool {
        let merged = self.nodes.get(&request).and_then(|node| node.merged);
        let run = merged.and_then(|run| self.nodes.get(&run)?.run);
        run.is_some_and(|run| run.many && !run.is_over)
    }

    /// Whether a run is to wait for a request that may be its call.
    pub(super) fn awaits_request(&self, run: ExchangeId) -> bool {
        let Some(node) = self.nodes.get(&run) else {
            return false;
        };
        let request = node.run.and_then(|run| run.request);
        let request = request.and_then(|request| self.nodes.get(&request));
        request.is_some_and(|node| node.begun.role == Role::Client && !node.untold)
    }
}
