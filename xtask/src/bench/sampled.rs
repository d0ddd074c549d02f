//! Where a process's time goes: perf's samples of it, put into groups by their call chains.

use crate::cmd::{Cmd, find};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};

/// Samples a second and processor.
const FREQUENCY: u32 = 4999;

/// What a processor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doing {
    /// The program and its libraries.
    Program,
    /// The kernel, with what the program asks of it.
    Kernel,
    /// The kernel, with waking those who wait for the program's bytes.
    Waking,
    /// The kernel, with entering and leaving probes.
    Traps,
    /// eBPF programs, and what calls them.
    Ebpf,
}

impl Doing {
    pub(super) const ALL: [Self; 5] = [
        Self::Program,
        Self::Kernel,
        Self::Waking,
        Self::Traps,
        Self::Ebpf,
    ];

    /// As it is shown.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Kernel => "kernel",
            Self::Waking => "waking the client",
            Self::Traps => "traps",
            Self::Ebpf => "eBPF programs",
        }
    }

    /// By the functions that were under way, the innermost first, each with whether it is the kernel's.
    fn of(chain: &[(&str, bool)]) -> Self {
        let any = |wanted: &dyn Fn(&str) -> bool| chain.iter().any(|(name, _)| wanted(name));
        if any(&|name| name == "sock_def_readable") {
            Self::Waking
        } else if any(&|name| name.starts_with("bpf_prog_") || name.starts_with("bpf_trace_run")) {
            Self::Ebpf
        } else if any(&|name| name.contains("uprobe") || name.ends_with("exc_int3"))
            || chain
                .first()
                .is_some_and(|(name, _)| *name == "irqentry_exit_to_user_mode")
        {
            // With interrupts off no sample is taken: those of a trap show where they are on again.
            Self::Traps
        } else if chain.first().is_some_and(|(_, kernel)| *kernel) {
            Self::Kernel
        } else {
            Self::Program
        }
    }
}

/// How a process's time is divided, as parts of one.
pub(super) type Shares = BTreeMap<Doing, f64>;

/// Fails where there is no perf.
pub(super) fn check() -> Result<()> {
    ensure!(
        find("perf").is_some(),
        "this needs perf (on Debian: apt-get install linux-perf)"
    );
    Ok(())
}

/// Begins to sample a process, for so many seconds.
pub(super) fn begin(pid: u32, seconds: u32, data: &Path) -> Result<Child> {
    Cmd::new("perf")
        .args(["record", "--quiet", "-g", "-e", "cpu-clock"])
        .arg("-F")
        .arg(FREQUENCY.to_string())
        .arg("-p")
        .arg(pid.to_string())
        .arg("-o")
        .arg(data)
        .args(["--", "sleep", &seconds.to_string()])
        .spawn(|c| {
            c.stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
        })
}

/// What was sampled, once that is over.
pub(super) fn end(perf: &mut Child, data: &Path) -> Result<Shares> {
    let status = perf.wait().context("cannot wait for perf")?;
    ensure!(status.success(), "perf record ended with {status}");
    let text = Cmd::new("perf")
        .args(["script", "-F", "ip,sym,dso", "-i"])
        .arg(data)
        .read()
        .context("perf script failed")?;
    let shares = shares(&text);
    ensure!(!shares.is_empty(), "perf took no samples");
    Ok(shares)
}

/// Reads what `perf script` prints: a line for each function, the innermost first, and an empty line
/// after each sample.
fn shares(text: &str) -> Shares {
    let mut counts: BTreeMap<Doing, u32> = BTreeMap::new();
    let mut chain = Vec::new();
    for line in text.lines().chain([""]) {
        if let Some(function) = function(line) {
            chain.push(function);
        } else if !chain.is_empty() {
            *counts.entry(Doing::of(&chain)).or_default() += 1;
            chain.clear();
        }
    }
    let all: u32 = counts.values().sum();
    counts
        .into_iter()
        .map(|(doing, count)| (doing, f64::from(count) / f64::from(all)))
        .collect()
}

/// `    ffffffff81e56d31 _raw_spin_unlock_irqrestore ([kernel.kallsyms])`
fn function(line: &str) -> Option<(&str, bool)> {
    let (address, rest) = line.trim_start().split_once(' ')?;
    let (name, _) = rest.rsplit_once(" (")?;
    // The upper half of the addresses is the kernel's.
    let kernel = u64::from_str_radix(address, 16).ok()? >> 63 == 1;
    Some((name, kernel))
}

#[cfg(test)]
mod tests {
    use super::{Doing, shares};

    #[test]
    fn samples_are_told_apart() {
        let text = "\
    7f01 _PyEval_EvalFrameDefault (/usr/bin/python3)\n\n\
    ffffffff81000001 tcp_sendmsg ([kernel.kallsyms])\n    7f02 write (/lib/libc.so.6)\n\n\
    ffffffff81000002 _raw_spin_unlock ([kernel.kallsyms])\n    ffffffff81000003 sock_def_readable ([kernel.kallsyms])\n\n\
    ffffffff81000004 copy_from_user_nofault ([kernel.kallsyms])\n    ffffffffc0000001 bpf_prog_1e42_F (bpf_prog_1e42_F)\n    ffffffff81000005 uprobe_notify_resume ([kernel.kallsyms])\n\n\
    ffffffff81000006 irqentry_exit_to_user_mode ([kernel.kallsyms])\n    7f03 write (/lib/libc.so.6)\n\n\
    ffffffff81000007 mtree_load ([kernel.kallsyms])\n    ffffffff81000005 uprobe_notify_resume ([kernel.kallsyms])\n\n\
    7f04 [unknown] (/tmp/with (brackets))\n\n\
    ffffffff81000008 tcp_ack ([kernel.kallsyms])\n";
        let shares = shares(text);
        let of = |doing| shares.get(&doing).copied();
        assert_eq!(of(Doing::Program), Some(0.25));
        assert_eq!(of(Doing::Kernel), Some(0.25));
        assert_eq!(of(Doing::Waking), Some(0.125));
        assert_eq!(of(Doing::Ebpf), Some(0.125));
        assert_eq!(of(Doing::Traps), Some(0.25));
    }
}
