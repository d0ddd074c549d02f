//! Whether a process waits for others to connect.

use std::collections::HashSet;
use std::fs;

/// `TCP_LISTEN` (`include/net/tcp_states.h`), as `/proc/net/tcp` shows it.
const LISTEN: &str = "0A";
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
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let mut words = line.split_ascii_whitespace();
            words.nth(state) == Some(wanted)
                && words
                    .nth(inode - state - 1)
                    .is_some_and(|inode| own.contains(inode))
        })
    })
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
    use super::listens;
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_seen_and_its_absence_too() {
        // Other tests of this process may listen: so a child that does not is looked at as well.
        let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listens(std::process::id()));
        let mut child = std::process::Command::new("sleep")
            .arg("5")
            .spawn()
            .unwrap();
        assert!(!listens(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!listens(child.id()));
    }
}
