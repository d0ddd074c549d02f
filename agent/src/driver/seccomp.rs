//! System calls that the agent never makes, given up for good.
//!
//! A list of what is forbidden, not of what is allowed: what a C library, an allocator or a runtime calls
//! changes with their versions, and an agent that fails a month after it was started, on a path that nobody
//! tried, helps nobody. What is forbidden is what would let whoever got hold of the agent do more than look:
//! execute, change or stop another process, change the system.

use std::collections::BTreeMap;

use libc::{c_long, pid_t};
#[cfg(target_arch = "x86_64")]
use seccompiler::sock_filter;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// Forbidden whatever their arguments are.
const NEVER: [c_long; 45] = [
    // Another program.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Another process's memory and threads: it is only read, by process_vm_readv and /proc.
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    // A signal to a thread of any process. musl's `abort` makes this call, and ends by a fault without it.
    libc::SYS_tkill,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Another root, other namespaces, other mounts.
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    // Another kernel, or parts of one.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_userfaultfd,
    // The host's names and its clock.
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    // Keys of the kernel.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // What goes past this filter.
    libc::SYS_io_uring_setup,
];

/// Marks the numbers of the x32 ABI, whose calls the kernel tells as those of x86-64
/// (`__X32_SYSCALL_BIT`, `arch/x86/include/uapi/asm/unistd.h`).
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// How many instructions the check of the architecture has, before which nothing may come: a call of another
/// one (`int 0x80`) ends the process.
#[cfg(target_arch = "x86_64")]
const CHECK: usize = 3;

/// Signals: to the agent itself alone. The first argument is the process.
const OURS_ALONE: [c_long; 2] = [libc::SYS_kill, libc::SYS_tgkill];

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The architecture, or a rule.
    #[error("no filter for system calls on this machine: {0}")]
    Rule(#[from] BackendError),
    /// The kernel.
    #[error("the kernel takes no filter for system calls: {0}")]
    Refused(#[from] seccompiler::Error),
}

/// Forbids all threads of this process, and those that they start, what an agent never does: each such call
/// fails with `EPERM`. It cannot be taken back.
///
/// Takes effect with `no_new_privs`, or with `CAP_SYS_ADMIN` (seccomp(2)).
///
/// # Errors
///
/// Where there is no filter for this machine, or the kernel has none.
pub fn forbid() -> Result<(), SeccompError> {
    let own = pid_t::try_from(std::process::id()).unwrap_or(pid_t::MAX);
    seccompiler::apply_filter_all_threads(&filter(own)?)?;
    Ok(())
}

fn filter(own: pid_t) -> Result<BpfProgram, BackendError> {
    let others = |at: u8| {
        let own = u64::from(own.unsigned_abs());
        let other = SeccompCondition::new(at, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, own)?;
        SeccompRule::new(vec![other])
    };
    let mut rules = BTreeMap::new();
    for number in NEVER {
        rules.insert(number, Vec::new());
    }
    for number in OURS_ALONE {
        rules.insert(number, vec![others(0)?]);
    }
    let program = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()?;
    Ok(without_x32(program))
}

/// Refuses all calls of the x32 ABI as well: each does what one of x86-64 does, by a number that is in no
/// list.
#[cfg(target_arch = "x86_64")]
fn without_x32(mut program: BpfProgram) -> BpfProgram {
    // `struct seccomp_data` begins with the number (`include/uapi/linux/seccomp.h`).
    const NUMBER: u32 = 0;
    let instruction = |code: u32, jf: u8, k: u32| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf,
        k,
    };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let refused = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, NUMBER),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, refuse),
    ];
    // Jumps are relative, and none goes over this place.
    program.splice(CHECK..CHECK, refused);
    program
}

/// There is no such ABI.
#[cfg(not(target_arch = "x86_64"))]
fn without_x32(program: BpfProgram) -> BpfProgram {
    program
}

#[cfg(test)]
mod tests {
    use super::filter;
    use std::io::ErrorKind;
    use std::process::Command;

