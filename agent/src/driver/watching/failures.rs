//! The probe that tells which runs of frameworks an exception leaves. It is to be there before the first run is
//! seen: a run that fails without it would be told as one that did not.

use super::{Raised, Watching};
use crate::probe::kernel::Kernel;
use crate::target::functions::{self, Hook};
use crate::target::process;

/// The probe, and who needs it.
#[derive(Debug, Default)]
pub(super) struct Failures {
    placed: Option<Raised>,
    /// Runs are seen whose failures it tells. Until then it was placed for a module whose body runs.
    needed: bool,
}

impl Failures {
    /// The probe, if it was asked for.
    pub(super) const fn placed(&self) -> &Option<Raised> {
        &self.placed
    }
}

impl Watching {
    /// The body of a module begins after which runs are to be seen: has the probe placed meanwhile, and does not
    /// wait for it. Where none can be, that is told by [`Self::see_failures`].
    pub(in super::super) fn expect_failures(&mut self, kernel: &mut Kernel, pid: u32) {
        if self.failures.placed.is_none()
            && let Some(python) = &self.python
            && let Ok(hook) = functions::raise_hook(python, pid)
            && let Ok(probes) = kernel.attach_raised_runs(pid, &hook.reach, &hook.offsets, true)
        {
            self.failures.placed = Some(Raised { hook, probes });
        }
    }

    /// Runs are to be seen from now on: waits until the probe is there.
    pub(super) fn see_failures(&mut self, kernel: &mut Kernel, pid: u32) {
        self.failures.needed = true;
        if let Some(placed) = &mut self.failures.placed {
            if !placed.probes.settle() && process::runs(pid) {
                // Why was told when the kernel said so.
                self.misses_failures(pid, "the kernel refused the probe");
            }
            return;
        }
        let Some(python) = &self.python else {
            return;
        };
        let hook = match functions::raise_hook(python, pid) {
            Ok(hook) => hook,
            Err(error) => return self.misses_failures(pid, &error.to_string()),
        };
        match kernel.attach_raised_runs(pid, &hook.reach, &hook.offsets, false) {
            Ok(probes) => self.failures.placed = Some(Raised { hook, probes }),
            Err(_) if !process::runs(pid) => {}
            Err(error) => self.misses_failures(pid, &error.to_string()),
        }
    }

    /// Places it in a forked child, and does not wait for it: the child has its parent's.
    pub(super) fn hook_failures(&mut self, kernel: &mut Kernel, child: u32, hook: Hook) {
        self.failures.needed = true;
        match kernel.attach_raised_runs(child, &hook.reach, &hook.offsets, true) {
            Ok(probes) => self.failures.placed = Some(Raised { hook, probes }),
            Err(_) if !process::runs(child) => {}
            Err(error) => self.misses_failures(child, &error.to_string()),
        }
    }

    /// No module is there whose functions may still come: takes the probe away that was placed for one whose
    /// import failed, or that turned out not to need it.
    pub(in super::super) fn leave_failures(&mut self) {
        if !self.failures.needed {
            self.failures.placed = None;
        }
    }

    fn misses_failures(&mut self, pid: u32, why: &str) {
        let said = format!("runs that an exception ends are told late, and without it: {why}");
        self.tell(pid, said);
    }
}
