//! Delivery with a queue on the disk: what the endpoint does not take goes there, behind what is
//! there already, and a task of its own brings it to the endpoint, the oldest first.

use super::encode::Outgoing;
use super::post::{Backoff, Outcome};
use super::worker::{Delivery, Exit, LAST_CHANCE};
use crate::export::spool::{Batch, Queue};
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// A queue on the disk, and how it is emptied.
pub(super) struct Disk {
    delivery: Arc<Delivery>,
    queue: Queue,
    /// Something was put in.
    more: Notify,
}

impl Disk {
    pub(super) fn new(delivery: Arc<Delivery>, queue: Queue) -> Self {
        let waiting = queue.counts().standing();
        if waiting.items > 0 {
            let what = delivery.config.signal.what();
            let endpoint = &delivery.config.endpoint;
            let items = waiting.items;
            tracing::info!("{items} {what} for {endpoint} were left on the disk and are sent now");
        }
        Self {
            delivery,
            queue,
            more: Notify::new(),
        }
    }

    /// Delivers a request at once if nothing waits before it, or else puts it on the disk.
    pub(super) async fn take(&self, request: Outgoing) {
        let delivery = &self.delivery;
        if self.queue.is_empty() && (delivery.health.is_well() || !delivery.is_exiting()) {
            let mut exit = delivery.exit.clone();
            let outcome = tokio::select! {
                outcome = delivery.post.send(request.body.clone()) => outcome,
                () = end(&mut exit, |exit| exit.end) => Outcome::Later {
                    why: "no answer before the exit".to_owned(),
                    after: None,
                },
            };
            match outcome {
                Outcome::Taken { rejected } => return delivery.taken(request.items, rejected),
                Outcome::Refused { why } => return delivery.refused(request.items, &why),
                Outcome::Later { why, .. } => tracing::debug!("OTLP: to the disk: {why}"),
            }
        }
        self.keep(&request);
    }

    /// Puts a request on the disk.
    pub(super) fn keep(&self, request: &Outgoing) {
        // What is lost here is counted and told there.
        if self.queue.push(request.items, &request.body).is_ok() {
            self.more.notify_one();
        }
    }

    /// Delivers what is on the disk, until the exit.
    pub(super) async fn catch_up(self: Arc<Self>) {
        let mut exit = self.delivery.exit.clone();
        let mut backoff = Backoff::new(&self.delivery.config);
        while !self.delivery.is_exiting() {
            let Some(batch) = self.queue.oldest() else {
                tokio::select! {
                    () = self.more.notified() => continue,
                    _ = exit.wait_for(Option::is_some) => return,
                }
            };
            let pause = match self.attempt(batch, &mut exit).await {
                Some(Outcome::Later { after, .. }) => backoff.pause(after),
                Some(Outcome::Taken { .. } | Outcome::Refused { .. }) => {
                    backoff.reset();
                    continue;
                }
                None => return,
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = exit.wait_for(Option::is_some) => return,
            }
        }
    }

    /// One attempt, which the exit cuts short.
    async fn attempt(
        &self,
        batch: Batch,
        exit: &mut watch::Receiver<Option<Exit>>,
    ) -> Option<Outcome> {
        let delivery = &self.delivery;
        let Batch {
            sequence,
            items,
            body,
        } = batch;
        let mut attempt = pin!(delivery.post.send(body.into()));
        let outcome = tokio::select! {
            outcome = &mut attempt => Some(outcome),
            // It may be on its way, and would be delivered a second time.
            () = end(exit, |exit| exit.end.min(exit.begun + LAST_CHANCE)) => None,
        };
        match &outcome {
            Some(Outcome::Taken { rejected }) => {
                self.queue.remove(sequence);
                delivery.taken(items, *rejected);
            }
            Some(Outcome::Refused { why }) => {
                self.queue.remove(sequence);
                delivery.refused(items, why);
            }
            Some(Outcome::Later { .. }) | None => self.queue.release(),
        }
        outcome
    }

    /// Says what stays.
    pub(super) fn leave(&self) {
        let items = self.queue.counts().standing().items;
        if items > 0 {
            let what = self.delivery.config.signal.what();
            let endpoint = &self.delivery.config.endpoint;
            tracing::warn!("{items} {what} for {endpoint} stay on the disk for the next start");
        }
    }
}

impl Delivery {
    fn is_exiting(&self) -> bool {
        self.exit.borrow().is_some()
    }
}

/// Waits for the exit, and then for that moment of it.
async fn end(exit: &mut watch::Receiver<Option<Exit>>, moment: fn(Exit) -> Instant) {
    let begun = exit.wait_for(Option::is_some).await.ok().and_then(|e| *e);
    match begun {
        Some(exit) => sleep_until(moment(exit)).await,
        // The owner is gone without a word: nobody waits.
        None => pending().await,
    }
}
