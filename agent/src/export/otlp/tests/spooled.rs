//! What the endpoint does not take waits on the disk.

use super::collector::{Answer, Collector, GrpcCollector, Received, free_port, ids_of};
use super::{logged, quick, wait_for};
use crate::export::Exporter as _;
use crate::export::otlp::{Config, Otlp, Protocol, Signal};
use crate::export::spool::Spool;
use crate::export::spool::tests::{Temporary, noise};
use crate::export::test_support::{START, resource, span};
use crate::model::span::{Span, SpanEvent};
use crate::model::time::WallTime;
use crate::vocabulary::event;
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// An exporter with a spool in this directory, as a process has them that was just started.
pub(super) fn start(config: &Config, at: &Temporary) -> Otlp {
    let spool = Spool::open(&at.0, 4 << 20).unwrap();
    let queue = config.queue(&spool).unwrap();
    Otlp::start_with(config.clone(), Some(queue)).unwrap()
}

/// The ids of all spans that arrived, in this order.
pub(super) fn ids(received: &[Received]) -> Vec<u64> {
    received.iter().flat_map(|r| ids_of(&r.request)).collect()
}

pub(super) fn one(id: u64) -> Span {
    span(id, vec![], resource("shop", 1))
}

pub(super) fn waiting(otlp: &Otlp) -> u64 {
    otlp.stats().disk.unwrap().items
}

/// Spans are made while nobody is there, the agent is restarted, more are made, then somebody is
/// there: all arrive, once, in order.
fn over_a_restart(
    protocol: Protocol,
    start_at: impl FnOnce(u16) -> Box<dyn Fn() -> Vec<Received>>,
) {
    let (at, port) = (Temporary::new(), free_port());
    let config = Config {
        max_batch: 10,
        // Not one of these is in memory for want of time.
        unreachable_timeout: Duration::from_millis(1),
        ..quick(protocol, port)
    };
    let log = logged(|_| {
        let mut otlp = start(&config, &at);
        for id in 1..=25 {
            otlp.span(&one(id)).unwrap();
        }
        otlp.force_flush(Duration::from_secs(10)).unwrap();
        for id in 26..=30 {
            otlp.span(&one(id)).unwrap();
        }
        // Lost is nothing, and nobody waits.
        let begun = Instant::now();
        otlp.shutdown(&[]).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(3));
        assert_eq!(waiting(&otlp), 30);
        drop(otlp);

        let mut otlp = start(&config, &at);
        assert_eq!(waiting(&otlp), 30);
        for id in 31..=35 {
            otlp.span(&one(id)).unwrap();
        }
        wait_for("on the disk", || waiting(&otlp) == 35);
        let received = start_at(port);
        wait_for("delivered", || otlp.stats().exported == 35);
        // And now the direct way.
        otlp.span(&one(36)).unwrap();
        otlp.shutdown(&[]).unwrap();
        assert_eq!(ids(&received()), (1..=36).collect::<Vec<_>>());
        let stats = otlp.stats();
        let disk = stats.disk.unwrap();
        assert_eq!((disk.items, disk.bytes, disk.written), (0, 0, 5));
        assert_eq!((stats.undelivered(), stats.dropped_queue_full), (0, 0));
    });
    assert!(
        log.contains("spans wait on the disk until it comes back"),
        "{log}"
    );
    assert!(log.contains("30 spans for "), "{log}");
    assert!(
        log.contains(" stay on the disk for the next start"),
        "{log}"
    );
}

#[test]
fn all_arrive_once_after_a_restart_over_http() {
    over_a_restart(Protocol::HttpProtobuf, |port| {
        let collector = Collector::start_at(port, vec![]);
        Box::new(move || collector.received())
    });
}

#[test]
fn all_arrive_once_after_a_restart_over_grpc() {
    over_a_restart(Protocol::Grpc, |port| {
        let collector = GrpcCollector::start(port);
        Box::new(move || collector.received())
    });
}

#[test]
fn what_is_refused_from_the_disk_goes_and_what_is_busy_stays() {
    let answer = |status| Answer {
        status,
        headers: "",
        body: vec![],
    };
    let script = [
        "503 Service Unavailable",
        "429 Too Many Requests",
        "400 Bad Request",
    ];
    let collector = Collector::start(script.map(answer).into());
    let at = Temporary::new();
    let config = quick(Protocol::HttpProtobuf, collector.port);
    logged(|_| {
        let mut otlp = start(&config, &at);
        // Directly, from the disk, and from the disk for the last time.
        otlp.span(&one(1)).unwrap();
        wait_for("refused", || otlp.stats().dropped_refused == 1);
        otlp.span(&one(2)).unwrap();
        wait_for("delivered", || otlp.stats().exported == 1);
        otlp.shutdown(&[]).unwrap();
        let stats = otlp.stats();
        assert_eq!((stats.dropped_refused, stats.export_errors), (1, 3));
        assert_eq!(stats.disk.unwrap().written, 1);
        assert_eq!(waiting(&otlp), 0);
    });
    assert_eq!(ids(&collector.received()), [1, 1, 1, 2]);
}

