//! Each rule, what it must not say, and what becomes known late.

use super::*;
use crate::model::event::{Direction, SocketRole};
use crate::model::function::CallName;
use crate::model::time::BootTime;

const MS: u64 = 1_000_000;

/// Request `n`, on connection `n` unless told otherwise.
pub(super) fn begun(n: u64, role: Role, pid: u32, tid: u32, at: u64) -> Begun {
    Begun {
        exchange: ExchangeId(n),
        connection: ConnectionId {
            pid,
            ssl: n,
            generation: 1,
        },
        role,
        tid,
        start: BootTime(at * MS),
        propagated: None,
        stream: None,
    }
}

fn carrying(mut begun: Begun, span: u64) -> Begun {
    begun.propagated = Some(Propagated {
        trace: 0xace,
        span,
        state: Some("v=1".to_owned()),
        format: Format::Traceparent,
    });
    begun
}

fn socket(local: &str, peer: &str) -> Socket {
    Socket {
        role: SocketRole::Unknown,
        local: Some(local.parse().unwrap()),
        peer: Some(peer.parse().unwrap()),
    }
}

const A: &str = "127.0.0.1:5000";
const B: &str = "127.0.0.1:8000";

pub(super) fn end(parents: &mut Parents, begun: &Begun) -> Place {
    parents.over(begun.exchange, true);
    parents.take(begun)
}

pub(super) fn source(place: &Place) -> Option<Source> {
    place.parent.map(|(_, source)| source)
}

#[test]
fn a_request_alone_begins_a_trace_or_joins_the_one_it_carries() {
    let mut parents = Parents::new(1);
    let alone = begun(1, Role::Client, 7, 7, 0);
    parents.began(alone.clone());
    let place = end(&mut parents, &alone);
    assert_eq!((place.parent, &place.state), (None, &None));
    assert!(place.trace != 0 && place.span != 0);
    for role in [Role::Client, Role::Server] {
        let joins = carrying(begun(2, role, 7, 7, 0), 0xb0b);
        parents.began(joins.clone());
        let place = end(&mut parents, &joins);
        assert_eq!(place.trace, 0xace);
        assert_eq!(place.parent, Some((0xb0b, Source::Traceparent)));
        assert_eq!(place.state.as_deref(), Some("v=1"));
    }
}

#[test]
fn what_a_thread_asks_while_it_serves_belongs_to_what_it_serves() {
    let mut parents = Parents::new(1);
    let served = carrying(begun(1, Role::Server, 7, 71, 0), 0xb0b);
    let asked = begun(2, Role::Client, 7, 71, 1);
    let other_thread = begun(3, Role::Client, 7, 72, 1);
    let other_process = begun(4, Role::Client, 8, 71, 1);
    for b in [&served, &asked, &other_thread, &other_process] {
        parents.began(b.clone());
    }
    let child = end(&mut parents, &asked);
    assert_eq!(source(&end(&mut parents, &other_thread)), None);
    assert_eq!(source(&end(&mut parents, &other_process)), None);
    let place = end(&mut parents, &served);
    assert_eq!(child.trace, 0xace);
    assert_eq!(child.parent, Some((place.span, Source::Thread)));
    assert_eq!(child.state.as_deref(), Some("v=1"));
    // After it nothing belongs to it.
    let later = begun(5, Role::Client, 7, 71, 2);
    parents.began(later.clone());
    assert_eq!(source(&end(&mut parents, &later)), None);
}

#[test]
fn a_thread_of_what_is_no_python_says_nothing() {
    let mut parents = Parents::new(1);
    for (is_python, wanted) in [(false, None), (true, Some(Source::Thread))] {
        parents.process(7, is_python);
        let served = begun(1, Role::Server, 7, 71, 0);
        let asked = begun(2, Role::Client, 7, 71, 1);
        parents.began(served.clone());
        parents.began(asked.clone());
        assert_eq!(source(&end(&mut parents, &asked)), wanted);
        end(&mut parents, &served);
    }
    parents.process(7, false);
    parents.process_exit(7);
    assert!(parents.threads.is_empty());
}

