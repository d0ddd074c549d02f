//! What our own process uses.

use procfs::process::Process;

use super::status::Own;

/// As the system counts it now; zero where it does not say.
pub(super) fn usage() -> Own {
    let Ok(own) = Process::myself() else {
        return Own::default();
    };
    let ticks = procfs::ticks_per_second().max(1);
    let stat = own.stat().ok();
    let stat = stat.as_ref();
    let used = stat.map_or(0, |s| s.utime + s.stime);
    Own {
        #[expect(clippy::cast_precision_loss, reason = "centuries fit")]
        cpu_seconds: used as f64 / ticks as f64,
        resident_bytes: own.statm().map_or(0, |s| s.resident * procfs::page_size()),
        open_files: own.fd_count().map_or(0, |n| n as u64),
        threads: stat.map_or(0, |s| u64::try_from(s.num_threads).unwrap_or(0)),
    }
}
