//! Whether a process waits for others to connect.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};

/// `TCP_LISTEN` (`include/net/tcp_states.h`), as `/proc/net/tcp` shows it.
const LISTEN: &str = "0A";
/// Most lines of a table that are looked at: in a namespace with very many connections a listener
/// beyond them is not seen. Listening sockets come first in the tables of TCP.
const MAX_LINES: usize = 1 << 16;
/// `__SO_ACCEPTCON` (`include/linux/net.h`), as `/proc/net/unix` shows it.
const ACCEPTS: &str = "00010000";

/// Whether a process has a socket that listens, TCP or Unix. False also when it cannot be looked at.
#[must_use]
pub fn listens(pid: u32) -> bool {
    let own = sockets(pid);
    if own.is_empty() {
        return false;
    }
    // Columns of the state (or the flags) and of the inode number.
    [
        ("tcp", 3, LISTEN, 9),
        ("tcp6", 3, LISTEN, 9),
        ("unix", 3, ACCEPTS, 6),
    ]
    .into_iter()
    .any(|(table, state, wanted, inode)| {
        // A line at a time: it has those of the whole network namespace.
        let Ok(table) = File::open(format!("/proc/{pid}/net/{table}")) else {
            return false;
        };
        let lines = BufReader::new(table).split(b'\n').map_while(Result::ok);
        lines.skip(1).take(MAX_LINES).any(|line| {
            // A Unix socket's path may be anything.
            let line = String::from_utf8_lossy(&line);
            let mut words = line.split_ascii_whitespace();
            words.nth(state) == Some(wanted)
                && words
                    .nth(inode - state - 1)
                    .is_some_and(|inode| own.contains(inode))
        })
    })
}

/// The TCP ports at which a process listens, in order. None also when it cannot be looked at.
#[must_use]
pub fn ports(pid: u32) -> Vec<u16> {
    let own = sockets(pid);
    let mut ports = Vec::new();
    if own.is_empty() {
        return ports;
    }
    for table in ["tcp", "tcp6"] {
        let Ok(table) = File::open(format!("/proc/{pid}/net/{table}")) else {
            continue;
        };
        let lines = BufReader::new(table).lines().map_while(Result::ok);
        for line in lines.skip(1).take(MAX_LINES) {
            let mut words = line.split_ascii_whitespace();
            let (address, state) = (words.nth(1), words.nth(1));
            // Listening sockets come first.
            if state != Some(LISTEN) {
                break;
            }
            let port = address.and_then(|a| u16::from_str_radix(a.rsplit_once(':')?.1, 16).ok());
            if words.nth(5).is_some_and(|inode| own.contains(inode)) {
                ports.extend(port);
            }
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Inode numbers of a process's sockets.
fn sockets(pid: u32) -> HashSet<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return HashSet::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let text = target.to_str()?;
            Some(text.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{listens, ports};
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_seen_and_its_absence_too() {
        // Other tests of this process may listen: so a child that does not is looked at as well.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listens(std::process::id()));
        let port = listener.local_addr().unwrap().port();
        assert!(ports(std::process::id()).contains(&port));
        let mut child = std::process::Command::new("sleep")
            .arg("5")
            .spawn()
            .unwrap();
        assert!(!listens(child.id()));
        assert!(ports(child.id()).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!listens(child.id()));
    }
}
