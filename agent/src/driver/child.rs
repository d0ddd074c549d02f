//! A command started to be traced from its first instruction.
//!
//! It is held before its program is executed, by a pipe that we close once the probes are in
//! place; should we die before, the pipe closes as well and the command runs untraced.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::thread::JoinHandle;

use nix::sys::signal::SigSet;

use super::wait::TAKEN;

/// A command that waits to be released.
pub struct HeldChild {
    pid: u32,
    release: PipeWriter,
    spawn: JoinHandle<io::Result<Child>>,
}

impl HeldChild {
    /// Starts the command up to the moment before its program is executed.
    ///
    /// # Errors
    ///
    /// When no process can be made.
    pub fn start(command: &[OsString]) -> io::Result<Self> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (mut its_pid, tell_pid) = io::pipe()?;
        let (held, release) = io::pipe()?;
        let mut command = Command::new(program);
        command.args(arguments);
        hold(&mut command, tell_pid, held, release.as_raw_fd());
        // `spawn` returns when the program is executed, so it waits on a thread of its own.
        let spawn = std::thread::Builder::new()
            .name("spawn".to_owned())
            .spawn(move || command.spawn())?;
        let mut pid = [0; 4];
        match its_pid.read_exact(&mut pid) {
            Ok(()) => Ok(Self {
                pid: u32::from_ne_bytes(pid),
                release,
                spawn,
            }),
            Err(e) => Err(match spawn.join() {
                Ok(Err(spawn_error)) => spawn_error,
                _ => e,
            }),
        }
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it execute its program.
    ///
    /// # Errors
    ///
    /// When the program cannot be executed: not found, not executable.
    pub fn release(self) -> io::Result<Child> {
        drop(self.release);
        self.spawn
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }
}

/// Makes the child tell its pid and wait until our end of `held` is closed. `release` is the
/// number of that end, of which the child has inherited a copy.
fn hold(command: &mut Command, mut tell_pid: PipeWriter, mut held: PipeReader, release: RawFd) {
    let wait = move || {
        // SAFETY: closes the child's own copy, which nothing in the child refers to; without
        // this the pipe would stay open for as long as the child waits for it to close.
        unsafe { libc::close(release) };
        // We took these off their usual way for ourselves, which is inherited.
        SigSet::from_iter(TAKEN).thread_unblock()?;
        tell_pid.write_all(&std::process::id().to_ne_bytes())?;
        // Nothing is ever written: this ends with the end of the stream.
        match held.read_exact(&mut [0]) {
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(e),
            _ => Ok(()),
        }
    };
    // SAFETY: after the fork only `close`, `pthread_sigmask`, `write`, `read` and `getpid` are
    // called, which are async-signal-safe; nothing allocates unless a call fails.
    unsafe { command.pre_exec(wait) };
}

/// The code to end with when the command ended so: its own, or 128 and the signal's number as
/// shells do.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|s| 128 + s))
        .unwrap_or(1);
    u8::try_from(code & 0xff).unwrap_or(1)
}
