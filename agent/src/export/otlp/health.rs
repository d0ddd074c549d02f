//! What is known of the endpoint, and the messages that tell the user: one when it goes, one
//! when it comes back, none in between.

use super::config::{Config, Signal};
use crate::export::status::Reach;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was sent yet, or the last export went through.
    Well,
    /// It answers, but not as it should.
    Failing,
    /// No connection comes about.
    Unreachable,
    /// A connection came about again; whether it takes spans is not known yet.
    Reached,
}

/// The endpoint's health.
#[derive(Debug)]
pub(super) struct Health {
    endpoint: String,
    max_queue: usize,
    signal: Signal,
    /// What cannot be delivered goes to the disk.
    on_disk: bool,
    known: Mutex<Known>,
}

/// The last thing we know.
#[derive(Debug)]
struct Known {
    state: State,
    /// Why it is so; empty when all is well.
    why: String,
}

/// Most characters of what an endpoint said that are kept.
const MAX_WHY: usize = 300;

impl Health {
    pub(super) fn new(config: &Config, on_disk: bool) -> Self {
        Self {
            endpoint: config.endpoint.clone(),
            max_queue: config.max_queue,
            signal: config.signal,
            on_disk,
            known: Mutex::new(Known {
                state: State::Well,
                why: String::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn swap(&self, new: State, why: &str) -> State {
        let mut known = self.lock();
        if known.why != why {
            known.why = why.chars().take(MAX_WHY).collect();
        }
        std::mem::replace(&mut known.state, new)
    }

    fn is(&self, wanted: State) -> bool {
        self.lock().state == wanted
    }

    /// Whether no connection comes about.
    pub(super) fn is_unreachable(&self) -> bool {
        self.is(State::Unreachable)
    }

    /// How it is, for those who ask.
    pub(super) fn reach(&self) -> Reach {
        match self.lock().state {
            State::Well => Reach::Well,
            State::Failing => Reach::Failing,
            State::Unreachable | State::Reached => Reach::Unreachable,
        }
    }

    /// Why it is not well; none when it is.
    pub(super) fn problem(&self) -> Option<String> {
        let known = self.lock();
        (known.state != State::Well && !known.why.is_empty()).then(|| known.why.clone())
    }

    /// Whether the last thing we know is good.
    pub(super) fn is_well(&self) -> bool {
        self.is(State::Well)
    }

    /// No connection came about.
    pub(super) fn unreachable(&self, why: &str) {
        match self.swap(State::Unreachable, why) {
            State::Unreachable | State::Reached => {}
            State::Well | State::Failing if self.signal == Signal::Metrics => tracing::warn!(
                "OTLP endpoint {} not reachable: {why}; metrics are sent when it comes back; is a \
                 collector running there?",
                self.endpoint,
            ),
            State::Well | State::Failing if self.on_disk => tracing::warn!(
                "OTLP endpoint {} not reachable: {why}; {} wait on the disk until it comes back; is \
                 a collector running there?",
                self.endpoint,
                self.signal.what(),
            ),
            State::Well | State::Failing => tracing::warn!(
                "OTLP endpoint {} not reachable: {why}; up to {} {} are kept, further ones \
                 dropped, until it comes back; is a collector running there?",
                self.endpoint,
                self.max_queue,
                self.signal.what(),
            ),
        }
    }

    /// A connection came about.
    pub(super) fn connected(&self) {
        let mut known = self.lock();
        if known.state == State::Unreachable {
            known.state = State::Reached;
        }
    }

    /// It answered with an error.
    pub(super) fn failing(&self, why: &str) {
        if self.swap(State::Failing, why) != State::Failing {
            let what = self.signal.what();
            tracing::warn!(
                "OTLP endpoint {} does not take {what}: {why}",
                self.endpoint
            );
        }
    }

    /// It took spans.
    pub(super) fn delivered(&self) {
        if self.swap(State::Well, "") != State::Well {
            let what = self.signal.what();
            tracing::warn!("OTLP endpoint {} takes {what} again", self.endpoint);
        }
    }
}
