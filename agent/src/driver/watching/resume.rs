//! Functions that are seen where the interpreter runs `RESUME`, from 3.11 on: the probes, and what the
//! programs say of where they are.

use std::time::Instant;

use genspan_common::function::WatchKey;
use genspan_common::resume::{Resumed, refused};

use super::{Armed, Entries, Watching};
use crate::probe::kernel::{Kernel, Probes};
use crate::python::version::Version;
use crate::target::functions::Watchable;
use crate::target::resume::{self, Hook};

/// Probes on the interpreter of a process.
#[derive(Debug)]
pub(super) struct Resuming {
    hook: Hook,
    _probes: Probes,
}

impl Resuming {
    /// What its programs were told.
    const fn told(&self) -> &Resumed {
        &self.hook.told
    }
}

impl Watching {
    /// Whether the interpreter has a `RESUME` at which functions are seen for which there is no watchpoint.
    pub(super) fn has_resume(&self) -> bool {
        let python = self.python.as_ref();
        python.is_some_and(|python| python.fit.layout.version >= Version::V3_11)
    }

    /// The same, as far as that was not found to be wrong.
    pub(super) fn may_resume(&self) -> bool {
        self.has_resume() && self.no_resume.is_none()
    }

    /// Whether functions of it are seen so.
    pub(in super::super) const fn is_resumed(&self) -> bool {
        self.resumed.is_some()
    }

    /// Watches a function where the interpreter runs `RESUME`.
    pub(super) fn arm_resume(
        &mut self,
        (kernel, entries): (&mut Kernel, &mut Entries),
        pid: u32,
        (index, id): (usize, u32),
        function: &Watchable,
    ) -> Result<(), String> {
        if let Some(why) = &self.no_resume {
            return Err(why.clone());
        }
        self.takes_up(function);
        self.tell_layout(kernel, pid)?;
        let Some(python) = &self.python else {
            return Err("its interpreter is gone".to_owned());
        };
        let known = self.resumed.as_ref();
        let hook = known.map_or_else(
            || resume::hook(python, pid, self.root, self.wants),
            |known| Ok(known.hook.clone()),
        );
        let mut hook = hook.map_err(|e| e.to_string())?;
        hook.told.generators = u32::from(self.wants.generators);
        let watch = resume::watch(python, (function, id), &mut hook.told);
        let (address, watch) = watch.map_err(|e| e.to_string())?;
        let mut addresses = vec![address];
        // What runs a frame knows no more of it than its code.
        addresses.extend(hook.found.runs.map(|_| function.code.address));
        let mut keys = Vec::new();
        for address in addresses {
            let key = WatchKey {
                address,
                root: self.root,
                zero: 0,
            };
            if let Err(error) = entries.hold(kernel, key, watch) {
                entries.release(kernel, &keys);
                return Err(error.to_string());
            }
            keys.push(key);
        }
        if let Err(why) = self.hook_resume(kernel, pid, hook, false) {
            entries.release(kernel, &keys);
            return Err(why);
        }
        self.armed.push(Armed {
            index,
            keys,
            points: Vec::new(),
        });
        Ok(())
    }

    /// Places the probes, unless they are there and know what they are told.
    fn hook_resume(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        hook: Hook,
        soon: bool,
    ) -> Result<(), String> {
        if let Some(known) = &mut self.resumed {
            if *known.told() != hook.told {
                let told = kernel.set_resumed(pid, hook.told);
                told.map_err(|e| e.to_string())?;
                known.hook = hook;
            }
            return Ok(());
        }
        let told = kernel.set_resumed(pid, hook.told);
        told.map_err(|e| e.to_string())?;
        match kernel.attach_resume(pid, &hook.reach, &hook.found, soon) {
            Ok(probes) => {
                self.resumed = Some(Resuming {
                    hook,
                    _probes: probes,
                });
                Ok(())
            }
            Err(why) => {
                kernel.forget_resumed(pid);
                Err(why.to_string())
            }
        }
    }

    /// The same in a forked child of this process, as far as this has them.
    pub(super) fn hook_childs_resume(
        &self,
        kernel: &mut Kernel,
        own: u32,
        child: (u32, &mut Self),
    ) {
        let (pid, all) = child;
        all.no_resume.clone_from(&self.no_resume);
        let Some(known) = &self.resumed else { return };
        let Some(reach) = super::reached_from(&known.hook.reach, own, pid) else {
            return;
        };
        let hook = Hook {
            reach,
            ..known.hook.clone()
        };
        if let Err(why) = all.hook_resume(kernel, pid, hook, true) {
            all.tell(pid, format!("functions are not seen: {why}"));
        }
    }

    /// Takes the probes away when they hit what they should not: then what was taken for the interpreter's
    /// code for `RESUME`, or for what clears a frame, is something else.
    pub(in super::super) fn check_resume(
        &mut self,
        kernel: &mut Kernel,
        entries: &mut Entries,
        pid: u32,
    ) {
        if self.resumed.is_none() {
            return;
        }
        let what = match kernel.resumed(pid).map(|told| told.refused) {
            None | Some(0) => return,
            Some(refused::NO_RESUME) => "RESUME",
            Some(_) => "what clears a frame",
        };
        let why = format!(
            "what was found in the interpreter's code is not {what}, by what the probe there saw: it is taken \
             away"
        );
        self.resumed = None;
        kernel.forget_resumed(pid);
        let lost = self.armed.extract_if(.., |armed| armed.points.is_empty());
        let lost: Vec<_> = lost.collect();
        for armed in &lost {
            entries.release(kernel, &armed.keys);
            // A watchpoint may be free by now. One of a module that is on its way is looked for as it is.
            self.imports.forget_early(armed.index);
            if !self.pending.iter().any(|(index, _)| *index == armed.index) {
                self.pending.push((armed.index, 0));
            }
        }
        self.since = Instant::now();
        self.tell(
            pid,
            format!("functions without watchpoints are looked for anew: {why}"),
        );
        self.no_resume = Some(why);
    }
}
