//! OTLP over gRPC and HTTP/protobuf: spans, or their events as log records.
//!
//! A thread of its own with a single-threaded runtime takes spans from a bounded queue, so
//! nothing here ever blocks the pipeline: a span that finds the queue full is dropped and
//! counted. The thread sleeps without a timer while there is nothing to send.
//!
//! Requests are made by `opentelemetry-proto` of the SDK's span and log data and sent by tonic or
//! hyper ([`post`]). `opentelemetry-otlp`'s exporters are not used: each of them has one resource,
//! where we speak for many processes, takes the headers of the environment along to every endpoint,
//! and hands out no request that could wait on the disk.

mod config;
mod convert;
mod counters;
mod dial;
mod disk;
mod encode;
mod health;
mod http_client;
mod logs;
mod metrics;
mod metrics_convert;
mod post;
mod worker;

#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, EndpointFile, ExportFile, Protocol, Signal, SpoolFile};
pub use counters::Stats;
pub use metrics::OtlpMetrics;

use super::spool;
use super::status::{Dropped, ExportStatus, SpoolStatus};
use super::{ExportError, Exporter, Loss};
use crate::model::span::Span;
use counters::{Counters, add};
use disk::Disk;
use encode::Encoder;
use health::Health;
use post::Post;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use worker::{Command, Delivery, Exit, Queued, Shared, Worker};

/// Why the export could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused a thread or the means to wait for sockets.
    #[error("OTLP export: cannot start its thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Reads what became of the spans, also after the exporter is gone.
#[derive(Clone, Debug)]
pub struct StatsHandle {
    endpoint: Arc<str>,
    signal: Signal,
    counters: Arc<Counters>,
    health: Arc<Health>,
    disk: Option<Arc<spool::Counts>>,
}

impl StatsHandle {
    fn new(config: &Config, disk: Option<&spool::Queue>) -> Self {
        Self {
            endpoint: config.endpoint.as_str().into(),
            signal: config.signal,
            counters: Arc::default(),
            health: Arc::new(Health::new(config, disk.is_some())),
            disk: disk.map(spool::Queue::counts),
        }
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The numbers up to now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.stats(self.disk.as_deref())
    }

    /// The numbers up to now, and how the endpoint is.
    #[must_use]
    pub fn status(&self) -> ExportStatus {
        let stats = self.stats();
        let disk = stats.disk.unwrap_or_default();
        ExportStatus {
            endpoint: self.endpoint.to_string(),
            signal: self.signal.name().to_owned(),
            state: self.health.reach(),
            problem: self.health.problem(),
            delivered: stats.exported,
            rejected: stats.rejected,
            errors: stats.export_errors,
            dropped: Dropped {
                queue_full: stats.dropped_queue_full,
                not_taken: stats.dropped_after_retries,
                refused: stats.dropped_refused,
                spool_full: disk.dropped_full,
                spool_corrupt: disk.dropped_corrupt,
                spool_failed: disk.dropped_failed,
            },
            spool: stats.disk.map(|disk| SpoolStatus {
                batches: disk.batches,
                items: disk.items,
                bytes: disk.bytes,
                written: disk.written,
            }),
        }
    }
}

/// Exports spans, or their events, to an OTLP endpoint.
pub struct Otlp {
    config: Config,
    shared: Arc<Shared>,
    handle: StatsHandle,
    /// Gone after the shutdown.
    running: Option<Running>,
}

struct Running {
    spans: mpsc::Sender<Queued>,
    commands: mpsc::UnboundedSender<Command>,
    exit: watch::Sender<Option<Exit>>,
    finished: std_mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Otlp {
    /// Starts the exporting thread. Connects with the first spans, not now.
    ///
    /// # Errors
    /// When a setting cannot be used, or no thread can be had.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, None)
    }

