//! One GET over HTTP/1.1, with bounds on everything.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(5);
/// Most bytes of an answer, its head included: vLLM's page has some 300 KiB.
const MAX_ANSWER: usize = 8 << 20;
/// Most header fields.
const MAX_FIELDS: usize = 64;

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
    let mut all = Vec::new();
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
        all.extend_from_slice(piece.get(..count).unwrap_or_default());
        if all.len() > MAX_ANSWER {
            return Err(Failure::Large);
        }
        // One that keeps the connection open says where its answer ends.
        if let Some(page) = page(&all, count == 0)? {
            return Ok(page);
        }
        if count == 0 {
            return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

fn senseless(what: &str) -> Failure {
    Failure::Io(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()))
}

/// The page of an answer, once it is whole. `over`: nothing more will come.
fn page(all: &[u8], over: bool) -> Result<Option<String>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(all);
    let at = match parsed.map_err(|_| senseless("it does not speak HTTP"))? {
        httparse::Status::Complete(at) => at,
        httparse::Status::Partial => return Ok(None),
    };
    let code = head.code.unwrap_or_default();
    if code != 200 {
        return Err(Failure::Status(code));
    }
    let field = |name: &str| {
        let mut all = head.headers.iter();
        let found = all.find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let body = all.get(at..).unwrap_or_default();
    let body = if field("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        chunks(body)?
    } else if let Some(length) = field("content-length") {
        let length: usize = length.trim().parse().map_err(|_| senseless("no length"))?;
        body.get(..length).map(<[u8]>::to_vec)
    } else {
        over.then(|| body.to_vec())
    };
    Ok(body.map(|body| String::from_utf8_lossy(&body).into_owned()))
}

/// What is in chunks (RFC 9112, section 7.1), once all are there.
fn chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let mut body = Vec::new();
    loop {
        let (at, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(senseless("its chunks make no sense")),
        };
        if size == 0 {
            return Ok(Some(body));
        }
        let size = usize::try_from(size).map_err(|_| Failure::Large)?;
        let after = rest.get(at..).unwrap_or_default();
        // The line end of the chunk as well.
        let (Some(chunk), Some(next)) = (after.get(..size), after.get(size.saturating_add(2)..))
        else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, MAX_ANSWER, get, page};
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na 1\r\n2;x\r\n\nb\r\n0\r\n\r\n";

    #[test]
    fn answers_end_where_they_say() {
        for (answer, want) in [
            (
                &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na 1"[..],
                "a 1",
            ),
            (CHUNKED, "a 1\nb"),
        ] {
            for cut in 0..answer.len() {
                let cut = &answer[..cut];
                // The last line of chunks need not have come.
                let got = page(cut, false).unwrap();
                assert!(got.is_none() || cut.ends_with(b"0\r\n") || cut.ends_with(b"0\r\n\r"));
            }
            assert_eq!(page(answer, false).unwrap().as_deref(), Some(want));
        }
        let open = b"HTTP/1.1 200 OK\r\n\r\na 1";
        assert!(page(open, false).unwrap().is_none());
        assert_eq!(page(open, true).unwrap().as_deref(), Some("a 1"));
        for bad in [
            &b"nonsense\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        ] {
            assert!(matches!(page(bad, true), Err(Failure::Io(_))));
        }
        let huge = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na";
        assert!(matches!(page(huge, false), Ok(None) | Err(Failure::Large)));
        assert!(matches!(
            page(b"HTTP/1.1 401 No\r\n\r\n", false),
            Err(Failure::Status(401))
        ));
    }

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
        let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        endless.resize(MAX_ANSWER + (1 << 20), b'x');
        assert!(matches!(served(endless), Err(Failure::Large)));
    }
}
