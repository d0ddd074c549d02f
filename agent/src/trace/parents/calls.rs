//! In which functions a thread is, of those that are watched; and the generators and coroutines
//! among them, of which the kernel tells what is within them.

use crate::model::exchange::ExchangeId;
use crate::model::function::CallName;
use crate::model::request::Begun;
use crate::model::time::BootTime;
use std::collections::BTreeMap;

/// Requests of which it is known in which call they are made, and not yet that they began.
const MAX_WITHIN: usize = 1024;

/// Calls under way, by process and thread, the outermost first.
#[derive(Debug, Default)]
pub(super) struct Calls {
    all: BTreeMap<(u32, u32), Vec<ExchangeId>>,
    /// Generators and coroutines under way.
    generators: BTreeMap<CallName, ExchangeId>,
    /// In which of them requests are made whose head is being written.
    within: BTreeMap<ExchangeId, CallName>,
}

impl Calls {
    /// A call begins.
    pub(super) fn began(&mut self, begun: &Begun) {
        let key = (begun.connection.pid, begun.tid);
        self.all.entry(key).or_default().push(begun.exchange);
    }

    /// A generator or coroutine begins.
    pub(super) fn generator(&mut self, name: CallName, id: ExchangeId) {
        self.generators.insert(name, id);
    }

    /// The generator or coroutine of this name.
    pub(super) fn named(&self, name: CallName) -> Option<ExchangeId> {
        self.generators.get(&name).copied()
    }

    /// A request is made in this generator or coroutine.
    pub(super) fn writes(&mut self, request: ExchangeId, name: CallName) {
        if self.within.len() >= MAX_WITHIN {
            self.within.pop_first();
        }
        self.within.insert(request, name);
    }

    /// In what something is made is not asked any more.
    pub(super) fn placed(&mut self, id: ExchangeId) {
        self.within.remove(&id);
    }

    /// Whether a request is made in a generator or coroutine under way.
    pub(super) fn is_in_generator(&self, begun: &Begun) -> bool {
        let within = self.within.get(&begun.exchange);
        within.is_some_and(|name| self.named(*name).is_some())
    }

    /// The generator or coroutine in which a request is made, else the innermost plain function
    /// of its thread.
    /// Only those count that do so.
    pub(super) fn around(
        &self,
        begun: &Begun,
        counts: impl Fn(ExchangeId) -> bool,
    ) -> Option<ExchangeId> {
        let within = self.within.get(&begun.exchange);
        within.and_then(|name| self.named(*name)).or_else(|| {
            let all = self.all.get(&(begun.connection.pid, begun.tid))?;
            all.iter().rev().copied().find(|id| counts(*id))
        })
    }

    /// Whether a call is under way.
    pub(super) fn is_under_way(&self, begun: &Begun) -> bool {
        let thread = (begun.connection.pid, begun.tid);
        let plain = self.all.get(&thread);
        self.named(name_of(begun)) == Some(begun.exchange)
            || plain.is_some_and(|calls| calls.contains(&begun.exchange))
    }

    /// What is over, if it is a call.
    pub(super) fn over(&mut self, begun: &Begun) {
        self.within.remove(&begun.exchange);
        let name = name_of(begun);
        if self.generators.get(&name) == Some(&begun.exchange) {
            self.generators.remove(&name);
            return;
        }
        let key = (begun.connection.pid, begun.tid);
        if let Some(calls) = self.all.get_mut(&key) {
            calls.retain(|id| *id != begun.exchange);
            if calls.is_empty() {
                self.all.remove(&key);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.generators.is_empty() && self.within.is_empty()
    }

    /// The innermost one of a thread.
    pub(super) fn innermost(&self, pid: u32, tid: u32) -> Option<ExchangeId> {
        self.all.get(&(pid, tid))?.last().copied()
    }
}

/// What names a call: it stands in the place of its connection.
const fn name_of(begun: &Begun) -> CallName {
    CallName {
        pid: begun.connection.pid,
        tid: begun.tid,
        began: BootTime(begun.connection.generation),
    }
}
