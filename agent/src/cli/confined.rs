//! Giving up what tracing does not take, once what is ours alone is open.

use crate::driver::{privileges, seccomp};
use crate::probe::{multi, object};

/// Gives up the privileges, and the calls to the kernel, that tracing does not take. What cannot be given up
/// is told and kept.
///
/// Call it while there is no other thread: threads have what the one has that starts them. `perf_probes`
/// says that user probes are to be perf's.
pub(super) fn give_up(perf_probes: bool) {
    object::raise_memlock();
    if let Err(error) = privileges::drop_rest(multi::are_perfs(perf_probes)) {
        tracing::warn!("privileges that are not needed are kept: {error}");
    }
    if let Err(error) = seccomp::forbid() {
        tracing::warn!("system calls that are not needed are allowed: {error}");
    }
}
