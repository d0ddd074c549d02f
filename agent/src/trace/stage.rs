//! The stage: takes calls and what is known of processes, gives spans.

use super::retry::{Attempted, Retries};
use super::{redaction, resource, span};
use crate::model::call::CallEvent;
use crate::model::process::{ContentPolicy, ProcessFacts};
use crate::model::span::{Resource, Span};
use crate::model::time::{BootTime, ClockOffset};
use crate::redact::{Redacted, Redactor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Processes that are remembered; of more, those with the lowest ids are forgotten.
pub const MAX_PROCESSES: usize = 16_384;

/// What is known of a process, as spans need it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) resource: Arc<Resource>,
    /// See [`ProcessFacts::model_server`].
    pub(super) model_server: Option<String>,
    pub(super) content: ContentPolicy,
}

impl Known {
    fn of(facts: &ProcessFacts, redactor: &Redactor) -> Self {
        let mut resource = resource::of(facts);
        redaction::attributes(redactor, &mut resource.attributes);
        Self {
            resource: Arc::new(resource),
            model_server: facts.model_server.clone(),
            content: facts.content.clone(),
        }
    }

    /// Of a process of which nothing is known: then nothing says that content may be told.
    fn nothing(pid: u32, redactor: &Redactor) -> Self {
        let mut facts = ProcessFacts {
            pid,
            ..ProcessFacts::default()
        };
        facts.content.on_spans = false;
        Self::of(&facts, redactor)
    }
}

/// What was left out, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Spans given.
    pub spans: u64,
    /// Attempts that became spans of their own because too many waited.
    pub retries_evicted: u64,
    /// Processes forgotten because there were too many.
    pub processes_evicted: u64,
}

/// The trace stage.
#[derive(Debug)]
pub struct Spans {
    seed: u128,
    offset: ClockOffset,
    processes: BTreeMap<u32, Known>,
    retries: Retries,
    over: Vec<Attempted>,
    spans: Vec<Span>,
    counters: Counters,
    redactor: Redactor,
}

impl Spans {
    /// A stage whose ids are drawn under `seed`.
    #[must_use]
    pub fn new(seed: u128) -> Self {
        Self {
            seed,
            offset: ClockOffset::default(),
            processes: BTreeMap::new(),
            retries: Retries::default(),
            over: Vec::new(),
            spans: Vec::new(),
            counters: Counters::default(),
            redactor: Redactor::default(),
        }
    }

    /// Redacts by these rules from here on.
    pub fn redact(&mut self, redactor: Redactor) {
        self.redactor = redactor;
    }

    /// What redacts.
    #[must_use]
    pub const fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// What was redacted so far.
    #[must_use]
    pub fn redacted(&self) -> Vec<Redacted> {
        self.redactor.counts()
    }

    /// What the provider stage told.
    pub fn call(&mut self, event: CallEvent) {
        match event {
            CallEvent::Retrying {
                pid,
                exchange,
                attempt,
                fingerprint,
                start,
            } => self
                .retries
                .began(pid, exchange, attempt, fingerprint, start),
            CallEvent::Finished(call) => {
                self.retries.ended(call, &mut self.over);
                self.emit();
            }
        }
    }

    /// Nothing happened until now.
    pub fn tick(&mut self, now: BootTime) {
        if !self.retries.is_empty() {
            self.retries.tick(now, &mut self.over);
            self.emit();
        }
    }

    /// What is known of a process, from here on.
    pub fn process(&mut self, facts: &ProcessFacts) {
        if !self.processes.contains_key(&facts.pid) && self.processes.len() >= MAX_PROCESSES {
            self.processes.pop_first();
            self.counters.processes_evicted += 1;
        }
        self.processes
            .insert(facts.pid, Known::of(facts, &self.redactor));
    }

    /// A process is gone. Call it after its connections' last calls were handed over.
    pub fn process_exit(&mut self, pid: u32) {
        self.retries.process_exit(pid, &mut self.over);
        self.emit();
        self.processes.remove(&pid);
    }

    /// The offset of wall time from here on.
    pub fn clock(&mut self, offset: ClockOffset) {
        self.offset = offset;
    }

    /// Nothing more will come.
    pub fn flush(&mut self) {
        self.retries.flush(&mut self.over);
        self.emit();
    }

    /// The spans made since the last time.
    pub fn drain(&mut self) -> impl Iterator<Item = Span> + '_ {
        self.spans.drain(..)
    }

    /// Whether there is something to drain.
    #[must_use]
    pub fn has_spans(&self) -> bool {
        !self.spans.is_empty()
    }

    /// What was left out so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            retries_evicted: self.retries.evicted,
            ..self.counters
        }
    }

    fn emit(&mut self) {
        for attempted in self.over.drain(..) {
            let pid = attempted.call.connection.pid;
            let unknown;
            let known = match self.processes.get(&pid) {
                Some(known) => known,
                None => {
                    unknown = Known::nothing(pid, &self.redactor);
                    &unknown
                }
            };
            self.spans.push(span::of_call(
                self.seed,
                self.offset,
                known,
                attempted,
                &self.redactor,
            ));
            self.counters.spans += 1;
        }
    }
}
