//! Stand-ins for a collector: HTTP by hand, gRPC by tonic.

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::codec::CompressionEncoding;

/// What the HTTP stand-in says; when the script is over, `200 OK`.
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) headers: &'static str,
    pub(super) body: Vec<u8>,
}

/// One request.
#[derive(Clone)]
pub(super) struct Received {
    pub(super) at: Instant,
    /// Request line and headers, or gRPC metadata.
    pub(super) head: String,
    pub(super) request: ExportTraceServiceRequest,
    pub(super) metrics: Option<ExportMetricsServiceRequest>,
    pub(super) logs: Option<ExportLogsServiceRequest>,
}

impl Received {
    fn now(head: String) -> Self {
        Self {
            at: Instant::now(),
            head,
            request: ExportTraceServiceRequest::default(),
            metrics: None,
            logs: None,
        }
    }
}

fn count(received: &[Received]) -> usize {
    received
        .iter()
        .flat_map(|r| &r.request.resource_spans)
        .flat_map(|r| &r.scope_spans)
        .map(|s| s.spans.len())
        .sum()
}

/// A port on which nothing listens.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    /// What every request is answered, or the one that has this span.
    refusal: Option<(&'static str, Option<u64>)>,
    /// How long an answer takes.
    pause: Duration,
    received: Vec<Received>,
}

/// OTLP/HTTP.
pub(super) struct Collector {
    pub(super) port: u16,
    state: Arc<Mutex<State>>,
}

impl Collector {
    pub(super) fn start(script: Vec<Answer>) -> Self {
        Self::start_at(0, script)
    }

    pub(super) fn start_at(port: u16, script: Vec<Answer>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            script: script.into(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Self { port, state }
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// From now on it answers with this status, where a span is named the request that has it alone.
    pub(super) fn refuse(&self, status: &'static str, span: Option<u64>) {
        self.state.lock().unwrap().refusal = Some((status, span));
    }

    /// It takes all again.
    pub(super) fn accept(&self) {
        self.state.lock().unwrap().refusal = None;
    }

    /// From now on it takes its time.
    pub(super) fn take_long(&self, pause: Duration) {
        self.state.lock().unwrap().pause = pause;
    }

    pub(super) fn span_count(&self) -> usize {
        count(&self.state.lock().unwrap().received)
    }
}

/// The ids of all spans of a request.
pub(super) fn ids_of(request: &ExportTraceServiceRequest) -> impl Iterator<Item = u64> {
    let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes
        .flat_map(|s| &s.spans)
        .map(|s| u64::from_be_bytes(s.span_id.clone().try_into().unwrap()))
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut out = stream.try_clone().unwrap();
    let mut input = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if input.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))
            .expect("a content-length");
        let mut body = vec![0; length.parse().unwrap()];
        input.read_exact(&mut body).unwrap();
        if lower.contains("content-encoding: gzip") {
            let mut plain = Vec::new();
            GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
            body = plain;
        }
        let mut received = Received::now(head);
        if received.head.starts_with("POST /v1/metrics ") {
            received.metrics = Some(ExportMetricsServiceRequest::decode(&body[..]).unwrap());
        } else if received.head.starts_with("POST /v1/logs ") {
            received.logs = Some(ExportLogsServiceRequest::decode(&body[..]).unwrap());
        } else {
            received.request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        }
        let mut state = state.lock().unwrap();
        let is_refused = |span: Option<u64>| {
            span.is_none_or(|span| ids_of(&received.request).any(|id| id == span))
        };
        let refusal = state.refusal.filter(|(_, span)| is_refused(*span));
        let scripted = state.script.pop_front();
        state.received.push(received);
        let answer = scripted.unwrap_or(Answer {
            status: refusal.map_or("200 OK", |(status, _)| status),
            headers: "",
            body: vec![],
        });
        let pause = state.pause;
        drop(state);
        std::thread::sleep(pause);
        write!(
            out,
            "HTTP/1.1 {}\r\nContent-Length: {}\r\n{}\r\n",
            answer.status,
            answer.body.len(),
            answer.headers
        )
        .unwrap();
        out.write_all(&answer.body).unwrap();
    }
}

/// OTLP/gRPC.
pub(super) struct GrpcCollector {
    pub(super) port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    refusal: Refusal,
}

/// What every request for spans is answered, if it is.
type Refusal = Arc<Mutex<Option<tonic::Code>>>;

impl GrpcCollector {
    pub(super) fn start(port: u16) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let refusal = Refusal::default();
        let service = || Service(Arc::clone(&received), Arc::clone(&refusal));
        let metrics =
            MetricsServiceServer::new(service()).accept_compressed(CompressionEncoding::Gzip);
        let logs = LogsServiceServer::new(service()).accept_compressed(CompressionEncoding::Gzip);
        let service =
            TraceServiceServer::new(service()).accept_compressed(CompressionEncoding::Gzip);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let server = tonic::transport::Server::builder()
                .add_service(service)
                .add_service(metrics)
                .add_service(logs);
            let address = ([127, 0, 0, 1], port).into();
            runtime.block_on(server.serve(address)).unwrap();
        });
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self {
            port,
            received,
            refusal,
        }
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// From now on it answers so, or takes all again.
    pub(super) fn refuse(&self, code: Option<tonic::Code>) {
        *self.refusal.lock().unwrap() = code;
    }

    pub(super) fn span_count(&self) -> usize {
        count(&self.received.lock().unwrap())
    }
}

struct Service(Arc<Mutex<Vec<Received>>>, Refusal);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().push(Received {
            request: request.get_ref().clone(),
            ..Received::now(format!("{:?}", request.metadata()))
        });
        if let Some(code) = *self.1.lock().unwrap() {
            return Err(tonic::Status::new(code, "not so"));
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().push(Received {
            metrics: Some(request.get_ref().clone()),
            ..Received::now(format!("{:?}", request.metadata()))
        });
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().push(Received {
            logs: Some(request.get_ref().clone()),
            ..Received::now(format!("{:?}", request.metadata()))
        });
        Ok(tonic::Response::new(ExportLogsServiceResponse::default()))
    }
}
