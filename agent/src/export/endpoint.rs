//! Pages over HTTP, for whoever reads them: a scraper, a prober, a person.
//!
//! A thread of its own with a single-threaded runtime. It knows GET and HEAD and nothing else, holds
//! a bounded number of connections at each listener, and gives none of them longer than a bounded
//! time.

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Connections at one time, at each listener; further ones wait.
const MAX_CONNECTIONS: usize = 16;
/// A request's head must be there within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection is closed after this time, whatever it does.
const LONGEST: Duration = Duration::from_secs(60);
/// Wait after a connection could not be taken (no descriptors left).
const RECOVER: Duration = Duration::from_millis(100);
/// Plain text.
pub const PLAIN: &str = "text/plain; charset=utf-8";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The path.
    pub path: String,
    /// What the `Accept` headers say, joined.
    pub accept: String,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Page {
    /// Whether it is there, and well.
    pub status: StatusCode,
    /// Its `Content-Type`.
    pub kind: &'static str,
    /// Its text.
    pub text: String,
}

impl Page {
    /// A page that is there.
    #[must_use]
    pub const fn good(kind: &'static str, text: String) -> Self {
        Self {
            status: StatusCode::OK,
            kind,
            text,
        }
    }

    /// Plain text with a status.
    #[must_use]
    pub const fn plain(status: StatusCode, text: String) -> Self {
        Self {
            status,
            kind: PLAIN,
            text,
        }
    }
}

/// An answer on its way.
pub type Answer = Pin<Box<dyn Future<Output = Page> + Send>>;

/// Makes the pages. It is called on the endpoint's thread and must not block that.
pub type Pages = Arc<dyn Fn(Asked) -> Answer + Send + Sync>;

/// Where it listens.
#[derive(Debug)]
pub enum Listener {
    /// At an address.
    Tcp(TcpListener),
    /// At a path.
    Unix(UnixListener),
}

/// The endpoint; it ends with this value.
pub struct Endpoint {
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Endpoint {
    /// Serves `pages` at `listeners`, in a thread that is called `name`.
    ///
    /// # Errors
    /// When no thread or runtime can be had.
    pub fn start(name: &'static str, listeners: Vec<Listener>, pages: Pages) -> io::Result<Self> {
        for listener in &listeners {
            match listener {
                Listener::Tcp(listener) => listener.set_nonblocking(true)?,
                Listener::Unix(listener) => listener.set_nonblocking(true)?,
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let body = move || {
            runtime.block_on(async {
                for listener in listeners {
                    let pages = Arc::clone(&pages);
                    tokio::spawn(async move {
                        if let Err(error) = serve(listener, pages).await {
                            tracing::error!("{name}: pages are not served any more: {error}");
                        }
                    });
                }
                // Dropped without a word is a word as well.
                stopped.await.ok();
            });
        };
        let log = tracing::dispatcher::get_default(Clone::clone);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || tracing::dispatcher::with_default(&log, body))?;
        Ok(Self {
            running: Some((stop, thread)),
        })
    }

    /// Serves nothing any more.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            drop(thread.join());
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(listener: Listener, pages: Pages) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    match listener {
        Listener::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            while let Ok(place) = Arc::clone(&room).acquire_owned().await {
                match listener.accept().await {
                    Ok((stream, _)) => talk(stream, place, &pages),
                    Err(error) => not_taken(&error).await,
                }
            }
        }
        Listener::Unix(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            while let Ok(place) = Arc::clone(&room).acquire_owned().await {
                match listener.accept().await {
                    Ok((stream, _)) => talk(stream, place, &pages),
                    Err(error) => not_taken(&error).await,
                }
            }
        }
    }
    Ok(())
}

async fn not_taken(error: &io::Error) {
    tracing::debug!("a connection was not taken: {error}");
    tokio::time::sleep(RECOVER).await;
}

/// Leaves a connection to a task; its place is free again when that ends.
fn talk<S>(stream: S, place: OwnedSemaphorePermit, pages: &Pages)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pages = Arc::clone(pages);
    tokio::spawn(async move {
        let service = hyper::service::service_fn(move |request| {
            let pages = Arc::clone(&pages);
            async move { Ok::<_, Infallible>(answer(&request, &pages).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = tokio::time::timeout(LONGEST, connection).await {
            tracing::debug!("a connection failed: {error}");
        }
        drop(place);
    });
}

async fn answer(request: &Request<hyper::body::Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "only GET and HEAD\n".to_owned();
        let mut answer = response(Page::plain(StatusCode::METHOD_NOT_ALLOWED, text));
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
    let asked = Asked {
        path: request.uri().path().to_owned(),
        accept: accept.join(","),
    };
    response(pages(asked).await)
}

fn response(page: Page) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(page.text)));
    *answer.status_mut() = page.status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