#[test]
fn a_child_that_ends_after_its_parent_was_told_has_it_all_the_same() {
    let mut parents = Parents::new(1);
    let served = begun(1, Role::Server, 7, 71, 0);
    let asked = begun(2, Role::Client, 7, 71, 1);
    parents.began(served.clone());
    parents.began(asked.clone());
    let place = end(&mut parents, &served);
    let child = end(&mut parents, &asked);
    assert_eq!(child.trace, place.trace);
    assert_eq!(child.parent, Some((place.span, Source::Thread)));
}

#[test]
fn a_thread_that_serves_several_at_a_time_says_nothing_any_more() {
    let mut parents = Parents::new(1);
    let one = begun(1, Role::Server, 7, 71, 0);
    let asked = begun(2, Role::Client, 7, 71, 1);
    let two = begun(3, Role::Server, 7, 71, 2);
    let later = begun(4, Role::Client, 7, 71, 3);
    for b in [&one, &asked, &two, &later] {
        parents.began(b.clone());
    }
    // What it seemed to belong to before that was known does not count either.
    assert_eq!(source(&end(&mut parents, &asked)), None);
    assert_eq!(source(&end(&mut parents, &later)), None);
    end(&mut parents, &one);
    end(&mut parents, &two);
    let three = begun(5, Role::Server, 7, 71, 4);
    let alone = begun(6, Role::Client, 7, 71, 5);
    parents.began(three);
    parents.began(alone.clone());
    assert_eq!(source(&end(&mut parents, &alone)), None);
    // Until its number is another's.
    parents.process_exit(7);
    let four = begun(7, Role::Server, 7, 71, 6);
    let asked = begun(8, Role::Client, 7, 71, 7);
    parents.began(four);
    parents.began(asked.clone());
    assert_eq!(source(&end(&mut parents, &asked)), Some(Source::Thread));
}

#[test]
fn a_context_that_is_passed_on_tells_the_request_among_many() {
    let mut parents = Parents::new(1);
    let one = carrying(begun(1, Role::Server, 7, 71, 0), 0xb0b);
    let two = carrying(begun(2, Role::Server, 7, 71, 1), 0xbad);
    let passes = carrying(begun(3, Role::Client, 7, 71, 2), 0xbad);
    let own = carrying(begun(4, Role::Client, 7, 71, 3), 0xcab);
    for b in [&one, &two, &passes, &own] {
        parents.began(b.clone());
    }
    let passed = end(&mut parents, &passes);
    let own = end(&mut parents, &own);
    let two = end(&mut parents, &two);
    assert_eq!(passed.parent, Some((two.span, Source::PassedOn)));
    assert_eq!(own.parent, Some((0xcab, Source::Traceparent)));
    // Two that carry the same say nothing.
    let again = carrying(begun(5, Role::Server, 7, 71, 4), 0xb0b);
    let passes = carrying(begun(6, Role::Client, 7, 71, 5), 0xb0b);
    parents.began(again);
    parents.began(passes.clone());
    let place = end(&mut parents, &passes);
    assert_eq!(place.parent, Some((0xb0b, Source::Traceparent)));
}

/// The two ends of a request, and the order in which what is known of them comes.
#[test]
fn both_ends_of_a_connection_are_one_trace() {
    let client = begun(1, Role::Client, 7, 7, 1);
    let server = begun(2, Role::Server, 8, 8, 1);
    let (c, s) = (client.connection, server.connection);
    type Step<'a> = Box<dyn Fn(&mut Parents) + 'a>;
    let steps: [Step<'_>; 4] = [
        Box::new(|p| drop(p.socket(c, 1, &socket(A, B)))),
        Box::new(|p| drop(p.socket(s, 1, &socket(B, "[::ffff:127.0.0.1]:5000")))),
        Box::new(|p| _ = p.began(client.clone())),
        Box::new(|p| _ = p.began(server.clone())),
    ];
    let mut orders = vec![vec![]];
    for _ in 0..steps.len() {
        let longer = orders.iter().flat_map(|order: &Vec<usize>| {
            let rest = (0..steps.len()).filter(|i| !order.contains(i));
            rest.map(|i| [order.clone(), vec![i]].concat())
        });
        orders = longer.collect();
    }
    assert_eq!(orders.len(), 24);
    for order in orders {
        let mut parents = Parents::new(1);
        for step in &order {
            steps[*step](&mut parents);
        }
        let at_server = end(&mut parents, &server);
        let at_client = end(&mut parents, &client);
        assert_eq!(at_server.trace, at_client.trace, "{order:?}");
        assert_eq!(
            at_server.parent,
            Some((at_client.span, Source::Connection)),
            "{order:?}"
        );
        assert_eq!(at_client.parent, None);
    }
}

