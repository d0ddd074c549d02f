//! What the agent may do: as much as it needs, and no more, from when its files are open.

use std::io;

/// A capability: its name and its number (`include/uapi/linux/capability.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Name.
    pub name: &'static str,
    number: u32,
    /// Whether nothing can be traced without it.
    pub needed: bool,
}

/// To look into files of any user, and at their directories.
const READ: Capability = of("CAP_DAC_READ_SEARCH", 2, true);
/// To look into processes of any user: their memory, their root.
const PTRACE: Capability = of("CAP_SYS_PTRACE", 19, true);
/// To place probes and breakpoints, and to let eBPF programs read memory.
const PERFMON: Capability = of("CAP_PERFMON", 38, true);
/// To load eBPF programs: some wait until they are needed.
const BPF: Capability = of("CAP_BPF", 39, true);
/// To follow `/proc/PID/map_files`: the only way to a library that was replaced on disk under a
/// process that still runs it (`proc_map_files_get_link`, `fs/proc/base.c`).
const RESTORE: Capability = of("CAP_CHECKPOINT_RESTORE", 40, false);
/// Stands for the last three where a container runtime does not know them; and what perf's probes
/// take, and with some kernels breakpoints.
const ADMIN: Capability = of("CAP_SYS_ADMIN", 21, false);

const KEPT: [Capability; 5] = [READ, PTRACE, PERFMON, BPF, RESTORE];

/// The highest number that a kernel of any version has.
const HIGHEST: u32 = 63;

const fn of(name: &'static str, number: u32, needed: bool) -> Capability {
    Capability {
        name,
        number,
        needed,
    }
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// What this thread may use.
fn permitted() -> io::Result<u64> {
    sets().map(|sets| permitted_of(&sets))
}

fn permitted_of([low, high]: &[Sets; 2]) -> u64 {
    u64::from(low.permitted) | u64::from(high.permitted) << 32
}

/// A set as the kernel has it: the lower numbers first.
fn halves(set: u64) -> [u32; 2] {
    [set, set >> 32].map(|half| u32::try_from(half & u64::from(u32::MAX)).unwrap_or(0))
}

/// The sets of this thread.
fn sets() -> io::Result<[Sets; 2]> {
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut sets = [Sets::default(); 2];
    // SAFETY: both structures are as the kernel has them in this version, and live through the call.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(sets)
}

/// Sets them.
fn set(sets: &[Sets; 2]) -> io::Result<()> {
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    // SAFETY: both structures are as the kernel has them in this version, and live through the call.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Which of those that may be used are kept. `perf` says that one more is: that user probes are perf's, or
/// breakpoints take it.
fn kept(permitted: u64, perf: bool) -> u64 {
    let has = |capability: &Capability| permitted >> capability.number & 1 == 1;
    let mut kept = KEPT
        .iter()
        .filter(|c| has(c))
        .fold(0, |all, c| all | 1 << c.number);
    if (perf || !(has(&BPF) && has(&PERFMON))) && has(&ADMIN) {
        kept |= 1 << ADMIN.number;
    }
    kept
}

/// Does something as it will be done once the rest is given up ([`drop_rest`] without perf's probes): with
/// the privileges of this thread that are kept then, and no others.
///
/// # Errors
///
/// When the kernel does not take it.
pub fn with_kept<T>(act: impl FnOnce() -> T) -> io::Result<T> {
    let all = sets()?;
    let kept = kept(permitted_of(&all), false);
    let mut fewer = all;
    for (set, own) in fewer.iter_mut().zip(halves(kept)) {
        set.effective &= own;
    }
    set(&fewer)?;
    let done = act();
    // What was permitted all the while.
    set(&all)?;
    Ok(done)
}

/// Those that nothing can be traced without and that are not there. `perf` is as for [`drop_rest`].
#[must_use]
pub fn missing(perf: bool) -> Vec<&'static str> {
    let permitted = permitted().unwrap_or_default();
    let has = |capability: &Capability| permitted >> capability.number & 1 == 1;
    KEPT.iter()
        .filter(|c| c.needed && !has(c) && !(c.number >= PERFMON.number && has(&ADMIN)))
        .chain(Some(&ADMIN).filter(|c| perf && !has(c)))
        .map(|c| c.name)
        .collect()
}

/// Gives up, for good, all capabilities that are not needed any more, for this thread and those that
/// it starts, and the possibility to get any by executing a program. What the kernel refuses is left
/// as it was.
///
/// Call it while there is no other thread. `perf` says that user probes are perf's
/// ([`crate::probe::multi::are_perfs`]), or that breakpoints take as much.
///
/// # Errors
///
/// When the kernel does not take it.
pub fn drop_rest(perf: bool) -> io::Result<()> {
    // SAFETY: no memory is handed over. No program that is executed gets more than we have.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let kept = kept(permitted()?, perf);
    // SAFETY: as above.
    unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        );
    }
    for number in (0..=HIGHEST).filter(|number| kept >> number & 1 == 0) {
        // Refused for numbers that this kernel does not have, and without CAP_SETPCAP; then what is
        // given up below cannot come back either, since nothing is executed.
        // SAFETY: as above.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
    }
    set(&halves(kept).map(|own| Sets {
        effective: own,
        permitted: own,
        inheritable: 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::{ADMIN, BPF, PERFMON, READ, RESTORE, kept, sets, with_kept};

    fn set(numbers: &[u32]) -> u64 {
        numbers.iter().fold(0, |all, number| all | 1 << number)
    }

    #[test]
    fn what_is_needed_is_kept() {
        let all = u64::MAX >> 23;
        assert_eq!(kept(all, false), set(&[2, 19, 38, 39, 40]));
        assert_eq!(kept(0, true), 0);
        let some = set(&[READ.number, RESTORE.number, 0, 12]);
        assert_eq!(kept(some, true), set(&[2, 40]));
        // It stands for what is missing, and is not kept where nothing is.
        let old = set(&[ADMIN.number, PERFMON.number, 7]);
        assert_eq!(kept(old, false), set(&[21, 38]));
        let new = set(&[ADMIN.number, PERFMON.number, BPF.number]);
        assert_eq!(kept(new, false), set(&[38, 39]));
        // But where probes are perf's.
        assert_eq!(kept(new, true), set(&[21, 38, 39]));
    }

    #[test]
    fn the_rest_is_not_used_for_a_while() {
        let effective = || sets().unwrap().map(|set| set.effective);
        let before = effective();
        let within = with_kept(effective).unwrap();
        let [low, high] = within;
        let all = u64::from(low) | u64::from(high) << 32;
        assert_eq!(all & !kept(u64::MAX, false), 0);
        assert_eq!(effective(), before);
    }
}