    /// The same; what the endpoint does not take now waits in `disk`, and is sent from there.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(config: Config, disk: Option<spool::Queue>) -> Result<Self, StartError> {
        let config = match disk {
            Some(_) => config.with_disk(),
            None => config,
        };
        let (spans, spans_out) = mpsc::channel(config.max_queue);
        let (commands, commands_out) = mpsc::unbounded_channel();
        let (exit, exit_out) = watch::channel(None);
        let (started, is_started) = std_mpsc::channel();
        let (finish, finished) = std_mpsc::channel();
        let handle = StatsHandle::new(&config, disk.as_ref());
        let shared = Arc::new(Shared {
            counters: Arc::clone(&handle.counters),
            queued_bytes: AtomicUsize::new(0),
            told_full: AtomicBool::new(false),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // Only name resolution uses these.
            .max_blocking_threads(1)
            .thread_keep_alive(Duration::from_secs(1))
            .build()?;
        let of_thread = (config.clone(), Arc::clone(&shared));
        let health = Arc::clone(&handle.health);
        let body = move || {
            let (config, shared) = of_thread;
            runtime.block_on(async {
                match Post::new(&config, &health, &shared.counters) {
                    Err(error) => drop(started.send(Err(error))),
                    Ok(post) => {
                        let _ = started.send(Ok(()));
                        let encoder = Encoder::new(config.signal, config.span_events);
                        let delivery = Arc::new(Delivery {
                            config,
                            health,
                            counters: Arc::clone(&shared.counters),
                            post,
                            exit: exit_out,
                        });
                        let disk = disk.map(|q| Arc::new(Disk::new(Arc::clone(&delivery), q)));
                        let worker = Worker {
                            spans: spans_out,
                            commands: commands_out,
                            shared,
                            encoder,
                            delivery,
                            disk,
                        };
                        worker.run().await;
                    }
                }
            });
            // A name resolution that hangs must not hold up the exit.
            runtime.shutdown_background();
            let _ = finish.send(());
        };
        // The thread's messages go where the caller's go.
        let log = tracing::dispatcher::get_default(Clone::clone);
        let thread = std::thread::Builder::new()
            .name("otlp".to_owned())
            .spawn(move || tracing::dispatcher::with_default(&log, body))?;
        is_started
            .recv()
            .map_err(|_| std::io::Error::other("it ended at once"))??;
        Ok(Self {
            config,
            shared,
            handle,
            running: Some(Running {
                spans,
                commands,
                exit,
                finished,
                thread,
            }),
        })
    }

    /// The settings in force.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What became of the spans, readable from anywhere.
    #[must_use]
    pub fn stats_handle(&self) -> StatsHandle {
        self.handle.clone()
    }

    /// What became of the spans up to now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// The same, with how the endpoint is.
    #[must_use]
    pub fn status(&self) -> ExportStatus {
        self.handle.status()
    }

    /// Waits until all spans taken so far are delivered or given up, or on the disk.
    ///
    /// # Errors
    /// When that takes longer than `within`.
    pub fn force_flush(&self, within: Duration) -> Result<(), ExportError> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let (done, is_done) = std_mpsc::channel();
        if running.commands.send(Command::Flush(done)).is_err() {
            return Ok(());
        }
        is_done.recv_timeout(within).map_err(|_| {
            let waiting = running.spans.max_capacity() - running.spans.capacity();
            self.late(waiting as u64, within)
        })
    }

    fn late(&self, unsent: u64, within: Duration) -> ExportError {
        ExportError::Deadline {
            what: format!("OTLP endpoint {}", self.config.endpoint),
            items: self.config.signal.what(),
            unsent,
            seconds: within.as_secs_f64(),
        }
    }

    fn drop_span(&self) {
        add(&self.shared.counters.dropped_queue_full, 1);
        if !self.shared.told_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "OTLP queue full ({} spans or {} MiB): {} are dropped until there is room; {} makes \
                 it larger",
                self.config.max_queue,
                self.config.max_queue_bytes >> 20,
                self.config.signal.what(),
                self.config.signal.queue_variable(),
            );
        }
    }
}

impl Exporter for Otlp {
    fn span(&mut self, span: &Span) -> Result<(), ExportError> {
        let Some(running) = &self.running else {
            add(&self.shared.counters.dropped_queue_full, 1);
            return Ok(());
        };
        let of_logs = self.config.signal == Signal::Logs;
        if of_logs && span.events.is_empty() {
            return Ok(());
        }
        let weight = convert::weight(span);
        let queued = &self.shared.queued_bytes;
        if queued.load(Ordering::Relaxed).saturating_add(weight) > self.config.max_queue_bytes {
            self.drop_span();
            return Ok(());
        }
        // Room first, so that a span that will be dropped is not copied.
        match running.spans.try_reserve() {
            Ok(room) => {
                queued.fetch_add(weight, Ordering::Relaxed);
                let span = Box::new(match of_logs {
                    true => logs::without_content(span),
                    false => span.clone(),
                });
                room.send(Queued { span, weight });
            }
            Err(_) => self.drop_span(),
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        Ok(())
    }

    /// Delivers what waits, within [`Config::shutdown_timeout`]; what has a place on the disk may go
    /// there instead.
    fn shutdown(&mut self, _losses: &[Loss]) -> Result<(), ExportError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let within = self.config.shutdown_timeout;
        let before = self.stats().undelivered();
        let begun = Instant::now();
        let end = begun + within;
        running.exit.send_replace(Some(Exit { begun, end }));
        drop((running.spans, running.commands));
        // The thread keeps the deadline itself; the second is for a machine under load.
        let grace = within + Duration::from_secs(1);
        let ended = running.finished.recv_timeout(grace).is_ok();
        if ended {
            drop(running.thread.join());
        }
        let unsent = self.stats().undelivered() - before;
        if ended && unsent == 0 {
            Ok(())
        } else {
            Err(self.late(unsent, within))
        }
    }
}
