//! Calls and the served requests that they are made for, brought together: what the protocol stage
//! tells of both goes to the lineage, and a finished call waits here while only the answer of a
//! request can tell whether it is its own.

use std::collections::{BTreeMap, VecDeque};

use crate::model::call::{CallEvent, CallParent, ModelCall};
use crate::model::event::ConnectionId;
use crate::model::exchange::{ExchangeId, Role};
use crate::model::time::BootTime;
use crate::trace::ids::{self, Ids};
use crate::trace::lineage::{self, Found, Lineage};

/// Most finished calls that wait for their parent; the oldest goes without when one more comes.
pub const MAX_WAITING: usize = 4096;
/// How long one waits at most, in nanoseconds.
pub const PATIENCE: u64 = 60_000_000_000;

/// A request's head, as the protocol stage told it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) role: Role,
    pub(super) id: ExchangeId,
    pub(super) connection: ConnectionId,
    pub(super) tid: u32,
    pub(super) time: BootTime,
    /// As sent.
    pub(super) traceparent: Option<String>,
}

/// A served request.
#[derive(Debug)]
struct Served {
    ids: Ids,
    /// It gave a span.
    told: bool,
}

/// Requests, calls, and the calls that wait.
#[derive(Debug)]
pub(super) struct Parents {
    seed: u128,
    pub(super) lineage: Lineage,
    served: BTreeMap<ExchangeId, Served>,
    waiting: VecDeque<Box<ModelCall>>,
    evicted: u64,
}

impl Parents {
    /// None yet. Ids are drawn under `seed`.
    pub(super) fn new(seed: u128) -> Self {
        Self {
            seed,
            lineage: Lineage::default(),
            served: BTreeMap::new(),
            waiting: VecDeque::new(),
            evicted: 0,
        }
    }

    /// A request begins.
    pub(super) fn begins(&mut self, head: &Head) {
        match head.role {
            Role::Client => self.lineage.calls(head.id, head.connection, head.tid),
            Role::Server => {
                self.lineage.asked(head.id, head.connection, head.tid);
                if self.served.len() >= lineage::MAX_REMEMBERED {
                    self.served.pop_first();
                }
                let ids = ids::of_exchange(
                    self.seed,
                    head.connection,
                    head.time,
                    head.id,
                    head.traceparent.as_deref(),
                );
                self.served.insert(head.id, Served { ids, told: false });
            }
        }
    }

    /// A call is over. Gives it back with its parent, unless it must wait. `is_call` tells of a
    /// request under way whether it will give a span.
    pub(super) fn finished(
        &mut self,
        mut call: Box<ModelCall>,
        is_call: &dyn Fn(ExchangeId) -> bool,
    ) -> Option<Box<ModelCall>> {
        if call.role == Role::Server {
            if let Some(served) = self.served.get_mut(&call.exchange) {
                served.told = true;
            }
            return Some(call);
        }
        // One that may be tried again waits for that elsewhere, and the next attempt tells as well.
        let may_be_tried = call.retry.as_ref().is_some_and(|r| r.may_retry);
        if self.settle(&mut call, is_call, may_be_tried) {
            return Some(call);
        }
        self.waiting.push_back(call);
        if self.waiting.len() <= MAX_WAITING {
            return None;
        }
        self.evicted += 1;
        let mut oldest = self.waiting.pop_front()?;
        self.settle(&mut oldest, is_call, true);
        Some(oldest)
    }

    /// Something was learnt, or time passed: gives the calls of this process (or of all) that need
    /// not wait any longer. With `last`, none does.
    pub(super) fn settled(
        &mut self,
        pid: Option<u32>,
        now: BootTime,
        last: bool,
        is_call: &dyn Fn(ExchangeId) -> bool,
    ) -> Vec<CallEvent> {
        let mut over = Vec::new();
        for mut call in std::mem::take(&mut self.waiting) {
            let of_interest = pid.is_none_or(|pid| call.connection.pid == pid);
            let last = last || now.since(call.end) > PATIENCE;
            if of_interest && self.settle(&mut call, is_call, last) {
                over.push(CallEvent::Finished(call));
            } else {
                self.waiting.push_back(call);
            }
        }
        over
    }

    /// Whether any call waits.
    pub(super) fn are_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Calls that went without a parent because too many waited.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Gives a call its parent, if it is known that it has one, or that it has none.
    fn settle(
        &mut self,
        call: &mut ModelCall,
        is_call: &dyn Fn(ExchangeId) -> bool,
        last: bool,
    ) -> bool {
        match self.lineage.of_call(call.exchange) {
            Found::Later if !last => return false,
            Found::Later | Found::None => {}
            Found::Request(request, found) => {
                if let Some(served) = self.served.get(&request) {
                    let told = served.told || is_call(request);
                    call.parent = Some(CallParent {
                        trace: served.ids.trace,
                        // A request that gives no span: its own parent, which its client named.
                        span: if told {
                            Some(served.ids.span)
                        } else {
                            served.ids.parent
                        },
                        found,
                    });
                }
            }
        }
        self.lineage.told(call.exchange);
        true
    }
}
