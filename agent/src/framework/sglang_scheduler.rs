//! SGLang: the life of a request in the process of its scheduler, which the server started: into the queue, out of
//! it, the first token, the end.
//!
//! Few of its versions take down when what happened, and in the newer ones that stands among a hundred attributes
//! of a request, of which the first [`MAX_ITEMS`] are copied. So the moments are those at which it enters functions
//! of its own that it enters about once for each request, the same from 0.4.0 on:
//!
//! - `Scheduler.handle_generate_request`, with what was asked for;
//! - `PrefillAdder._update_prefill_budget` (to 0.4.6 `_prefill_one_req`), whose caller has the request: once when it is
//!   taken into a batch, and again for each further chunk of a long prompt; not when it is looked at and has to wait;
//! - `checkpoint_kv_cache`, before that `maybe_cache_unfinished_req`, which any cache is asked by, and before
//!   both came `cache_unfinished_req` of the tree of prefixes, or of what stands for it where that is off: after each of
//!   the chunks, and once after the first token, when there is one;
//! - `release_kv_cache`, and before it came (0.5.6) `ReqToTokenPool.free` below `cache_finished_req` of whichever
//!   cache: when it is over; also when it has to give way to others, and then it has no reason for an end.
//!
//! [`MAX_ITEMS`]: genspan_common::snapshot::MAX_ITEMS

use genspan_common::framework::hook;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Before, CallerArgument, Hook, engine, sglang};
use crate::model::engine::EngineRequest;
use crate::model::snapshot::CLASS;

/// Number of the hook where a request is over.
pub const OVER: u32 = 10;
/// Number of the hook where one is taken into a batch.
pub const SCHEDULED: u32 = 11;
/// Number of the hooks where what was read for one is kept, of which one is watched.
pub const READ: u32 = 12;
/// Number of the hook where one comes to the scheduler.
pub const CAME: u32 = 13;

/// What a scheduler calls itself, and whatever else SGLang starts beside its server.
const TITLE: &str = "sglang::scheduler";
const TITLES: &str = "sglang::";
/// In the command line of what `multiprocessing` starts anew; SGLang starts everything so.
const SPAWNED: &str = "--multiprocessing-fork";
/// By this the server is told to keep no tree of prefixes.
const NO_TREE: &str = "--disable-radix-cache";

/// By which any cache is asked to keep what was read for a request: the newest (0.5.23), and the one before.
const ANY_CACHE: [&str; 2] = [
    "sglang.srt.mem_cache.common:checkpoint_kv_cache",
    "sglang.srt.mem_cache.common:maybe_cache_unfinished_req",
];
/// Where there is neither, the tree of prefixes is.
const TREE: &str = "sglang.srt.mem_cache.radix_cache:RadixCache.cache_unfinished_req";
/// The cache that a scheduler has without one.
const CHUNKS: &str = "sglang.srt.mem_cache.chunk_cache:ChunkCache.cache_unfinished_req";

/// A request as its caller has it: `self` and the request.
const REQUEST: CallerArgument = CallerArgument::new(1, 2);

const WITHOUT_TIMES: &str = "how long requests waited and took is not known";

/// The functions that are watched, the most important first; of those of the two caches one is.
pub const HOOKS: [Hook; 5] = [
    Hook {
        function: "sglang.srt.mem_cache.common:release_kv_cache",
        before: &[Before::with(
            "sglang.srt.mem_cache.memory_pool:ReqToTokenPool.free",
            &["", "", ""],
            &[2],
        )
        .called(&[(0, REQUEST)])],
        // Whether what it read is to be kept: it is not of one that gives way.
        arguments: &["req", "is_insert", "checkpoint"],
        callers: &[],
        contents: 3,
        // The request, its lists, why it is over.
        depths: &[2],
        what: hook::SNAPSHOT,
        number: OVER,
        without: WITHOUT_TIMES,
    },
    Hook {
        function: "sglang.srt.managers.schedule_policy:PrefillAdder._update_prefill_budget",
        before: &[Before::named(
            "sglang.srt.managers.schedule_policy:PrefillAdder._prefill_one_req",
        )],
        arguments: &["prefix_len"],
        callers: &[REQUEST],
        contents: 2,
        depths: &[1, 1],
        what: hook::SNAPSHOT,
        number: SCHEDULED,
        without: WITHOUT_TIMES,
    },
    Hook {
        function: "sglang.srt.managers.scheduler:Scheduler.handle_generate_request",
        before: &[],
        arguments: &["recv_req"],
        callers: &[],
        contents: 1,
        depths: &[1],
        what: hook::SNAPSHOT,
        number: CAME,
        without: WITHOUT_TIMES,
    },
    cache(
        ANY_CACHE[0],
        &[Before::named(ANY_CACHE[1]), Before::named(TREE)],
    ),
    cache(CHUNKS, &[]),
];

const fn cache(function: &'static str, before: &'static [Before]) -> Hook {
    Hook {
        function,
        before,
        arguments: &["req"],
        callers: &[],
        contents: 1,
        depths: &[2],
        what: hook::SNAPSHOT,
        number: READ,
        without: "when requests have their first token is not known",
    }
}