#[test]
fn a_full_disk_drops_the_oldest_and_counts_them() {
    let (at, port) = (Temporary::new(), free_port());
    let config = Config {
        max_batch: 1,
        ..quick(Protocol::HttpProtobuf, port)
    };
    let log = logged(|_| {
        let mut otlp = start(&config, &at);
        // Of 64 letters, so that three quarters of it stay.
        let text = noise(0, 1_500_000).into_iter();
        let text: String = text.map(|byte| char::from(b'0' + byte % 64)).collect();
        for id in 1..=5 {
            let mut large = one(id);
            large.name.clone_from(&text);
            otlp.span(&large).unwrap();
        }
        otlp.force_flush(Duration::from_secs(10)).unwrap();
        // Four MiB hold three of these; the oldest may have been on its way, and then the second went.
        assert_eq!(waiting(&otlp), 3);
        assert_eq!(otlp.stats().disk.unwrap().dropped_full, 2);
        let collector = Collector::start_at(port, vec![]);
        wait_for("delivered", || otlp.stats().exported == 3);
        assert_eq!(ids(&collector.received())[1..], [4, 5]);
        otlp.shutdown(&[]).unwrap();
        assert_eq!(otlp.status().dropped.spool_full, 2);
    });
    assert_eq!(log.matches("the spool is full (4 MiB)").count(), 1, "{log}");
}

#[test]
fn one_that_does_not_answer_holds_nothing_up() {
    // Accepts connections and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = Temporary::new();
    let config = Config {
        shutdown_timeout: Duration::from_millis(300),
        ..quick(
            Protocol::HttpProtobuf,
            listener.local_addr().unwrap().port(),
        )
    };
    logged(|_| {
        let mut otlp = start(&config, &at);
        otlp.span(&one(1)).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        otlp.span(&one(2)).unwrap();
        let begun = Instant::now();
        otlp.shutdown(&[]).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert_eq!(waiting(&otlp), 2);
    });
    drop(listener);
}

/// More comes than the queue has room for, while a request waits for its answer.
#[test]
fn what_comes_while_one_does_not_answer_goes_to_the_disk() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = Temporary::new();
    let config = Config {
        shutdown_timeout: Duration::from_millis(300),
        // Half of it is more than comes while this thread waits for the disk of a busy machine.
        max_queue: 512,
        max_batch: 16,
        unsafe_time: Duration::from_secs(60),
        ..quick(
            Protocol::HttpProtobuf,
            listener.local_addr().unwrap().port(),
        )
    };
    logged(|_| {
        let mut otlp = start(&config, &at);
        for id in 1..=1000 {
            otlp.span(&one(id)).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        // The first request is still on its way: its time is five seconds.
        wait_for("on the disk", || waiting(&otlp) > 700);
        assert!(waiting(&otlp) < 1000);
        otlp.shutdown(&[]).unwrap();
        assert_eq!(waiting(&otlp), 1000);
        assert_eq!(otlp.status().dropped.queue_full, 0);
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let collector = Collector::start_at(port, vec![]);
        let otlp = start(&config, &at);
        wait_for("delivered", || otlp.stats().exported == 1000);
        let mut all = ids(&collector.received());
        all.sort_unstable();
        assert_eq!(all, (1..=1000).collect::<Vec<_>>());
    });
}

#[test]
fn events_have_a_queue_of_their_own() {
    let (at, port) = (Temporary::new(), free_port());
    let spans = quick(Protocol::HttpProtobuf, port);
    let events = Config {
        signal: Signal::Logs,
        endpoint: spans.endpoint.replace("/v1/traces", "/v1/logs"),
        ..spans.clone()
    };
    let mut call = one(1);
    for n in 0..2 {
        call.events.push(SpanEvent {
            name: Cow::Borrowed(event::OPERATION_DETAILS),
            time: WallTime(START + n),
            attributes: vec![],
        });
    }
    logged(|_| {
        let spool = Spool::open(&at.0, 4 << 20).unwrap();
        let mut both = [&spans, &events].map(|config| {
            let queue = config.queue(&spool).unwrap();
            Otlp::start_with(config.clone(), Some(queue)).unwrap()
        });
        drop(spool);
        for otlp in &mut both {
            otlp.span(&call).unwrap();
        }
        wait_for("on the disk", || both.each_ref().map(waiting) == [1, 2]);
        let collector = Collector::start_at(port, vec![]);
        wait_for("delivered", || {
            both.iter().all(|otlp| otlp.stats().exported > 0)
        });
        for otlp in &mut both {
            otlp.shutdown(&[]).unwrap();
        }
        assert_eq!(both.each_ref().map(|o| o.stats().exported), [1, 2]);
        let received = collector.received();
        assert_eq!(received.len(), 2);
        let records = received.iter().filter_map(|r| r.logs.as_ref());
        let records = records.flat_map(|l| &l.resource_logs[0].scope_logs[0].log_records);
        assert_eq!(records.count(), 2);
    });
}
