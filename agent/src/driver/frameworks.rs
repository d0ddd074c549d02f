//! Frameworks in traced processes: looked for as functions that were asked for are, and given the
//! watchpoints that those leave.

use super::functions::Sought;
use super::watching::{Entries, Watching};
use crate::framework::sglang_scheduler::Role;
use crate::framework::{
    Before, CallerArgument, Hook, LENGTHS_ONLY, dify, langchain, llama_index, sglang,
    sglang_scheduler, vllm, vllm_v0,
};
use crate::probe::kernel::Kernel;
use crate::python::find::NotFound;
use crate::python::version::Version;
use crate::python::wanted::Wanted;
use crate::target::functions::{self, CannotWatch, Watchable};
use crate::target::process;
use crate::target::python::Python;

use std::time::Duration;

use genspan_common::dispatch;
use genspan_common::framework::hook;
use genspan_common::function::{
    ABSENT, ArgumentSlot, CALLER_ABOVE, CALLER_HAS, CONTENT, DEPTH, DEPTH_SHIFT, IN_CALLER,
    LENGTHS, VARIABLE_OF_CALLER,
};

/// What every framework that is known has loaded: a library, so that one sees it without a look
/// into the interpreter.
const LIBRARY: &str = "pydantic";

/// After so many looks, and so long, what is not in a module that is loaded will not come. A module is loaded
/// as soon as its body begins, and the body of one that imports many others from a slow disk takes its time.
const SURE: u32 = 8;
const SURE_AFTER: Duration = Duration::from_secs(60);
/// How long the server's side of SGLang lacks a function until a process that does not say what it is counts as one
/// of the versions without it. The body of its module takes less.
const SETTLED: Duration = Duration::from_secs(2);

/// So many hooks further on is the next one of the same framework.
const TURNS: usize = 3;

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// It is watched.
    Found,
    /// Its module is not loaded, so nothing was looked for yet.
    NotLoaded,
    /// It may come.
    Again,
    /// It is looked for once another one is watched.
    Waits,
    /// It is not to be had.
    Never,
}

/// What is looked for, by turns: where several frameworks are loaded each gets watchpoints, the
/// most important of each first.
pub(super) fn sought() -> impl Iterator<Item = Sought> {
    let all = langchain::HOOKS.iter().zip(&llama_index::HOOKS);
    all.zip(&dify::HOOKS)
        .flat_map(|((one, other), third)| [one, other, third])
        .chain(&vllm::HOOKS)
        .chain(&vllm_v0::HOOKS)
        .chain(&sglang::HOOKS)
        .chain(&sglang_scheduler::HOOKS)
        .filter_map(|hook| {
            let wanted = |name: &str, arguments: &[&str]| {
                let mut wanted: Wanted = name.parse().ok()?;
                let arguments = arguments.iter().filter(|name| !name.is_empty());
                wanted.arguments = arguments.map(|&name| name.to_owned()).collect();
                Some(wanted)
            };
            let before = hook.before.iter().map(|before| {
                let arguments = before.arguments.unwrap_or(hook.arguments);
                wanted(before.function, arguments)
            });
            Some(Sought {
                wanted: wanted(hook.function, hook.arguments)?,
                before: before.collect::<Option<_>>()?,
                hook: Some(hook),
            })
        })
}

/// The framework that a function belongs to.
pub(super) const fn framework(hook: &Hook) -> &'static str {
    match (hook.what, hook.number) {
        (hook::SNAPSHOT, sglang::BATCH) => "SGLang",
        (hook::SNAPSHOT, number) if sglang_scheduler::is_one(number) => "SGLang",
        (hook::SNAPSHOT, number) if dify::is_one(number) => "Dify",
        (hook::SNAPSHOT, _) => "vLLM",
        (number, _) if dispatch::hook::is_one(number) => "LlamaIndex",
        _ => "LangChain",
    }
}

/// Whether nothing of a framework is seen without this function.
pub(super) const fn is_first(hook: &Hook) -> bool {
    match hook.what {
        hook::SNAPSHOT => matches!(
            hook.number,
            vllm::FINISHED
                | vllm_v0::FINISHED
                | sglang::BATCH
                | sglang_scheduler::OVER
                | dify::RUN_BEGINS
        ),
        _ => needs_contexts(hook),
    }
}

