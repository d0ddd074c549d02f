//! OpenSSL's reads, writes and frees.
//!
//! Two forms of each: the old one, whose return value is the length (`SSL_read`, `SSL_write`),
//! and the one that stores the length through its fourth argument and returns 1
//! (`SSL_read_ex`, `SSL_write_ex`, and the internal functions that both forms call in OpenSSL
//! 1.1.1 and 3: `ssl_read_internal`, `ssl_write_internal`, `ssl/ssl_lib.c`). The agent chooses
//! where to put the probes; the programs only know the form.
//!
//! Data is taken on return, with the length that was really transferred, so that a retried
//! partial write is not seen twice.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_get_func_ip, bpf_probe_read_user},
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use aya_log_ebpf::debug;
use genspan_common::{
    event::{Direction, EventKind},
    loss::Loss,
    map::{ConnectionKey, ConnectionState},
};

use crate::{
    connection, emit,
    maps::{CONNECTIONS, lose},
    pending::{self, End, PendingCall},
    socket,
};

/// Values of [`PendingCall::active`]: a call under way, and one of a function that returns 0
/// whatever went wrong. Calls of guessed functions may have a bit of their own beside them, see
/// [`crate::guess`].
const ACTIVE: u64 = 1;
const ACTIVE_PUBLIC: u64 = 2;

/// Where a call tells the length that it transferred.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// In its return value.
    Returned,
    /// Where its fourth argument points to.
    Fourth,
    /// The same, of a function that returns 0 whatever went wrong.
    PublicFourth,
    /// Where its fifth argument points to.
    Fifth,
}

/// `SSL_read(ssl, buf, num)`
#[uprobe]
pub fn tls_read_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, Direction::Read, Length::Returned)
}

/// `SSL_read_ex(ssl, buf, num, &readbytes)`
#[uprobe]
pub fn tls_read_ex_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, Direction::Read, Length::Fourth)
}

/// `SSL_read_ex` itself, not the internal function below it.
#[uprobe]
pub fn tls_read_public_ex_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, Direction::Read, Length::PublicFourth)
}

/// `SSL_write(ssl, buf, num)`
#[uprobe]
pub fn tls_write_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, Direction::Write, Length::Returned)
}

/// `SSL_write_ex(ssl, buf, num, &written)`
#[uprobe]
pub fn tls_write_ex_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, Direction::Write, Length::Fourth)
}

/// `ssl_write_internal(ssl, buf, num, flags, &written)` since OpenSSL 3.3 (`ssl/ssl_lib.c`)
#[uprobe]
pub fn tls_write_ex5_enter(ctx: ProbeContext) -> u32 {
    entered(&ctx, Direction::Write, Length::Fifth)
}

/// Return of a read, either form.
#[uretprobe]
pub fn tls_read_return(ctx: RetProbeContext) -> u32 {
    leave(&ctx, bpf_get_current_pid_tgid(), Direction::Read)
}

/// Return of a write, either form.
#[uretprobe]
pub fn tls_write_return(ctx: RetProbeContext) -> u32 {
    leave(&ctx, bpf_get_current_pid_tgid(), Direction::Write)
}

