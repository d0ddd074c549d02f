//! What the threads of a process may do.

use anyhow::{Context as _, Result};

/// The capabilities that an agent keeps (`include/uapi/linux/capability.h`): `CAP_DAC_READ_SEARCH`,
/// `CAP_SYS_PTRACE`, `CAP_PERFMON`, `CAP_BPF`, `CAP_CHECKPOINT_RESTORE`.
pub const KEPT: [u32; 5] = [2, 19, 38, 39, 40];

/// What a thread may do (proc_pid_status(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Its name.
    pub name: String,
    /// Its user.
    pub user: u32,
    /// Capabilities that are in force.
    pub effective: u64,
    /// Those that it could have in force.
    pub permitted: u64,
    /// Those that a program that it executes could get.
    pub bounding: u64,
    /// No program that it executes has more than it has.
    pub no_new: bool,
    /// Calls to the kernel are filtered.
    pub filtered: bool,
}

impl Privileges {
    /// Reads them from `/proc/PID/status`.
    ///
    /// # Errors
    ///
    /// When something is missing there.
    pub fn read(status: &str) -> Result<Self> {
        let line = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name));
            found.map(str::trim).with_context(|| format!("no {name}"))
        };
        let set = |name: &str| -> Result<u64> { Ok(u64::from_str_radix(line(name)?, 16)?) };
        let user = line("Uid:")?.split_whitespace().next();
        Ok(Self {
            name: line("Name:")?.to_owned(),
            user: user.context("no user")?.parse()?,
            effective: set("CapEff:")?,
            permitted: set("CapPrm:")?,
            bounding: set("CapBnd:")?,
            no_new: line("NoNewPrivs:")? == "1",
            filtered: line("Seccomp:")? == "2",
        })
    }

    /// Whether it has these capabilities and can get no others, and its calls are filtered.
    #[must_use]
    pub fn has_only(&self, capabilities: &[u32]) -> bool {
        let wanted = capabilities.iter().fold(0, |all, number| all | 1 << number);
        self.effective == wanted
            && self.permitted == wanted
            && self.bounding & !wanted == 0
            && self.no_new
            && self.filtered
    }
}

/// Those of each thread of a process.
///
/// # Errors
///
/// When it is gone.
pub fn of_threads(pid: u32) -> Result<Vec<Privileges>> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    threads
        .map(|thread| Privileges::read(&std::fs::read_to_string(thread?.path().join("status"))?))
        .collect()
}
