//! Giving up what tracing does not take, once what is ours alone is open.

use crate::driver::{privileges, seccomp};
use crate::probe::{multi, object, slots};
use std::io;

/// Gives up the privileges, and the calls to the kernel, that tracing does not take. What cannot be given up
/// is told and kept.
///
/// Call it while there is no other thread: threads have what the one has that starts them. `perf_probes`
/// says that user probes are to be perf's.
pub(super) fn give_up(perf_probes: bool) {
    object::raise_memlock();
    if let Err(error) =
        privileges::drop_rest(multi::are_perfs(perf_probes) || breakpoints_take_more())
    {
        tracing::warn!("privileges that are not needed are kept: {error}");
    }
    if let Err(error) = seccomp::forbid() {
        tracing::warn!("system calls that are not needed are allowed: {error}");
    }
}

/// Whether this kernel sets breakpoints only for who has `CAP_SYS_ADMIN`. Those of Debian do while
/// `kernel.perf_event_paranoid` is above 2, and there it is 3 (tried on 7.2); to others all above 2 is 2, and
/// `CAP_PERFMON` suffices whatever it is.
fn breakpoints_take_more() -> bool {
    let own = std::process::id();
    privileges::with_kept(|| slots::free(own)).is_ok_and(|free| is_refused(&free))
        && slots::free(own).is_ok()
}

fn is_refused(free: &io::Result<u32>) -> bool {
    matches!(free, Err(error) if error.kind() == io::ErrorKind::PermissionDenied)
}
