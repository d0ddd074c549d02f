//! Programs to measure others by, not part of the product: an empty pair of probes, which is the
//! unit in which genspan's own programs are told; and a pair that copies what was transferred and
//! does nothing else, below which no program can be that takes the bytes along.
#![no_std]
#![allow(missing_docs, reason = "the attribute macros make functions without")]
#![no_main]

use aya_ebpf::{
    helpers::generated::bpf_probe_read_user,
    macros::{map, uprobe, uretprobe},
    maps::Array,
    programs::{ProbeContext, RetProbeContext},
};

/// Bytes of a slot of [`SINK`], a power of two.
const SLOT: usize = 16_384;
/// Slots: with 8 MiB as large as genspan's ring, so that caches hold it no better.
const SLOTS: u32 = 512;

/// Where the thread's call has its buffer, and how often the copying pair ran.
#[map]
static CALL: Array<u64> = Array::with_max_entries(2, 0);

/// Where copies go.
#[map]
static SINK: Array<[u8; SLOT]> = Array::with_max_entries(SLOTS, 0);

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

/// Remembers the buffer, at the entry.
#[uprobe]
pub fn copy_enter(ctx: ProbeContext) -> u32 {
    if let (Some(buffer), Some(slot)) = (ctx.arg::<u64>(1), CALL.get_ptr_mut(0)) {
        // SAFETY: a slot of an array; only one thread runs into these probes.
        unsafe { *slot = buffer };
    }
    0
}

#[inline(always)]
fn copy<const N: usize>() -> u32 {
    let (Some(buffer), Some(count)) = (CALL.get_ptr(0), CALL.get_ptr_mut(1)) else {
        return 0;
    };
    // SAFETY: as above.
    let (buffer, n) = unsafe {
        *count = (*count).wrapping_add(1);
        (*buffer, *count)
    };
    if let Some(slot) = SINK.get_ptr_mut(n as u32 % SLOTS) {
        // SAFETY: a slot has SLOT bytes, of which N are asked for; the helper checks the address.
        let _ = unsafe { bpf_probe_read_user(slot.cast(), N as u32, buffer as *const _) };
    }
    0
}

/// Copies 300 bytes, on return.
#[uretprobe]
pub fn copy_300(_: RetProbeContext) -> u32 {
    copy::<300>()
}

/// Copies 2048 bytes, on return.
#[uretprobe]
pub fn copy_2048(_: RetProbeContext) -> u32 {
    copy::<2048>()
}

/// Copies 16384 bytes, on return.
#[uretprobe]
pub fn copy_16384(_: RetProbeContext) -> u32 {
    copy::<SLOT>()
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
