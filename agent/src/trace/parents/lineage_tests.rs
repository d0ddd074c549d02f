use super::{Counters, Found, Lineage, MAX_CONTEXTS, MAX_REMEMBERED};
use crate::model::event::{ConnectionId, Direction};
use crate::model::exchange::ExchangeId;

const PID: u32 = 7;
/// The thread of an event loop, and another one.
const LOOP: u32 = 7;
const WORKER: u32 = 8;

/// A process of which everything is told.
#[derive(Default)]
struct Scene {
    lineage: Lineage,
}

fn connection(n: u64) -> ConnectionId {
    ConnectionId {
        pid: PID,
        ssl: n,
        generation: 1,
    }
}

fn found(request: u64) -> Found {
    Found::Request(ExchangeId(request))
}

/// Where this context is: they are aligned. Zero is none.
fn address(context: u64) -> Option<u64> {
    Some(8 * context).filter(|address| *address != 0)
}

impl Scene {
    fn copy(&mut self, tid: u32, parent: u64, child: u64) {
        self.lineage.copied(PID, tid, address(parent), 8 * child);
    }

    /// A request is read on connection `n` in this context; zero is none.
    fn read(&mut self, tid: u32, n: u64, context: u64, request: u64) {
        let context = address(context);
        self.lineage.flows(connection(n), Direction::Read, context);
        self.lineage.moved(PID, tid);
        self.lineage.asked(ExchangeId(request), connection(n), tid);
    }

    fn answer(&mut self, tid: u32, n: u64, context: u64) -> bool {
        let context = address(context);
        self.lineage.flows(connection(n), Direction::Write, context);
        self.lineage.moved(PID, tid);
        self.lineage.answers(connection(n))
    }

    fn call(&mut self, tid: u32, n: u64, context: u64, call: u64) -> Found {
        let context = address(context);
        self.lineage.flows(connection(n), Direction::Write, context);
        self.lineage.moved(PID, tid);
        self.lineage.calls(ExchangeId(call), connection(n), tid);
        self.of(call)
    }

    fn of(&self, call: u64) -> Found {
        self.lineage.of_call(ExchangeId(call))
    }
}

/// uvicorn on asyncio: a task per request, made where the request was read.
#[test]
fn births_are_believed_once_an_answer_confirms_one() {
    let mut s = Scene::default();
    s.copy(LOOP, 1, 100);
    s.read(LOOP, 1, 100, 1);
    s.copy(LOOP, 100, 101);
    s.copy(LOOP, 100, 102);
    assert_eq!(s.call(LOOP, 50, 101, 2), Found::Later);
    assert!(s.answer(LOOP, 1, 101));
    assert_eq!(s.of(2), found(1));
    // From now on at once, also in a task and a thread of the handler.
    s.read(LOOP, 1, 100, 3);
    s.copy(LOOP, 100, 103);
    s.read(LOOP, 2, 200, 4);
    s.copy(LOOP, 200, 104);
    assert_eq!(s.call(LOOP, 51, 103, 5), found(3));
    s.copy(LOOP, 104, 105);
    assert_eq!(s.call(WORKER, 52, 105, 6), found(4));
    // What is started for nobody has no parent, once nothing can become one.
    s.copy(LOOP, 1, 106);
    assert_eq!(s.call(LOOP, 53, 106, 7), Found::Later);
    s.answer(LOOP, 1, 103);
    s.answer(LOOP, 2, 104);
    assert_eq!(s.of(7), Found::Nobody);
    assert_eq!(s.lineage.counters(), Counters::default());
}

/// uvloop reads in no context; its transports have one of their own.
#[test]
fn a_read_in_no_context_is_followed_by_its_birth() {
    let mut s = Scene::default();
    for n in 1..4 {
        s.read(LOOP, n, 0, n * 10);
        s.copy(LOOP, 300, 300 + n);
        s.copy(LOOP, 300, 400 + n);
        s.copy(LOOP, 300 + n, 500 + n);
    }
    s.answer(LOOP, 2, 302);
    for n in 1..4 {
        assert_eq!(s.call(LOOP, 60 + n, 500 + n, n * 10 + 1), found(n * 10));
    }
}