/// The server was done before its client's write was over.
#[test]
fn a_quick_server_is_waited_for() {
    let mut parents = Parents::new(1);
    let client = begun(1, Role::Client, 7, 7, 1);
    let server = begun(2, Role::Server, 8, 8, 1);
    parents.socket(server.connection, 1, &socket(B, A));
    parents.began(server.clone());
    parents.over(server.exchange, true);
    parents.closed(server.connection);
    assert!(parents.awaits(server.exchange));
    parents.socket(client.connection, 1, &socket(A, B));
    parents.began(client.clone());
    assert!(!parents.awaits(server.exchange));
    let at_server = parents.take(&server);
    assert_eq!(source(&at_server), Some(Source::Connection));
    assert_eq!(at_server.trace, end(&mut parents, &client).trace);
    // Of other hosts nothing is waited for.
    let mut parents = Parents::new(1);
    parents.socket(
        server.connection,
        1,
        &socket("10.0.0.1:80", "10.0.0.2:5000"),
    );
    parents.began(server.clone());
    parents.over(server.exchange, true);
    assert!(!parents.awaits(server.exchange));
}

#[test]
fn through_a_gateway_and_over_two_connections_it_is_one_trace() {
    let mut parents = Parents::new(1);
    // Asks a gateway, which asks a model server.
    let asks = begun(1, Role::Client, 7, 7, 0);
    let gateway_in = begun(2, Role::Server, 8, 81, 1);
    let gateway_out = begun(3, Role::Client, 8, 81, 2);
    // The server's end is seen before the client's, as happens.
    let serves = begun(4, Role::Server, 9, 9, 2);
    let c = "127.0.0.1:5001";
    let d = "127.0.0.1:9000";
    parents.socket(asks.connection, 1, &socket(A, B));
    parents.socket(gateway_in.connection, 1, &socket(B, A));
    parents.socket(serves.connection, 1, &socket(d, c));
    for b in [&asks, &gateway_in, &serves, &gateway_out] {
        parents.began(b.clone());
    }
    parents.socket(gateway_out.connection, 1, &socket(c, d));
    let places = [&serves, &gateway_out, &gateway_in, &asks].map(|b| end(&mut parents, b));
    assert!(places.iter().all(|p| p.trace == places[3].trace));
    for (place, parent) in places.iter().zip(&places[1..]) {
        assert_eq!(place.parent.map(|p| p.0), Some(parent.span));
    }
    assert_eq!(source(&places[1]), Some(Source::Thread));
}

/// Several requests at a time over one connection of HTTP/2: each has the end of its own stream, also
/// where the addresses become known last, and none where there is no such stream.
#[test]
fn both_ends_of_a_stream_are_one_trace() {
    const STREAMS: u64 = 32;
    let of = |n: u64, role, pid, connection| Begun {
        connection,
        stream: Some(1 + 2 * (n % 100) as u32),
        ..begun(n, role, pid, 1, n % 100)
    };
    let [c, s] = [(1, 7), (2, 8)].map(|(n, pid)| begun(n, Role::Client, pid, 1, 1).connection);
    for late in [false, true] {
        let mut parents = Parents::new(1);
        let mut told = Vec::new();
        let mut meet = |parents: &mut Parents| {
            told.extend(parents.socket(c, 1, &socket(A, B)));
            told.extend(parents.socket(s, 1, &socket(B, A)));
        };
        if !late {
            meet(&mut parents);
        }
        let clients: Vec<_> = (0..STREAMS)
            .map(|n| of(100 + n, Role::Client, 7, c))
            .collect();
        // The server reads them in another order, and one that was sent before anybody looked.
        let servers: Vec<_> = (0..=STREAMS)
            .rev()
            .map(|n| of(200 + n, Role::Server, 8, s))
            .collect();
        let mut paired = 0;
        for begun in clients.iter().chain(&servers) {
            paired += usize::from(parents.began(begun.clone()).is_some());
        }
        if late {
            meet(&mut parents);
            paired = told.len();
        }
        assert_eq!(paired as u64, STREAMS);
        let placed: Vec<_> = clients.iter().map(|c| end(&mut parents, c)).collect();
        for server in &servers {
            let place = end(&mut parents, server);
            let client = clients.iter().position(|c| c.stream == server.stream);
            let wanted = client.map(|c| (placed[c].span, Source::Connection));
            assert_eq!(place.parent, wanted, "{server:?}");
        }
    }
}

