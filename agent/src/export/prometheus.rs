//! An endpoint for Prometheus to scrape.
//!
//! A thread of its own with a single-threaded runtime. It answers `GET /metrics` and nothing
//! else, holds a bounded number of connections, and gives none of them longer than a bounded
//! time for its request.

mod text;

#[cfg(test)]
mod tests;

pub use text::{Format, render};

use super::ExportError;
use super::metrics::{Reader, Source};
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Connections at one time; further ones wait.
const MAX_CONNECTIONS: usize = 16;
/// A request's head must be there within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection is closed after this time, whatever it does.
const LONGEST: Duration = Duration::from_secs(60);
/// Wait after a connection could not be taken (no descriptors left).
const RECOVER: Duration = Duration::from_millis(100);

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics at {address}: {source}")]
pub struct StartError {
    address: SocketAddr,
    source: io::Error,
}

/// The endpoint.
pub struct Prometheus {
    address: SocketAddr,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Prometheus {
    /// Serves what `source` holds at `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// When the address cannot be listened at, or no thread can be had.
    pub fn start(address: SocketAddr, source: Source) -> Result<Self, StartError> {
        Self::listen(address, source).map_err(|source| StartError { address, source })
    }

    fn listen(address: SocketAddr, source: Source) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    result = serve(listener, source) => {
                        if let Err(error) = result {
                            tracing::error!("metrics are not served any more: {error}");
                        }
                    }
                    _ = stopped => {}
                }
            });
        };
        let log = tracing::dispatcher::get_default(Clone::clone);
        let thread = std::thread::Builder::new()
            .name("prometheus".to_owned())
            .spawn(move || tracing::dispatcher::with_default(&log, body))?;
        Ok(Self {
            address,
            running: Some((stop, thread)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Reader for Prometheus {
    fn shutdown(&mut self) -> Result<(), ExportError> {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            drop(thread.join());
        }
        Ok(())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.shutdown();
    }
}

async fn serve(listener: TcpListener, source: Source) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return Ok(());
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("a connection for metrics was not taken: {error}");
                tokio::time::sleep(RECOVER).await;
                continue;
            }
        };
        let source = source.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let answer = answer(&request, &source);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(LONGEST, connection).await {
                tracing::debug!("a connection for metrics failed: {error}");
            }
            drop(place);
        });
    }
}

fn answer<B>(request: &Request<B>, source: &Source) -> Response<Full<Bytes>> {
    let say = |status: StatusCode, text: String, kind: &'static str| {
        let mut answer = Response::new(Full::new(Bytes::from(text)));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    };
    let plain = "text/plain; charset=utf-8";
    if request.uri().path() != "/metrics" {
        let text = "metrics are at /metrics\n".to_owned();
        return say(StatusCode::NOT_FOUND, text, plain);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "only GET and HEAD\n".to_owned();
        let mut answer = say(StatusCode::METHOD_NOT_ALLOWED, text, plain);
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        return answer;
    }
    let accept: Vec<_> = request
        .headers()
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    let format = Format::accepted(&accept.join(","));
    say(
        StatusCode::OK,
        render(&source.snapshot(), format),
        format.content_type(),
    )
}
