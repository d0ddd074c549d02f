//! Requests to the API server: one to a connection, over TLS, with a bearer token or a certificate.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::config::{Asked, BadConfig, Place, Token};
use super::unchecked::Unchecked;
use super::watch::cut;

/// An answer must begin within this time, and one that ends must be over.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of an answer: a page of a list, whose pods have some ten KiB each.
const MAX_ANSWER: usize = 32 << 20;

/// Why there is no answer that is of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It cannot be reached.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not speak HTTP as one should.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    /// It refuses.
    #[error("it answers {0}{hint}", hint = hint(*.0))]
    Status(StatusCode),
    /// It answers something else.
    #[error("its answer makes no sense: {0}")]
    Senseless(String),
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => " (the token is not taken)",
        StatusCode::FORBIDDEN => " (the account may not ask that: deploy/ has the roles)",
        _ => "",
    }
}

/// Who asks.
pub(super) struct Client {
    place: Place,
    tls: Option<TlsConnector>,
}

/// A body that is under way; its connection is closed with it.
pub(super) struct Answer {
    /// It.
    pub(super) body: Incoming,
    connection: AbortHandle,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Client {
    pub(super) fn new(place: Place) -> Result<Self, BadConfig> {
        let tls = place.tls.then(|| tls(&place)).transpose()?;
        let tls = tls.map(|tls| TlsConnector::from(Arc::new(tls)));
        Ok(Self { place, tls })
    }

    /// The node whose pods are of interest.
    pub(super) fn node(&self) -> &str {
        &self.place.node
    }

    /// Who is asked.
    pub(super) const fn asked(&self) -> Asked {
        self.place.asked
    }

    /// `https://HOST:PORT`, for the log.
    pub(super) fn name(&self) -> String {
        let scheme = if self.place.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.host())
    }

    /// Host and port, as they stand in an address.
    fn host(&self) -> String {
        let Place { host, port, .. } = &self.place;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// Asks for something whose answer goes on.
    pub(super) async fn open(&self, path: &str) -> Result<Answer, Failure> {
        let opening = tokio::time::timeout(PATIENCE, self.ask(path));
        opening.await.map_err(|_| Failure::Late)?
    }

    /// Asks for an object.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let whole = async {
            let mut answer = self.ask(path).await?;
            let body = Limited::new(&mut answer.body, MAX_ANSWER).collect().await;
            body.map_err(|error| Failure::Senseless(cut(error.to_string())))
        };
        let body = tokio::time::timeout(PATIENCE, whole).await;
        let body = body.map_err(|_| Failure::Late)??.to_bytes();
        serde_json::from_slice(&body).map_err(|error| Failure::Senseless(cut(error.to_string())))
    }

    async fn ask(&self, path: &str) -> Result<Answer, Failure> {
        let place = &self.place;
        let tcp = TcpStream::connect((place.host.as_str(), place.port)).await?;
        match &self.tls {
            None => self.speak(TokioIo::new(tcp), path).await,
            Some(tls) => {
                let name = ServerName::try_from(place.host.clone()).map_err(io::Error::other)?;
                let tcp = tls.connect(name, tcp).await?;
                self.speak(TokioIo::new(tcp), path).await
            }
        }
    }

    async fn speak<S>(&self, stream: S, path: &str) -> Result<Answer, Failure>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(stream).await?;
        let connection = tokio::spawn(connection).abort_handle();
        let place = &self.place;
        let uri: Uri = format!("{}{path}", place.path)
            .parse()
            .map_err(io::Error::other)?;
        let mut request = Request::get(uri)
            .header("host", self.host())
            .header("accept", "application/json")
            .header("user-agent", concat!("genspan/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = self.token()? {
            let value = http::HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value.map_err(|_| io::Error::other("the token is none"))?;
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(io::Error::other)?;
        let sent = sender.send_request(request).await;
        let response = sent.inspect_err(|_| connection.abort())?;
        let status = response.status();
        let answer = Answer {
            body: response.into_body(),
            connection,
        };
        if status == StatusCode::OK {
            Ok(answer)
        } else {
            Err(Failure::Status(status))
        }
    }

    /// Read anew each time: the kubelet renews it long before it is over.
    fn token(&self) -> io::Result<Option<String>> {
        match &self.place.token {
            Token::None => Ok(None),
            Token::Fixed(token) => Ok(Some(token.clone())),
            Token::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let what = format!("cannot read the token {}: {error}", path.display());
                    io::Error::new(error.kind(), what)
                })?;
                Ok(Some(text.trim().to_owned()))
            }
        }
    }
}

fn tls(place: &Place) -> Result<ClientConfig, BadConfig> {
    let bad =
        |what: &str, error: &dyn std::fmt::Display| BadConfig::Tls(format!("{what}: {error}"));
    let certificates = |what: &str, pem: &[u8]| -> Result<Vec<_>, BadConfig> {
        let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|error| bad(what, &error))?;
        if all.is_empty() {
            return Err(bad(what, &"there is no PEM certificate in it"));
        }
        Ok(all)
    };
    const AUTHORITY: &str = "the certificate of the authority";
    let provider = crypto::ring::default_provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("TLS", &error))?;
    let builder = if place.unchecked {
        let any = Arc::new(Unchecked(algorithms));
        builder.dangerous().with_custom_certificate_verifier(any)
    } else {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(AUTHORITY, &place.authority)? {
            let added = roots.add(certificate);
            added.map_err(|error| bad(AUTHORITY, &error))?;
        }
        builder.with_root_certificates(roots)
    };
    let mut tls = match &place.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            const OURS: &str = "the client certificate";
            let chain = certificates(OURS, certificate)?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad(OURS, &error))?;
            let with = builder.with_client_auth_cert(chain, key);
            with.map_err(|error| bad(OURS, &error))?
        }
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}