/// Whether what is done in it must be told from what others do in the same thread.
pub(super) const fn needs_contexts(hook: &Hook) -> bool {
    matches!(hook.what, hook::BEGINS | dispatch::hook::ENTERS)
        || hook.what == hook::SNAPSHOT && hook.number == dify::RUN_BEGINS
}

/// How far behind another one of its framework a hook is that is nothing without that: those of LangChain
/// behind the one that sees runs go, those of Dify behind the one that sees them begin.
const fn behind(hook: &Hook) -> Option<usize> {
    match (hook.what, hook.number) {
        (hook::BEGINS, _) | (hook::SNAPSHOT, dify::NODE_BEGINS) => Some(TURNS),
        (hook::ENDS, _) | (hook::SNAPSHOT, dify::NODE_ENDS) => Some(2 * TURNS),
        (hook::SHIELDED, _) | (hook::SNAPSHOT, dify::RUN_ENDS) => Some(3 * TURNS),
        _ => None,
    }
}

/// What a function being watched no more is told as.
pub(super) fn misses(hook: &Hook, why: &str) -> String {
    format!("{}: {}: {why}", framework(hook), hook.without)
}

/// Whether it is worth while to look into the interpreter of a process.
pub(super) fn may_be_loaded(pid: u32) -> bool {
    process::maps_name(pid, LIBRARY)
}

/// Loads the programs for frameworks that a process may import, by what their functions will be watched for: to
/// verify them takes the kernel longer than a program takes from its import to its first run.
pub(super) fn prepare(kernel: &mut Kernel, mut whats: Vec<u32>) {
    whats.sort_unstable();
    whats.dedup();
    for what in whats {
        if let Err(error) = kernel.load_frameworks(what) {
            // It is told of a process in which one is found.
            tracing::debug!("a framework's programs are not loaded: {error}");
        }
    }
}

