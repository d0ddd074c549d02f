//! The exporting thread: collects batches, groups them by process, delivers them.

use super::config::{Config, Signal};
use super::convert;
use super::counters::{Counters, add};
use super::health::Health;
use super::transport::{Sender, Transport};
use crate::model::span::{Resource, Span};
use opentelemetry::InstrumentationScope;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Exports of different resources that run at the same time.
const CONCURRENT: usize = 8;
/// An endpoint that was not reachable before the exit gets this long at the exit.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// A span that waits, and what it counts for.
pub(super) struct Queued {
    /// Boxed, so that the queue's blocks stay small.
    pub(super) span: Box<Span>,
    pub(super) weight: usize,
}

/// A wish of the exporter's owner.
pub(super) enum Command {
    /// Send what is waiting, then answer.
    Flush(std::sync::mpsc::Sender<()>),
}

/// What the thread and its owner both see.
pub(super) struct Shared {
    pub(super) counters: Arc<Counters>,
    /// Weight of the spans that wait.
    pub(super) queued_bytes: AtomicUsize,
    /// The user was told of the full queue.
    pub(super) told_full: AtomicBool,
}

/// The exit, once it has begun.
#[derive(Clone, Copy)]
pub(super) struct Exit {
    pub(super) begun: Instant,
    /// The moment when everything must be over.
    pub(super) end: Instant,
}

/// What a delivery needs to know; one for all of them.
pub(super) struct Delivery {
    config: Config,
    health: Arc<Health>,
    counters: Arc<Counters>,
    scope: InstrumentationScope,
    /// Set once.
    exit: watch::Receiver<Option<Exit>>,
}

/// The thread's state.
pub(super) struct Worker {
    spans: mpsc::Receiver<Queued>,
    commands: mpsc::UnboundedReceiver<Command>,
    shared: Arc<Shared>,
    transport: Transport,
    delivery: Arc<Delivery>,
}

enum Wake {
    Due,
    Flush(std::sync::mpsc::Sender<()>),
    Closed,
}

impl Worker {
    pub(super) fn new(
        spans: mpsc::Receiver<Queued>,
        commands: mpsc::UnboundedReceiver<Command>,
        shared: Arc<Shared>,
        transport: Transport,
        delivery: Delivery,
    ) -> Self {
        Self {
            spans,
            commands,
            shared,
            transport,
            delivery: Arc::new(delivery),
        }
    }

    /// Works until the queue's other end is gone and everything is delivered or given up.
    pub(super) async fn run(mut self) {
        loop {
            let mut batch = Vec::new();
            match self.collect(&mut batch).await {
                Wake::Due => self.export(batch).await,
                Wake::Flush(done) => {
                    self.drain(batch).await;
                    // Nobody waits any more when the deadline of the flush has passed.
                    let _ = done.send(());
                }
                Wake::Closed => {
                    self.drain(batch).await;
                    return;
                }
            }
        }
    }

    /// Waits for a batch: without a timer while there is nothing, then up to the delay.
    async fn collect(&mut self, batch: &mut Vec<Span>) -> Wake {
        let config = &self.delivery.config;
        let mut due = pin!(sleep(Duration::ZERO));
        loop {
            tokio::select! {
                biased;
                Some(Command::Flush(done)) = self.commands.recv() => return Wake::Flush(done),
                () = &mut due, if !batch.is_empty() => return Wake::Due,
                queued = self.spans.recv() => {
                    let Some(queued) = queued else { return Wake::Closed };
                    if batch.is_empty() {
                        due.as_mut().reset(Instant::now() + config.schedule_delay);
                    }
                    batch.push(taken(&self.shared, queued));
                    if batch.len() >= config.max_batch {
                        return Wake::Due;
                    }
                }
            }
        }
    }

    /// Exports what is at hand and all that waits at this moment.
    async fn drain(&mut self, mut batch: Vec<Span>) {
        let mut left = self.spans.len();
        loop {
            while left > 0 && batch.len() < self.delivery.config.max_batch {
                left -= 1;
                match self.spans.try_recv() {
                    Ok(queued) => batch.push(taken(&self.shared, queued)),
                    Err(_) => left = 0,
                }
            }
            if batch.is_empty() {
                return;
            }
            self.export(std::mem::take(&mut batch)).await;
        }
    }