/// A program for a session link. By hand, because aya's `uprobe` macro (aya-ebpf-macros 0.2) lets
/// every program return 0, and here the value says whether the return is wanted.
macro_rules! session {
    ($(#[$docs:meta])* $name:ident, $direction:ident, $length:ident) => {
        $(#[$docs])*
        // SAFETY: the names of the object's programs are its own.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "uprobe")]
        pub extern "C" fn $name(ctx: *mut c_void) -> u32 {
            either(&ProbeContext::new(ctx), Direction::$direction, Length::$length)
        }
    };
}

session!(
    /// `SSL_read`, entry and return in one: see [`either`].
    tls_read,
    Read,
    Returned
);
session!(
    /// `SSL_read_ex`, entry and return in one.
    tls_read_ex,
    Read,
    Fourth
);
session!(
    /// `SSL_read_ex` itself, entry and return in one.
    tls_read_public_ex,
    Read,
    PublicFourth
);
session!(
    /// `SSL_write`, entry and return in one.
    tls_write,
    Write,
    Returned
);
session!(
    /// `SSL_write_ex`, entry and return in one.
    tls_write_ex,
    Write,
    Fourth
);
session!(
    /// `ssl_write_internal` since OpenSSL 3.3, entry and return in one.
    tls_write_ex5,
    Write,
    Fifth
);

/// Both ends of a call, for a session link: the kernel runs the same program at the entry and, if
/// that gave 0, on return.
#[inline(always)]
fn either(ctx: &ProbeContext, direction: Direction, length: Length) -> u32 {
    const NO_RETURN: u32 = 1;
    let id = bpf_get_current_pid_tgid();
    // SAFETY: the context is the kernel's.
    let ip = unsafe { (*ctx.regs).rip };
    if !enters(ctx, pending::key(id as u32, direction), ip) {
        return leave(&RetProbeContext { regs: ctx.regs }, id, direction);
    }
    match ctx.arg::<u64>(0) {
        Some(ssl) if unwanted(ssl, id) => NO_RETURN,
        _ => enter(ctx, id, ip, direction, length, 0),
    }
}

/// Whether a thread that stands at `ip` is at the entry of the probed function, and not at its return.
#[inline(always)]
pub fn enters(ctx: &ProbeContext, pending: u64, ip: u64) -> bool {
    match pending::end(pending, ip) {
        End::Entry => true,
        End::Return => false,
        End::Unknown => {
            // SAFETY: the context is the kernel's. The helper gives the probe's address, at both ends; at the
            // entry the thread is there, on return at the caller.
            let entry = unsafe { bpf_get_func_ip(ctx.as_ptr()) } == ip;
            if !entry {
                pending::came_back(pending, ip);
            }
            entry
        }
    }
}

/// Whether nothing of this connection is wanted any more: then its calls need no return.
#[inline(always)]
pub fn unwanted(ssl: u64, id: u64) -> bool {
    if !connection::modes_in_use() {
        return false;
    }
    let tgid = (id >> 32) as u32;
    let key = ConnectionKey { ssl, tgid, zero: 0 };
    match CONNECTIONS.get_ptr(key) {
        // SAFETY: from a lookup just now.
        Some(state) => connection::is_unwanted(key, unsafe { (*state).generation }),
        None => false,
    }
}

/// `SSL_free(ssl)`. May only drop a reference, but CPython holds one per object.
#[uprobe]
pub fn tls_free(ctx: ProbeContext) -> u32 {
    let Some(ssl) = ctx.arg::<u64>(0) else {
        return 0;
    };
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let key = ConnectionKey { ssl, tgid, zero: 0 };
    let Some(state) = CONNECTIONS.get_ptr(key) else {
        return 0;
    };
    debug!(&ctx, "SSL_free({:x})", ssl);
    freed(key, state);
    0
}

/// A connection is no more.
#[inline(always)]
pub fn freed(key: ConnectionKey, state: *const ConnectionState) {
    // SAFETY: from a lookup just now; a racing reuse of the slot could only give another
    // connection's generation, which the agent does not match with this address.
    let generation = unsafe { (*state).generation };
    emit::connection(EventKind::Closed, key.ssl, generation);
    let _ = CONNECTIONS.remove(key);
}

/// The entry, for a program of its own.
#[inline(always)]
fn entered(ctx: &ProbeContext, direction: Direction, length: Length) -> u32 {
    enter(ctx, bpf_get_current_pid_tgid(), 0, direction, length, 0)
}

/// A call begins. `more` are further bits of [`PendingCall::active`].
#[inline(always)]
pub fn enter(
    ctx: &ProbeContext,
    id: u64,
    ip: u64,
    direction: Direction,
    length: Length,
    more: u64,
) -> u32 {
    let (Some(ssl), Some(buf)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else {
        return 0;
    };
    let call = PendingCall {
        ssl,
        buf,
        len_ptr: match length {
            Length::Returned => 0,
            Length::Fourth | Length::PublicFourth => ctx.arg::<u64>(3).unwrap_or(0),
            Length::Fifth => ctx.arg::<u64>(4).unwrap_or(0),
        },
        // Only a write's time is that of its entry.
        time: match direction {
            Direction::Write => connection::now(),
            Direction::Read => 0,
        },
        active: match length {
            Length::PublicFourth => ACTIVE_PUBLIC | more,
            _ => ACTIVE | more,
        },
        sk: 0,
        unsent: 0,
    };
    pending::enter(pending::key(id as u32, direction), ip, &call);
    0
}

#[inline(always)]
fn leave(ctx: &RetProbeContext, id: u64, direction: Direction) -> u32 {
    let pending = pending::key(id as u32, direction);
    let Some(call) = pending::leave(pending) else {
        lose(Loss::ReturnWithoutEntry, 1);
        return 0;
    };
    finish(ctx, id, direction, &call)
}

/// A call is over, and it is to be told what it did.
#[inline(always)]
pub fn finish(ctx: &RetProbeContext, id: u64, direction: Direction, call: &PendingCall) -> u32 {
    let pending = pending::key(id as u32, direction);
    let key = ConnectionKey {
        ssl: call.ssl,
        tgid: (id >> 32) as u32,
        zero: 0,
    };
    let returned: i32 = ctx.ret();
    if returned <= 0 {
        // A read that wants more data returns -1; zero is the end of the stream.
        if returned == 0 && matches!(direction, Direction::Read) && call.active == ACTIVE {
            connection::end_of_stream(key);
        }
        return 0;
    }
    let transferred = if call.len_ptr == 0 {
        u64::from(returned as u32)
    } else {
        // SAFETY: the helper checks the address.
        match unsafe { bpf_probe_read_user(call.len_ptr as *const u64) } {
            Ok(n) => n,
            Err(_) => {
                lose(Loss::LengthUnreadable, 1);
                return 0;
            }
        }
    };
    if transferred == 0 {
        return 0;
    }
    let time = match direction {
        Direction::Write => call.time,
        Direction::Read => connection::now(),
    };
    connection::moved(key, id as u32, direction, time, call.buf, transferred);
    if call.sk != 0 {
        socket::tell_of_tls(key, call.sk);
    } else if matches!(direction, Direction::Write)
        && let Some(call) = pending::current(pending)
    {
        call.unsent = transferred;
    }
    0
}
