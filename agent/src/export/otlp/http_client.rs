//! The HTTP client beneath `opentelemetry-otlp`'s HTTP exporter.

use super::counters::{Counters, add};
use super::dial::Dial;
use super::health::Health;
use http::StatusCode;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An answer is an acknowledgement; one longer than this is not from a collector.
const MAX_ANSWER: usize = 1024 * 1024;

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

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.client.request(request.map(Full::new)).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }

    fn rejected(&self, body: &[u8]) {
        let answer = ExportTraceServiceResponse::decode(body);
        if let Ok(Some(partial)) = answer.map(|a| a.partial_success) {
            let n = u64::try_from(partial.rejected_spans).unwrap_or(0);
            add(&self.counters.rejected, n);
        }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let result = match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", self.timeout).into()),
        };
        match &result {
            Ok(response) if response.status().is_success() => self.rejected(response.body()),
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

fn answered(status: StatusCode) -> String {
    let hint = match status.as_u16() {
        401 | 403 => " (credentials go into OTEL_EXPORTER_OTLP_HEADERS)",
        404 | 405 => " (is this the right path, and does it take this signal?)",
        415 => " (does it take protobuf?)",
        _ => "",
    };
    format!("it answers {status}{hint}")
}
