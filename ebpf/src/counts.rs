//! What a model within the process says of its answer besides the answer: its name, why it stopped, how many
//! tokens it took. It is copied where content is not wanted ([`WatchedProcess::contents`]); then nothing that
//! the model was asked or answered is.
//!
//! An answer is gone through by the names of its attributes, to the few objects that say this: texts that are
//! the value of a known name, and a dict of counts, of which names and whole numbers are copied, and nothing
//! else ([`numbers_only`]). The attributes of pydantic's instances, and LangChain's and LlamaIndex's answers are
//! such, are a dict in all versions.
//!
//! [`WatchedProcess::contents`]: genspan_common::function::WatchedProcess::contents

use genspan_common::{
    framework::{COPIED_FROM, hook},
    function::{CALLER_HAS, WatchedProcess},
    snapshot::{counts, purpose},
};

use crate::{
    dispatch::dict_of,
    framework::genspan_dict_value,
    function::{TYPE, watch},
    given::is_dict,
    place::genspan_arguments_of,
    python::{genspan_caller, local, word},
    snapshot::{
        genspan_snapshot_begin, genspan_snapshot_take, genspan_snapshot_want, numbers_only,
        own_process,
    },
};

/// A name as [`genspan_dict_value`] takes it: the first eight bytes, and the length.
type Name = (u64, u64);

const fn name(text: &[u8]) -> Name {
    let mut first = [0; 8];
    let mut index = 0;
    while index < 8 && index < text.len() {
        first[index] = text[index];
        index += 1;
    }
    (u64::from_le_bytes(first), text.len() as u64)
}

/// Attributes of what LangChain's models answer (`langchain_core/outputs`, `langchain_core/messages/ai.py`).
const GENERATIONS: Name = name(b"generations");
const MESSAGE: Name = name(b"message");
const USAGE_METADATA: Name = name(b"usage_metadata");
const LLM_OUTPUT: Name = name(b"llm_output");
const TOKEN_USAGE: Name = name(b"token_usage");
/// Dicts that say more of it.
const GENERATION_INFO: Name = name(b"generation_info");
const RESPONSE_METADATA: Name = name(b"response_metadata");
/// How it is called with what it is asked.
const INVOCATION_PARAMS: Name = name(b"invocation_params");
/// Of what LlamaIndex's models answer (`CompletionResponse`, `ChatResponse`).
const RAW: Name = name(b"raw");
const USAGE: Name = name(b"usage");
const ADDITIONAL: Name = name(b"additional_kwargs");

/// What models are called by, in what they are asked with and in what they answer.
const ASKED: [Name; 4] = [
    name(b"model"),
    MODEL_NAME,
    name(b"model_id"),
    name(b"engine"),
];
const ANSWERS: [Name; 3] = [MODEL_NAME, name(b"model"), name(b"model_id")];
const MODEL_NAME: Name = name(b"model_name");
/// Why a model stopped.
const REASONS: [Name; 3] = [
    name(b"finish_reason"),
    name(b"stop_reason"),
    name(b"done_reason"),
];

/// Classes of answers, by the first eight characters: `LLMResult`, `ChatGeneration` and `ChatGenerationChunk`,
/// `GenerationChunk`.
const OF_ANSWERS: [u64; 3] = [
    u64::from_le_bytes(*b"LLMResul"),
    u64::from_le_bytes(*b"ChatGene"),
    u64::from_le_bytes(*b"Generati"),
];
/// The same of LlamaIndex: `ChatResponse`, `CompletionResponse`.
const OF_RESPONSES: [u64; 2] = [
    u64::from_le_bytes(*b"ChatResp"),
    u64::from_le_bytes(*b"Completi"),
];

/// In a type: `tp_name`. In a tuple: its size. In a list: its size, its items.
const TYPE_NAME: u64 = 24;
const TUPLE_SIZE: u64 = 16;
const LIST_SIZE: u64 = 16;
const LIST_ITEMS: u64 = 24;
/// How many references lead to what is copied of a dict of counts: one of details in it.
const COUNTS_DEPTH: u64 = 2;

/// The attributes of an instance that are in a dict; zero when there are none.
#[inline(always)]
fn attributes(object: u64) -> u64 {
    if object == 0 || object & 7 != 0 {
        return 0;
    }
    let dict = dict_of(object, word(object.wrapping_add(TYPE)));
    if is_dict(dict) { dict } else { 0 }
}

/// What a dict has under a name, if that is a dict.
#[inline(always)]
fn dict_in(dict: u64, name: Name) -> u64 {
    let found = genspan_dict_value(dict, name.0, name.1);
    if is_dict(found) { found } else { 0 }
}

/// The one item of a list that has one.
#[inline(always)]
fn only(list: u64) -> u64 {
    if list == 0 || word(list.wrapping_add(LIST_SIZE)) != 1 {
        return 0;
    }
    word(word(list.wrapping_add(LIST_ITEMS)))
}

/// Wants a dict of counts, if it is one.
#[inline(always)]
fn want_counts(index: u32, dict: u64) {
    if is_dict(dict) {
        genspan_snapshot_want(u64::from(index), dict, COUNTS_DEPTH);
    }
}

