//! An endpoint for Prometheus to scrape: `/metrics` and nothing else.

mod text;

#[cfg(test)]
mod tests;

pub use text::{Format, render};
#[cfg(feature = "kernel")]
pub(crate) use text::{Own, OwnKind, render_with};

use super::ExportError;
use super::endpoint::{Asked, Endpoint, Listener, Page};
use super::metrics::{Reader, Source};
use http::StatusCode;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

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
    endpoint: Endpoint,
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
        let pages = Arc::new(move |asked: Asked| -> super::endpoint::Answer {
            let page = page(&asked, &source);
            Box::pin(async move { page })
        });
        Ok(Self {
            address,
            endpoint: Endpoint::start("prometheus", vec![Listener::Tcp(listener)], pages)?,
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
        self.endpoint.stop();
        Ok(())
    }
}

fn page(asked: &Asked, source: &Source) -> Page {
    if asked.path != "/metrics" {
        let text = "metrics are at /metrics\n".to_owned();
        return Page::plain(StatusCode::NOT_FOUND, text);
    }
    let format = Format::accepted(&asked.accept);
    Page::good(format.content_type(), render(&source.snapshot(), format))
}
