//! Metrics over OTLP: a thread of its own takes a snapshot now and then and sends it.
//!
//! Sums are cumulative, so that an export that fails loses nothing: the next one says all that
//! it would have said. Hence no queue, and no retry but at the exit.

use super::config::{Config, ConfigError};
use super::counters::{Counters, Stats, add};
use super::health::Health;
use super::metrics_convert::{self as convert, When};
use super::post::{Outcome, Post};
use super::{StartError, StatsHandle};
use crate::export::ExportError;
use crate::export::metrics::{Reader, Source};
use crate::model::time::WallTime;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at};

/// An endpoint that is not reachable at the exit gets this long.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// Exports metrics to an OTLP endpoint.
pub struct OtlpMetrics {
    handle: StatsHandle,
    shutdown_timeout: Duration,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    /// Whether the last export went through.
    finished: std_mpsc::Receiver<bool>,
    thread: JoinHandle<()>,
}

impl OtlpMetrics {
    /// Starts to export what `source` holds.
    ///
    /// # Errors
    /// When a setting cannot be used, or no thread can be had.
    pub fn start(config: Config, source: Source) -> Result<Self, StartError> {
        let (stop, stopped) = oneshot::channel();
        let (started, is_started) = std_mpsc::channel();
        let (finish, finished) = std_mpsc::channel();
        let handle = StatsHandle::new(&config, None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // Only name resolution uses these.
            .max_blocking_threads(1)
            .thread_keep_alive(Duration::from_secs(1))
            .build()?;
        let shutdown_timeout = config.shutdown_timeout;
        let (health, counters) = (Arc::clone(&handle.health), Arc::clone(&handle.counters));
        let body = move || {
            let delivered = runtime.block_on(async {
                match Worker::new(config, source, health, counters) {
                    Err(error) => {
                        drop(started.send(Err(error)));
                        true
                    }
                    Ok(worker) => {
                        let _ = started.send(Ok(()));
                        worker.run(stopped).await
                    }
                }
            });
            runtime.shutdown_background();
            let _ = finish.send(delivered);
        };
        let log = tracing::dispatcher::get_default(Clone::clone);
        let thread = std::thread::Builder::new()
            .name("otlp-metrics".to_owned())
            .spawn(move || tracing::dispatcher::with_default(&log, body))?;
        is_started
            .recv()
            .map_err(|_| std::io::Error::other("it ended at once"))??;
        Ok(Self {
            handle,
            shutdown_timeout,
            running: Some(Running {
                stop,
                finished,
                thread,
            }),
        })
    }

    /// What became of the exports: `exported` counts points.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// The same, readable from anywhere.
    #[must_use]
    pub fn stats_handle(&self) -> StatsHandle {
        self.handle.clone()
    }
}

impl Reader for OtlpMetrics {
    /// Sends the last values, within [`Config::shutdown_timeout`].
    fn shutdown(&mut self) -> Result<(), ExportError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let _ = running.stop.send(());
        let within = self.shutdown_timeout;
        let grace = within + Duration::from_secs(1);
        let delivered = running.finished.recv_timeout(grace);
        if delivered.is_ok() {
            drop(running.thread.join());
        }
        if delivered == Ok(true) {
            Ok(())
        } else {
            Err(ExportError::LastMetrics {
                what: format!("OTLP endpoint {}", self.handle.endpoint()),
            })
        }
    }
}

struct Worker {
    post: Post,
    config: Config,
    source: Source,
    health: Arc<Health>,
    counters: Arc<Counters>,
    started: WallTime,
    /// Number of the last measurement that was exported.
    exported: u64,
}

impl Worker {
    fn new(
        config: Config,
        source: Source,
        health: Arc<Health>,
        counters: Arc<Counters>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            post: Post::new(&config, &health, &counters)?,
            config,
            source,
            health,
            counters,
            started: now(),
            exported: 0,
        })
    }

    /// Exports until told to stop, then once more; gives whether that went through.
    async fn run(mut self, mut stop: oneshot::Receiver<()>) -> bool {
        let every = self.config.schedule_delay;
        let mut due = interval_at(Instant::now() + every, every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut stop => break,
                _ = due.tick() => {
                    let end = Instant::now() + self.config.export_timeout;
                    tokio::select! {
                        // What a slow endpoint has not taken by then is said again at the exit.
                        _ = &mut stop => break,
                        _ = self.export(end) => {}
                    }
                }
            }
        }
        self.last().await
    }

    /// The last export is tried again for as long as there is time.
    async fn last(&mut self) -> bool {
        let begun = Instant::now();
        let mut pause = self.config.retry_initial;
        loop {
            if self.export(begun + self.config.shutdown_timeout).await {
                return true;
            }
            let within = if self.health.is_unreachable() {
                LAST_CHANCE.min(self.config.shutdown_timeout)
            } else {
                self.config.shutdown_timeout
            };
            if begun.elapsed() + pause >= within {
                return false;
            }
            sleep(pause).await;
            pause = (pause * 2).min(self.config.retry_max);
        }
    }

    /// Sends everything as it is now; gives whether it was taken.
    async fn export(&mut self, end: Instant) -> bool {
        let snapshot = self.source.snapshot();
        if snapshot.is_empty() {
            return true;
        }
        let when = When {
            started: self.started,
            now: now(),
            exported: self.exported,
        };
        for request in convert::requests(&snapshot, when) {
            let points = points(&request);
            let body = request.encode_to_vec().into();
            let why = match timeout_at(end, self.post.send(body)).await {
                Ok(Outcome::Taken { rejected }) => {
                    add(&self.counters.exported, points);
                    add(&self.counters.rejected, rejected);
                    continue;
                }
                Ok(
                    Outcome::Later { why, .. } | Outcome::Held { why } | Outcome::Refused { why },
                ) => why,
                Err(_) => "no answer in time".to_owned(),
            };
            tracing::debug!("OTLP: metrics not taken: {why}");
            return false;
        }
        self.health.delivered();
        self.exported = snapshot.sequence;
        true
    }
}

fn points(request: &ExportMetricsServiceRequest) -> u64 {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    let scopes = request
        .resource_metrics
        .iter()
        .flat_map(|r| &r.scope_metrics);
    let counts = scopes
        .flat_map(|s| &s.metrics)
        .map(|metric| match &metric.data {
            Some(Data::Histogram(h)) => h.data_points.len(),
            Some(Data::Sum(s)) => s.data_points.len(),
            _ => 0,
        });
    counts.sum::<usize>() as u64
}

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.map_or(0, |d| d.as_nanos());
    WallTime(u64::try_from(nanos).unwrap_or(u64::MAX))
}
