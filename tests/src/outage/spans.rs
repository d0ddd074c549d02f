//! Spans as the recordings of real traffic make them, as many as are wanted.

use crate::recordings::{Lab, Stages};
use anyhow::{Context as _, Result, ensure};
use genspan::model::span::{Resource, Span, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// Processes that they are of.
const PROCESSES: i64 = 4;
/// Every so many recordings one is read: of each provider there are some.
const STEP: usize = 3;

/// Spans with the content that they would have by default, each with an id of its own.
pub(super) struct Spans {
    all: Vec<Span>,
    resources: Vec<Arc<Resource>>,
    next: u64,
}

impl Spans {
    /// Those whose first has this id.
    pub(super) fn of_recordings(first: u64) -> Result<Self> {
        let lab = Lab::find().context("no recordings beside this repository")?;
        let mut all = Vec::new();
        for file in lab.files()?.iter().step_by(STEP) {
            let mut stages = Stages::by_default();
            for exchange in lab.exchanges(file)? {
                all.extend(stages.feed(&exchange, usize::MAX));
            }
            all.extend(stages.finish());
        }
        ensure!(!all.is_empty(), "no spans in the recordings");
        let resource = |pid: i64| {
            Arc::new(Resource {
                attributes: vec![
                    (Cow::Borrowed("service.name"), Value::from("shop")),
                    (Cow::Borrowed("process.pid"), Value::from(pid)),
                ],
            })
        };
        Ok(Self {
            all,
            resources: (1..=PROCESSES).map(resource).collect(),
            next: first,
        })
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Span {
        let id = self.next;
        self.next += 1;
        let at = |length: usize| usize::try_from(id % length as u64).unwrap_or_default();
        let mut span = self.all[at(self.all.len())].clone();
        (span.trace_id, span.span_id) = (u128::from(id), id);
        span.resource = Arc::clone(&self.resources[at(self.resources.len())]);
        span
    }
}
