//! One GET over HTTP/1.1, with bounds on everything.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::answer::{Answer, BadAnswer};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(5);
/// Most bytes of a page: vLLM's page has some 300 KiB.
const MAX_ANSWER: usize = 8 << 20;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no answer, or none of HTTP.
    Io(io::Error),
    /// It answers something else.
    Status(u16),
    /// It goes on and on.
    Large,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<BadAnswer> for Failure {
    fn from(bad: BadAnswer) -> Self {
        let kind = match bad {
            BadAnswer::Status(status) => return Self::Status(status),
            BadAnswer::Large => return Self::Large,
            BadAnswer::Cut => io::ErrorKind::UnexpectedEof,
            BadAnswer::Senseless(_) => io::ErrorKind::InvalidData,
        };
        Self::Io(io::Error::new(kind, bad.to_string()))
    }
}

/// Asks for `/metrics`.
pub(super) fn get(address: SocketAddr, agent: &str) -> Result<String, Failure> {
    let until = Instant::now() + WHOLE;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_write_timeout(Some(CONNECT))?;
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {agent}\r\nAccept: text/plain\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Answer::new(MAX_ANSWER);
    let mut piece = vec![0; 64 << 10];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::Io(io::ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left))?;
        let count = match stream.read(&mut piece) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Failure::Io(io::ErrorKind::TimedOut.into()));
            }
            Err(error) => return Err(error.into()),
        };
        // One that keeps the connection open says where its answer ends.
        if answer.push(piece.get(..count).unwrap_or_default())? || count == 0 {
            return Ok(String::from_utf8_lossy(&answer.body()?).into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, MAX_ANSWER, get};
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na 1\r\n2;x\r\n\nb\r\n0\r\n\r\n";

    fn served(answer: Vec<u8>) -> Result<String, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let count = stream.read(&mut request).unwrap();
            // Whoever has heard enough hangs up.
            stream.write_all(&answer).ok();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let got = get(address, "test/1");
        let request = server.join().unwrap();
        assert!(
            request.starts_with("GET /metrics HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("User-Agent: test/1\r\n"), "{request}");
        assert!(!request.to_ascii_lowercase().contains("authorization"));
        got
    }

    #[test]
    fn pages_are_asked_for_and_have_a_bound() {
        assert_eq!(served(CHUNKED.to_vec()).unwrap(), "a 1\nb");
        assert!(matches!(served(Vec::new()), Err(Failure::Io(_))));
        let refused = served(b"HTTP/1.1 401 No\r\n\r\n".to_vec());
        assert!(matches!(refused, Err(Failure::Status(401))));
        let cut = served(CHUNKED[..CHUNKED.len() - 6].to_vec());
        let ended = std::io::ErrorKind::UnexpectedEof;
        assert!(matches!(cut, Err(Failure::Io(error)) if error.kind() == ended));
        let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        endless.resize(MAX_ANSWER + (1 << 20), b'x');
        assert!(matches!(served(endless), Err(Failure::Large)));
    }
}
