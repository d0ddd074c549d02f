//! The stream in an answer of LlamaIndex, by the frame of the generator that gives it. Newer query engines ask
//! their model when that is read: the frames around the model's span then say whose stream it is.

use genspan_common::{function::WatchedProcess, snapshot::dicts};

use crate::{
    dispatch::dict_of,
    framework::genspan_dict_value,
    function::TYPE,
    given::is_dict,
    python::{code_of, word},
    snapshot::own_process,
};

/// The beginnings of `StreamingResponse` and `AsyncStreamingResponse`, and of what gives their text.
const ANSWERS: [u64; 2] = [
    u64::from_le_bytes(*b"Streamin"),
    u64::from_le_bytes(*b"AsyncStr"),
];
const GENERATORS: [u64; 2] = [
    u64::from_le_bytes(*b"generato"),
    u64::from_le_bytes(*b"async_ge"),
];
/// Their first attribute, `response_gen`.
const STREAM: (u64, u64) = (u64::from_le_bytes(*b"response"), 12);
/// The function that gives the stream of a query that nothing was found for: `_empty_response_generator`. It asks
/// no model.
const EMPTY: u64 = u64::from_le_bytes(*b"_empty_r");
/// In a type: `tp_name`, `tp_basicsize`.
const TYPE_NAME: u64 = 24;
const TYPE_BASIC_SIZE: u64 = 32;
/// Before an instance whose attributes are not in a dict: to 3.11 its values; in 3.12 the same, with a bit that
/// says so. See `genspan_snapshot_instance`.
const OLD_VALUES: u64 = 32;
const VALUES: u64 = 24;

/// The frame of the generator in such an answer; zero when it is none, or has none.
///
/// Verifier: a global function, so it is verified once and by itself.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_stream_frame(answer: u64) -> u64 {
    let Some(process) = own_process() else {
        return 0;
    };
    if answer == 0 || answer & 7 != 0 {
        return 0;
    }
    let class = word(answer.wrapping_add(TYPE));
    let start = word(word(class.wrapping_add(TYPE_NAME)));
    if start != ANSWERS[0] && start != ANSWERS[1] {
        return 0;
    }
    let stream = first_attribute(process, answer, class);
    let of = word(stream.wrapping_add(TYPE));
    let start = word(word(of.wrapping_add(TYPE_NAME)));
    if stream == 0 || (start != GENERATORS[0] && start != GENERATORS[1]) {
        return 0;
    }
    let frame = stream.wrapping_add(u64::from(process.generator_frame));
    let code = code_of(&process.python, frame);
    let name = word(code.wrapping_add(u64::from(process.code_name)));
    if word(name.wrapping_add(u64::from(process.python.string_data))) == EMPTY {
        return 0;
    }
    frame
}

/// What an instance has as the attribute that it was given first, if that is called so where names are known.
#[inline(always)]
fn first_attribute(process: &WatchedProcess, object: u64, class: u64) -> u64 {
    let dict = dict_of(object, class);
    if dict != 0 && is_dict(dict) {
        return genspan_dict_value(dict, STREAM.0, STREAM.1);
    }
    if process.dicts == dicts::VALUES {
        return word(word(object.wrapping_sub(OLD_VALUES)));
    }
    if process.dicts == dicts::TAGGED_VALUES {
        let managed = word(object.wrapping_sub(VALUES));
        return if managed & 1 != 0 {
            word(managed.wrapping_add(1))
        } else {
            0
        };
    }
    // `struct _dictvalues`: capacity, size, embedded, valid; then the values.
    let values = object.wrapping_add(word(class.wrapping_add(TYPE_BASIC_SIZE)));
    if word(values) >> 24 & 0xff == 0 {
        return 0;
    }
    word(values.wrapping_add(8))
}