/// Looks for a function of a framework, and watches it; `instead_of` gets those that are not watched
/// any more for it.
pub(super) fn look(
    to: (&mut Kernel, &mut Entries),
    pid: u32,
    watching: &mut Watching,
    (index, sought, hook): (usize, &Sought, &'static Hook),
    looks: u32,
    instead_of: &mut Vec<usize>,
) -> Looked {
    let Some(python) = &watching.python else {
        return Looked::Never;
    };
    // Of a run of LangChain that is seen to begin more is kept in the kernel, until its end is seen; and of one
    // whose beginning is not nothing more is told. So it is with Dify's, whose other modules come with the first.
    if let Some(behind) = behind(hook) {
        let first = index.checked_sub(behind);
        if !first.is_some_and(|first| watching.has(first)) {
            let waits = watching.pending.iter().any(|(i, _)| Some(*i) == first);
            return if waits { Looked::Waits } else { Looked::Never };
        }
    }
    let is_llama_index = dispatch::hook::is_one(hook.what);
    if is_llama_index && python.fit.layout.version < Version::V3_11 {
        let said = format!("{} is seen in CPython 3.11 and newer", framework(hook));
        watching.tell(pid, said);
        return Looked::Never;
    }
    if hook.what == hook::SNAPSHOT
        && vllm_v0::is_one(hook.number)
        && watches_v1(watching, index, hook)
    {
        return Looked::Never;
    }
    let mut arguments = 0;
    let found = if hook.what == hook::GONE {
        functions::find_freed(python, &sought.wanted, hook.what)
    } else {
        let (which, found) = find(python, sought);
        found.map(|function| {
            arguments = function.arguments.len();
            // Where a version has fewer arguments, LlamaIndex's are told by how many there are.
            let arguments = if is_llama_index {
                function.arguments.clone()
            } else {
                places(hook, which, &function)
            };
            let function = Watchable {
                arguments,
                ..function
            };
            (function.code.entry, function.watch(hook.number, hook.what))
        })
    };
    // Most processes are none of the engine's, and need not be asked what they are.
    let is_there = !matches!(found, Err(CannotWatch::NotFound(NotFound::NotLoaded(_))));
    if is_there
        && hook.what == hook::SNAPSHOT
        && let Some(looked) = is_elsewhere((&mut *to.0, &mut *to.1), pid, watching, (index, hook))
    {
        return looked;
    }
    let (address, watch) = match found {
        Ok(found) => found,
        Err(CannotWatch::NotFound(NotFound::NotLoaded(_))) => return Looked::NotLoaded,
        Err(error)
            if error.may_come() && (watching.lacks_for(index) < SURE_AFTER || looks < SURE) =>
        {
            return Looked::Again;
        }
        Err(error) => {
            watching.tell(pid, misses(hook, &error.to_string()));
            return Looked::Never;
        }
    };
    // What began and is not seen to end would be told as under way for ever.
    if (hook.what, hook.number) == (hook::SNAPSHOT, vllm_v0::ASKED)
        && !watching.python.as_ref().is_some_and(sees_ends)
    {
        let why = "not in versions before 0.5.5";
        watching.tell(pid, misses(hook, why));
        return Looked::Never;
    }
    let raises = hook.needs_exceptions(arguments);
    match watching.arm_hook(to, pid, index, (address, watch), (raises, instead_of)) {
        Ok(()) => Looked::Found,
        Err(why) => {
            watching.tell(pid, misses(hook, &why));
            Looked::Never
        }
    }
}

/// What of SGLang is watched where: each of its processes has the modules of all loaded. What its schedulers do is in
/// those, and the server's side of the engine, where it is called and has a use, in no process that says that it is
/// another. What is not, for now or ever; none of what is.
fn is_elsewhere(
    to: (&mut Kernel, &mut Entries),
    pid: u32,
    watching: &mut Watching,
    (index, hook): (usize, &Hook),
) -> Option<Looked> {
    let place = sglang_scheduler::HOOKS.iter().position(|one| one == hook);
    if place.is_none() && hook.number != sglang::BATCH {
        return None;
    }
    let role = sglang_scheduler::role(&process::command(pid));
    let Some(place) = place else {
        let is_inner = matches!(role, Role::Scheduler | Role::Other);
        return is_inner.then_some(Looked::Never);
    };
    // The one of the server's side lies before them.
    let other = index.checked_sub(place + 1)?;
    match role {
        Role::Other => return Some(Looked::Never),
        // It may give itself a title yet.
        Role::None => return Some(Looked::Waits),
        // It took a watchpoint of those that are wanted here before it was known where it is.
        Role::Scheduler => watching.let_go(to, other),
        // Those that say nothing, to 0.4.1, have no such function of the server's side.
        Role::Spawned => {
            let may_come = watching.pending.iter().any(|(i, _)| *i == other);
            let lacks = watching.has_lacked(other, SETTLED);
            if watching.has(other) || (may_come && !lacks) {
                return Some(Looked::Waits);
            }
        }
    }
    let above = std::iter::successors(process::parent(pid), |pid| process::parent(*pid));
    let above: Vec<_> = above.take(2).map(process::command).collect();
    let has = |name: &'static str| {
        let python = watching.python.as_ref();
        python.is_some_and(|python| has_function(python, name))
    };
    sglang_scheduler::is_of_other_cache(hook, &above, has).then_some(Looked::Never)
}

/// Whether the end of requests to vLLM's V1 engine is watched, of which the hooks lie before this one of V0: a program
/// has one of the two, and from 0.8 to 0.10 the modules of V0 loaded in either case.
fn watches_v1(watching: &Watching, index: usize, hook: &Hook) -> bool {
    let behind = vllm_v0::HOOKS
        .iter()
        .position(|one| one.number == hook.number)
        .map(|place| vllm::HOOKS.len() + place);
    let first = behind.and_then(|behind| index.checked_sub(behind));
    first.is_some_and(|first| watching.has(first))
}

/// Whether vLLM's V0 engine has the function by which all requests end, whoever asks. It is loaded before the one by
/// which they begin.
fn sees_ends(python: &Python) -> bool {
    has_function(python, vllm_v0::HOOKS[0].function)
}

fn has_function(python: &Python, name: &str) -> bool {
    let wanted = name.parse::<Wanted>();
    wanted.is_ok_and(|wanted| functions::find_any(python, &wanted).is_ok())
}

/// Looks for what is sought by its name and, where that is not there, by those that it had before. Which of
/// these was found, and why none was: what is to be said of one whose module is loaded counts for more.
fn find(
    python: &Python,
    sought: &Sought,
) -> (Option<&'static Before>, Result<Watchable, CannotWatch>) {
    let is_absent = |found: &Result<Watchable, CannotWatch>| {
        matches!(found, Err(CannotWatch::NotFound(NotFound::NotLoaded(_))))
    };
    let mut best = functions::find_any(python, &sought.wanted);
    let before = sought.hook.map_or(&[][..], |hook| hook.before);
    for (which, wanted) in before.iter().zip(&sought.before) {
        let may_be_older = best.as_ref().is_err_and(CannotWatch::may_come);
        if !may_be_older {
            break;
        }
        let found = functions::find_any(python, wanted);
        if found.is_ok() {
            return (Some(which), found);
        }
        if is_absent(&best) && !is_absent(&found) {
            best = found;
        }
    }
    (None, best)
}