#[test]
fn other_connections_are_no_other_end() {
    for (network, local, peer, at) in [
        // Another one's loopback.
        (2, B, A, 1),
        (1, B, "127.0.0.1:5001", 1),
        (1, A, B, 1),
        // The client's request begins long after: an earlier one's end was missed.
        (1, B, A, 0),
    ] {
        let mut parents = Parents::new(1);
        let client = begun(1, Role::Client, 7, 7, if at == 0 { 100 } else { 1 });
        let server = begun(2, Role::Server, 8, 8, at);
        parents.socket(client.connection, 1, &socket(A, B));
        parents.socket(server.connection, network, &socket(local, peer));
        parents.began(server.clone());
        parents.began(client.clone());
        assert_eq!(source(&end(&mut parents, &server)), None, "{local} {peer}");
    }
    // Several at a time: nothing says which is which.
    let mut parents = Parents::new(1);
    let all: Vec<Begun> = (1..5)
        .map(|n| {
            let role = if n % 2 == 1 {
                Role::Client
            } else {
                Role::Server
            };
            let mut b = begun(n, role, 7 + (n % 2) as u32, 7, n);
            b.connection.ssl = n % 2;
            b
        })
        .collect();
    parents.socket(all[0].connection, 1, &socket(A, B));
    for b in &all {
        parents.began(b.clone());
    }
    parents.socket(all[1].connection, 1, &socket(B, A));
    for b in &all {
        assert_eq!(source(&end(&mut parents, b)), None);
    }
}

#[test]
fn attempts_are_one_span_for_those_who_served_them() {
    let mut parents = Parents::new(1);
    let first = begun(1, Role::Client, 7, 7, 0);
    let served = begun(2, Role::Server, 8, 8, 0);
    let mut again = begun(3, Role::Client, 7, 7, 5);
    again.connection = first.connection;
    let mut served_again = begun(4, Role::Server, 8, 8, 5);
    served_again.connection = served.connection;
    parents.socket(first.connection, 1, &socket(A, B));
    parents.socket(served.connection, 1, &socket(B, A));
    parents.began(first.clone());
    parents.began(served.clone());
    let one = end(&mut parents, &served);
    // It failed, and its span waits for what comes of the next attempt.
    parents.over(first.exchange, true);
    parents.began(again.clone());
    parents.began(served_again.clone());
    parents.attempt(again.exchange, first.exchange);
    let two = end(&mut parents, &served_again);
    parents.over(again.exchange, true);
    let call = parents.take(&first);
    parents.forget(again.exchange);
    for place in [&one, &two] {
        assert_eq!(place.parent, Some((call.span, Source::Connection)));
        assert_eq!(place.trace, call.trace);
    }
    assert!(parents.nodes.is_empty() && parents.threads.is_empty());
}

/// A process that serves itself: links that go in a circle end somewhere.
#[test]
fn a_circle_has_an_end() {
    let mut parents = Parents::new(1);
    let server = begun(1, Role::Server, 7, 7, 1);
    let client = begun(2, Role::Client, 7, 7, 1);
    parents.socket(client.connection, 1, &socket(A, B));
    parents.socket(server.connection, 1, &socket(B, A));
    parents.began(server.clone());
    parents.began(client.clone());
    let at_server = end(&mut parents, &server);
    let at_client = end(&mut parents, &client);
    assert_eq!(at_server.trace, at_client.trace);
    let mut spans = vec![at_server.parent.map(|p| p.0), at_client.parent.map(|p| p.0)];
    spans.retain(Option::is_some);
    assert_eq!(spans.len(), 1);
}

