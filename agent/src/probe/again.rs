//! Calls of the kernel that a signal cut short, made again.
//!
//! The verifier gives up with `EAGAIN` when a signal waits for the thread that loads a program (`do_check`,
//! `kernel/bpf/verifier.c`), `perf_event_open(2)` with `EINTR` when it has to wait for a lock (`kernel/events/core.c`).
//! It is enough that somebody freezes and thaws our container, stops and continues us, or attaches a debugger.

use std::io;

use aya::programs::ProgramError;
use aya::sys::SyscallError;

/// How often a call is made at most. Each is cut short by a signal of its own.
const TIMES: u32 = 64;

/// An error that may say that a signal came.
pub(super) trait Cut {
    /// Whether it does.
    fn is_cut(&self) -> bool;
}

impl Cut for io::Error {
    fn is_cut(&self) -> bool {
        matches!(self.raw_os_error(), Some(libc::EAGAIN | libc::EINTR))
    }
}

impl Cut for ProgramError {
    fn is_cut(&self) -> bool {
        match self {
            Self::LoadError { io_error, .. }
            | Self::SyscallError(SyscallError { io_error, .. }) => io_error.is_cut(),
            _ => false,
        }
    }
}

/// Makes a call until no signal cuts it short.
///
/// # Errors
///
/// Those of the call.
pub(super) fn again<T, E: Cut>(mut call: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..TIMES {
        match call() {
            Err(error) if error.is_cut() => {}
            done => return done,
        }
    }
    call()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signal_cut_short_is_done_again() {
        for (errno, times) in [
            (libc::EAGAIN, TIMES),
            (libc::EINTR, TIMES),
            (libc::ENOSPC, 1),
        ] {
            let io = || io::Error::from_raw_os_error(errno);
            let mut made = 0;
            let done: io::Result<()> = again(|| {
                made += 1;
                Err(io())
            });
            assert_eq!(done.unwrap_err().raw_os_error(), Some(errno));
            assert_eq!(made, times);
            let mut made = 0;
            let done: Result<(), ProgramError> = again(|| {
                made += 1;
                Err(ProgramError::SyscallError(SyscallError {
                    call: "perf_event_open",
                    io_error: io(),
                }))
            });
            assert!(done.is_err());
            assert_eq!(made, times);
        }
        let mut left = 3;
        let done = again(|| {
            left -= 1;
            if left == 0 {
                return Ok(7);
            }
            Err(io::Error::from_raw_os_error(libc::EAGAIN))
        });
        assert_eq!(done.unwrap(), 7);
    }
}
