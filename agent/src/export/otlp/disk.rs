//! Delivery with a queue on the disk: what the endpoint does not take goes there, behind what is
//! there already, and a task of its own brings it to the endpoint, the oldest first.
//!
//! An answer that OTLP calls final, and that tells of the endpoint and not of the request (a token that
//! is wrong, a path that does not exist, something broken), is not final here: there is room, and
//! somebody will mend it. Then the endpoint is asked again, with ever longer pauses, and everything
//! stays. That an answer is meant for one batch alone, whatever it says, shows when the next one is
//! taken: then that one is dropped, so that it holds up no others.

use super::encode::Outgoing;
use super::post::{Backoff, Outcome};
use super::worker::{Delivery, Exit, LAST_CHANCE};
use crate::export::spool::{Batch, Queue};
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// A queue on the disk, and how it is emptied.
pub(super) struct Disk {
    delivery: Arc<Delivery>,
    queue: Queue,
    /// Something was put in.
    more: Notify,
    /// Whoever sends: a request may be on the disk and on its way at the same time, and must not go a
    /// second time meanwhile.
    sending: Mutex<()>,
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
            sending: Mutex::new(()),
        }
    }

    /// Delivers a request at once if nothing waits before it, or else puts it on the disk.
    pub(super) async fn take(&self, request: Outgoing) {
        let delivery = &self.delivery;
        let is_next =
            self.queue.is_empty() && (delivery.health.is_well() || !delivery.is_exiting());
        match self.sending.try_lock() {
            Ok(_sending) if is_next => self.send(&request).await,
            _ => self.keep(&request),
        }
    }

    /// Sends a request. When there is no answer soon, it is on the disk as well: it is lost neither
    /// then, should this process be killed, nor taken twice.
    async fn send(&self, request: &Outgoing) {
        let delivery = &self.delivery;
        let mut exit = delivery.exit.clone();
        let mut attempt = pin!(delivery.post.send(request.body.clone()));
        let mut end = pin!(end(&mut exit, |exit| exit.end));
        let mut soon = pin!(sleep(delivery.config.unsafe_time));
        let (mut waited, mut kept) = (false, None);
        let outcome = loop {
            tokio::select! {
                outcome = &mut attempt => break outcome,
                () = &mut end => break Outcome::Later {
                    why: "no answer before the exit".to_owned(),
                    after: None,
                },
                () = &mut soon, if !waited => {
                    waited = true;
                    kept = self.queue.push_taken(request.items, &request.body);
                }
            }
        };
        let why = match outcome {
            Outcome::Later { why, .. } | Outcome::Held { why } => why,
            outcome => {
                if let Some(sequence) = kept {
                    self.queue.remove(sequence);
                }
                return match outcome {
                    Outcome::Taken { rejected } => delivery.taken(request.items, rejected),
                    Outcome::Refused { why }
                    | Outcome::Later { why, .. }
                    | Outcome::Held { why } => {
                        delivery.refused(request.items, &why);
                    }
                };
            }
        };
        tracing::debug!("OTLP: to the disk: {why}");
        if kept.is_some() {
            self.queue.release();
            self.more.notify_one();
        } else {
            self.keep(request);
        }
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
        let mut held = Backoff::held(&self.delivery.config);
        while !self.delivery.is_exiting() {
            let outcome = {
                let _sending = self.sending.lock().await;
                match self.queue.oldest() {
                    Some(batch) => self.attempt(batch, &mut exit).await,
                    None => Tried::Nothing,
                }
            };
            let pause = match outcome {
                Tried::Nothing => {
                    tokio::select! {
                        () = self.more.notified() => continue,
                        _ = exit.wait_for(Option::is_some) => return,
                    }
                }
                Tried::Over => {
                    backoff.reset();
                    held.reset();
                    continue;
                }
                Tried::Later(after) => backoff.pause(after),
                Tried::Held(why) => {
                    let pause = held.pause(None);
                    self.tell_held(&why, pause);
                    pause
                }
                Tried::Exit => return,
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = exit.wait_for(Option::is_some) => return,
            }
        }
    }

    /// One attempt at a batch; where it is refused as any would be, another one shows whether that is so.
    async fn attempt(&self, batch: Batch, exit: &mut watch::Receiver<Option<Exit>>) -> Tried {
        let (sequence, items) = (batch.sequence, batch.items);
        let why = match self.send_waiting(batch, exit).await {
            None => return Tried::Exit,
            Some(Outcome::Taken { .. } | Outcome::Refused { .. }) => return Tried::Over,
            Some(Outcome::Later { after, .. }) => return Tried::Later(after),
            Some(Outcome::Held { why }) => why,
        };
        let Some(other) = self.queue.behind(sequence) else {
            return Tried::Held(why);
        };
        match self.send_waiting(other, exit).await {
            None => Tried::Exit,
            Some(Outcome::Taken { .. }) => {
                // Where it went for want of room meanwhile, that is counted.
                if self.queue.remove(sequence) {
                    self.delivery.refused(items, &why);
                }
                Tried::Over
            }
            Some(Outcome::Later { after, .. }) => Tried::Later(after),
            Some(Outcome::Held { .. } | Outcome::Refused { .. }) => Tried::Held(why),
        }
    }

    /// Sends a batch that waits, which the exit cuts short.
    async fn send_waiting(
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
            Some(Outcome::Later { .. } | Outcome::Held { .. }) | None => self.queue.release(),
        }
        outcome
    }

    /// Says that all waits for somebody who mends the endpoint, or what we know of it.
    fn tell_held(&self, why: &str, pause: Duration) {
        let (what, endpoint) = (
            self.delivery.config.signal.what(),
            &self.delivery.config.endpoint,
        );
        let standing = self.queue.counts().standing();
        tracing::warn!(
            "OTLP endpoint {endpoint} refuses everything: {why}; {} {what} ({} MiB) wait on the disk, the \
             next attempt is in {:.0} s; with other settings they are sent after a restart",
            standing.items,
            standing.bytes >> 20,
            pause.as_secs_f64().ceil(),
        );
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

/// What came of an attempt.
enum Tried {
    /// There was nothing to send.
    Nothing,
    /// A batch is over and done with.
    Over,
    /// The endpoint takes nothing now; it may have said when it does.
    Later(Option<Duration>),
    /// The endpoint refuses everything.
    Held(String),
    /// There is no more time.
    Exit,
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
