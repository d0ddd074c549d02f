//! Taking up what the scout found, and letting go of what is not to be traced any more.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;

use super::{Live, LiveError};
use crate::driver::scout::{Place, Report};
use crate::driver::wait;
use crate::probe::attach::{Attachments, Traced};
use crate::state::handle::State;
use crate::target::process;
use crate::target::rules::NotTraced;

impl Live {
    /// What the scout rings, and those who ask for the state.
    pub(super) fn bells(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let scout = self.host.iter().map(|host| host.scout.fd());
        scout.chain(self.state().map(State::fd))
    }

    /// Takes up and lets go of what the scout found; says whether there was anything.
    pub(super) fn found(&mut self) -> Result<bool, LiveError> {
        let mut any = false;
        if let Some(host) = &self.host {
            host.scout.hush();
        }
        while let Some(report) = self.host.as_ref().and_then(|host| host.scout.take()) {
            any = true;
            self.left.note(&report);
            match report {
                Report::Trace {
                    pid,
                    start_ticks,
                    place,
                    why,
                } => {
                    // Another one may have its number by now.
                    if process::is_same(pid, start_ticks) {
                        self.take_up(pid, place, &why)?;
                    }
                }
                Report::Placed {
                    pid,
                    start_ticks,
                    place,
                } => {
                    if process::is_same(pid, start_ticks) {
                        self.place(pid, place)?;
                    }
                }
                Report::Leave { pid, why } => {
                    let traced = self.attachments.get(pid);
                    // A child that is none is followed for what it starts, but one that was chosen is not any more.
                    let was_chosen = |t: &Traced| t.is_read() && !t.target.python;
                    let unchosen = why == NotTraced::NotPython && traced.is_some_and(was_chosen);
                    if unchosen {
                        self.left.add(pid);
                    }
                    if self.left.has(pid) && self.attachments.get(pid).is_some() {
                        tracing::info!("no longer tracing process {pid}: {why}");
                        self.let_go(pid, wait::boot_time())?;
                    }
                }
                Report::Gone(_) => {}
            }
        }
        Ok(any)
    }

    /// The inner parts of a model server below a process are not traced with it, not even until the scout has
    /// looked at them: their titles say what they are.
    fn leave_inner_parts(&mut self, pid: u32) {
        let mut next = process::children(pid);
        let mut seen = HashSet::new();
        while let Some(child) = next.pop() {
            if !seen.insert(child) {
                continue;
            }
            if let Some(part) = process::inner_part(child) {
                let why = NotTraced::InnerPart(part);
                self.left.note(&Report::Leave { pid: child, why });
            }
            next.extend(process::children(child));
        }
    }

    /// Traces a process that was found, unless it is already, as a child.
    fn take_up(&mut self, pid: u32, place: Place, why: &str) -> Result<(), LiveError> {
        let new = self.attachments.get(pid).is_none();
        if new {
            self.leave_inner_parts(pid);
        }
        if !new {
            self.standing.forget(pid);
            return self.place(pid, place);
        }
        match self.add_placed(pid, Some(place)) {
            Ok(changed) => {
                self.standing.forget(pid);
                tracing::debug!("process {pid} is to be traced ({why})");
                self.announce_again(pid, changed)
            }
            Err(error) if error.is_gone() => {
                tracing::debug!("{error}");
                Ok(())
            }
            Err(error) => {
                tracing::warn!("process {pid} is not traced: {error}");
                self.standing.failed(pid, error.to_string());
                Ok(())
            }
        }
    }

    /// Takes note of where a process belongs. What was told of it before stays told.
    fn place(&mut self, pid: u32, place: Place) -> Result<(), LiveError> {
        let changed = self.take_place(pid, place);
        if changed {
            self.set_contents();
        }
        self.announce_again(pid, changed)
    }

    /// Gives it what it has where it belongs; says whether that is new.
    pub(super) fn take_place(&mut self, pid: u32, place: Place) -> bool {
        let Place {
            service,
            settings,
            attributes,
            address,
            ..
        } = place;
        let pod = (attributes, address);
        let is_read = |all: &Attachments| all.get(pid).is_some_and(Traced::is_read);
        let was_read = is_read(&self.attachments);
        let changed = self.attachments.place(pid, service, settings, pod);
        // One that is no Python, as it is known only now that it was chosen.
        if !was_read
            && is_read(&self.attachments)
            && let Err(error) = self.attachments.rescan(&mut self.kernel, pid)
        {
            tracing::debug!("{error}");
        }
        if self.attachments.set_stacks(&mut self.kernel, pid) {
            self.stacks.expect(pid);
        }
        changed
    }

    /// Tells of a process again what is known of it, if that has changed.
    fn announce_again(&mut self, pid: u32, changed: bool) -> Result<(), LiveError> {
        if changed
            && self.core.announced.contains(&pid)
            && let Some(traced) = self.attachments.get(pid)
        {
            self.core.announce(&traced.target)?;
        }
        Ok(())
    }
}