#[test]
fn a_context_in_the_message_counts_for_both_ends() {
    let mut parents = Parents::new(1);
    let client = begun(1, Role::Client, 7, 7, 0);
    let server = begun(2, Role::Server, 8, 8, 0);
    parents.socket(client.connection, 1, &socket(A, B));
    parents.socket(server.connection, 1, &socket(B, A));
    parents.began(client.clone());
    parents.began(server.clone());
    let at_server = end(&mut parents, &carrying(server, 0xb0b));
    let at_client = end(&mut parents, &carrying(client, 0xb0b));
    assert_eq!((at_server.trace, at_client.trace), (0xace, 0xace));
    assert_eq!(at_client.parent, Some((0xb0b, Source::Traceparent)));
    assert_eq!(at_server.parent, Some((at_client.span, Source::Connection)));
}

#[test]
fn nothing_is_kept_of_what_is_over() {
    let mut parents = Parents::new(1);
    for n in 0..1000 {
        let role = if n % 2 == 0 {
            Role::Client
        } else {
            Role::Server
        };
        let b = begun(n, role, 7, (n % 3) as u32, n);
        parents.socket(b.connection, 1, &socket(A, B));
        parents.began(b.clone());
        if n % 5 == 0 {
            parents.over(b.exchange, false);
        } else {
            end(&mut parents, &b);
        }
        parents.closed(b.connection);
    }
    parents.process_exit(7);
    assert!(parents.nodes.is_empty() && parents.threads.is_empty() && parents.ends.is_empty());
    for n in 0..=MAX_FOLLOWED as u64 {
        parents.began(begun(n, Role::Client, 7, 7, 0));
    }
    assert_eq!((parents.nodes.len(), parents.refused), (MAX_FOLLOWED, 1));
}

/// An event loop of process 7, thread 71, and what it is seen to do.
pub(super) struct Loop {
    pub(super) parents: Parents,
    served: Vec<Begun>,
}

pub(super) const READS: u64 = 0x10;

impl Loop {
    pub(super) fn new() -> Self {
        Self {
            parents: Parents::new(1),
            served: Vec::new(),
        }
    }

    /// A request is read in the loop's context.
    pub(super) fn reads(&mut self, n: u64) -> Begun {
        let served = begun(n, Role::Server, 7, 71, n);
        self.flows(&served, Direction::Read, READS);
        self.parents.lineage().moved(7, 71);
        self.parents.began(served.clone());
        self.served.push(served.clone());
        served
    }

    fn flows(&mut self, of: &Begun, direction: Direction, context: u64) {
        // They are aligned.
        let context = Some(8 * context).filter(|c| *c != 0);
        self.parents
            .lineage()
            .flows(of.connection, direction, context);
    }

    pub(super) fn copies(&mut self, from: u64, to: u64) {
        self.parents.lineage().copied(7, 71, Some(8 * from), 8 * to);
    }

    /// A request is made in a context, or in none.
    pub(super) fn asks(&mut self, n: u64, tid: u32, context: u64) -> Begun {
        let asked = begun(n, Role::Client, 7, tid, n);
        self.flows(&asked, Direction::Write, context);
        self.parents.lineage().moved(7, tid);
        self.parents.began(asked.clone());
        asked
    }

    pub(super) fn answers(&mut self, served: &Begun, context: u64) -> bool {
        self.flows(served, Direction::Write, context);
        self.parents.lineage().moved(7, 71);
        self.parents.answers(served.connection)
    }
}

