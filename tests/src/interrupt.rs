//! Programs of the tests that go on for long end orderly when they are told to: what they started ends with them,
//! and nothing stays in the directory for temporary files.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{SigSet, Signal};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a signal came.
static CAME: AtomicBool = AtomicBool::new(false);

/// The exit code of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// From now on SIGINT and SIGTERM do not end this process but every wait of it, with an error; a second one ends
/// it at once. To be called before there are other threads, which would take the signals; programs that are
/// started take them as ever, because their mask is emptied (as [`std::process::Command`] does).
///
/// # Errors
///
/// When the system does not let it.
pub fn arm() -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().context("signals stay as they are")?;
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            if CAME.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        }
    });
    Ok(())
}

/// Whether to go on.
///
/// # Errors
///
/// When a signal came.
pub fn check() -> Result<()> {
    ensure!(!CAME.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