/// Wants the text that a dict has under the first of some names: those of [`ASKED_BY`], or of another of these.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_counts_text(dict: u64, index: u64, which: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    if !is_dict(dict) {
        return 0;
    }
    for round in 0..4 {
        let names = match which {
            ASKED_BY => ASKED.get(round),
            ANSWERED_BY => ANSWERS.get(round),
            _ => REASONS.get(round),
        };
        let Some(name) = names else {
            break;
        };
        let found = genspan_dict_value(dict, name.0, name.1);
        if found != 0 && word(found.wrapping_add(TYPE)) == process.objects.text {
            genspan_snapshot_want(index, found, 0);
            return 1;
        }
    }
    0
}

/// Which names [`genspan_counts_text`] looks for.
const ASKED_BY: u64 = 0;
const ANSWERED_BY: u64 = 1;
const STOPPED_BY: u64 = 2;

/// Wants what a model says of its answer: one of LangChain, or of LlamaIndex. Of several prompts that were asked
/// together nothing is wanted: which of them is a run's is not known here.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_counts_answer(answer: u64) -> u64 {
    if answer == 0 || answer & 7 != 0 {
        return 0;
    }
    let class = word(answer.wrapping_add(TYPE));
    let start = word(word(class.wrapping_add(TYPE_NAME)));
    let own = attributes(answer);
    if start == OF_RESPONSES[0] || start == OF_RESPONSES[1] {
        let raw = dict_in(own, RAW);
        let mut usage = dict_in(raw, USAGE);
        if usage == 0 {
            usage = dict_in(own, ADDITIONAL);
        }
        want_counts(counts::USAGE, usage);
        genspan_counts_text(raw, u64::from(counts::MODEL), ANSWERED_BY);
        return 1;
    }
    if start != OF_ANSWERS[0] && start != OF_ANSWERS[1] && start != OF_ANSWERS[2] {
        return 0;
    }
    let mut choice = own;
    let mut output = 0;
    if start == OF_ANSWERS[0] {
        let first = only(genspan_dict_value(own, GENERATIONS.0, GENERATIONS.1));
        // Choices of one prompt have its tokens and its model in common.
        if word(first.wrapping_add(LIST_SIZE)) == 0 {
            return 0;
        }
        choice = attributes(word(word(first.wrapping_add(LIST_ITEMS))));
        output = dict_in(own, LLM_OUTPUT);
    }
    let message = attributes(genspan_dict_value(choice, MESSAGE.0, MESSAGE.1));
    want_counts(counts::USAGE, dict_in(message, USAGE_METADATA));
    want_counts(counts::TOKEN_USAGE, dict_in(output, TOKEN_USAGE));
    let info = dict_in(choice, GENERATION_INFO);
    let metadata = dict_in(message, RESPONSE_METADATA);
    let (model, reason) = (u64::from(counts::MODEL), u64::from(counts::REASON));
    if genspan_counts_text(info, model, ANSWERED_BY) == 0
        && genspan_counts_text(metadata, model, ANSWERED_BY) == 0
    {
        genspan_counts_text(output, model, ANSWERED_BY);
    }
    if genspan_counts_text(info, reason, STOPPED_BY) == 0 {
        genspan_counts_text(metadata, reason, STOPPED_BY);
    }
    1
}

/// Tells of a run of LangChain that begins which model is asked, and of one that tells its end the above. `manager`
/// is what speaks for it.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_counts_run(entry: u64, frame: u64, manager: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    let Some(watch) = watch(process, entry) else {
        return 0;
    };
    // Chains have no such counts.
    if (watch.what != hook::SHIELDED && watch.what != hook::BEGINS) || genspan_snapshot_begin() == 0
    {
        return 0;
    }
    numbers_only();
    if watch.what == hook::SHIELDED {
        // The arguments of another function, as a tuple: what it tells is the second one.
        let given = local(&process.python, frame, u64::from(watch.slots[0].slot));
        let items = given.wrapping_add(u64::from(process.tuple_items));
        if word(given.wrapping_add(TUPLE_SIZE)) > 1 {
            genspan_counts_answer(word(items.wrapping_add(8)));
        }
    } else {
        let keywords = keywords(process, watch.slots[KEYWORDS].slot, frame);
        let params = dict_in(keywords, INVOCATION_PARAMS);
        genspan_counts_text(params, u64::from(counts::MODEL), ASKED_BY);
    }
    let which = u64::from(purpose::COUNTS) | u64::from(watch.what) << 32;
    genspan_snapshot_take(which, manager, 0)
}

/// Where among the places of the hook that begins runs the `**kwargs` of its caller are
/// (`agent/src/framework/langchain_contents.rs`).
const KEYWORDS: usize = COPIED_FROM as usize + 1;

/// The `**kwargs` of the function that called that of this frame; zero when it has fewer arguments.
#[inline(always)]
fn keywords(process: &WatchedProcess, place: u32, frame: u64) -> u64 {
    let caller = genspan_caller(frame);
    let slot = u64::from(place & 0xffff);
    let has = genspan_arguments_of(caller);
    if caller == 0 || slot >= has || u64::from(place >> CALLER_HAS & 0xff) > has {
        return 0;
    }
    local(&process.python, caller, slot)
}