#[test]
fn a_context_tells_the_request_among_many() {
    let mut l = Loop::new();
    let one = l.reads(1);
    l.copies(READS, 0x20);
    let early = l.asks(2, 71, 0x20);
    // Only an answer proves that contexts are made for requests here.
    assert!(l.parents.awaits(early.exchange));
    assert!(l.answers(&one, 0x20));
    assert!(!l.parents.awaits(early.exchange));
    let two = l.reads(3);
    l.copies(READS, 0x30);
    let three = l.reads(4);
    l.copies(READS, 0x40);
    let in_three = l.asks(5, 71, 0x40);
    // In a thread, with a copy of the copy.
    l.copies(0x30, 0x31);
    let in_two = l.asks(6, 72, 0x31);
    // A thread that no context follows, and the loop itself in none: nobody's, though the
    // loop's thread alone would say that it handles something.
    let lost = l.asks(7, 73, 0);
    let own = l.asks(8, 71, 0);
    let carries = carrying(l.asks(9, 71, 0x40), 0xb0b);
    l.answers(&three, 0x40);
    l.answers(&two, 0x31);
    let carries = end(&mut l.parents, &carries);
    assert_eq!(carries.parent, Some((0xb0b, Source::Traceparent)));
    let places: Vec<Place> = [&early, &in_two, &in_three]
        .map(|b| end(&mut l.parents, b))
        .into();
    for (place, served) in places.iter().zip([&one, &two, &three]) {
        let above = end(&mut l.parents, served);
        assert_eq!(place.parent, Some((above.span, Source::Context)));
        assert_eq!(place.trace, above.trace);
    }
    for nobodys in [&lost, &own] {
        assert_eq!(source(&end(&mut l.parents, nobodys)), None);
    }
    // What is made for a request after its span was told: a background task.
    let late = l.asks(10, 71, 0x30);
    let late = end(&mut l.parents, &late);
    assert_eq!(source(&late), Some(Source::Context));
    assert_eq!(late.trace, places[1].trace);
    // Of processes that are gone nothing is kept.
    l.parents.process_exit(7);
    assert!(l.parents.past.is_empty() && l.parents.waiting.is_empty());
    assert!(l.parents.nodes.is_empty());
}

/// The span of a request that need not wait is told before the request is over on the wire.
#[test]
fn a_request_is_over_after_its_span_was_told() {
    let mut l = Loop::new();
    let served = l.reads(1);
    l.copies(READS, 0x20);
    let asked = l.asks(2, 71, 0x50);
    assert!(l.parents.awaits(asked.exchange));
    l.parents.take(&served);
    // Nothing is open any more that could be the one.
    assert!(l.parents.over(served.exchange, true));
    assert!(!l.parents.awaits(asked.exchange));
    assert_eq!(source(&end(&mut l.parents, &asked)), None);
    assert!(!l.parents.over(served.exchange, true));
}

/// A call that waits has others wait that depend on it: its other end, and another attempt.
#[test]
fn what_depends_on_a_call_that_waits_does_too() {
    let mut l = Loop::new();
    let served = l.reads(1);
    l.copies(READS, 0x20);
    let first = l.asks(2, 71, 0x20);
    let again = l.asks(3, 71, 0x20);
    l.parents.attempt(again.exchange, first.exchange);
    let provider = begun(4, Role::Server, 8, 81, 3);
    l.parents.socket(again.connection, 1, &socket(A, B));
    l.parents.socket(provider.connection, 1, &socket(B, A));
    l.parents.began(provider.clone());
    for b in [&first, &again, &provider] {
        l.parents.over(b.exchange, true);
        assert!(l.parents.awaits_answer(b.exchange), "{b:?}");
    }
    assert!(l.answers(&served, 0x20));
    let chain = [&provider, &first, &served].map(|b| {
        assert!(!l.parents.awaits(b.exchange));
        l.parents.take(b)
    });
    assert_eq!(chain[0].parent.map(|p| p.0), Some(chain[1].span));
    assert_eq!(chain[1].parent, Some((chain[2].span, Source::Context)));
    assert_eq!(chain[0].trace, chain[2].trace);
}

/// What is served and not told is no parent, and its calls are not taken for another's.
#[test]
fn what_is_not_told_is_nobodys_parent() {
    let mut l = Loop::new();
    let one = l.reads(1);
    l.copies(READS, 0x20);
    l.answers(&one, 0x20);
    // One connection, one context, as in aiohttp's server.
    let mut passed = begun(2, Role::Server, 7, 71, 2);
    passed.connection = one.connection;
    l.parents.lineage().moved(7, 71);
    l.parents.passed(&passed);
    let asked = l.asks(3, 71, 0x20);
    assert!(l.parents.awaits(asked.exchange));
    l.answers(&passed, 0x20);
    assert_eq!(source(&end(&mut l.parents, &asked)), None);
    // One that turned out to be nothing that is told.
    let untold = l.reads(4);
    l.copies(READS, 0x40);
    let asked = l.asks(5, 71, 0x40);
    l.answers(&untold, 0x40);
    l.parents.over(untold.exchange, false);
    assert_eq!(source(&end(&mut l.parents, &asked)), None);
}

