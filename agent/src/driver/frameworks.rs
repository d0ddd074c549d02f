//! Frameworks in traced processes: looked for as functions that were asked for are, and given the
//! watchpoints that those leave.

use super::functions::Sought;
use super::watching::{Entries, Watching};
use crate::framework::{Hook, langchain};
use crate::probe::kernel::Kernel;
use crate::python::find::NotFound;
use crate::python::wanted::Wanted;
use crate::target::functions::{self, CannotWatch, Watchable};
use crate::target::process;

use genspan_common::framework::hook::GONE;
use genspan_common::function::{ABSENT, ArgumentSlot, CONTENT, IN_CALLER};

pub(super) use genspan_common::framework::hook::BEGINS;

/// What every framework that is known has loaded: a library, so that one sees it without a look
/// into the interpreter.
const LIBRARY: &str = "pydantic";

/// After so many looks what is not in a module that is loaded will not come.
const SURE: u32 = 8;

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// It is watched.
    Found,
    /// Its module is not loaded, so nothing was looked for yet.
    NotLoaded,
    /// It may come.
    Again,
    /// It is not to be had.
    Never,
}

/// What is looked for.
pub(super) fn sought() -> impl Iterator<Item = Sought> {
    langchain::HOOKS.iter().filter_map(|hook| {
        let mut wanted: Wanted = hook.function.parse().ok()?;
        wanted.arguments = hook.arguments.iter().map(|&name| name.to_owned()).collect();
        Some(Sought {
            wanted,
            hook: Some(hook),
        })
    })
}

/// Whether it is worth while to look into the interpreter of a process.
pub(super) fn may_be_loaded(pid: u32) -> bool {
    process::maps_name(pid, LIBRARY)
}

/// Looks for a function of a framework, and watches it.
pub(super) fn look(
    to: (&mut Kernel, &mut Entries),
    pid: u32,
    watching: &mut Watching,
    (index, sought, hook): (usize, &Sought, &'static Hook),
    looks: u32,
) -> Looked {
    let Some(python) = &watching.python else {
        return Looked::Never;
    };
    let is_first = hook.what == BEGINS;
    // Of a run that is seen to begin more is kept in the kernel, until its end is seen.
    if is_first && !index.checked_sub(1).is_some_and(|i| watching.has(i)) {
        let waits = watching.pending.iter().any(|(i, _)| i + 1 == index);
        return if waits { Looked::Again } else { Looked::Never };
    }
    let found = if hook.what == GONE {
        functions::find_freed(python, &sought.wanted, hook.what)
    } else {
        let found = functions::find_any(python, &sought.wanted);
        found.map(|function| {
            let function = Watchable {
                arguments: places(hook, &function),
                ..function
            };
            (function.code.entry, function.watch(hook.number, hook.what))
        })
    };
    let (address, watch) = match found {
        Ok(found) => found,
        Err(CannotWatch::NotFound(NotFound::NotLoaded(_))) => return Looked::NotLoaded,
        Err(error) if error.may_come() && looks < SURE => return Looked::Again,
        Err(error) => {
            let said = format!("LangChain: {}: {error}", hook.without);
            watching.tell(pid, said);
            return Looked::Never;
        }
    };
    match watching.arm_hook(to, pid, index, (address, watch)) {
        Ok(()) => {
            if is_first {
                tracing::info!("watching LangChain (pid {pid})");
            }
            Looked::Found
        }
        Err(why) => {
            let said = format!("LangChain: {}: {why}", hook.without);
            watching.tell(pid, said);
            Looked::Never
        }
    }
}

/// Where what the hook wants is: its arguments each in its place, whichever the function has, then those
/// of the caller.
fn places(hook: &Hook, function: &Watchable) -> Vec<(String, ArgumentSlot)> {
    let own = hook.arguments.iter().map(|wanted| {
        let found = function.arguments.iter().find(|(name, _)| name == wanted);
        let absent = ArgumentSlot {
            slot: 0,
            cell: ABSENT,
        };
        let slot = found.map_or(absent, |(_, slot)| *slot);
        ((*wanted).to_owned(), slot)
    });
    let callers = hook.callers.iter().map(|caller| {
        let slot = ArgumentSlot {
            slot: caller.index | caller.of << 16,
            cell: IN_CALLER,
        };
        (String::new(), slot)
    });
    let mut all: Vec<_> = own.chain(callers).collect();
    for (_, slot) in all.iter_mut().skip(hook.contents) {
        slot.slot |= CONTENT;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{langchain, sought};

    #[test]
    fn every_hook_can_be_looked_for() {
        let all: Vec<_> = sought().collect();
        assert_eq!(all.len(), langchain::HOOKS.len());
        for one in all {
            let hook = one.hook.expect("a hook");
            assert_eq!(one.wanted.name.to_string(), hook.function);
            assert_eq!(one.wanted.arguments, hook.arguments);
        }
    }
}
