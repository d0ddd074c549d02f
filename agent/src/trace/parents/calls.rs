//! In which functions a thread is, of those that are watched.

use crate::model::exchange::ExchangeId;
use crate::model::request::Begun;
use std::collections::BTreeMap;

/// Calls under way, by process and thread, the outermost first.
#[derive(Debug, Default)]
pub(super) struct Calls {
    all: BTreeMap<(u32, u32), Vec<ExchangeId>>,
}

impl Calls {
    /// A call begins.
    pub(super) fn began(&mut self, begun: &Begun) {
        let key = (begun.connection.pid, begun.tid);
        self.all.entry(key).or_default().push(begun.exchange);
    }

    /// What is over, if it is a call.
    pub(super) fn over(&mut self, begun: &Begun) {
        let key = (begun.connection.pid, begun.tid);
        if let Some(calls) = self.all.get_mut(&key) {
            calls.retain(|id| *id != begun.exchange);
            if calls.is_empty() {
                self.all.remove(&key);
            }
        }
    }

    /// The innermost one of a thread.
    pub(super) fn innermost(&self, pid: u32, tid: u32) -> Option<ExchangeId> {
        self.all.get(&(pid, tid))?.last().copied()
    }
}
