//! An OTLP endpoint that fails as it is told to, and knows which spans it took.

use anyhow::{Context as _, Result};
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It takes what it is sent.
    Well,
    /// Nobody listens.
    Refuses,
    /// It answers 503.
    Busy,
    /// It reads, and never answers.
    Hangs,
    /// It closes the connection in the middle of a request.
    Cuts,
    /// It takes two seconds for each request.
    Slow,
}

impl Mode {
    /// The ways in which it fails.
    pub const BAD: [Self; 5] = [
        Self::Refuses,
        Self::Busy,
        Self::Hangs,
        Self::Cuts,
        Self::Slow,
    ];

    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Well => "takes all",
            Self::Refuses => "refuses connections",
            Self::Busy => "answers 503",
            Self::Hangs => "does not answer",
            Self::Cuts => "closes in the middle",
            Self::Slow => "is slow",
        }
    }

    const ALL: [Self; 6] = [
        Self::Well,
        Self::Refuses,
        Self::Busy,
        Self::Hangs,
        Self::Cuts,
        Self::Slow,
    ];
}

/// What it was sent.
#[derive(Debug, Default)]
struct Shared {
    /// Place in [`Mode::ALL`].
    mode: AtomicU8,
    over: AtomicBool,
    /// Ids of the spans that it acknowledged.
    taken: Mutex<HashSet<u64>>,
    /// Those that it acknowledged more than once.
    twice: AtomicU64,
    /// Requests that were no such requests.
    unread: AtomicU64,
}

impl Shared {
    fn mode(&self) -> Mode {
        let at = usize::from(self.mode.load(Ordering::Relaxed));
        Mode::ALL.get(at).copied().unwrap_or(Mode::Well)
    }
}

/// The endpoint; it ends with this value.
#[derive(Debug)]
pub struct Collector {
    at: SocketAddrV4,
    shared: Arc<Shared>,
}

/// The first port. Below those that the system gives to clients, one of which could get the
/// port while nobody listens at it: it would then be connected to itself.
const FIRST_PORT: u16 = 21_000;
/// The next one of this process.
static NEXT_PORT: AtomicU16 = AtomicU16::new(FIRST_PORT);

/// An address of the loopback network that this process has for itself: while a collector refuses connections its
/// port is free, and that of another process would get what is meant for it.
fn own_address() -> Ipv4Addr {
    // Process ids have 22 bits at most (`PID_MAX_LIMIT`).
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 0x80 | a, b, c)
}

/// How often it is seen that the mode is another one.
const LOOK: Duration = Duration::from_millis(20);

impl Collector {
    /// One that takes all.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn start() -> Result<Self> {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let at = SocketAddrV4::new(own_address(), port);
        let listener = TcpListener::bind(at).with_context(|| format!("cannot listen at {at}"))?;
        let shared = Arc::<Shared>::default();
        let ours = Arc::clone(&shared);
        thread::spawn(move || listen(listener, at, &ours));
        Ok(Self { at, shared })
    }

    /// What an endpoint of the agent's configuration says.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// It behaves so from now on.
    pub fn set(&self, mode: Mode) {
        let at = Mode::ALL.iter().position(|one| *one == mode);
        let at = u8::try_from(at.unwrap_or_default()).unwrap_or_default();
        self.shared.mode.store(at, Ordering::Relaxed);
    }

    /// How many spans it acknowledged, each counted once.
    #[must_use]
    pub fn taken(&self) -> u64 {
        lock(&self.shared.taken).len() as u64
    }

    /// How many of them it was sent again after it had acknowledged them.
    #[must_use]
    pub fn twice(&self) -> u64 {
        self.shared.twice.load(Ordering::Relaxed)
    }

    /// Requests that it could not read.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.shared.unread.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens, unless it is to refuse.
fn listen(listener: TcpListener, at: SocketAddrV4, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    while !shared.over.load(Ordering::Relaxed) {
        if shared.mode() == Mode::Refuses {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(at).ok();
        }
        let stream = listener.as_ref().and_then(|listener| {
            listener.set_nonblocking(true).ok()?;
            Some(listener.accept().ok()?.0)
        });
        match stream {
            Some(stream) => {
                let shared = Arc::clone(shared);
                thread::spawn(move || serve(stream, &shared));
            }
            None => thread::sleep(LOOK),
        }
    }
}

/// Answers requests, or does not, until the connection ends.
fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
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
        let length: usize = length.parse().ok()?;
        let mode = shared.mode();
        if mode == Mode::Refuses {
            return None;
        }
        let mut body = vec![
            0;
            if mode == Mode::Cuts {
                length / 2
            } else {
                length
            }
        ];
        input.read_exact(&mut body).ok()?;
        match mode {
            Mode::Cuts => return None,
            Mode::Busy => {
                let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).ok()?;
                continue;
            }
            Mode::Hangs => {
                while shared.mode() == Mode::Hangs && !shared.over.load(Ordering::Relaxed) {
                    thread::sleep(LOOK);
                }
                return None;
            }
            Mode::Slow => thread::sleep(Duration::from_secs(2)),
            Mode::Well | Mode::Refuses => {}
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
        match span_ids(&body) {
            Some(ids) => {
                let mut taken = lock(&shared.taken);
                let again = ids.into_iter().filter(|id| !taken.insert(*id)).count();
                shared.twice.fetch_add(again as u64, Ordering::Relaxed);
            }
            None => {
                shared.unread.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The ids of the spans in an `ExportTraceServiceRequest`: `resource_spans` (1), in these `scope_spans` (2),
/// in these `spans` (2), and in these `span_id` (2), of eight bytes (opentelemetry-proto 1.0,
/// `trace/v1/trace.proto`).
fn span_ids(request: &[u8]) -> Option<Vec<u64>> {
    let mut ids = Vec::new();
    for resource in fields(request, 1)? {
        for scope in fields(resource, 2)? {
            for span in fields(scope, 2)? {
                let id = fields(span, 2)?.into_iter().next()?;
                ids.push(u64::from_be_bytes(id.try_into().ok()?));
            }
        }
    }
    Some(ids)
}

/// The parts of a message of protobuf with this number that have a length.
fn fields(mut message: &[u8], wanted: u64) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let length = match key & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let part = message.get(..length)?;
        message = message.get(length..)?;
        if key == wanted << 3 | 2 {
            found.push(part);
        }
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::span_ids;

    #[test]
    fn ids_are_read() {
        let part = |number: u8, bytes: &[u8]| {
            let length = u8::try_from(bytes.len()).unwrap();
            [&[number << 3 | 2, length], bytes].concat()
        };
        let span = |id: u8| {
            let ids = [part(1, &[1; 16]), part(2, &[id; 8])].concat();
            // A time, and a kind.
            part(
                2,
                &[
                    ids,
                    vec![7 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 1, 6 << 3, 0x81, 1],
                ]
                .concat(),
            )
        };
        let scope = part(2, &[part(1, b"name"), span(3), span(4)].concat());
        let request = part(1, &[part(1, b"resource"), scope].concat());
        let of = |byte: u8| u64::from_be_bytes([byte; 8]);
        assert_eq!(span_ids(&request), Some(vec![of(3), of(4)]));
        assert_eq!(span_ids(&[]), Some(Vec::new()));
        for end in 1..request.len() {
            assert_eq!(span_ids(&request[..end]), None, "{end}");
        }
    }
}