    /// In a thread of its own, whose filter goes with it.
    #[test]
    fn what_is_forbidden_fails_and_the_rest_goes_on() {
        let own = libc::pid_t::try_from(std::process::id()).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let other = libc::pid_t::try_from(child.id()).unwrap();
        std::thread::spawn(move || {
            // Before: a signal that is none may be sent to a child.
            // SAFETY: no memory is handed over, here and below.
            assert_eq!(unsafe { libc::kill(other, 0) }, 0);
            // SAFETY: as above.
            let fixed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            assert_eq!(fixed, 0);
            seccompiler::apply_filter(&filter(own).unwrap()).unwrap();
            let refused = |returned: i64| {
                returned == -1
                    && std::io::Error::last_os_error().kind() == ErrorKind::PermissionDenied
            };
            // SAFETY: as above.
            unsafe {
                assert!(refused(libc::kill(other, 0).into()), "a signal to another");
                assert!(refused(libc::syscall(libc::SYS_tkill, other, 0)));
                assert!(refused(libc::syscall(libc::SYS_tgkill, other, other, 0)));
                assert_eq!(libc::kill(own, 0), 0, "one to ourselves");
                assert!(refused(libc::unshare(libc::CLONE_FS).into()));
                assert!(refused(libc::syscall(
                    libc::SYS_ptrace,
                    libc::PTRACE_ATTACH,
                    other,
                    0,
                    0
                )));
            }
            let executed = Command::new("true").spawn();
            assert_eq!(executed.unwrap_err().kind(), ErrorKind::PermissionDenied);
            // Threads, files, memory of others: all that tracing takes.
            std::thread::spawn(|| std::fs::read("/proc/self/status").unwrap())
                .join()
                .unwrap();
        })
        .join()
        .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// How a forked child ends that makes a call and exits with what came of it, below the filter or not.
    #[cfg(target_arch = "x86_64")]
    fn ended(filtered: bool, call: fn() -> i32) -> nix::sys::wait::WaitStatus {
        // The filter is made before: what follows the fork allocates nothing.
        let own = libc::pid_t::try_from(std::process::id()).unwrap();
        let program = filter(own).unwrap();
        // SAFETY: the child makes calls to the kernel, and ends.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                // SAFETY: no memory is handed over.
                let fixed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
                if fixed != 0 || filtered && seccompiler::apply_filter(&program).is_err() {
                    // SAFETY: as above.
                    unsafe { libc::_exit(255) }
                }
                // SAFETY: as above.
                unsafe { libc::_exit(call()) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                nix::sys::wait::waitpid(child, None).unwrap()
            }
        }
    }

    /// `getpid` of the x32 ABI: what came of it, as an error's number.
    #[cfg(target_arch = "x86_64")]
    fn of_x32() -> i32 {
        // SAFETY: no memory is handed over.
        let returned = unsafe { libc::syscall(i64::from(super::X32) | libc::SYS_getpid) };
        if returned >= 0 {
            0
        } else {
            nix::errno::Errno::last_raw()
        }
    }

    /// `getpid` as a program of 32 bits calls it.
    #[cfg(target_arch = "x86_64")]
    fn of_i386() -> i32 {
        // `__NR_getpid`, `arch/x86/entry/syscalls/syscall_32.tbl`.
        let mut eax = 20_i64;
        // SAFETY: the call takes nothing and gives a number; the kernel keeps all but `eax` and r8 to r11.
        unsafe {
            std::arch::asm!("int 0x80", inout("rax") eax, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        i32::from(eax <= 0)
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn calls_by_other_numbers_are_refused() {
        use nix::sys::signal::Signal;
        use nix::sys::wait::WaitStatus;
        // Whether or not this kernel knows the ABI.
        let free = ended(false, of_x32);
        assert!(
            matches!(free, WaitStatus::Exited(_, 0 | libc::ENOSYS)),
            "{free:?}"
        );
        let refused = ended(true, of_x32);
        assert!(
            matches!(refused, WaitStatus::Exited(_, libc::EPERM)),
            "{refused:?}"
        );
        match ended(false, of_i386) {
            // This kernel runs programs of 32 bits.
            WaitStatus::Exited(_, 0) => {
                let killed = ended(true, of_i386);
                assert!(
                    matches!(killed, WaitStatus::Signaled(_, Signal::SIGSYS, _)),
                    "{killed:?}"
                );
            }
            none => assert!(
                matches!(none, WaitStatus::Signaled(_, Signal::SIGSEGV, _)),
                "{none:?}"
            ),
        }
    }
}
