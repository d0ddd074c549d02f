//! An OTLP endpoint over HTTP that keeps what it is sent, as it is sent.

use anyhow::Result;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Requests, each with its path.
type Received = Vec<(String, Vec<u8>)>;

/// The endpoint; it ends with the test.
#[derive(Debug)]
pub struct Collector {
    port: u16,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    /// One on loopback.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn start() -> Result<Self> {
        Self::start_at(0)
    }

    /// One at this port of loopback; the system chooses where it is zero.
    ///
    /// # Errors
    ///
    /// When the port cannot be had.
    pub fn start_at(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let port = listener.local_addr()?.port();
        let received = Arc::default();
        let kept = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Ok(Self { port, received })
    }

    /// What `--otlp-endpoint` wants to know.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A port at which nobody listens.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn free_port() -> Result<u16> {
        Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
    }

    /// The bodies of all requests so far, one behind the other.
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.received_at("")
    }

    /// The same of those to this path, `/v1/traces` for example.
    #[must_use]
    pub fn received_at(&self, path: &str) -> Vec<u8> {
        let received = self.received.lock();
        let received = received.unwrap_or_else(PoisonError::into_inner);
        let bodies = received.iter().filter(|(at, _)| at.starts_with(path));
        bodies.flat_map(|(_, body)| body.clone()).collect()
    }
}

/// Answers requests until the connection ends.
fn serve(mut stream: TcpStream, kept: &Mutex<Received>) -> Option<()> {
    let mut input = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if input.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))?;
        let mut body = vec![0; length.parse().ok()?];
        input.read_exact(&mut body).ok()?;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let path = head.split(' ').nth(1).unwrap_or_default();
        kept.push((path.to_owned(), body));
        drop(kept);
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).ok()?;
    }
}
