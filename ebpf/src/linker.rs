//! Libraries that a traced process loads later.
//!
//! `_dl_debug_state` is the empty function that glibc's and musl's dynamic linkers call when
//! their list of loaded objects changes, made for debuggers (glibc `elf/dl-debug.c`, musl
//! `ldso/dynlink.c`). It runs twice per `dlopen`, never otherwise.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use aya_log_ebpf::debug;
use genspan_common::event::EventKind;

use crate::emit;

/// The list of libraries changed.
#[uprobe]
pub fn libraries_changed(ctx: ProbeContext) -> u32 {
    debug!(&ctx, "libraries changed");
    emit::process(EventKind::LibrariesChanged, 0);
    0
}
