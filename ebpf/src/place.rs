//! What snapshots ([`crate::snapshot`]) have of a function that is entered: its arguments, and those of its
//! caller, as the places of its watchpoint say.

use genspan_common::{
    framework::{COPIED_FROM, hook},
    function::{
        ABSENT, CALLER_ABOVE, CALLER_HAS, CONTENT, DEPTH, DEPTH_SHIFT, IN_CALLER, LENGTHS,
        MAX_ARGUMENTS, VARIABLE_OF_CALLER,
    },
    snapshot::{MAX_DEPTH, purpose},
};

use crate::{
    function::watch,
    python::{code_of, context, genspan_caller, local, word},
    snapshot::{
        LENGTHS_ONLY, genspan_snapshot_begin, genspan_snapshot_take, genspan_snapshot_want,
        own_process,
    },
};

/// Most functions between one that is watched and a caller of which something is copied.
const MOST_ABOVE: u32 = 3;
/// In a cell: what is in it.
const CELL_VALUE: u64 = 16;

/// Wants what is in the frame of a function that is entered, in the places of its watchpoint from
/// `first` on.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_places(entry: u64, frame: u64, first: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    let Some(watch) = watch(process, entry) else {
        return 0;
    };
    let python = &process.python;
    let caller = genspan_caller(frame);
    for index in 0..MAX_ARGUMENTS {
        if index as u32 >= watch.arguments {
            break;
        }
        if (index as u64) < first {
            continue;
        }
        let place = watch.slots[index];
        let is_unwanted = place.slot & CONTENT != 0 && process.contents == 0;
        let bound = (place.slot & DEPTH) >> DEPTH_SHIFT;
        if place.cell == ABSENT || (is_unwanted && bound == 0) {
            continue;
        }
        let is_bound = bound != 0 && (is_unwanted || place.slot & CONTENT == 0);
        let mut limit = u64::from(if is_bound { bound } else { MAX_DEPTH });
        if place.slot & LENGTHS != 0 {
            limit |= LENGTHS_ONLY;
        }
        let mut from = frame;
        let slot = place.slot & 0xffff;
        if place.cell == IN_CALLER || place.cell == VARIABLE_OF_CALLER {
            from = genspan_above(caller, u64::from(place.slot >> CALLER_ABOVE & MOST_ABOVE));
            if place.cell == IN_CALLER {
                let has = genspan_arguments_of(from);
                if u64::from(slot) >= has || u64::from(place.slot >> CALLER_HAS & 0xff) > has {
                    continue;
                }
            }
        }
        let mut value = local(python, from, u64::from(slot));
        if value == 0 && place.cell < VARIABLE_OF_CALLER {
            // To 3.10 a cell has it instead.
            let cell = local(python, from, u64::from(place.cell));
            value = word(cell.wrapping_add(CELL_VALUE));
        }
        if from != 0 && value != 0 {
            genspan_snapshot_want(index as u64, value, limit);
        }
    }
    0
}

/// The frame so many functions above this one; zero when there is none.
///
/// Verifier: as the next one a global function, verified once and not for each place.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_above(frame: u64, above: u64) -> u64 {
    let mut at = frame;
    for round in 0..MOST_ABOVE {
        if u64::from(round) >= above || at == 0 {
            break;
        }
        at = genspan_caller(at);
    }
    at
}

/// How many arguments the function of a frame has, `*args` and `**kwargs` included.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_arguments_of(frame: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    if frame == 0 {
        return 0;
    }
    let code = code_of(&process.python, frame);
    let part = |offset: u32| word(code.wrapping_add(u64::from(offset))) as u32;
    let flags = part(process.python.code_flags);
    let all = part(process.code_arguments)
        .wrapping_add(part(process.code_keywords))
        .wrapping_add(flags >> 2 & 1)
        .wrapping_add(flags >> 3 & 1);
    u64::from(all)
}

/// Tells the arguments of the function that is entered in this frame: the hook of a framework that
/// wants no more.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_hook(entry: u64, frame: u64, state: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    let Some(watch) = watch(process, entry) else {
        return 0;
    };
    let python = &process.python;
    if genspan_snapshot_begin() == 0 {
        return 0;
    }
    genspan_snapshot_places(entry, frame, 0);
    let subject = local(python, frame, u64::from(watch.slots[0].slot & 0xffff));
    let context = context(python, state).unwrap_or(0);
    let which = u64::from(purpose::HOOK) | u64::from(watch.function) << 32;
    genspan_snapshot_take(which, subject, context)
}

/// Tells what a run of LangChain is given when it begins, or what it gives when it ends. `manager` is
/// what speaks for it. Where content is wanted.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_snapshot_run(entry: u64, frame: u64, manager: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    let Some(watch) = watch(process, entry) else {
        return 0;
    };
    let first = if watch.what == hook::BEGINS {
        COPIED_FROM
    } else {
        1
    };
    if genspan_snapshot_begin() == 0 {
        return 0;
    }
    if watch.what == hook::SHIELDED {
        // The arguments of another function, as a tuple: what it tells is the second one.
        let given = local(&process.python, frame, u64::from(watch.slots[0].slot));
        if word(given.wrapping_add(16)) > 1 {
            let items = given.wrapping_add(u64::from(process.tuple_items));
            genspan_snapshot_want(1, word(items.wrapping_add(8)), u64::from(MAX_DEPTH));
        }
    } else {
        genspan_snapshot_places(entry, frame, u64::from(first));
    }
    let which = u64::from(purpose::RUN) | u64::from(watch.what) << 32;
    genspan_snapshot_take(which, manager, 0)
}
