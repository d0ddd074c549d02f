//! TLS in front of the stand-ins.

use super::collector::{Collector, GrpcCollector, free_port};
use super::*;
use std::net::TcpListener;
use std::path::PathBuf;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A file with the certificate, for as long as it is needed.
struct Pem(PathBuf);

impl Drop for Pem {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Takes TLS at a port of its own and passes the plain bytes on to `port`.
fn terminate(port: u16, alpn: &[u8]) -> (u16, Pem) {
    let names = vec!["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let own = listener.local_addr().unwrap().port();
    let file = std::env::temp_dir().join(format!("genspan-otlp-{}-{own}.pem", std::process::id()));
    std::fs::write(&file, made.cert.pem()).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not trust us hangs up here.
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let to = ("127.0.0.1", port);
                    let mut plain = tokio::net::TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
                });
            }
        });
    });
    (own, Pem(file))
}

fn secure(protocol: Protocol, port: u16, ca_file: &Pem) -> Config {
    let plain = quick(protocol, port);
    Config {
        endpoint: plain.endpoint.replacen("http:", "https:", 1),
        ca_file: Some(ca_file.0.clone()),
        ..plain
    }
}

#[test]
fn http_over_tls() {
    let collector = Collector::start(vec![]);
    let (port, file) = terminate(collector.port, b"http/1.1");
    let config = secure(Protocol::HttpProtobuf, port, &file);
    arrives_exactly(config, &|| collector.received());
}

#[test]
fn grpc_over_tls() {
    let collector = GrpcCollector::start(free_port());
    let (port, file) = terminate(collector.port, b"h2");
    let config = secure(Protocol::Grpc, port, &file);
    arrives_exactly(config, &|| collector.received());
}

#[test]
fn an_untrusted_certificate_is_told() {
    for (protocol, alpn) in [
        (Protocol::Grpc, &b"h2"[..]),
        (Protocol::HttpProtobuf, b"http/1.1"),
    ] {
        let (_, other) = terminate(1, alpn);
        let (port, _own) = terminate(1, alpn);
        let log = logged(|log| {
            let mut otlp = Otlp::start(secure(protocol, port, &other)).unwrap();
            otlp.span(&span(1, vec![], resource("shop", 1))).unwrap();
            wait_for("told", || log.text().contains("not reachable"));
            assert!(otlp.shutdown(&[]).is_err());
        });
        assert!(log.contains("certificate"), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
    }
}

#[test]
fn no_tls_at_the_other_end_is_told() {
    let collector = Collector::start(vec![]);
    let (_, file) = terminate(1, b"http/1.1");
    let log = logged(|log| {
        let config = secure(Protocol::HttpProtobuf, collector.port, &file);
        let mut otlp = Otlp::start(Config {
            timeout: Duration::from_secs(1),
            ..config
        })
        .unwrap();
        otlp.span(&span(1, vec![], resource("shop", 1))).unwrap();
        wait_for("told", || log.text().contains("not reachable"));
        drop(otlp);
    });
    assert_eq!(log.lines().count(), 1, "{log}");
}
