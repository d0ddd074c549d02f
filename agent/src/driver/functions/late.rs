//! Functions of modules that a process imports while it is traced: what the kernel tells of the bodies of these
//! modules.

use super::Functions;
use crate::driver::frameworks;
use crate::driver::watching::Watching;
use crate::framework::Hook;
use crate::model::function::FunctionFacts;
use crate::model::process::ModuleBody;
use crate::probe::kernel::Kernel;
use crate::state::mechanisms::Way;
use crate::state::status::Mechanism;
use crate::target::imports;

impl Functions {
    /// A process begins to run the body of a module, or has run it, which tells none. Its functions are
    /// watched before it has made them; where a name leads to another one in the end, that is watched instead.
    pub fn module(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        begins: Option<&ModuleBody>,
    ) -> Vec<FunctionFacts> {
        let Some(body) = begins else {
            return self.look(kernel, pid);
        };
        let Some(mut watching) = self.processes.remove(&pid) else {
            return Vec::new();
        };
        let mut found = self.of_body(kernel, pid, &mut watching, body);
        found.extend(self.move_on(kernel, pid, &mut watching));
        if watching.hurries().0 && !self.hurried.contains(&pid) {
            self.hurried.push(pid);
        }
        self.processes.insert(pid, watching);
        found
    }

    fn of_body(
        &mut self,
        kernel: &mut Kernel,
        pid: u32,
        watching: &mut Watching,
        body: &ModuleBody,
    ) -> Vec<FunctionFacts> {
        let Some(python) = &watching.python else {
            return Vec::new();
        };
        let defined = imports::defined(python, body);
        watching.module_begins(!kernel.has_perf_probes());
        self.expect(kernel, pid, watching, body);
        let mut indices: Vec<usize> = watching.pending.iter().map(|(index, _)| *index).collect();
        indices.sort_unstable();
        let mut all = Vec::new();
        for index in indices {
            // Those of frameworks need what only a module has that has run.
            let sought = self.wanted.get(index).filter(|s| s.hook.is_none());
            let (Some(sought), Some(python)) = (sought, &watching.python) else {
                continue;
            };
            let Ok(watchable) = imports::find(python, &defined, &sought.wanted) else {
                // It is another module's, or is there when this one has run.
                continue;
            };
            // That of an import that failed.
            watching.leave_early((kernel, &mut self.entries), index);
            match self.take((kernel, pid, watching), index, &watchable) {
                Ok(facts) => {
                    watching.note_early(index, watchable.code.address);
                    all.extend(facts);
                }
                // It is told when the module is there.
                Err(why) => tracing::debug!(pid, "not watched yet: {why}"),
            }
        }
        all
    }

    /// The body of this module is run: what its functions need beside watchpoints, if they are a framework's,
    /// is to be there when it is over.
    fn expect(&self, kernel: &mut Kernel, pid: u32, watching: &mut Watching, body: &ModuleBody) {
        let mut pending = watching.pending.iter();
        let file = watching.python.as_ref();
        let file = file.and_then(|python| Some(python.reader().code(body.code).ok()?.filename));
        let Some(file) = file else {
            return;
        };
        let sought = pending.find_map(|(index, _)| {
            let sought = self.wanted.get(*index)?;
            let needs = sought.hook.is_some_and(Hook::may_need_exceptions);
            let mut names = std::iter::once(&sought.wanted).chain(&sought.before);
            let is_in = names.any(|wanted| imports::is_file_of(&file, &wanted.name.module));
            (needs && is_in).then_some(sought)
        });
        if let Some(hook) = sought.and_then(|sought| sought.hook) {
            frameworks::prepare(kernel, vec![hook.what]);
            watching.expect_failures(kernel, pid);
        }
    }

    /// A process loaded libraries: maybe those by which it is worth while to look for frameworks.
    pub fn libraries_changed(&mut self, kernel: &mut Kernel, pid: u32) -> Vec<FunctionFacts> {
        let looks = self.processes.get(&pid).is_some_and(|watching| {
            let mut pending = watching.pending.iter();
            let is_hook = |index: usize| self.wanted.get(index).is_some_and(|s| s.hook.is_some());
            watching.python.is_none() && pending.all(|(index, _)| is_hook(*index))
        });
        if looks {
            self.look(kernel, pid)
        } else {
            Vec::new()
        }
    }

    /// Looks for the functions of modules whose end is not told. Says whether there are any.
    pub fn hurry(&mut self, kernel: &mut Kernel) -> (bool, Vec<FunctionFacts>) {
        if self.hurried.is_empty() {
            return (false, Vec::new());
        }
        let mut all = Vec::new();
        for pid in std::mem::take(&mut self.hurried) {
            let (hurries, is_due) = self
                .processes
                .get(&pid)
                .map_or((false, false), Watching::hurries);
            if hurries {
                self.hurried.push(pid);
            }
            if is_due {
                all.extend(self.look(kernel, pid));
            }
        }
        (!self.hurried.is_empty(), all)
    }

    /// How the modules of a process are noticed that are waited for.
    pub(super) fn imports(&self, watching: &Watching) -> Option<Mechanism> {
        match watching.tells_imports()? {
            Ok(()) => {
                let pending = watching.pending.iter();
                let sought = pending.filter_map(|(index, _)| self.wanted.get(*index));
                let mut names: Vec<String> = sought
                    .map(|sought| match sought.hook {
                        Some(hook) => frameworks::framework(hook).to_owned(),
                        None => sought.wanted.name.to_string(),
                    })
                    .collect();
                names.sort_unstable();
                names.dedup();
                Some(Way::Imports.used_by(names, 0))
            }
            Err(why) => Some(Way::Polling.used_by(vec![why.to_owned()], 0)),
        }
    }
}