/// Of the first argument of the hook at the end, the attributes that are told, in this order.
pub const PARTS_OVER: [&str; 4] = ["rid", "origin_input_ids", "output_ids", "finished_reason"];
/// The same, where what was read is kept.
pub const PARTS_READ: [&str; 2] = ["rid", "output_ids"];
/// The same, where one comes.
pub const PARTS_CAME: [&str; 1] = ["rid"];

/// What a process is to SGLang, by its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It says that it is a scheduler.
    Scheduler,
    /// It says that it is something else that the server started.
    Other,
    /// It was started by `multiprocessing`, and does not say what it is: it does not yet, or never will, as to 0.4.1.
    Spawned,
    /// None of these: the server, or nothing of the kind.
    None,
}

/// See [`Role`].
#[must_use]
pub fn role(command: &[String]) -> Role {
    let title = command.first().map_or("", String::as_str);
    if title.starts_with(TITLE) {
        Role::Scheduler
    } else if title.starts_with(TITLES) {
        Role::Other
    } else if command.iter().any(|word| word == SPAWNED) {
        Role::Spawned
    } else {
        Role::None
    }
}

/// Whether the number is one of these hooks.
#[must_use]
pub const fn is_one(number: u32) -> bool {
    matches!(number, OVER | SCHEDULED | READ | CAME)
}

/// Whether a hook is that of the cache that a scheduler does not have, by the command lines of what started it. `has`
/// says whether it has a function: with one for all caches none is asked by itself.
#[must_use]
pub fn is_of_other_cache(
    hook: &Hook,
    above: &[Vec<String>],
    has: impl Fn(&'static str) -> bool,
) -> bool {
    let is_chunks = || {
        let is_told = above.iter().flatten().any(|word| word == NO_TREE);
        is_told && !ANY_CACHE.into_iter().any(has)
    };
    hook.number == READ && (hook.function == CHUNKS) != is_chunks()
}

/// What one of the hooks tells of a request, beside when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// The request.
    pub id: String,
    /// So many of its tokens were in the cache already, where it is taken into a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<i64>,
    /// So many tokens it has made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<i64>,
    /// It may not be over, but give way to others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gave_way: bool,
    /// What is known of it where it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<Box<EngineRequest>>,
    /// Who started the scheduler, and who started that one: one of them is the server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<u32>,
}

/// What a hook tells, from its arguments, or the parts that are told of the first and the arguments behind it.
#[must_use]
pub fn step(number: u32, values: &[Option<Json>]) -> Option<Step> {
    let value = |index: usize| values.get(index).and_then(Option::as_ref);
    let own = if number == SCHEDULED {
        engine::text(value(1)?, "rid")
    } else {
        value(0)?.as_str()
    };
    let id = own.filter(|id| engine::is_id(id) && !id.starts_with(sglang::HEALTH))?;
    let count = |index: usize| value(index)?.as_i64().filter(|n| *n >= 0);
    let length = |index: usize| value(index).and_then(engine::length);
    let step = Step {
        id: id.to_owned(),
        ..Step::default()
    };
    Some(match number {
        CAME => step,
        SCHEDULED => Step {
            prefix: count(0),
            ..step
        },
        // The newest has an array, of which nothing is copied.
        READ => Step {
            made: length(1),
            ..step
        },
        OVER => {
            // Behind the parts are the arguments after the first: one of the two, in versions with this function.
            let kept = [PARTS_OVER.len(), PARTS_OVER.len() + 1].map(|at| value(at)?.as_bool());
            let is_free = kept == [None, None];
            let is_over = match value(3) {
                Some(Json::Null) => false,
                Some(_) => true,
                // It stands too far behind.
                None => kept.contains(&Some(true)),
            };
            if !is_over {
                return Some(Step {
                    gave_way: true,
                    ..step
                });
            }
            let class = value(3).and_then(|reason| reason.get(CLASS)?.as_str());
            let request = EngineRequest {
                id: id.to_owned(),
                own: id.to_owned(),
                is_inner: true,
                // In the versions with the newer function what was made and what is told of it are not the same.
                input: length(1).filter(|_| is_free),
                output: length(2).filter(|_| is_free),
                finish_reason: class.and_then(reason_of).map(str::to_owned),
                ..EngineRequest::default()
            };
            Step {
                made: length(2),
                over: Some(Box::new(request)),
                ..step
            }
        }
        _ => return None,
    })
}

/// A reason by its class (`sglang/srt/managers/schedule_batch.py`), in the words of its `to_json`.
fn reason_of(class: &str) -> Option<&'static str> {
    match class.rsplit('.').next()? {
        "FINISH_LENGTH" => Some("length"),
        "FINISH_MATCHED_TOKEN" | "FINISH_MATCHED_STR" | "FINISHED_MATCHED_REGEX" => Some("stop"),
        "FINISH_ABORT" => Some("abort"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "sglang_scheduler_tests.rs"]
mod tests;
