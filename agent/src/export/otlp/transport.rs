//! `opentelemetry-otlp`'s exporters over one shared transport.
//!
//! An exporter of that crate holds one resource, while we speak for many processes. Building the
//! request ourselves would put all of them into one, but would also mean to do again what the
//! crate does well: headers, retry classification, throttling hints, gRPC metadata. So there is
//! one of its exporters per resource; it costs about a kilobyte, because they share one gRPC
//! channel or one HTTP client with its kept connection.

use super::config::{Config, ConfigError, Protocol, Signal};
use super::convert;
use super::counters::Counters;
use super::dial::Dial;
use super::health::Health;
use super::http_client::Http;
use super::logs;
use crate::model::span::{Resource, Span};
use opentelemetry::InstrumentationScope;
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, LogExporter, RetryPolicy, SpanExporter, WithExportConfig,
    WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _};
use opentelemetry_sdk::trace::SpanExporter as _;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Resources whose exporters are kept; the least recently used one goes first.
const MAX_RESOURCES: usize = 256;
/// The crate's own bound for the retries of one export. Ours are shorter, and differ with the
/// reason for the retries.
const RETRIES_END: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_JITTER: Duration = Duration::from_millis(250);

/// What the requests go over.
pub(super) enum Shared {
    Grpc(Channel),
    Http(Arc<dyn HttpClient>),
}

impl Shared {
    /// Needs the runtime that will run the exports.
    pub(super) fn new(
        config: &Config,
        health: &Arc<Health>,
        counters: &Arc<Counters>,
    ) -> Result<Self, ConfigError> {
        let invalid = |e: &dyn std::fmt::Display| invalid(config, e);
        let dial = Dial::new(config, health, counters)?;
        Ok(match config.protocol {
            Protocol::Grpc => {
                let origin: http::Uri = config.endpoint.parse().map_err(|e| invalid(&e))?;
                // TLS is the connector's work; a tonic that is built with its own would insist on
                // that for `https`. The origin is what the requests name.
                let dialled = config.endpoint.replacen("https:", "http:", 1);
                let endpoint = Endpoint::from_shared(dialled)
                    .map_err(|e| invalid(&e))?
                    .origin(origin)
                    .timeout(config.timeout);
                Shared::Grpc(endpoint.connect_with_connector_lazy(dial))
            }
            Protocol::HttpProtobuf => {
                config
                    .endpoint
                    .parse::<http::Uri>()
                    .map_err(|e| invalid(&e))?;
                Shared::Http(Arc::new(Http::new(dial, config.timeout, health, counters)))
            }
        })
    }
}

fn invalid(config: &Config, error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::new("OTLP endpoint", format!("`{}`: {error}", config.endpoint))
}

/// Makes and keeps the exporters.
pub(super) struct Transport {
    shared: Shared,
    signal: Signal,
    endpoint: String,
    gzip: bool,
    retry: RetryPolicy,
    /// By the resource's address: the `Arc` here keeps that from being used for another one.
    exporters: Vec<(Arc<Resource>, Arc<Sender>)>,
}

impl Transport {
    /// Needs the runtime that will run the exports.
    pub(super) fn new(
        config: &Config,
        health: &Arc<Health>,
        counters: &Arc<Counters>,
    ) -> Result<Self, ConfigError> {
        let shared = Shared::new(config, health, counters)?;
        let invalid = |e: &dyn std::fmt::Display| invalid(config, e);
        let jitter = MAX_JITTER.min(config.retry_initial);
        let mut transport = Self {
            shared,
            signal: config.signal,
            endpoint: config.endpoint.clone(),
            gzip: config.gzip,
            retry: RetryPolicy::recommended()
                .with_max_retries(usize::MAX)
                .with_initial_delay(config.retry_initial)
                // The crate caps delay and jitter together.
                .with_max_delay(config.retry_max.saturating_add(jitter))
                .with_max_jitter(jitter),
            exporters: Vec::new(),
        };
        // What is wrong with the settings shows now and not with the first span.
        transport
            .exporter(&Arc::new(Resource::default()))
            .map_err(|e| invalid(&e))?;
        transport.exporters.clear();
        Ok(transport)
    }

    /// The exporter for a resource.
    pub(super) fn exporter(
        &mut self,
        resource: &Arc<Resource>,
    ) -> Result<Arc<Sender>, ExporterBuildError> {
        let known = self
            .exporters
            .iter()
            .position(|(r, _)| Arc::ptr_eq(r, resource));
        let entry = match known {
            Some(at) => self.exporters.remove(at),
            None => {
                if self.exporters.len() >= MAX_RESOURCES {
                    self.exporters.remove(0);
                }
                (Arc::clone(resource), Arc::new(self.build(resource)?))
            }
        };
        let exporter = Arc::clone(&entry.1);
        self.exporters.push(entry);
        Ok(exporter)
    }

    fn build(&self, resource: &Resource) -> Result<Sender, ExporterBuildError> {
        let resource = convert::resource(resource);
        Ok(match self.signal {
            Signal::Logs => {
                let builder = LogExporter::builder();
                let mut exporter = match &self.shared {
                    Shared::Grpc(channel) => self.grpc(builder.with_tonic(), channel).build()?,
                    Shared::Http(client) => self.http(builder.with_http(), client).build()?,
                };
                exporter.set_resource(&resource);
                Sender::Events(exporter)
            }
            Signal::Traces | Signal::Metrics => {
                let builder = SpanExporter::builder();
                let mut exporter = match &self.shared {
                    Shared::Grpc(channel) => self.grpc(builder.with_tonic(), channel).build()?,
                    Shared::Http(client) => self.http(builder.with_http(), client).build()?,
                };
                exporter.set_resource(&resource);
                Sender::Spans(exporter)
            }
        })
    }

    fn grpc<B: WithTonicConfig + WithExportConfig>(&self, builder: B, channel: &Channel) -> B {
        let builder = builder
            .with_channel(channel.clone())
            .with_timeout(RETRIES_END)
            .with_retry_policy(self.retry.clone());
        match self.gzip {
            true => builder.with_compression(Compression::Gzip),
            false => builder,
        }
    }

    fn http<B: WithHttpConfig + WithExportConfig>(
        &self,
        builder: B,
        client: &Arc<dyn HttpClient>,
    ) -> B {
        let builder = builder
            .with_shared_http_client(Arc::clone(client))
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(self.endpoint.clone())
            .with_timeout(RETRIES_END)
            .with_retry_policy(self.retry.clone());
        match self.gzip {
            true => builder.with_compression(Compression::Gzip),
            false => builder,
        }
    }
}

/// The crate's exporter for one resource.
pub(super) enum Sender {
    Spans(SpanExporter),
    Events(LogExporter),
}

impl Sender {
    /// Sends spans, or their events; `span_events` says that the former take the latter along.
    pub(super) async fn send(
        &self,
        spans: &[Span],
        scope: &InstrumentationScope,
        span_events: bool,
    ) -> OTelSdkResult {
        match self {
            Self::Spans(exporter) => {
                let spans = spans.iter().map(|s| convert::span(s, scope, span_events));
                exporter.export(spans.collect()).await
            }
            Self::Events(exporter) => {
                let records = logs::records(spans);
                let batch: Vec<_> = records.iter().map(|record| (record, scope)).collect();
                exporter.export(LogBatch::new(&batch)).await
            }
        }
    }
}
