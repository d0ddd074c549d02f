//! The agent's endpoint: its pages on loopback, and at a socket for `genspan ps` and `genspan doctor`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use super::handle::State;
use super::pages::pages;
use super::socket::{self, SocketFile};
use crate::export::endpoint::{Endpoint, Listener};
use crate::export::metrics::Source;

/// Why the state is not told.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Not at this address.
    #[error("cannot listen at {address}: {source}; choose another address, or none, with --listen")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Not at this socket.
    #[error("cannot listen at {path}: {source}; choose another path, or none, with --socket")]
    Socket {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not at all.
    #[error("the state cannot be told: {0}")]
    Thread(#[source] io::Error),
}

/// Where the state is told.
#[derive(Default)]
pub struct Places {
    listeners: Vec<Listener>,
    address: Option<SocketAddr>,
    file: Option<SocketFile>,
}

impl Places {
    /// Also at an address; port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// When it cannot be listened at.
    pub fn at(&mut self, address: SocketAddr) -> Result<SocketAddr, ServeError> {
        let bound = TcpListener::bind(address).and_then(|l| Ok((l.local_addr()?, l)));
        let (own, listener) = bound.map_err(|source| ServeError::Address { address, source })?;
        self.listeners.push(Listener::Tcp(listener));
        self.address = Some(own);
        Ok(own)
    }

    /// Also at a socket, for our own user alone.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or another agent answers there.
    pub fn at_socket(&mut self, path: &Path) -> Result<(), ServeError> {
        let listened = socket::listen(path).map_err(|source| ServeError::Socket {
            path: path.to_owned(),
            source,
        });
        let (listener, file) = listened?;
        self.listeners.push(Listener::Unix(listener));
        self.file = Some(file);
        Ok(())
    }

    /// Starts to tell it.
    ///
    /// # Errors
    ///
    /// When no thread can be had.
    pub fn serve(self, state: State, source: Source) -> Result<Server, ServeError> {
        let endpoint = if self.listeners.is_empty() {
            None
        } else {
            let started = Endpoint::start("state", self.listeners, pages(state, source));
            Some(started.map_err(ServeError::Thread)?)
        };
        Ok(Server {
            _endpoint: endpoint,
            _file: self.file,
        })
    }
}

/// The running endpoint; it ends with this value.
pub struct Server {
    _endpoint: Option<Endpoint>,
    _file: Option<SocketFile>,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpStream};
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::client;
    use super::super::handle::State;
    use super::super::status::{Attached, Phase, ProcessStatus, Status};
    use super::{Places, Server};
    use crate::export::metrics::Source;
    use crate::export::status::{Dropped, ExportStatus, SpoolStatus};
    use crate::metrics::{Limits, Metrics};
    use crate::vocabulary::Generation;

    fn directory(name: &str) -> std::path::PathBuf {
        let name = format!("genspan-state-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn source() -> Source {
        Source::new(Metrics::new(Generation::Legacy, Limits::default()))
    }

    fn get(port: u16, path: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        all
    }

    /// A run that hands over a snapshot whenever one is asked for.
    fn run(state: &State, rounds: usize) -> std::thread::JoinHandle<()> {
        let state = state.clone();
        std::thread::spawn(move || {
            let process = |pid, state| ProcessStatus {
                pid,
                state,
                ..ProcessStatus::default()
            };
            for _ in 0..rounds {
                if state.beat() {
                    let mut status = Status {
                        processes: vec![
                            process(7, Attached::Attached),
                            process(8, Attached::Attached),
                            process(9, Attached::NotTraced),
                        ],
                        ..Status::default()
                    };
                    status.counts.calls = 3;
                    state.publish(status);
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        })
    }

    #[test]
    fn pages_tell_the_state() {
        let state = State::new().unwrap();
        let mut places = Places::default();
        let port = places.at((Ipv4Addr::LOCALHOST, 0).into()).unwrap().port();
        let _server = places.serve(state.clone(), source()).unwrap();
        assert!(get(port, "/healthz").starts_with("HTTP/1.1 200"));
        let page = get(port, "/readyz");
        assert!(
            page.starts_with("HTTP/1.1 503") && page.ends_with("loading\n"),
            "{page}"
        );
        assert!(get(port, "/").starts_with("HTTP/1.1 404"));
        state.exports().add(|| ExportStatus {
            endpoint: "http://c:4317".to_owned(),
            signal: "traces".to_owned(),
            delivered: 5,
            dropped: Dropped {
                spool_full: 2,
                ..Dropped::default()
            },
            spool: Some(SpoolStatus {
                items: 7,
                ..SpoolStatus::default()
            }),
            ..ExportStatus::default()
        });
        state.exports().add(ExportStatus::default);
        state.enter(Phase::Ready);
        let run = run(&state, 500);
        assert!(get(port, "/readyz").starts_with("HTTP/1.1 200"));
        let page = get(port, "/status");
        let (_, body) = page.split_once("\r\n\r\n").unwrap();
        let status: Status = serde_json::from_str(body).unwrap();
        assert_eq!(
            (status.pid, status.processes.len()),
            (std::process::id(), 3)
        );
        assert_eq!(status.exports.len(), 2);
        assert_eq!(status.exports[0].spool.map(|s| s.items), Some(7));
        let page = get(port, "/metrics");
        let spools = page.matches("\ngenspan_export_spool_items{").count();
        assert_eq!(spools, 1, "{page}");
        for line in [
            "genspan_agent_ready 1\n",
            "genspan_agent_processes{state=\"attached\"} 2\n",
            "genspan_agent_processes{state=\"failed\"} 0\n",
            "# TYPE genspan_agent_calls_total counter\ngenspan_agent_calls_total 3\n",
            "# TYPE process_resident_memory_bytes gauge\n",
            "genspan_export_delivered_total{endpoint=\"http://c:4317\",signal=\"traces\"} 5\n",
            "endpoint=\"http://c:4317\",signal=\"traces\",reason=\"spool_full\"} 2\n",
            "genspan_export_spool_items{endpoint=\"http://c:4317\",signal=\"traces\"} 7\n",
            "genspan_agent_left_out 0\n",
        ] {
            assert!(page.contains(line), "{line:?} is not in {page}");
        }
        run.join().unwrap();
    }

    #[test]
    fn the_socket_is_ours_alone_and_answers() {
        let directory = directory("answers");
        let path = directory.join("new/agent.sock");
        assert_eq!(client::ask(&path).unwrap(), None, "nothing is there");
        let state = State::new().unwrap();
        let start = || -> Server {
            let mut places = Places::default();
            places.at_socket(&path).unwrap();
            places.serve(state.clone(), source()).unwrap()
        };
        let server = start();
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path) & 0o777, 0o600);
        assert_eq!(mode(path.parent().unwrap()) & 0o777, 0o700);
        let status = client::ask(&path).unwrap().unwrap();
        assert_eq!(
            (status.pid, status.phase),
            (std::process::id(), Phase::Loading)
        );
        let error = Places::default().at_socket(&path).unwrap_err().to_string();
        assert!(error.contains("another agent answers there"), "{error}");
        drop(server);
        assert!(!path.exists());
        // Left by one that died.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert_eq!(client::ask(&path).unwrap(), None, "nobody is there");
        drop(start());
        fs::write(&path, "mine").unwrap();
        let error = Places::default().at_socket(&path).unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        fs::remove_dir_all(directory).unwrap();
    }
}
