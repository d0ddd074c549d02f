//! One request to the endpoint, over gRPC or HTTP, and what becomes of it.
//!
//! Requests are taken as they are serialized, so that one that waited on the disk goes out as it
//! was made. What is tried again and what is not is as OTLP has it (OTLP Specification 1.8, sections
//! "Failures"), with one distinction more: answers that tell of the endpoint (a wrong token, a wrong
//! path, something broken behind it) and not of the request are told apart, for those who can wait.

use super::config::{Config, ConfigError, Protocol, Signal};
use super::counters::{Counters, add};
use super::dial::Dial;
use super::health::Health;
use super::http_client::{Http, answered};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use std::error::Error as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Longest pause that an endpoint can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was acknowledged; so many of its items were rejected all the same.
    Taken {
        /// Items.
        rejected: u64,
    },
    /// It was not taken, and may be tried again.
    Later {
        /// Why.
        why: String,
        /// When, if the endpoint said so.
        after: Option<Duration>,
    },
    /// It was refused, and by what was said any other would have been: who has room for it may keep it
    /// until somebody has mended that.
    Held {
        /// Why.
        why: String,
    },
    /// It will never be taken.
    Refused {
        /// Why.
        why: String,
    },
}

/// Sends requests of one signal.
pub(super) struct Post {
    way: Way,
    headers: HeaderMap,
    gzip: bool,
    health: Arc<Health>,
    counters: Arc<Counters>,
}

enum Way {
    Grpc(Grpc<Channel>, PathAndQuery),
    Http(Box<Http>, Uri),
}

impl Post {
    /// Needs the runtime that will run the exports. Connects with the first request.
    pub(super) fn new(
        config: &Config,
        health: &Arc<Health>,
        counters: &Arc<Counters>,
    ) -> Result<Self, ConfigError> {
        let invalid = |error: &dyn std::fmt::Display| {
            ConfigError::new("OTLP endpoint", format!("`{}`: {error}", config.endpoint))
        };
        let dial = Dial::new(config, health, counters)?;
        let uri: Uri = config.endpoint.parse().map_err(|e| invalid(&e))?;
        let way = match config.protocol {
            Protocol::Grpc => {
                // TLS is the connector's work; a tonic that is built with its own would insist on
                // that for `https`. The origin is what the requests name.
                let dialled = config.endpoint.replacen("https:", "http:", 1);
                let endpoint = Endpoint::from_shared(dialled)
                    .map_err(|e| invalid(&e))?
                    .origin(uri)
                    .timeout(config.timeout);
                let mut client = Grpc::new(endpoint.connect_with_connector_lazy(dial));
                if config.gzip {
                    client = client.send_compressed(CompressionEncoding::Gzip);
                }
                Way::Grpc(client, PathAndQuery::from_static(method(config.signal)))
            }
            Protocol::HttpProtobuf => {
                let http = Http::new(dial, config.timeout, health, counters);
                Way::Http(Box::new(http), uri)
            }
        };
        let mut headers = config.headers.clone();
        let us = concat!("genspan/", env!("CARGO_PKG_VERSION"));
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(us));
        Ok(Self {
            way,
            headers,
            gzip: config.gzip,
            health: Arc::clone(health),
            counters: Arc::clone(counters),
        })
    }

    /// Sends a serialized request of the signal.
    pub(super) async fn send(&self, body: Bytes) -> Outcome {
        match &self.way {
            Way::Grpc(client, path) => self.grpc(client.clone(), path.clone(), body).await,
            Way::Http(client, uri) => self.http(client, uri, body).await,
        }
    }

    async fn grpc(&self, mut client: Grpc<Channel>, path: PathAndQuery, body: Bytes) -> Outcome {
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
        let answer = match client.ready().await {
            Ok(()) => client.unary(request, path, Serialized).await,
            Err(error) => Err(Status::from_error(Box::new(error))),
        };
        let status = match answer {
            Ok(answer) => return taken(answer.get_ref()),
            Err(status) => status,
        };
        // A connection that did not come about was told where it was tried.
        let unreachable = self.health.is_unreachable();
        let why = match status.message() {
            "" => status.code().description(),
            message => message,
        };
        let why = why.to_owned();
        if !unreachable {
            add(&self.counters.export_errors, 1);
            self.health.failing(&why);
        }
        match retry(&status) {
            Some(after) => Outcome::Later { why, after },
            None if unreachable => Outcome::Later { why, after: None },
            None if is_of_endpoint(status.code()) => Outcome::Held { why },
            None => Outcome::Refused { why },
        }
    }

    async fn http(&self, client: &Http, uri: &Uri, body: Bytes) -> Outcome {
        let mut headers = self.headers.clone();
        let kind = HeaderValue::from_static("application/x-protobuf");
        headers.insert(CONTENT_TYPE, kind);
        let mut body = body;
        if self.gzip {
            match packed(&body) {
                Ok(packed) => body = packed,
                Err(error) => {
                    let why = error.to_string();
                    return Outcome::Refused { why };
                }
            }
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        let answer = match client.send(request).await {
            Ok(answer) => answer,
            Err(error) => {
                let why = error.to_string();
                return Outcome::Later { why, after: None };
            }
        };
        let why = answer.status().to_string();
        match answer.status() {
            status if status.is_success() => taken(answer.body()),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Outcome::Later {
                why,
                after: pause(answer.headers()),
            },
            status if is_of_server(status) => Outcome::Held {
                why: answered(status),
            },
            _ => Outcome::Refused { why },
        }
    }
}

