//! Progress lines of set-up: a line when work starts, a line with its time when it is done, and
//! nothing for what was there already.

use anyhow::Result;
use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

/// Whether lines may be rewritten and coloured.
fn fancy() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Does a piece of work under a progress line.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut err = std::io::stderr();
    if fancy() {
        write!(err, "  \x1b[36m•\x1b[0m {what} …").ok();
    } else {
        write!(err, "  . {what} ...").ok();
    }
    err.flush().ok();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    match (&result, fancy()) {
        (Ok(_), true) => writeln!(err, "\r\x1b[K  \x1b[32m✓\x1b[0m {what} ({seconds:.1} s)").ok(),
        (Ok(_), false) => writeln!(err, " done ({seconds:.1} s)").ok(),
        (Err(_), true) => writeln!(err, "\r\x1b[K  \x1b[31m✗\x1b[0m {what} ({seconds:.1} s)").ok(),
        (Err(_), false) => writeln!(err, " failed ({seconds:.1} s)").ok(),
    };
    result
}

/// A line of its own: something the user should know.
pub(crate) fn note(text: &str) {
    eprintln!(
        "  {} {text}",
        if fancy() { "\x1b[33m!\x1b[0m" } else { "!" }
    );
}

/// A heading before a part of a longer run.
pub(crate) fn heading(text: &str) {
    if fancy() {
        eprintln!("\x1b[1m{text}\x1b[0m");
    } else {
        eprintln!("{text}");
    }
}
