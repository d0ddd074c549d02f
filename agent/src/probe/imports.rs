//! The probe on what runs the bodies of modules, while a process may import one whose functions are wanted,
//! and the tables of what its program is told.

use std::path::Path;

use aya::maps::{HashMap, MapError};
use genspan_common::imports::Awaited;

use super::again::again;
use super::kernel::{AttachError, Kernel, Probes, refused, uprobe};
use super::multi::MODULE_RUN;

/// Its program where one cannot be of both ends.
const MODULE_BEGINS: &str = "module_begins";

impl Kernel {
    /// Tells the program which files are wanted in any process, as [`crate::target::imports::pieces`] has
    /// them.
    ///
    /// # Errors
    ///
    /// When the table is full.
    pub fn set_module_files(&mut self, pieces: &[(u64, u32)]) -> Result<(), MapError> {
        let map = self.function_map("MODULE_FILES")?;
        let mut map = HashMap::<_, u64, u32>::try_from(map)?;
        for (hash, value) in pieces {
            map.insert(hash, value, 0)?;
        }
        Ok(())
    }

    /// Tells it of a process in which modules are waited for, and which is probed from then on.
    ///
    /// # Errors
    ///
    /// When the table is full.
    pub fn await_modules(&mut self, pid: u32, awaited: Awaited) -> Result<(), MapError> {
        let map = self.function_map("AWAITED")?;
        HashMap::<_, u32, Awaited>::try_from(map)?.insert(pid, awaited, 0)
    }

    /// What it counted there.
    pub fn awaited(&mut self, pid: u32) -> Option<Awaited> {
        let map = self.function_map("AWAITED").ok()?;
        let map = HashMap::<_, u32, Awaited>::try_from(map).ok()?;
        map.get(&pid, 0).ok()
    }

    /// Takes that back.
    pub fn forget_awaited(&mut self, pid: u32) {
        if let Ok(map) = self.function_map("AWAITED")
            && let Ok(mut map) = HashMap::<_, u32, Awaited>::try_from(map)
        {
            // Not there: no module was waited for.
            let _ = map.remove(&pid);
        }
    }

    /// Puts the probe on a process. Does not wait until it is there.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, where it is waited for.
    pub fn attach_imports(
        &mut self,
        pid: u32,
        path: &Path,
        offset: u64,
    ) -> Result<Probes, AttachError> {
        if self.multi.is_some() {
            return self.attach_soon(pid, path, &[(MODULE_RUN, offset)]);
        }
        if let Ok(program) = uprobe(&mut self.ebpf, MODULE_BEGINS)
            && program.fd().is_err()
            && let Err(error) = again(|| program.load())
        {
            // Told once more by what places it.
            tracing::debug!("{}", refused(MODULE_BEGINS, error));
        }
        self.attach_soon(pid, path, &[(MODULE_BEGINS, offset)])
    }
}
