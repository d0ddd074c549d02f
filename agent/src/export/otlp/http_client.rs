//! OTLP over HTTP/1.1: one request after the other over a kept connection.

use super::counters::{Counters, add};
use super::dial::Dial;
use super::health::Health;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// An answer is an acknowledgement; one longer than this is not from a collector.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why there is no answer.
type NoAnswer = Box<dyn std::error::Error + Send + Sync>;

/// Sends requests over one kept connection and tells [`Health`] what is answered.
pub(super) struct Http {
    client: Client<Dial, Full<Bytes>>,
    timeout: Duration,
    health: Arc<Health>,
    counters: Arc<Counters>,
}

impl Http {
    pub(super) fn new(
        dial: Dial,
        timeout: Duration,
        health: &Arc<Health>,
        counters: &Arc<Counters>,
    ) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(1)
                .build(dial),
            timeout,
            health: Arc::clone(health),
            counters: Arc::clone(counters),
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let response = self.client.request(request.map(Full::new)).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }

    /// What is answered, good or not.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let result = match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", self.timeout).into()),
        };
        match &result {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => {
                add(&self.counters.export_errors, 1);
                self.health.failing(&answered(response.status()));
            }
            // A connection that did not come about was told where it was tried.
            Err(_) if self.health.is_unreachable() => {}
            Err(error) => {
                add(&self.counters.export_errors, 1);
                self.health.failing(&error.to_string());
            }
        }
        result
    }
}

/// What was answered, in words, and what may be wrong.
pub(super) fn answered(status: StatusCode) -> String {
    let hint = match status.as_u16() {
        401 | 403 => " (credentials go into OTEL_EXPORTER_OTLP_HEADERS, or the endpoint's headers)",
        404 | 405 => " (is this the right path, and does it take this signal?)",
        415 => " (does it take protobuf?)",
        300..=399 => " (it is somewhere else: write the address that it names)",
        _ => "",
    };
    format!("it answers {status}{hint}")
}
