//! What an endpoint refuses for what it is itself stays on the disk; and little is in memory alone.

use super::collector::{Collector, GrpcCollector, free_port};
use super::spooled::{ids, one, start, waiting};
use super::{logged, quick, wait_for};
use crate::export::Exporter as _;
use crate::export::otlp::{Config, Otlp, Protocol};
use crate::export::spool::tests::Temporary;
use crate::export::status::Reach;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tonic::Code;

/// Settings with short pauses.
fn held(protocol: Protocol, port: u16) -> Config {
    Config {
        held_initial: Duration::from_millis(20),
        held_max: Duration::from_millis(60),
        ..quick(protocol, port)
    }
}

/// Spans one after the other, so that each is a batch.
fn each(otlp: &mut Otlp, range: std::ops::RangeInclusive<u64>) {
    for id in range {
        otlp.span(&one(id)).unwrap();
        otlp.force_flush(Duration::from_secs(10)).unwrap();
    }
}

#[test]
fn a_wrong_token_or_path_loses_nothing() {
    for (status, said) in [
        (
            "401 Unauthorized",
            "it answers 401 Unauthorized (credentials go into",
        ),
        (
            "403 Forbidden",
            "it answers 403 Forbidden (credentials go into",
        ),
        (
            "404 Not Found",
            "it answers 404 Not Found (is this the right path",
        ),
        ("302 Found", "it answers 302 Found (it is somewhere else"),
        (
            "500 Internal Server Error",
            "it answers 500 Internal Server Error",
        ),
    ] {
        let collector = Collector::start(vec![]);
        collector.refuse(status, None);
        let at = Temporary::new();
        let log = logged(|_| {
            let mut otlp = start(&held(Protocol::HttpProtobuf, collector.port), &at);
            each(&mut otlp, 1..=5);
            wait_for("several attempts", || collector.received().len() > 8);
            let status = otlp.status();
            assert_eq!((waiting(&otlp), status.dropped.refused), (5, 0));
            assert_eq!(status.state, Reach::Failing);
            let problem = status.problem.unwrap();
            assert!(problem.starts_with(said), "{problem}");
            collector.accept();
            let before = collector.received().len();
            wait_for("delivered", || otlp.stats().exported == 5);
            otlp.shutdown(&[]).unwrap();
            assert_eq!(ids(&collector.received()[before..]), [1, 2, 3, 4, 5]);
            assert_eq!(otlp.status().problem, None);
        });
        let told = format!("refuses everything: {said}");
        assert!(
            log.contains(&told) && log.contains("wait on the disk"),
            "{log}"
        );
    }
}

#[test]
fn a_wrong_token_over_grpc_loses_nothing() {
    for code in [Code::Unauthenticated, Code::Unimplemented] {
        let collector = GrpcCollector::start(free_port());
        collector.refuse(Some(code));
        let at = Temporary::new();
        logged(|_| {
            let mut otlp = start(&held(Protocol::Grpc, collector.port), &at);
            each(&mut otlp, 1..=3);
            wait_for("several attempts", || collector.received().len() > 8);
            assert_eq!(waiting(&otlp), 3);
            collector.refuse(None);
            wait_for("delivered", || otlp.stats().exported == 3);
            otlp.shutdown(&[]).unwrap();
            assert_eq!(otlp.status().dropped.refused, 0);
        });
    }
}

/// As a gateway does that does not like what stands in a message.
#[test]
fn a_batch_that_is_refused_alone_holds_up_no_others() {
    let collector = Collector::start(vec![]);
    collector.refuse("403 Forbidden", Some(2));
    let at = Temporary::new();
    logged(|_| {
        let mut otlp = start(&held(Protocol::HttpProtobuf, collector.port), &at);
        each(&mut otlp, 1..=4);
        wait_for("delivered", || otlp.stats().exported == 3);
        let status = otlp.status();
        assert_eq!((waiting(&otlp), status.dropped.refused), (0, 1));
        // The last one, with nothing behind it that could show it, stays.
        collector.refuse("403 Forbidden", Some(6));
        each(&mut otlp, 5..=6);
        wait_for("delivered", || otlp.stats().exported == 4);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!((waiting(&otlp), otlp.status().dropped.refused), (1, 1));
        otlp.shutdown(&[]).unwrap();
    });
}

#[test]
fn without_a_disk_it_is_final() {
    let collector = Collector::start(vec![]);
    collector.refuse("401 Unauthorized", None);
    logged(|_| {
        let mut otlp = Otlp::start(held(Protocol::HttpProtobuf, collector.port)).unwrap();
        each(&mut otlp, 1..=2);
        otlp.shutdown(&[]).unwrap();
        assert_eq!(otlp.status().dropped.refused, 2);
    });
    assert_eq!(ids(&collector.received()), [1, 2]);
}

/// Accepts connections and never answers.
#[test]
fn what_is_not_answered_soon_is_on_the_disk() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = Temporary::new();
    let config = Config {
        unsafe_time: Duration::from_millis(50),
        shutdown_timeout: Duration::from_millis(300),
        ..held(
            Protocol::HttpProtobuf,
            listener.local_addr().unwrap().port(),
        )
    };
    logged(|_| {
        let mut otlp = start(&config, &at);
        let begun = Instant::now();
        otlp.span(&one(1)).unwrap();
        wait_for("the request is there", || waiting(&otlp) == 1);
        otlp.span(&one(2)).unwrap();
        wait_for("what came meanwhile too", || waiting(&otlp) == 2);
        // Long before the request is given up.
        assert!(begun.elapsed() < config.timeout / 2);
        otlp.shutdown(&[]).unwrap();
        assert_eq!(waiting(&otlp), 2);
    });
}

#[test]
fn a_slow_one_gets_each_once() {
    let collector = Collector::start(vec![]);
    collector.take_long(Duration::from_millis(150));
    let at = Temporary::new();
    let config = Config {
        unsafe_time: Duration::from_millis(20),
        ..held(Protocol::HttpProtobuf, collector.port)
    };
    logged(|_| {
        let mut otlp = start(&config, &at);
        for id in 1..=20 {
            otlp.span(&one(id)).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        wait_for("delivered", || otlp.stats().exported == 20);
        let disk = otlp.stats().disk.unwrap();
        assert!(disk.written > 10 && disk.items == 0, "{disk:?}");
        otlp.shutdown(&[]).unwrap();
    });
    let mut all = ids(&collector.received());
    all.sort_unstable();
    assert_eq!(all, (1..=20).collect::<Vec<_>>());
}

#[test]
fn with_a_disk_spans_wait_no_longer_than_a_second() {
    let of = |set: Option<&str>| {
        let env = |name: &str| match name {
            "OTEL_BSP_SCHEDULE_DELAY" => set.map(str::to_owned),
            _ => None,
        };
        let config = Config::resolve(Some("http://localhost:4318"), None, &env);
        let config = config.unwrap().unwrap();
        let before = config.schedule_delay.as_millis();
        (before, config.with_disk().schedule_delay.as_millis())
    };
    assert_eq!(of(None), (5000, 1000));
    assert_eq!(of(Some("200")), (200, 200));
    // Who says so knows why.
    assert_eq!(of(Some("8000")), (8000, 8000));
}
