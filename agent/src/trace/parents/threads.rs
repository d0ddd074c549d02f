//! Which thread handles which request: a request that a thread makes while it handles one belongs
//! to that.
//!
//! A thread that has ever served two requests at a time runs an event loop: of what it does
//! nothing can be said by the thread alone, from then on. Of a program that is no Python it never can: most
//! are event loops (Node), and nothing else would say what is made for nobody.

use crate::model::exchange::ExchangeId;
use crate::model::request::Begun;
use std::collections::{BTreeMap, HashSet};

/// Threads that are remembered; of others nothing is said.
const MAX_THREADS: usize = 65_536;

/// A thread that serves.
#[derive(Debug, Default)]
struct Thread {
    serving: Vec<ExchangeId>,
    /// It served more than one at a time once.
    several: bool,
}

/// The threads that serve, by process.
#[derive(Debug, Default)]
pub(super) struct Threads {
    all: BTreeMap<(u32, u32), Thread>,
    /// Processes whose threads say nothing.
    others: HashSet<u32>,
}

impl Threads {
    /// What a process runs is known: whether its threads say anything of what they do.
    pub(super) fn process(&mut self, pid: u32, says: bool) {
        if says {
            self.others.remove(&pid);
        } else if self.others.len() < MAX_THREADS {
            self.others.insert(pid);
        }
    }

    /// A thread began to serve a request. Gives whether that shows that it serves several at a
    /// time.
    pub(super) fn serves(&mut self, begun: &Begun) -> bool {
        let key = (begun.connection.pid, begun.tid);
        if self.all.len() >= MAX_THREADS && !self.all.contains_key(&key) {
            return false;
        }
        let thread = self.all.entry(key).or_default();
        thread.serving.push(begun.exchange);
        let shown = thread.serving.len() > 1 && !thread.several;
        thread.several |= shown;
        shown
    }

    /// A request is over.
    pub(super) fn over(&mut self, begun: &Begun) {
        let key = (begun.connection.pid, begun.tid);
        if let Some(thread) = self.all.get_mut(&key) {
            thread.serving.retain(|id| *id != begun.exchange);
            if thread.serving.is_empty() && !thread.several {
                self.all.remove(&key);
            }
        }
    }

    /// The one request that a thread handles.
    pub(super) fn handles(&self, pid: u32, tid: u32) -> Option<ExchangeId> {
        if self.others.contains(&pid) {
            return None;
        }
        let thread = self.all.get(&(pid, tid)).filter(|t| !t.several)?;
        thread.serving.first().copied()
    }

    /// All requests that a process serves.
    pub(super) fn served_by(&self, pid: u32) -> impl Iterator<Item = ExchangeId> + '_ {
        let threads = self.all.range((pid, 0)..=(pid, u32::MAX));
        threads.flat_map(|(_, thread)| thread.serving.iter().copied())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.others.is_empty()
    }

    /// A process is gone.
    pub(super) fn process_exit(&mut self, pid: u32) {
        self.others.remove(&pid);
        let keys = self.all.range((pid, 0)..=(pid, u32::MAX));
        let keys: Vec<_> = keys.map(|(key, _)| *key).collect();
        for key in keys {
            self.all.remove(&key);
        }
    }
}
