//! What this host allows: the checks of `genspan doctor`.

use std::fmt::Write as _;
use std::fs;

use crate::probe::host_sockets::{HostSockets, HostWay};
use crate::probe::kernel::{Kernel, KernelOptions, LoadError};
use crate::probe::sockets::SocketWay;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Works, with a restriction.
    Poor,
    /// genspan cannot trace so.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Good,
            found: found.into(),
            remedy: None,
        }
    }

    fn other(name: &'static str, verdict: Verdict, found: &str, remedy: &str) -> Self {
        Self {
            name,
            verdict,
            found: found.to_owned(),
            remedy: Some(remedy.to_owned()),
        }
    }
}

/// Inode of the initial PID namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Oldest kernel: ring buffer and `bpf_ktime_get_boot_ns` are of 5.8.
const OLDEST_KERNEL: (u32, u32) = (5, 8);

/// Capabilities, by name and number (`include/uapi/linux/capability.h`).
const CAPABILITIES: [(&str, u32); 4] = [
    ("CAP_BPF", 39),
    ("CAP_PERFMON", 38),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_DAC_READ_SEARCH", 2),
];
/// Stands for the first two, and is what perf's user probes take.
const CAP_SYS_ADMIN: (&str, u32) = ("CAP_SYS_ADMIN", 21);

/// Looks at everything, the real loading of the programs last. `perf_probes` says that user probes are perf's
/// here ([`crate::probe::multi::are_perfs`]), which take one capability more.
#[must_use]
pub fn check(perf_probes: bool) -> Vec<Check> {
    vec![
        kernel(),
        type_information(),
        capabilities(effective(), perf_probes),
        lockdown(),
        uprobes(),
        namespace(),
    ]
    .into_iter()
    .chain(load())
    .collect()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|s| s.trim().to_owned())
}

fn kernel() -> Check {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let found = format!("{release} ({})", std::env::consts::ARCH);
    match version(&release) {
        Some(v) if v < OLDEST_KERNEL => Check::other(
            "kernel",
            Verdict::Bad,
            &found,
            "genspan needs Linux 5.8 or later: the BPF ring buffer is of that version",
        ),
        _ => Check::good("kernel", found),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn type_information() -> Check {
    match fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(m) => Check::good(
            "kernel type information",
            format!("BTF, {} KiB", m.len() >> 10),
        ),
        Err(e) => Check::other(
            "kernel type information",
            Verdict::Bad,
            &e.to_string(),
            "needs a kernel with CONFIG_DEBUG_INFO_BTF=y, and /sys mounted",
        ),
    }
}

/// What this process may do: a bit for each capability.
fn effective() -> u64 {
    let status = read("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default()
}

fn capabilities(effective: u64, perf_probes: bool) -> Check {
    let has = |n: u32| effective >> n & 1 == 1;
    let admin = has(CAP_SYS_ADMIN.1);
    let lacks_admin = perf_probes && !admin;
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(_, n)| !(has(*n) || *n >= 38 && admin))
        .chain(lacks_admin.then_some(&CAP_SYS_ADMIN))
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Check::good("privileges", "all capabilities that are needed");
    }
    let found = format!("missing {}", missing.join(", "));
    if missing == ["CAP_DAC_READ_SEARCH"] {
        return Check::other(
            "privileges",
            Verdict::Poor,
            &found,
            "other users' libraries may be unreadable: run as root or add the capability",
        );
    }
    Check::other(
        "privileges",
        Verdict::Bad,
        &found,
        if lacks_admin {
            "run genspan as root (sudo), or grant them: before Linux 6.13 user probes take CAP_SYS_ADMIN"
        } else {
            "run genspan as root (sudo), or grant them"
        },
    )
}

fn lockdown() -> Check {
    match read("/sys/kernel/security/lockdown") {
        Some(s) if s.contains("[confidentiality]") => Check::other(
            "lockdown",
            Verdict::Bad,
            "confidentiality",
            "eBPF may not read memory so: boot with lockdown=integrity or without",
        ),
        Some(s) if s.contains("[integrity]") => Check::good("lockdown", "integrity"),
        _ => Check::good("lockdown", "none"),
    }
}

fn uprobes() -> Check {
    match read("/sys/bus/event_source/devices/uprobe/type") {
        Some(_) => Check::good("user probes", "perf event source `uprobe`"),
        None => Check::other(
            "user probes",
            Verdict::Bad,
            "no perf event source `uprobe`",
            "needs a kernel with CONFIG_UPROBES=y and CONFIG_UPROBE_EVENTS=y, and /sys mounted",
        ),
    }
}