/// Contexts are told from the middle of a request on: of its thread the first copy that is seen says nothing.
#[test]
fn what_was_copied_before_contexts_were_told_is_not_known() {
    let mut s = Scene::default();
    s.lineage.asked(ExchangeId(1), connection(1), WORKER);
    s.copy(WORKER, 300, 301);
    // In no context: who asks is told by what its thread handles.
    assert_eq!(s.call(WORKER, 50, 0, 2), Found::Unknown);
    // In one: by the answer.
    assert_eq!(s.call(WORKER, 51, 301, 3), Found::Later);
    s.answer(WORKER, 1, 300);
    assert_eq!(s.of(3), found(1));
    // And births of other requests are believed.
    s.read(LOOP, 2, 100, 4);
    s.copy(LOOP, 100, 104);
    s.answer(LOOP, 2, 104);
    s.read(LOOP, 2, 100, 5);
    s.copy(LOOP, 100, 105);
    assert_eq!(s.call(LOOP, 52, 105, 6), found(5));
    assert_eq!(s.lineage.counters(), Counters::default());
}

/// A copy that is not of the context in which the request was read, or that comes after other
/// bytes, is nobody's birth.
#[test]
fn other_copies_are_no_births() {
    let mut s = Scene::default();
    s.lineage.processes.entry(PID).or_default().confirmed = true;
    s.read(LOOP, 1, 100, 1);
    s.copy(LOOP, 5, 6);
    s.copy(LOOP, 100, 101);
    assert_eq!(s.call(LOOP, 50, 6, 2), Found::Later);
    s.answer(LOOP, 1, 101);
    assert_eq!(s.of(2), Found::Nobody);
    s.read(LOOP, 2, 0, 3);
    s.lineage.moved(PID, LOOP);
    s.copy(LOOP, 300, 301);
    assert_eq!(s.call(LOOP, 51, 301, 4), Found::Later);
}

/// aiohttp's server: one task, and so one context, for all requests of a connection.
#[test]
fn a_context_that_works_for_one_request_after_the_other() {
    let mut s = Scene::default();
    s.copy(LOOP, 1, 100);
    for request in [1, 3, 5] {
        s.read(LOOP, 1, 90, request);
        // Something else that happens to copy in no known context comes first.
        assert_eq!(s.call(LOOP, 50, 100, request + 1), Found::Later);
        // Only the first time: the context stays as it was told.
        assert!(s.answer(LOOP, 1, 100));
        assert_eq!(s.of(request + 1), found(request));
    }
    // A helper that was started for the first is not taken for one of a later request.
    let mut s = Scene::default();
    s.read(LOOP, 1, 90, 1);
    s.copy(LOOP, 100, 200);
    s.answer(LOOP, 1, 100);
    s.read(LOOP, 1, 90, 2);
    s.answer(LOOP, 1, 100);
    assert_eq!(s.call(LOOP, 50, 200, 3), found(1));
    assert_eq!(s.call(LOOP, 50, 100, 4), found(2));
}

/// A wrong birth is found out, and then only answers count.
#[test]
fn births_that_an_answer_contradicts_are_believed_no_more() {
    let mut s = Scene::default();
    s.read(LOOP, 1, 0, 1);
    s.copy(LOOP, 300, 301);
    s.answer(LOOP, 1, 100);
    assert_eq!(s.lineage.counters().births_contradicted, 1);
    s.read(LOOP, 2, 0, 2);
    s.copy(LOOP, 300, 302);
    assert_eq!(s.call(LOOP, 50, 302, 3), Found::Later);
    s.answer(LOOP, 2, 101);
    assert_eq!(s.of(3), Found::Nobody);
}