/// Where what the hook wants is: its arguments each in its place, whichever the function has, which may be one
/// of before; then what it wants of the callers.
fn places(
    hook: &Hook,
    which: Option<&Before>,
    function: &Watchable,
) -> Vec<(String, ArgumentSlot)> {
    let other = which.and_then(|before| before.arguments);
    let depths = match which {
        Some(before) if !before.depths.is_empty() => before.depths,
        _ => hook.depths,
    };
    let of_caller = |caller: &CallerArgument| ArgumentSlot {
        slot: caller.index | caller.of << CALLER_HAS | caller.above << CALLER_ABOVE,
        cell: match caller.of {
            0 => VARIABLE_OF_CALLER,
            _ => IN_CALLER,
        },
    };
    let instead = which.map_or(&[][..], |before| before.callers);
    let own = other.unwrap_or(hook.arguments).iter().enumerate();
    let own = own.map(|(place, wanted)| {
        let found = function.arguments.iter().find(|(name, _)| name == wanted);
        let absent = ArgumentSlot {
            slot: 0,
            cell: ABSENT,
        };
        let called = instead.iter().find(|(of, _)| *of == place);
        let slot = match called {
            Some((_, caller)) => of_caller(caller),
            None => found.map_or(absent, |(_, slot)| *slot),
        };
        ((*wanted).to_owned(), slot)
    });
    // Where a variable is only the newest version says.
    let is_known = |caller: &&CallerArgument| which.is_none() || caller.of > 0;
    let callers = hook.callers.iter().filter(is_known);
    let callers = callers.map(|caller| (String::new(), of_caller(caller)));
    let mut all: Vec<_> = own.chain(callers).collect();
    for (_, slot) in all.iter_mut().skip(hook.contents) {
        slot.slot |= CONTENT;
    }
    for ((_, slot), depth) in all.iter_mut().zip(depths) {
        slot.slot |= depth << DEPTH_SHIFT & DEPTH;
        if depth & LENGTHS_ONLY != 0 {
            slot.slot |= LENGTHS;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{
        behind, dify, hook, langchain, llama_index, sglang, sglang_scheduler, sought, vllm, vllm_v0,
    };

    #[test]
    fn what_is_nothing_without_another_knows_where_that_is() {
        let all: Vec<_> = sought().collect();
        let mut found = 0;
        for (index, one) in all.iter().enumerate() {
            let of = one.hook.expect("a hook");
            let Some(behind) = behind(of) else {
                continue;
            };
            let first = all[index - behind].hook.expect("a hook");
            if of.what == hook::SNAPSHOT {
                assert_eq!(first.number, dify::RUN_BEGINS);
            } else {
                assert_eq!(first.what, hook::GONE);
            }
            found += 1;
        }
        assert_eq!(found, langchain::HOOKS.len() + dify::HOOKS.len() - 2);
    }

    #[test]
    fn every_hook_can_be_looked_for() {
        let all: Vec<_> = sought().collect();
        let frameworks = langchain::HOOKS.len() + llama_index::HOOKS.len() + dify::HOOKS.len();
        let sglang = sglang::HOOKS.len() + sglang_scheduler::HOOKS.len();
        let engines = vllm::HOOKS.len() + vllm_v0::HOOKS.len() + sglang;
        assert_eq!(all.len(), frameworks + engines);
        for one in all {
            let hook = one.hook.expect("a hook");
            assert_eq!(one.wanted.name.to_string(), hook.function);
            assert_eq!(one.wanted.arguments, hook.arguments);
            let before = one.before.iter().map(|wanted| wanted.name.to_string());
            let wanted = hook.before.iter().map(|before| before.function);
            assert!(before.eq(wanted.map(str::to_owned)), "{}", hook.function);
            for before in hook.before {
                let all = before.arguments.unwrap_or(hook.arguments);
                // One behind another is in the place that the hook's own has.
                assert_eq!(all.len(), hook.arguments.len());
                let mut callers = before.callers.iter();
                assert!(callers.all(|(place, of)| all[*place].is_empty() && of.of > of.index));
            }
        }
    }
}