    async fn export(&mut self, batch: Vec<Span>) {
        let mut groups = by_resource(batch).into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < CONCURRENT {
                let Some((resource, spans)) = groups.next() else {
                    break;
                };
                match self.transport.exporter(&resource) {
                    Ok(exporter) => {
                        let delivery = Arc::clone(&self.delivery);
                        running.spawn(async move { delivery.deliver(&exporter, &spans).await });
                    }
                    Err(error) => {
                        let counters = &self.shared.counters;
                        add(&counters.dropped_refused, self.delivery.count(&spans));
                        self.delivery.health.failing(&error.to_string());
                    }
                }
            }
            if running.join_next().await.is_none() {
                break;
            }
        }
        if self.delivery.health.is_well() {
            self.shared.told_full.store(false, Ordering::Relaxed);
        }
    }
}

fn taken(shared: &Shared, queued: Queued) -> Span {
    shared
        .queued_bytes
        .fetch_sub(queued.weight, Ordering::Relaxed);
    *queued.span
}

fn by_resource(batch: Vec<Span>) -> Vec<(Arc<Resource>, Vec<Span>)> {
    let mut groups: Vec<(Arc<Resource>, Vec<Span>)> = Vec::new();
    for span in batch {
        let known = groups
            .iter_mut()
            .find(|(r, _)| Arc::ptr_eq(r, &span.resource));
        match known {
            Some((_, spans)) => spans.push(span),
            None => groups.push((Arc::clone(&span.resource), vec![span])),
        }
    }
    groups
}

impl Delivery {
    pub(super) fn new(
        config: Config,
        health: Arc<Health>,
        counters: &Arc<Counters>,
        exit: watch::Receiver<Option<Exit>>,
    ) -> Self {
        Self {
            config,
            health,
            counters: Arc::clone(counters),
            scope: convert::scope(),
            exit,
        }
    }

    /// Exports one process's spans; the crate beneath retries, this bounds it.
    async fn deliver(&self, exporter: &Sender, spans: &[Span]) {
        let count = self.count(spans);
        let started = Instant::now();
        let mut exit = self.exit.clone();
        // The wait between two retries is long; at the exit each export is begun afresh.
        let mut exiting = exit.borrow_and_update().is_some();
        'attempt: loop {
            let mut export = pin!(exporter.send(spans, &self.scope, self.config.span_events));
            loop {
                let limit = self.limit(started, *exit.borrow());
                tokio::select! {
                    result = &mut export => {
                        match result {
                            Ok(()) => {
                                add(&self.counters.exported, count);
                                self.health.delivered();
                            }
                            Err(error) => self.refused(count, &error.to_string()),
                        }
                        return;
                    }
                    Ok(()) = exit.changed(), if !exiting => {
                        exiting = true;
                        if !self.health.is_well() {
                            continue 'attempt;
                        }
                    }
                    () = sleep_until(limit) => {
                        if limit < self.limit(started, *exit.borrow()) {
                            continue;
                        }
                        self.give_up(count, started.elapsed());
                        return;
                    }
                }
            }
        }
    }

    /// How many items these are.
    fn count(&self, spans: &[Span]) -> u64 {
        let count = match self.config.signal {
            Signal::Logs => spans.iter().map(|s| s.events.len()).sum(),
            Signal::Traces | Signal::Metrics => spans.len(),
        };
        count as u64
    }

    fn limit(&self, started: Instant, exit: Option<Exit>) -> Instant {
        let unreachable = self.health.is_unreachable();
        if let Some(Exit { begun, end }) = exit {
            return if unreachable {
                end.min(begun + LAST_CHANCE)
            } else {
                end
            };
        }
        started
            + if unreachable {
                self.config.unreachable_timeout
            } else {
                self.config.export_timeout
            }
    }

    fn refused(&self, count: u64, error: &str) {
        add(&self.counters.dropped_refused, count);
        let error = error
            .trim_start_matches("Operation failed: ")
            .trim_start_matches("TonicTracesClient ")
            .trim_start_matches("TonicLogsClient ");
        let what = self.config.signal.what();
        tracing::debug!("OTLP: {count} {what} dropped: {error}");
        if self.config.protocol == super::Protocol::Grpc {
            add(&self.counters.export_errors, 1);
            self.health.failing(error);
        }
    }

    fn give_up(&self, count: u64, after: Duration) {
        add(&self.counters.dropped_after_retries, count);
        let what = self.config.signal.what();
        tracing::debug!("OTLP: {count} {what} dropped after {after:.1?} of retries");
        if !self.health.is_unreachable() {
            self.health
                .failing(&format!("no export succeeded within {after:.1?}"));
        }
    }
}