fn namespace() -> Check {
    let own = fs::read_link("/proc/self/ns/pid").map(|p| p.to_string_lossy().into_owned());
    match own {
        Ok(ns) if ns == INITIAL_PID_NAMESPACE => Check::good("PID namespace", "the host's"),
        Ok(ns) => Check::other(
            "PID namespace",
            Verdict::Bad,
            &format!("a container's ({ns})"),
            "genspan must see the host's processes: run it with the host's PID namespace \
             (hostPID: true, docker run --pid=host)",
        ),
        Err(e) => Check::other(
            "PID namespace",
            Verdict::Poor,
            &e.to_string(),
            "mount /proc",
        ),
    }
}

/// The programs, and what reads plain sockets.
fn load() -> Vec<Check> {
    const NAME: &str = "eBPF programs";
    let options = KernelOptions {
        ring_bytes: 1 << 20,
        message_bytes: 1 << 20,
        debug: false,
        perf_probes: false,
        sockets: SocketWay::Auto,
        python: true,
        frameworks: false,
        functions: false,
        stacks: true,
    };
    let failed = match Kernel::load(&options) {
        Ok(mut kernel) => return vec![Check::good(NAME, "load and attach"), sockets(&mut kernel)],
        Err(error @ LoadError::Refused { .. }) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Check::other(
                NAME,
                Verdict::Bad,
                first,
                "please report this with `genspan --debug doctor`",
            )
        }
        Err(error) => Check {
            name: NAME,
            verdict: Verdict::Bad,
            found: "refused".to_owned(),
            remedy: Some(error.to_string()),
        },
    };
    vec![failed]
}

/// The ways in which plain sockets are read here, each found by trying, and why not the better ones.
fn sockets(kernel: &mut Kernel) -> Check {
    const NAME: &str = "plain sockets";
    const LIBC: &str = "probes in the C library";
    // Of Linux before 5.10, which has no tail calls in such programs, the agent says so itself.
    let first = kernel.socket_way() != SocketWay::Off;
    match (first, kernel.load_host_sockets()) {
        (true, Ok(host)) => Check::good(
            NAME,
            format!("{LIBC}; where they cannot be placed, {}", told(host)),
        ),
        (false, Ok(host)) => Check::other(
            NAME,
            Verdict::Poor,
            &format!("not by {LIBC}, only by {}", told(host)),
            match host.way {
                HostWay::Trampolines => "to read calls without TLS: --sockets fentry",
                HostWay::Sockets => "to read calls without TLS: --sockets tracepoints",
                HostWay::Syscalls => "to read calls without TLS: --sockets syscalls",
            },
        ),
        (true, Err(error)) => Check::other(
            NAME,
            Verdict::Poor,
            &format!("{LIBC} only: {}", first_line(&error.to_string())),
            "a process whose C library has no symbols is read over TLS alone",
        ),
        (false, Err(error)) => Check::other(
            NAME,
            Verdict::Poor,
            &format!("not read: {}", first_line(&error.to_string())),
            "calls over TLS are read all the same",
        ),
    }
}

/// A way, and what the kernel said to those that would have been taken before it.
fn told(host: &HostSockets) -> String {
    let mut text = host.way.name().to_owned();
    for (way, why) in &host.passed_over {
        let _ = write!(text, "; not {}: {}", way.name(), first_line(why));
    }
    text
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{HostSockets, HostWay, Verdict, capabilities, told, version};

    #[test]
    fn a_way_is_told_with_why_it_is_that() {
        let mut host = HostSockets {
            way: HostWay::Trampolines,
            passed_over: Vec::new(),
        };
        assert_eq!(told(&host), "trampolines (fentry)");
        host.way = HostWay::Syscalls;
        host.passed_over = vec![
            (HostWay::Trampolines, "EPERM\nand a long log".to_owned()),
            (HostWay::Sockets, "no such file".to_owned()),
        ];
        let want = "the tracepoint on all system calls; not trampolines (fentry): EPERM; not tracepoints on \
                    sockets: no such file";
        assert_eq!(told(&host), want);
    }

    #[test]
    fn perfs_probes_take_one_capability_more() {
        let set = |numbers: &[u32]| numbers.iter().fold(0, |all, number| all | 1 << number);
        let few = [39, 38, 19, 2];
        assert_eq!(capabilities(set(&few), false).verdict, Verdict::Good);
        let found = capabilities(set(&few), true);
        assert_eq!(found.verdict, Verdict::Bad);
        assert_eq!(found.found, "missing CAP_SYS_ADMIN");
        assert!(found.remedy.is_some_and(|remedy| remedy.contains("6.13")));
        for perf_probes in [false, true] {
            // It stands for the first two.
            let found = capabilities(set(&[21, 19, 2]), perf_probes);
            assert_eq!(found.verdict, Verdict::Good);
            let found = capabilities(set(&[21, 19]), perf_probes);
            assert_eq!(found.verdict, Verdict::Poor);
        }
        let found = capabilities(0, false);
        assert!(!found.found.contains("CAP_SYS_ADMIN"), "{}", found.found);
    }

    #[test]
    fn kernel_versions() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(version("5.10.0-30-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("x"), None);
    }
}
