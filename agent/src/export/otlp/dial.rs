//! Connections to the endpoint: one connector for gRPC and HTTP, so that both say in the same
//! words why a connection does not come about, and TLS is set up in one place.

use super::config::{Config, ConfigError, Protocol};
use super::counters::{Counters, add};
use super::health::Health;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Opens connections and tells [`Health`] how that goes.
#[derive(Clone)]
pub(super) struct Dial {
    tls: Option<TlsConnector>,
    timeout: Duration,
    health: Arc<Health>,
    counters: Arc<Counters>,
}

impl Dial {
    pub(super) fn new(
        config: &Config,
        health: &Arc<Health>,
        counters: &Arc<Counters>,
    ) -> Result<Self, ConfigError> {
        let tls = if config.endpoint.starts_with("https:") {
            Some(TlsConnector::from(Arc::new(tls(config)?)))
        } else {
            None
        };
        Ok(Self {
            tls,
            timeout: config.timeout,
            health: Arc::clone(health),
            counters: Arc::clone(counters),
        })
    }

    async fn open(self, uri: Uri) -> io::Result<TokioIo<Stream>> {
        let result = tokio::time::timeout(self.timeout, self.connect(&uri))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match &result {
            Ok(_) => self.health.connected(),
            Err(e) => {
                add(&self.counters.export_errors, 1);
                self.health.unreachable(&reason(e));
            }
        }
        result.map(TokioIo::new)
    }

    async fn connect(&self, uri: &Uri) -> io::Result<Stream> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let default_port = if self.tls.is_some() { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Stream::Plain(tcp));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = tls.connect(name, tcp).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// The system's words without its numbers.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "connecting timed out".to_owned(),
        io::ErrorKind::UnexpectedEof => "it closed the connection during the TLS handshake \
             (does it speak TLS?)"
            .to_owned(),
        _ => {
            let text = error.to_string();
            match text.find(" (os error") {
                Some(at) => text[..at].to_owned(),
                None => text,
            }
        }
    }
}

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().open(uri))
    }
}

fn tls(config: &Config) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| ConfigError::new("TLS", e.to_string()))?
        .with_root_certificates(roots(config)?);
    let mut tls = match &config.client_identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            const NAME: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
            let chain = certificates(NAME, certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|e| unreadable("OTEL_EXPORTER_OTLP_CLIENT_KEY", key, &e))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| ConfigError::new(NAME, e.to_string()))?
        }
    };
    tls.alpn_protocols = match config.protocol {
        Protocol::Grpc => vec![b"h2".to_vec()],
        Protocol::HttpProtobuf => vec![b"http/1.1".to_vec()],
    };
    Ok(tls)
}

fn roots(config: &Config) -> Result<RootCertStore, ConfigError> {
    const NAME: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca_file {
        for certificate in certificates(NAME, file)? {
            roots
                .add(certificate)
                .map_err(|e| ConfigError::new(NAME, format!("{}: {e}", file.display())))?;
        }
    } else {
        // The system's own store, so that a company's authority counts here as elsewhere.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(ConfigError::new(
                NAME,
                "the system has no certificate authorities; install ca-certificates or set this \
                 variable to a PEM file",
            ));
        }
    }
    Ok(roots)
}

fn certificates(name: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let list = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable(name, file, &e))?;
    if list.is_empty() {
        let problem = format!("{} has no PEM certificate", file.display());
        return Err(ConfigError::new(name, problem));
    }
    Ok(list)
}

fn unreadable(name: &str, file: &Path, error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::new(name, format!("cannot read {}: {error}", file.display()))
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