/// Starlette writes a streamed response in a task of the handler's.
#[test]
fn a_call_before_a_streamed_response() {
    let mut s = Scene::default();
    s.lineage.processes.entry(PID).or_default().contradicted = true;
    s.copy(LOOP, 1, 90);
    s.read(LOOP, 1, 90, 1);
    s.copy(LOOP, 90, 100);
    assert_eq!(s.call(LOOP, 50, 100, 2), Found::Later);
    s.copy(LOOP, 100, 101);
    assert!(s.answer(LOOP, 1, 101));
    assert_eq!(s.of(2), found(1));
    assert_eq!(s.call(LOOP, 50, 101, 3), found(1));
    // What the connection itself runs in was there before the request.
    assert_eq!(s.call(LOOP, 50, 90, 4), Found::Nobody);
}

/// A thread that handles one request after the other: WSGI. Which call is its own is not said here.
#[test]
fn a_thread_that_handles_requests_by_itself() {
    let mut s = Scene::default();
    assert_eq!(s.call(WORKER, 50, 0, 1), Found::Unknown);
    for (round, first) in [true, false, true].into_iter().enumerate() {
        let n = 10 * (round as u64 + 1);
        s.read(WORKER, 1, 0, n);
        assert!(!s.lineage.threads[&(PID, WORKER)].loops);
        // Helpers run in copies of the thread's own context; so does an `asyncio.run`, which
        // copies on, and is the first that copies at all or is not.
        if !first {
            assert_eq!(s.call(WORKER, 50, 0, n + 1), Found::Unknown);
        }
        s.copy(WORKER, 0, 400);
        s.copy(WORKER, 400, 401);
        assert_eq!(s.call(WORKER, 51, 401, n + 2), found(n));
        assert_eq!(s.call(9, 51, 400, n + 3), found(n));
        assert_eq!(s.call(9, 51, 0, n + 4), Found::Unknown);
        s.answer(WORKER, 1, 0);
        s.lineage.over(ExchangeId(n));
        // What it starts between requests is for none of them.
        s.copy(WORKER, 0, 500);
        assert_eq!(s.call(9, 51, 500, n + 5), Found::Nobody);
    }
}

/// The thread of an event loop handles many at a time: of what is in no context it is nobody's.
#[test]
fn a_loop_that_calls_in_no_context() {
    for read_in in [0, 1] {
        let mut s = Scene::default();
        s.copy(LOOP, 0, 1);
        s.read(LOOP, 3, read_in, 8);
        s.copy(LOOP, 1, 2);
        assert_eq!(s.call(LOOP, 52, 0, 9), Found::Nobody);
        // `run_in_executor` copies none: a thread that serves nobody.
        assert_eq!(s.call(WORKER, 53, 0, 10), Found::Unknown);
    }
}

#[test]
fn an_address_that_is_used_again_is_another_context() {
    let mut s = Scene::default();
    s.lineage.processes.entry(PID).or_default().confirmed = true;
    for request in 1..5 {
        s.read(LOOP, 1, 90, request * 10);
        s.copy(LOOP, 90, 100);
        s.copy(LOOP, 100, 101);
        assert_eq!(s.call(LOOP, 50, 101, request * 10 + 1), found(request * 10));
    }
    assert_eq!(s.of(11), found(10));
    // The kernel tells only when the address changes: on kept connections it may be the same.
    s.read(LOOP, 1, 90, 50);
    s.copy(LOOP, 90, 100);
    s.copy(LOOP, 100, 101);
    s.lineage.calls(ExchangeId(51), connection(50), LOOP);
    assert_eq!(s.of(51), found(50));
}

