//! genspan's programs in the kernel: one file per hooked library or hook family.
//!
//! | Program | Hook | File |
//! | --- | --- | --- |
//! | `tls_read_enter`, `tls_read_ex_enter`, `tls_read_return` | uprobes on OpenSSL's reads | `openssl.rs` |
//! | `tls_write_enter`, `tls_write_ex_enter`, `tls_write_return` | uprobes on OpenSSL's writes | `openssl.rs` |
//! | `tls_free` | uprobe on `SSL_free` | `openssl.rs` |
//! | `guess_read_enter`, `guess_write_return`, `guess_free`, … | the same where these were found by their code | `guess.rs` |
//! | `socket_read`, `socket_write`, … and their `_enter` forms, `socket_return`, `socket_close` | uprobes on the C library | `libc.rs` |
//! | `socket_sent`, `socket_received`, `socket_syscall`, `socket_state` | raw tracepoints, only where asked for or needed | `syscall.rs` |
//! | `socket_inet_received`, `socket_unix_sent`, … | trampolines (`fexit`, `fentry`), only where asked for or needed | `trampoline.rs` |
//! | `socket_segment`, `socket_segment_raw`, `socket_segment_received`, … | tail calls of those | `segment.rs` |
//! | `context_copied` | uretprobe on CPython's `PyContext_CopyCurrent` | `python.rs` |
//! | `lock_made` | uprobe on CPython's `PyThread_allocate_lock` | `pool.rs` |
//! | `libraries_changed` | uprobe on the dynamic linker's `_dl_debug_state` | `linker.rs` |
//! | `function_watched` | hardware watchpoints on chosen Python functions | `function.rs` |
//! | `function_raised` | uprobes on CPython's `PyTraceBack_Here`, to 3.11, and `PyErr_ExceptionMatches`; both where generators or coroutines are watched | `function.rs`, `generator.rs` |
//! | `frame_run`; `frame_enter`, `frame_return` | both ends of CPython's `_PyEval_EvalFrameDefault`, to 3.10, only where there is no watchpoint or it is asked for | `interpreter.rs` |
//! | `resume_reached`, `frame_cleared` | CPython's code for `RESUME`, from 3.11 on, and the function that clears a frame, likewise | `resume.rs` |
//! | `entry_run`; `entry_left` | both ends of `_PyEval_EvalFrameDefault`, the return, in 3.11, likewise | `resume.rs` |
//! | `module_run`; `module_begins` | both ends of CPython's `PyEval_EvalCode`, only while a module is waited for whose functions are wanted | `imports.rs` |
//! | `framework_watched` | hardware watchpoints on functions of a framework, only where one is found | `framework.rs` |
//! | `dispatch_watched` | hardware watchpoints on LlamaIndex's dispatcher, likewise | `dispatch.rs` |
//! | `framework_raised` | uprobe on `PyTraceBack_Here`, likewise | `framework.rs` |
//! | `function_fork`, `function_exec`, `function_exit` | raw tracepoints of the scheduler, only where functions or frameworks are watched | `function.rs` |
//! | `process_fork`, `process_exec`, `process_exit` | raw tracepoints of the scheduler | `process.rs` |
//!
//! All uprobes are attached per process, so nobody else runs into a breakpoint; the tracepoints
//! leave after one look into the table of traced processes.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod argument;
mod asked;
mod connection;
mod counts;
mod dispatch;
mod emit;
mod framework;
mod function;
mod generator;
mod given;
mod guess;
mod imports;
mod interpreter;
mod libc;
mod linker;
mod maps;
mod openssl;
mod output;
mod owner;
mod pending;
mod place;
mod pool;
mod process;
mod python;
mod resume;
mod segment;
mod snapshot;
mod socket;
mod stream;
mod syscall;
mod trampoline;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: nothing in these programs panics (no indexing, no arithmetic checks); the verifier
    // refuses a program in which this could be reached.
    unsafe { core::hint::unreachable_unchecked() }
}

// `bpf_get_current_task` and `bpf_probe_read_kernel` are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
