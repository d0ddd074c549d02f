//! What the kernel tells of traced processes: forks, programs that are executed, libraries and modules that are
//! loaded, ends; and the sweep for ends that were not heard of.

use std::collections::HashSet;

use super::{Live, LiveError};
use crate::capture::decode::{self, ProcessChange, ProcessChangeKind};
use crate::driver::wait;
use crate::model::event::Event;
use crate::model::time::BootTime;
use crate::probe::attach::Traced;
use crate::target::process;

impl Live {
    /// Takes all records of the control ring.
    pub(super) fn control(&mut self) -> Result<bool, LiveError> {
        let mut changes = Vec::new();
        while let Some(record) = self.kernel.control().next() {
            match decode::control(&record) {
                Ok(change) => changes.push(change),
                Err(error) => {
                    self.undecodable += 1;
                    tracing::debug!("{error}");
                }
            }
        }
        let any = !changes.is_empty();
        let mut rescanned = HashSet::new();
        for change in changes {
            let again =
                change.kind == ProcessChangeKind::LibrariesChanged && !rescanned.insert(change.pid);
            if !again {
                self.change(change)?;
            }
        }
        Ok(any)
    }

    fn change(&mut self, change: ProcessChange) -> Result<(), LiveError> {
        let pid = change.pid;
        let result = match change.kind {
            ProcessChangeKind::Forked(child) => {
                self.functions.forked(&mut self.kernel, child, pid);
                self.stacks.forked(child, pid);
                let added = self
                    .attachments
                    .add(&mut self.kernel, child, Some(pid))
                    .map(drop);
                if added.is_ok() {
                    tracing::debug!("tracing process {child}, a child of {pid}");
                } else {
                    self.functions.forget(&mut self.kernel, child);
                    self.stacks.forget(child);
                    self.snapshots.forget(child);
                }
                added
            }
            ProcessChangeKind::Executed => {
                if let Some(host) = &self.host {
                    self.left.forget(pid);
                    host.scout.executed(pid);
                }
                if self.attachments.get(pid).is_none() {
                    return Ok(());
                }
                // What the program before it said belongs to that.
                self.data(usize::MAX)?;
                let done = self.attachments.executed(&mut self.kernel, pid);
                if done.is_ok()
                    && self.core.announced.remove(&pid)
                    && let Some(traced) = self.attachments.get(pid)
                {
                    self.core.announce(&traced.target)?;
                }
                self.tell_attached(pid);
                self.functions.forget(&mut self.kernel, pid);
                self.stacks.forget(pid);
                self.snapshots.forget(pid);
                self.watch(pid);
                done
            }
            ProcessChangeKind::LibrariesChanged => {
                let before = self.traced(pid).is_some_and(Traced::reachable);
                let done = self.attachments.rescan(&mut self.kernel, pid).map(drop);
                if !before && self.traced(pid).is_some_and(Traced::reachable) {
                    self.tell_attached(pid);
                }
                let found = self.functions.libraries_changed(&mut self.kernel, pid);
                self.tell_functions(found);
                done
            }
            ProcessChangeKind::ModuleBegins(body) => {
                let found = self.functions.module(&mut self.kernel, pid, Some(&body));
                self.tell_functions(found);
                Ok(())
            }
            ProcessChangeKind::ModuleEnded => {
                let found = self.functions.module(&mut self.kernel, pid, None);
                self.tell_functions(found);
                Ok(())
            }
            ProcessChangeKind::Exited => return self.ended(pid, change.time),
            ProcessChangeKind::Guess { place, verdict } => {
                self.attachments.hear(&mut self.kernel, pid, place, verdict);
                return Ok(());
            }
        };
        if let Err(error) = result {
            // Short-lived children come and go.
            if error.is_gone() {
                tracing::debug!("{error}");
            } else {
                tracing::warn!("{error}");
            }
        }
        Ok(())
    }

    /// The main thread of a process ended: forget the process, unless other threads go on.
    fn ended(&mut self, pid: u32, time: BootTime) -> Result<(), LiveError> {
        if process::other_threads(pid) {
            self.lingering.insert(pid);
            return Ok(());
        }
        self.let_go(pid, time)
    }

    /// Forgets a process: it ended, or is not to be traced any more.
    pub(super) fn let_go(&mut self, pid: u32, time: BootTime) -> Result<(), LiveError> {
        self.lingering.remove(&pid);
        self.standing.forget(pid);
        self.told.retain(|(told, _)| *told != pid);
        // What it did comes before its end.
        self.data(usize::MAX)?;
        self.functions.forget(&mut self.kernel, pid);
        self.stacks.forget(pid);
        self.snapshots.forget(pid);
        if self.attachments.forget(&mut self.kernel, pid).is_some() {
            tracing::debug!("process {pid} is not traced any more");
        }
        if self.core.announced.remove(&pid) {
            self.core.event(&Event::ProcessExit { pid, time })?;
            self.core.output.spans(&mut self.core.pipeline)?;
        }
        self.core.output.forget(pid);
        Ok(())
    }

    /// Looks after processes whose end was not heard of.
    pub(super) fn sweep(&mut self) -> Result<(), LiveError> {
        let gone = self.gone();
        if !gone.is_empty() || !self.lingering.is_empty() {
            // One that is seen to be dead may have forked since the ring was looked at last: its
            // children are taken up while it is still known.
            self.control()?;
        }
        for pid in gone {
            self.ended(pid, wait::boot_time())?;
        }
        self.standing.prune();
        let lives = |pid| self.attachments.get(pid).is_some();
        self.core.output.keep(lives);
        let lingering: Vec<u32> = self.lingering.iter().copied().collect();
        for pid in lingering {
            self.ended(pid, wait::boot_time())?;
        }
        Ok(())
    }

    /// Processes that are followed and do not run any more.
    fn gone(&self) -> Vec<u32> {
        let traced = self.attachments.iter();
        let gone = traced.filter(|t| !process::is_same(t.target.pid, t.target.facts.start_ticks));
        gone.map(|t| t.target.pid).collect()
    }
}