/// uvloop's transports run in one context, which is first seen when it is copied.
#[test]
fn a_context_that_was_there_before_works_for_nobody() {
    let mut s = Scene::default();
    s.lineage.processes.entry(PID).or_default().contradicted = true;
    s.read(LOOP, 1, 0, 1);
    s.copy(LOOP, 300, 301);
    s.answer(LOOP, 1, 301);
    s.read(LOOP, 2, 0, 2);
    s.copy(LOOP, 300, 302);
    assert_eq!(s.call(LOOP, 50, 302, 3), Found::Later);
    s.lineage.closed(connection(2));
    assert_eq!(s.of(3), Found::Nobody);
}

/// Two heads in one record: whose the next copy is cannot be told.
#[test]
fn several_requests_that_are_read_at_once() {
    for read_in in [0, 90] {
        let mut s = Scene::default();
        s.lineage.processes.entry(PID).or_default().confirmed = true;
        s.read(LOOP, 1, read_in, 1);
        for other in [2, 3] {
            s.lineage.asked(ExchangeId(other), connection(1), LOOP);
        }
        s.copy(LOOP, 90, 100);
        assert!(!matches!(s.call(LOOP, 50, 100, 4), Found::Request(_)));
        // The next one that is read alone has its own again.
        s.read(LOOP, 2, read_in, 5);
        s.copy(LOOP, 90, 101);
        assert_eq!(s.call(LOOP, 51, 101, 6), found(5));
    }
}

/// A copy that was not told may stand at the address of one that was.
#[test]
fn lost_copies_make_addresses_unknown() {
    let mut s = Scene::default();
    s.lineage.processes.entry(PID).or_default().confirmed = true;
    s.read(LOOP, 1, 90, 1);
    s.copy(LOOP, 90, 100);
    assert_eq!(s.call(LOOP, 50, 100, 2), found(1));
    s.answer(LOOP, 1, 100);
    s.lineage.lost_copies();
    assert_eq!(s.call(LOOP, 50, 100, 3), Found::Nobody);
    assert_eq!(s.of(2), found(1));
}

#[test]
fn memory_is_bounded_and_what_is_forgotten_is_no_parent() {
    let mut s = Scene::default();
    s.lineage.processes.entry(PID).or_default().confirmed = true;
    s.read(LOOP, 1, 90, 1);
    s.copy(LOOP, 90, 100);
    s.copy(LOOP, 100, 101);
    s.answer(LOOP, 1, 100);
    let many = MAX_CONTEXTS as u64 + 10;
    for n in 0..many {
        s.copy(LOOP, 5, 1000 + n);
    }
    assert!(s.lineage.counters().evicted >= 10);
    assert!(s.lineage.contexts.len() <= MAX_CONTEXTS && s.lineage.current.len() <= MAX_CONTEXTS);
    assert_eq!(s.call(LOOP, 50, 101, 2), Found::Nobody);
    let before = s.lineage.counters().evicted;
    let many = MAX_REMEMBERED as u64 + 10;
    for n in 0..many {
        s.read(n as u32, 100 + n, 0, 10_000 + 2 * n);
        s.call(n as u32, 100 + n, 0, 10_001 + 2 * n);
    }
    let l = &s.lineage;
    for held in [
        l.flows.len(),
        l.threads.len(),
        l.latest.len(),
        l.calls.len(),
    ] {
        assert!(held <= MAX_REMEMBERED, "{held}");
    }
    assert!(l.requests.len() <= MAX_REMEMBERED && l.open.len() <= MAX_REMEMBERED);
    // The latest are still there, and what is not is counted.
    assert!(
        l.requests
            .contains_key(&ExchangeId(10_000 + 2 * (many - 1)))
    );
    assert!(l.calls.contains_key(&ExchangeId(10_001 + 2 * (many - 1))));
    assert!(l.counters().evicted >= before + 20);
    s.lineage.exited(PID);
    let l = &s.lineage;
    assert_eq!(
        [
            l.flows.len(),
            l.threads.len(),
            l.latest.len(),
            l.current.len(),
            l.calls.len(),
            l.open.len(),
        ],
        [0; 6]
    );
    assert!(l.requests.is_empty() && !l.follows(PID));
}
