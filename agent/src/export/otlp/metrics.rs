//! Metrics over OTLP: a thread of its own takes a snapshot now and then and sends it.
//!
//! Sums are cumulative, so that an export that fails loses nothing: the next one says all that
//! it would have said. Hence no queue, and no retry but at the exit.

use super::StartError;
use super::config::{self, Config, ConfigError, Protocol, Signal};
use super::counters::{Counters, Stats, add};
use super::health::Health;
use super::metrics_convert::{self as convert, When};
use super::transport::Shared;
use crate::export::ExportError;
use crate::export::metrics::{Reader, Source};
use crate::model::time::WallTime;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request};
use opentelemetry_http::{Bytes, HttpClient};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use prost::Message as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

/// An endpoint that is not reachable at the exit gets this long.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// Exports metrics to an OTLP endpoint.
pub struct OtlpMetrics {
    endpoint: String,
    shutdown_timeout: Duration,
    counters: Arc<Counters>,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    /// Whether the last export went through.
    finished: std_mpsc::Receiver<bool>,
    thread: JoinHandle<()>,
}

impl OtlpMetrics {
    /// Starts to export what `source` holds; headers come from the environment that `env` gives.
    ///
    /// # Errors
    /// When a setting cannot be used, or no thread can be had.
    pub fn start(
        config: Config,
        env: &dyn Fn(&str) -> Option<String>,
        source: Source,
    ) -> Result<Self, StartError> {
        let headers = config::headers(Signal::Metrics, env)?;
        let (stop, stopped) = oneshot::channel();
        let (started, is_started) = std_mpsc::channel();
        let (finish, finished) = std_mpsc::channel();
        let counters = Arc::<Counters>::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // Only name resolution uses these.
            .max_blocking_threads(1)
            .thread_keep_alive(Duration::from_secs(1))
            .build()?;
        let endpoint = config.endpoint.clone();
        let shutdown_timeout = config.shutdown_timeout;
        let of_thread = Arc::clone(&counters);
        let body = move || {
            let delivered = runtime.block_on(async {
                match Worker::new(config, headers, source, of_thread) {
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
            endpoint,
            shutdown_timeout,
            counters,
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
        self.counters.stats()
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
                what: format!("OTLP endpoint {}", self.endpoint),
            })
        }
    }
}

enum Client {
    Grpc(Box<MetricsServiceClient<Channel>>),
    Http(Arc<dyn HttpClient>),
}

struct Worker {
    client: Client,
    config: Config,
    headers: HeaderMap,
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
        mut headers: HeaderMap,
        source: Source,
        counters: Arc<Counters>,
    ) -> Result<Self, ConfigError> {
        let health = Arc::new(Health::new(&config));
        let client = match Shared::new(&config, &health, &counters)? {
            Shared::Grpc(channel) => {
                let mut client = MetricsServiceClient::new(channel);
                if config.gzip {
                    client = client.send_compressed(CompressionEncoding::Gzip);
                }
                Client::Grpc(Box::new(client))
            }
            Shared::Http(client) => Client::Http(client),
        };
        let us = concat!("genspan/", env!("CARGO_PKG_VERSION"));
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(us));
        Ok(Self {
            client,
            config,
            headers,
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
            let sent = timeout_at(end, self.send(request)).await;
            if let Err(error) = sent.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
                tracing::debug!("OTLP: metrics not taken: {error}");
                if self.config.protocol == Protocol::Grpc && !self.health.is_unreachable() {
                    add(&self.counters.export_errors, 1);
                    self.health.failing(&error);
                }
                return false;
            }
            add(&self.counters.exported, points);
        }
        self.health.delivered();
        self.exported = snapshot.sequence;
        true
    }

    async fn send(&mut self, request: ExportMetricsServiceRequest) -> Result<(), String> {
        match &mut self.client {
            Client::Grpc(client) => {
                let mut request = tonic::Request::new(request);
                *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
                let answer = client.export(request).await;
                let answer = answer.map_err(|status| status.message().to_owned())?;
                if let Some(partial) = answer.into_inner().partial_success {
                    let rejected = u64::try_from(partial.rejected_data_points).unwrap_or(0);
                    add(&self.counters.rejected, rejected);
                }
                Ok(())
            }
            Client::Http(client) => {
                let mut body = request.encode_to_vec();
                let mut headers = self.headers.clone();
                let kind = HeaderValue::from_static("application/x-protobuf");
                headers.insert(CONTENT_TYPE, kind);
                if self.config.gzip {
                    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
                    let result = packed.write_all(&body).and_then(|()| packed.finish());
                    body = result.map_err(|e| e.to_string())?;
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                let mut request = Request::post(&self.config.endpoint)
                    .body(Bytes::from(body))
                    .map_err(|e| e.to_string())?;
                *request.headers_mut() = headers;
                let answer = client.send_bytes(request).await;
                let status = answer.map_err(|e| e.to_string())?.status();
                if status.is_success() {
                    Ok(())
                } else {
                    Err(status.to_string())
                }
            }
        }
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
