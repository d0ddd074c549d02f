//! The exporting thread: collects batches and delivers them, or leaves them on the disk.

use super::config::Config;
use super::counters::{Counters, add};
use super::disk::Disk;
use super::encode::{Encoder, Outgoing, cut};
use super::health::Health;
use super::post::{Backoff, Outcome, Post};
use crate::model::span::Span;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// An endpoint that was not reachable before the exit gets this long at the exit.
pub(super) const LAST_CHANCE: Duration = Duration::from_secs(1);

/// How often it is seen whether the queue fills while an endpoint takes its time.
const LOOK: Duration = Duration::from_millis(20);

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
    pub(super) config: Config,
    pub(super) health: Arc<Health>,
    pub(super) counters: Arc<Counters>,
    pub(super) post: Post,
    /// Set once.
    pub(super) exit: watch::Receiver<Option<Exit>>,
}

/// The thread's state.
pub(super) struct Worker {
    pub(super) spans: mpsc::Receiver<Queued>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) encoder: Encoder,
    pub(super) delivery: Arc<Delivery>,
    /// Where batches go that cannot be delivered now, if there is such a place.
    pub(super) disk: Option<Arc<Disk>>,
}

enum Wake {
    Due,
    Flush(std::sync::mpsc::Sender<()>),
    Closed,
}

impl Worker {
    /// Works until the queue's other end is gone and everything is delivered or given up, or on the
    /// disk.
    pub(super) async fn run(mut self) {
        let catching_up = self.disk.clone().map(|d| tokio::spawn(d.catch_up()));
        loop {
            let mut batch = Vec::new();
            match self.collect(&mut batch).await {
                Wake::Due => self.export_watching(batch).await,
                Wake::Flush(done) => {
                    self.drain(batch).await;
                    // Nobody waits any more when the deadline of the flush has passed.
                    let _ = done.send(());
                }
                Wake::Closed => {
                    self.drain(batch).await;
                    break;
                }
            }
        }
        if let (Some(task), Some(disk)) = (catching_up, &self.disk) {
            // It ends by itself at the exit.
            let _ = task.await;
            disk.leave();
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

    /// Exports a batch. While the endpoint takes its time, what comes waits in the queue; where there is a
    /// place on the disk, it goes there before the queue is full, so that an endpoint that does not answer
    /// costs nothing for which there is room there, and again and again after some time, so that this
    /// process can be killed at any moment and little is lost.
    async fn export_watching(&mut self, batch: Vec<Span>) {
        let Some(disk) = self.disk.clone() else {
            return self.export(batch).await;
        };
        let mut kept = Instant::now();
        for part in cut(batch) {
            let mut take = pin!(disk.take(self.encoder.encode(part)));
            loop {
                tokio::select! {
                    biased;
                    () = &mut take => break,
                    () = sleep(LOOK) => {}
                }
                if kept.elapsed() >= self.delivery.config.unsafe_time {
                    kept = Instant::now();
                    // Not what comes while this goes on.
                    for _ in 0..self.spans.len().div_ceil(self.delivery.config.max_batch) {
                        self.keep_some(&disk);
                    }
                }
                while self.is_crowded() && self.keep_some(&disk) {}
            }
        }
        self.shared.told_full.store(false, Ordering::Relaxed);
    }

    /// Puts a batch from the queue on the disk; whether there was one.
    fn keep_some(&mut self, disk: &Disk) -> bool {
        let most = self.delivery.config.max_batch;
        let queued = std::iter::from_fn(|| self.spans.try_recv().ok()).take(most);
        let batch: Vec<Span> = queued.map(|one| taken(&self.shared, one)).collect();
        let is_some = !batch.is_empty();
        for part in cut(batch) {
            disk.keep(&self.encoder.encode(part));
        }
        is_some
    }

    /// Whether half of the room in the queue is taken.
    fn is_crowded(&self) -> bool {
        let config = &self.delivery.config;
        let bytes = self.shared.queued_bytes.load(Ordering::Relaxed);
        self.spans.len() > config.max_queue / 2 || bytes > config.max_queue_bytes / 2
    }

    async fn export(&self, batch: Vec<Span>) {
        for part in cut(batch) {
            let request = self.encoder.encode(part);
            match &self.disk {
                Some(disk) => disk.take(request).await,
                None => self.delivery.deliver(request).await,
            }
        }
        if self.disk.is_some() || self.delivery.health.is_well() {
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

impl Delivery {
    /// Delivers a request, again and again if need be, for as long as it may take.
    async fn deliver(&self, request: Outgoing) {
        let started = Instant::now();
        let mut exit = self.exit.clone();
        // The pause between two attempts may be long; the exit begins afresh, once.
        let mut exiting = exit.borrow_and_update().is_some();
        let mut backoff = Backoff::new(&self.config);
        loop {
            let mut attempt = pin!(self.post.send(request.body.clone()));
            let outcome = loop {
                tokio::select! {
                    outcome = &mut attempt => break Some(outcome),
                    Ok(()) = exit.changed(), if !exiting => {
                        exiting = true;
                        if !self.health.is_well() {
                            break None;
                        }
                    }
                    () = self.past(started) => return self.give_up(&request, started),
                }
            };
            let after = match outcome {
                None => continue,
                Some(Outcome::Taken { rejected }) => return self.taken(request.items, rejected),
                // Here is no room for what might be taken once somebody has mended something.
                Some(Outcome::Refused { why } | Outcome::Held { why }) => {
                    return self.refused(request.items, &why);
                }
                Some(Outcome::Later { after, why }) => {
                    tracing::debug!("OTLP: not taken for now: {why}");
                    after
                }
            };
            tokio::select! {
                () = sleep(backoff.pause(after)) => {}
                Ok(()) = exit.changed(), if !exiting => {
                    exiting = true;
                    backoff.reset();
                }
                () = self.past(started) => return self.give_up(&request, started),
            }
        }
    }

    /// Ends when a delivery that was begun then is given up. What bounds it may change meanwhile.
    async fn past(&self, started: Instant) {
        loop {
            let limit = self.limit(started);
            sleep_until(limit).await;
            if limit >= self.limit(started) {
                return;
            }
        }
    }

    fn limit(&self, started: Instant) -> Instant {
        let unreachable = self.health.is_unreachable();
        let exit = *self.exit.borrow();
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

    /// A request was acknowledged.
    pub(super) fn taken(&self, items: u64, rejected: u64) {
        add(&self.counters.exported, items);
        add(&self.counters.rejected, rejected);
        self.health.delivered();
    }

    /// A request will never be taken.
    pub(super) fn refused(&self, items: u64, why: &str) {
        add(&self.counters.dropped_refused, items);
        let what = self.config.signal.what();
        tracing::debug!("OTLP: {items} {what} dropped: {why}");
    }

    fn give_up(&self, request: &Outgoing, started: Instant) {
        let after = started.elapsed();
        let items = request.items;
        add(&self.counters.dropped_after_retries, items);
        let what = self.config.signal.what();
        tracing::debug!("OTLP: {items} {what} dropped after {after:.1?} of retries");
        if !self.health.is_unreachable() {
            self.health
                .failing(&format!("no export succeeded within {after:.1?}"));
        }
    }
}
