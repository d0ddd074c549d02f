//! How many hardware watchpoints a thread has left.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use super::again::again;

/// Those that the processor has for each thread (x86-64).
pub const MOST: u32 = 4;

/// `PERF_TYPE_BREAKPOINT`, `HW_BREAKPOINT_RW`, `HW_BREAKPOINT_LEN_1` (`include/uapi/linux/perf_event.h`,
/// `hw_breakpoint.h`).
const TYPE_BREAKPOINT: u64 = 5;
const READ_WRITE: u64 = 3;
const ONE_BYTE: u64 = 1;
/// `PERF_ATTR_SIZE_VER1`: up to `config2`.
const ATTR_BYTES: u64 = 72;
/// `disabled` and `exclude_kernel`, `exclude_hv`: it counts nothing, and is taken all the same.
const FLAGS: u64 = 1 | 1 << 5 | 1 << 6;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: u64 = 8;
/// `PERF_TYPE_SOFTWARE`, `PERF_COUNT_SW_DUMMY`: counts nothing.
const TYPE_SOFTWARE: u64 = 1;
const NOTHING: u64 = 9;
/// An address of user space; what is there does not matter.
const SOMEWHERE: u64 = 0x1000;

/// How many watchpoints could be set on a thread now: they are taken for a moment, and never armed.
///
/// # Errors
///
/// When the kernel refuses them for another reason than that none is left.
pub fn free(tid: u32) -> io::Result<u32> {
    let mut held = Vec::new();
    for _ in 0..MOST {
        match take(tid) {
            Ok(slot) => held.push(slot),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(u32::try_from(held.len()).unwrap_or(MOST))
}

/// Has the kernel do now what it does when the first event of any thread is opened, which takes it a grace
/// period (`account_event`, `kernel/events/core.c`): while the result is held, watchpoints are placed without.
///
/// # Errors
///
/// When the kernel refuses.
pub fn ready() -> io::Result<OwnedFd> {
    open(
        [
            TYPE_SOFTWARE | ATTR_BYTES << 32,
            NOTHING,
            1,
            0,
            0,
            FLAGS,
            0,
            0,
            0,
        ],
        0,
    )
}

/// Takes one of a thread's, which is never armed, for as long as the result is held.
///
/// # Errors
///
/// When the kernel refuses: `ENOSPC` when none is left.
pub fn take(tid: u32) -> io::Result<OwnedFd> {
    let attr = [
        TYPE_BREAKPOINT | ATTR_BYTES << 32,
        0,
        1,
        0,
        0,
        FLAGS,
        READ_WRITE << 32,
        SOMEWHERE,
        ONE_BYTE,
    ];
    open(attr, tid)
}

/// Opens an event of a thread, zero for ours: `struct perf_event_attr`, word by word.
fn open(attr: [u64; 9], tid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(tid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fd = again(|| {
        // SAFETY: the kernel reads as many bytes of `attr` as its size says, which it has.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                attr.as_ptr(),
                pid,
                -1,
                -1,
                CLOSE_ON_EXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(fd)
    })?;
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel gave it just now, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
