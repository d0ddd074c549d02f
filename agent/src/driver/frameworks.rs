//! Frameworks in traced processes: looked for as functions that were asked for are, and given the
//! watchpoints that those leave.

use super::functions::Sought;
use super::watching::{Entries, Watching};
use crate::framework::{Hook, langchain, sglang, vllm};
use crate::probe::kernel::Kernel;
use crate::python::version::Version;
use crate::python::wanted::Wanted;
use crate::target::functions::{self, CannotWatch};
use crate::target::process;

use genspan_common::framework::hook;

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
    let all = langchain::HOOKS.iter().chain(&vllm::HOOKS);
    all.chain(&sglang::HOOKS).filter_map(|hook| {
        let mut wanted: Wanted = hook.function.parse().ok()?;
        wanted.arguments = hook.arguments.iter().map(|&name| name.to_owned()).collect();
        Some(Sought {
            wanted,
            hook: Some(hook),
        })
    })
}

/// The framework that a function belongs to.
pub(super) const fn framework(hook: &Hook) -> &'static str {
    match (hook.what, hook.number) {
        (hook::SNAPSHOT, sglang::BATCH) => "SGLang",
        (hook::SNAPSHOT, _) => "vLLM",
        _ => "LangChain",
    }
}

/// Whether nothing of a framework is seen without this function.
pub(super) const fn is_first(hook: &Hook) -> bool {
    match hook.what {
        hook::SNAPSHOT => matches!(hook.number, vllm::FINISHED | sglang::BATCH),
        what => what == hook::BEGINS,
    }
}

/// Whether what is done in it must be told from what others do in the same thread.
pub(super) const fn needs_contexts(hook: &Hook) -> bool {
    hook.what == hook::BEGINS
}

/// What a function being watched no more is told as.
fn misses(hook: &Hook, why: &str) -> String {
    format!("{}: {}: {why}", framework(hook), hook.without)
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
    let function = match functions::find_any(python, &sought.wanted) {
        Ok(function) => function,
        Err(CannotWatch::NotFound(crate::python::find::NotFound::NotLoaded(_))) => {
            return Looked::NotLoaded;
        }
        Err(error) if error.may_come() && looks < SURE => return Looked::Again,
        Err(error) => {
            watching.tell(pid, misses(hook, &error.to_string()));
            return Looked::Never;
        }
    };
    if python.fit.layout.version < Version::V3_11 {
        let said = format!("{} is seen in CPython 3.11 and newer", framework(hook));
        if !watching.is_told(&said) {
            watching.tell(pid, said);
        }
        return Looked::Never;
    }
    match watching.arm_hook(to, pid, (index, hook), &function) {
        Ok(()) => {
            if is_first(hook) {
                tracing::info!("watching {} (pid {pid})", framework(hook));
            }
            Looked::Found
        }
        Err(why) => {
            watching.tell(pid, misses(hook, &why));
            Looked::Never
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{langchain, sglang, sought, vllm};

    #[test]
    fn every_hook_can_be_looked_for() {
        let all: Vec<_> = sought().collect();
        let known = langchain::HOOKS.len() + vllm::HOOKS.len() + sglang::HOOKS.len();
        assert_eq!(all.len(), known);
        for one in all {
            let hook = one.hook.expect("a hook");
            assert_eq!(one.wanted.name.to_string(), hook.function);
            assert_eq!(one.wanted.arguments, hook.arguments);
        }
    }
}
