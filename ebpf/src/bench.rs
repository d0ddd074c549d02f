//! Empty programs, to measure what a pair of probes costs that does nothing: the unit in which
//! genspan's own programs are measured. Not part of the product.
#![no_std]
#![allow(missing_docs, reason = "the attribute macros make functions without")]
#![no_main]

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

/// Nothing, at the entry.
#[uprobe]
pub fn empty_enter(_: ProbeContext) -> u32 {
    0
}

/// Nothing, at the return.
#[uretprobe]
pub fn empty_return(_: RetProbeContext) -> u32 {
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: nothing above panics.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