#[test]
fn what_is_asked_within_a_function_belongs_to_it() {
    let mut parents = Parents::new(1);
    let request = begun(1, Role::Server, 7, 71, 0);
    let function = begun(2, Role::Client, 7, 71, 1);
    let asked = begun(3, Role::Client, 7, 71, 2);
    parents.began(request.clone());
    parents.called(function.clone(), None, (None, None));
    parents.began(asked.clone());
    let elsewhere = begun(4, Role::Client, 7, 72, 2);
    parents.began(elsewhere.clone());
    let below = end(&mut parents, &asked);
    assert_eq!(source(&end(&mut parents, &elsewhere)), None);
    let between = parents.take(&function);
    assert_eq!(below.parent, Some((between.span, Source::Function)));
    // After it the request is what the thread handles.
    let after = begun(5, Role::Client, 7, 71, 3);
    parents.began(after.clone());
    let after = end(&mut parents, &after);
    let above = end(&mut parents, &request);
    assert_eq!(between.parent, Some((above.span, Source::Thread)));
    assert_eq!(after.parent, Some((above.span, Source::Thread)));
    assert_eq!((below.trace, between.trace), (above.trace, above.trace));
    assert!(parents.nodes.is_empty() && parents.threads.is_empty());
}

#[test]
fn a_request_that_began_within_a_function_is_nearer() {
    let mut parents = Parents::new(1);
    let forever = begun(1, Role::Client, 7, 71, 0);
    let request = begun(2, Role::Server, 7, 71, 1);
    let asked = begun(3, Role::Client, 7, 71, 2);
    parents.called(forever.clone(), None, (None, None));
    for b in [&request, &asked] {
        parents.began(b.clone());
    }
    let below = end(&mut parents, &asked);
    let between = end(&mut parents, &request);
    assert_eq!(below.parent, Some((between.span, Source::Thread)));
    // A server's request is nobody's child for the loop that it came to.
    assert_eq!(between.parent, None);
    // Of several at a time nothing is said by the thread, but the function is certain.
    let first = begun(4, Role::Server, 7, 71, 3);
    let second = begun(5, Role::Server, 7, 71, 4);
    let asked = begun(6, Role::Client, 7, 71, 5);
    for b in [&first, &second, &asked] {
        parents.began(b.clone());
    }
    let below = end(&mut parents, &asked);
    let loops = parents.take(&forever);
    assert_eq!(below.parent, Some((loops.span, Source::Function)));
}

/// Where no thread tells, what a function made does.
#[test]
fn a_function_belongs_to_the_request_that_something_in_it_was_made_for() {
    let mut l = Loop::new();
    let one = l.reads(1);
    l.copies(READS, 0x20);
    l.answers(&one, 0x20);
    let two = l.reads(3);
    l.copies(READS, 0x30);
    l.copies(0x30, 0x31);
    // In a pool.
    let outer = begun(4, Role::Client, 7, 72, 4);
    let inner = begun(5, Role::Client, 7, 72, 5);
    let alone = begun(6, Role::Client, 7, 73, 6);
    for function in [&outer, &inner, &alone] {
        l.parents.called(function.clone(), None, (None, None));
    }
    let asked = l.asks(7, 72, 0x31);
    l.answers(&two, 0x30);
    let asked = end(&mut l.parents, &asked);
    let [inner, outer, alone] = [&inner, &outer, &alone].map(|f| l.parents.take(f));
    let two = end(&mut l.parents, &two);
    assert_eq!(asked.parent, Some((inner.span, Source::Function)));
    assert_eq!(inner.parent, Some((outer.span, Source::Function)));
    assert_eq!(outer.parent, Some((two.span, Source::Context)));
    assert_eq!((asked.trace, alone.parent), (two.trace, None));
}

/// A generator or coroutine: what names it stands in the place of its connection.
pub(super) fn coroutine(n: u64, tid: u32) -> Begun {
    let mut coroutine = begun(n, Role::Client, 7, tid, n);
    coroutine.connection.ssl = u64::from(tid);
    coroutine.connection.generation = coroutine.start.0;
    coroutine
}

