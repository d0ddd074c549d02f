//! The attempts of one call become one call: a failed attempt waits for the one that follows it.

use crate::model::call::ModelCall;
use crate::model::exchange::ExchangeId;
use crate::model::time::BootTime;

/// Failed attempts that wait at one time. When there are more the oldest waits no longer.
pub const MAX_WAITING: usize = 1024;

/// Longest time that a retry under way is waited for: then something went wrong with us.
const MAX_UNDER_WAY: u64 = 30 * 60 * 1_000_000_000;

/// A call, with how often its request was sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempted {
    /// The call, from its first attempt's start to its last one's end.
    pub call: ModelCall,
    /// How often the client sent it again.
    pub resends: u32,
}

#[derive(Debug)]
struct Waiting {
    call: Box<ModelCall>,
    attempt: u32,
    fingerprint: u64,
    until: BootTime,
    /// The retry that is under way.
    by: Option<ExchangeId>,
}

/// Attempts that wait for their retry.
#[derive(Debug, Default)]
pub struct Retries {
    waiting: Vec<Waiting>,
    /// Attempts that had to stop waiting because there were too many.
    pub evicted: u64,
}

impl Retries {
    /// A retry began: the attempt before it, if it waits, waits for its end. Gives which exchange
    /// that was.
    pub fn began(
        &mut self,
        pid: u32,
        exchange: ExchangeId,
        attempt: u32,
        fingerprint: u64,
        start: BootTime,
    ) -> Option<ExchangeId> {
        let found = self.waiting.iter_mut().find(|w| {
            w.by.is_none()
                && w.call.connection.pid == pid
                && w.attempt + 1 == attempt
                && w.fingerprint == fingerprint
                && start <= w.until
        });
        found.map(|waiting| {
            waiting.by = Some(exchange);
            waiting.until = start.plus(MAX_UNDER_WAY);
            waiting.call.exchange
        })
    }

    /// A call ended: gives those that are now known to be over.
    pub fn ended(&mut self, call: Box<ModelCall>, out: &mut Vec<Attempted>) {
        let exchange = call.exchange;
        let mut call = call;
        if let Some(at) = self.waiting.iter().position(|w| w.by == Some(exchange)) {
            call = merge(*self.waiting.remove(at).call, call);
        }
        let Some(retry) = call.retry.clone().filter(|r| r.may_retry) else {
            out.push(attempted(*call));
            return;
        };
        if self.waiting.len() >= MAX_WAITING {
            self.evicted += 1;
            out.push(attempted(*self.waiting.remove(0).call));
        }
        self.waiting.push(Waiting {
            attempt: retry.attempt,
            fingerprint: retry.fingerprint,
            until: call.end.plus(retry.within),
            by: None,
            call,
        });
    }

    /// Gives the attempts for which `over` says that no retry will come.
    fn release(&mut self, mut over: impl FnMut(&Waiting) -> bool, out: &mut Vec<Attempted>) {
        let mut at = 0;
        while at < self.waiting.len() {
            if over(&self.waiting[at]) {
                out.push(attempted(*self.waiting.remove(at).call));
            } else {
                at += 1;
            }
        }
    }

    /// Gives those whose time is over.
    pub fn tick(&mut self, now: BootTime, out: &mut Vec<Attempted>) {
        self.release(|w| w.until < now, out);
    }

    /// A process is gone: nothing of it will come.
    pub fn process_exit(&mut self, pid: u32, out: &mut Vec<Attempted>) {
        self.release(|w| w.call.connection.pid == pid, out);
    }

    /// Nothing will come at all.
    pub fn flush(&mut self, out: &mut Vec<Attempted>) {
        self.release(|_| true, out);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn attempted(call: ModelCall) -> Attempted {
    Attempted {
        resends: call.retry.as_ref().map_or(0, |r| r.attempt),
        call,
    }
}

/// The later attempt's outcome, from the first one's start on, under the first one's name.
fn merge(first: ModelCall, mut last: Box<ModelCall>) -> Box<ModelCall> {
    last.exchange = first.exchange;
    last.connection = first.connection;
    last.tid = first.tid;
    last.start = first.start;
    last.propagated = first.propagated.or(last.propagated);
    last.defects.add(first.defects);
    last
}