/// Whether an answer over HTTP tells of the endpoint and not of the request: that it is another place
/// (redirected, no such path or method), that it wants to know who asks, or that it is broken.
fn is_of_server(status: StatusCode) -> bool {
    let of_place = matches!(status.as_u16(), 401 | 403 | 404 | 405 | 407 | 415);
    of_place || status.is_redirection() || status.is_server_error()
}

/// The same over gRPC.
const fn is_of_endpoint(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::Unimplemented
            | Code::Internal
            | Code::Unknown
    )
}

fn packed(body: &[u8]) -> io::Result<Bytes> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(body)?;
    Ok(packed.finish()?.into())
}

/// Reads an acknowledgement. Those of all signals are written alike: a partial success, and in it
/// how many were rejected.
fn taken(answer: &[u8]) -> Outcome {
    let partial = ExportTraceServiceResponse::decode(answer).ok();
    let rejected = partial.and_then(|a| a.partial_success);
    let rejected = rejected.map_or(0, |p| u64::try_from(p.rejected_spans).unwrap_or(0));
    Outcome::Taken { rejected }
}

/// Whether a request that ended so may be tried again, and when.
fn retry(status: &Status) -> Option<Option<Duration>> {
    let asked = status.get_details_retry_info();
    let asked = asked.map(|info| info.retry_delay.map(|d| d.min(MAX_PAUSE)));
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Some(asked.flatten()),
        // For good, unless it says otherwise.
        Code::ResourceExhausted => asked,
        // Nobody answered: it comes of the connection.
        _ if status.source().is_some() => Some(None),
        _ => None,
    }
}

/// The pause that an answer asks for; a date instead of seconds is as good as none.
fn pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse();
    Some(Duration::from_secs(seconds.ok()?).min(MAX_PAUSE))
}

const fn method(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

/// Messages that are serialized already.
#[derive(Clone, Copy, Debug)]
struct Serialized;

impl Codec for Serialized {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Serialized {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Serialized {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}

/// Pauses between attempts: each twice the one before, up to a bound, and a little more by chance, so
/// that the agents of many hosts do not come all at once.
pub(super) struct Backoff {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(super) const fn new(config: &Config) -> Self {
        Self::between(config.retry_initial, config.retry_max)
    }

    /// Those between attempts at an endpoint that refuses everything.
    pub(super) const fn held(config: &Config) -> Self {
        Self::between(config.held_initial, config.held_max)
    }

    const fn between(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            first,
            longest,
        }
    }

    /// The next pause: ours, or the one that the endpoint asks for.
    pub(super) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        asked.map_or(pause, |asked| asked.max(self.first)) + chance(self.first / 2)
    }

    /// From the beginning.
    pub(super) const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Something up to that long.
fn chance(longest: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    // Its keys are the system's chance.
    let number = RandomState::new().hash_one(0_u8) >> 32;
    #[expect(
        clippy::cast_precision_loss,
        reason = "32 bits fit into a double's fraction"
    )]
    let part = number as f64 / f64::from(u32::MAX);
    longest.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn which_statuses_are_tried_again() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Aborted] {
            assert_eq!(retry(&Status::new(code, "")), Some(None), "{code}");
        }
        for code in [
            Code::ResourceExhausted,
            Code::InvalidArgument,
            Code::Unauthenticated,
            Code::Unimplemented,
            Code::Unknown,
        ] {
            assert_eq!(retry(&Status::new(code, "")), None, "{code}");
        }
        let asked = |seconds| {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(seconds)));
            retry(&Status::with_error_details(
                Code::ResourceExhausted,
                "",
                details,
            ))
        };
        assert_eq!(asked(7), Some(Some(Duration::from_secs(7))));
        assert_eq!(asked(86_400), Some(Some(MAX_PAUSE)));
        let broken = Status::from_error(io::Error::from(io::ErrorKind::BrokenPipe).into());
        assert_eq!(retry(&broken), Some(None));
    }

    #[test]
    fn what_tells_of_the_endpoint() {
        for status in [301, 302, 401, 403, 404, 405, 407, 415, 500, 501, 505, 599] {
            assert!(
                is_of_server(StatusCode::from_u16(status).unwrap()),
                "{status}"
            );
        }
        for status in [400, 402, 408, 409, 413, 414, 422, 431] {
            assert!(
                !is_of_server(StatusCode::from_u16(status).unwrap()),
                "{status}"
            );
        }
        for code in [Code::Unauthenticated, Code::Unimplemented, Code::Internal] {
            assert!(is_of_endpoint(code), "{code}");
        }
        for code in [
            Code::InvalidArgument,
            Code::ResourceExhausted,
            Code::AlreadyExists,
        ] {
            assert!(!is_of_endpoint(code), "{code}");
        }
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut config = Config::new(Protocol::Grpc, "http://a");
        config.retry_initial = Duration::from_secs(1);
        config.retry_max = Duration::from_secs(5);
        let mut backoff = Backoff::new(&config);
        let mut near = |asked: Option<u64>, want: u64| {
            let pause = backoff.pause(asked.map(Duration::from_secs));
            let want = Duration::from_secs(want);
            assert!(
                pause >= want && pause <= want + config.retry_initial / 2,
                "{pause:?}"
            );
        };
        near(None, 1);
        near(None, 2);
        near(Some(30), 30);
        near(None, 5);
        near(None, 5);
        // Nobody is asked without end.
        near(Some(0), 1);
        backoff.reset();
        assert!(backoff.pause(None) < Duration::from_secs(2));
    }

    #[test]
    fn pauses_that_are_asked_for() {
        let of = |text| {
            let value = HeaderValue::from_static(text);
            pause(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
        };
        assert_eq!(of("3"), Some(Duration::from_secs(3)));
        assert_eq!(of("99999"), Some(MAX_PAUSE));
        assert_eq!(of("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(pause(&HeaderMap::new()), None);
    }
}