/// The name of a generator or coroutine that began so.
pub(super) fn name_of(begun: &Begun) -> CallName {
    CallName {
        pid: begun.connection.pid,
        tid: begun.tid,
        began: BootTime(begun.connection.generation),
    }
}

#[test]
fn coroutines_of_one_thread_have_what_is_made_in_them() {
    let mut parents = Parents::new(1);
    let [one, other] = [1, 2].map(|n| coroutine(n, 71));
    for one in [&one, &other] {
        parents.called(one.clone(), Some(name_of(one)), (None, None));
    }
    // One within it, of which a plain function is part; that is what its thread is in.
    let inner = coroutine(3, 71);
    parents.called(
        inner.clone(),
        Some(name_of(&inner)),
        (Some(name_of(&one)), None),
    );
    let plain = begun(4, Role::Client, 7, 71, 4);
    parents.called(plain.clone(), None, (Some(name_of(&inner)), None));
    let below = begun(5, Role::Client, 7, 71, 5);
    parents.began(below.clone());
    let below = end(&mut parents, &below);
    let plain = parents.take(&plain);
    // Told by the kernel, also on another thread; and of nobody.
    let asked = begun(6, Role::Client, 7, 72, 6);
    parents.within(asked.exchange, name_of(&other));
    let nobodys = begun(7, Role::Client, 7, 71, 7);
    for b in [&asked, &nobodys] {
        parents.began(b.clone());
    }
    let asked = end(&mut parents, &asked);
    assert_eq!(source(&end(&mut parents, &nobodys)), None);
    // One that is not known, or not any more, is nobody's parent.
    let late = begun(8, Role::Client, 7, 71, 8);
    let [inner, one, other] = [&inner, &one, &other].map(|f| parents.take(f));
    parents.within(late.exchange, name_of(&coroutine(1, 71)));
    parents.began(late.clone());
    assert_eq!(source(&end(&mut parents, &late)), None);
    for (child, parent) in [(&below, &plain), (&plain, &inner), (&inner, &one)] {
        assert_eq!(child.parent, Some((parent.span, Source::Function)));
    }
    assert_eq!(asked.parent, Some((other.span, Source::Function)));
    assert_eq!((one.parent, other.parent), (None, None));
    assert!(parents.nodes.is_empty() && parents.calls.is_empty());
}

/// In an event loop that serves, a coroutine belongs to no request by its thread, but to the one
/// that something in it was made for.
#[test]
fn a_coroutine_belongs_to_the_request_that_something_in_it_was_made_for() {
    let mut l = Loop::new();
    let first = l.reads(1);
    l.copies(READS, 0x20);
    l.answers(&first, 0x20);
    end(&mut l.parents, &first);
    let request = l.reads(3);
    l.copies(READS, 0x30);
    let [working, silent] = [4, 5].map(|n| coroutine(n, 71));
    for one in [&working, &silent] {
        l.parents
            .called(one.clone(), Some(name_of(one)), (None, None));
    }
    l.parents.within(ExchangeId(6), name_of(&working));
    let asked = l.asks(6, 71, 0x30);
    l.answers(&request, 0x30);
    let asked = end(&mut l.parents, &asked);
    let [working, silent] = [&working, &silent].map(|f| l.parents.take(f));
    let request = end(&mut l.parents, &request);
    assert_eq!(asked.parent, Some((working.span, Source::Function)));
    assert_eq!(working.parent, Some((request.span, Source::Context)));
    assert_eq!(silent.parent, None);
}

#[test]
fn who_lives_long_does_not_remember_all_that_depended_on_him() {
    let mut parents = Parents::new(1);
    let served = begun(1, Role::Server, 7, 71, 0);
    parents.began(served);
    for n in 2..5000 {
        let asked = begun(n, Role::Client, 7, 71, 1);
        parents.began(asked.clone());
        end(&mut parents, &asked);
    }
    let dependents = &parents.nodes[&ExchangeId(1)].dependents;
    assert!(dependents.len() <= MANY_DEPENDENTS, "{}", dependents.len());
}
