//! Whether a process waits for others to connect.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;

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
    let all = addresses(pid).into_iter();
    let mut ports: Vec<u16> = all.map(|address| address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The addresses at which a process listens. None also when it cannot be looked at.
#[must_use]
pub fn addresses(pid: u32) -> Vec<SocketAddr> {
    let own = sockets(pid);
    let mut addresses = Vec::new();
    if own.is_empty() {
        return addresses;
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
            if words.nth(5).is_some_and(|inode| own.contains(inode)) {
                addresses.extend(address.and_then(socket_address));
            }
        }
    }
    addresses
}

/// `0100007F:1F90`: words of the address as the machine has them, and the port.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16);
        Some(word.ok()?.to_ne_bytes())
    };
    match address.len() {
        8 => Some((word(0)?, port).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Some((bytes, port).into())
        }
        _ => None,
    }
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
    use super::{addresses, listens, ports, socket_address};
    use std::net::TcpListener;

    #[test]
    fn addresses_are_read() {
        let said = |text: &str| socket_address(text).map(|a| a.to_string());
        let little = cfg!(target_endian = "little");
        let loopback = if little { "0100007F" } else { "7F000001" };
        assert_eq!(
            said(&format!("{loopback}:1F90")).as_deref(),
            Some("127.0.0.1:8080")
        );
        let zeros = "0".repeat(32);
        assert_eq!(said(&format!("{zeros}:0050")).as_deref(), Some("[::]:80"));
        for bad in ["", "0100007F", "0100007F:x", "01:1", "0100007G:1"] {
            assert_eq!(said(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_listener_is_seen_and_its_absence_too() {
        // Other tests of this process may listen: so a child that does not is looked at as well.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listens(std::process::id()));
        let port = listener.local_addr().unwrap().port();
        assert!(ports(std::process::id()).contains(&port));
        let own = addresses(std::process::id());
        assert!(own.contains(&listener.local_addr().unwrap()), "{own:?}");
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
