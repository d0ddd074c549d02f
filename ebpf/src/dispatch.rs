//! Spans of LlamaIndex, from hardware watchpoints on its dispatcher (`llama_index_instrumentation/
//! dispatcher.py`, before 0.12.44 `llama_index/core/instrumentation/dispatcher.py`).
//!
//! All that happens is told to four methods of it, whether anybody listens or not. Their arguments are
//! in the frame that is entered: ids are texts, of which the end is a UUID, and of objects the name of
//! the class is copied, for the object itself may be gone a moment later.

use core::ptr;

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_user_str_bytes,
        generated::bpf_probe_read_user as read_user,
    },
    macros::perf_event,
    programs::PerfEventContext,
};
use genspan_common::{
    dispatch::{
        BASE_BYTES, HEAD_BYTES, MAX_BASES, NUMBER_FROM_END, SpanEntered, SpanTold, TAIL_CHARACTERS,
        Tail, hook,
    },
    event::EventKind,
    function::{Watch, WatchedProcess},
    loss::Loss,
};

use crate::{
    asked::{genspan_first_cell, genspan_model_answered, genspan_model_asked, variables},
    emit,
    framework::genspan_dict_value,
    function::{TYPE, in_registers, is_entered, name_of, watch, watched},
    given::{genspan_snapshot_given, genspan_snapshot_got},
    maps::{DATA, lose},
    owner::{self, genspan_run_around},
    python::{code_of, context, current_frame, genspan_caller, local, thread_state, user, word},
    stream::genspan_stream_frame,
};

/// In a `str` and a `tuple`: the size.
const SIZE: u64 = 16;
/// In a `str`: its state.
const TEXT_STATE: u64 = 32;
/// In a `tuple`: its items.
const ITEMS: u64 = 24;
/// In a type: `tp_name`, `tp_dictoffset`, `tp_mro` (`Include/cpython/object.h`, 3.8 to 3.14).
const TYPE_NAME: u64 = 24;
const TYPE_DICT_OFFSET: u64 = 288;
const TYPE_MRO: u64 = 344;
/// From 3.11 on, before an object without `tp_dictoffset`: its dict
/// (`MANAGED_DICT_OFFSET`, `Include/internal/pycore_object.h`).
const MANAGED_DICT: u64 = 24;
/// The beginnings of the classes of events that are told: `LLMChat…Event` and `LLMCompletion…Event`,
/// `ExceptionEvent`.
const OF_MODELS: u32 = u32::from_le_bytes(*b"LLMC");
const OF_EXCEPTIONS: u32 = u32::from_le_bytes(*b"Exce");

/// The beginnings of classes of objects: `BaseTool`, `BaseEmbedding`.
const OF_TOOLS: u64 = u64::from_le_bytes(*b"BaseTool");
const OF_EMBEDDINGS: u64 = u64::from_le_bytes(*b"BaseEmbe");

/// Names of fields of events, the first eight bytes of each, and their lengths.
const SPAN_ID: (u64, u64) = (u64::from_le_bytes(*b"span_id\0"), 7);
const EXCEPTION: (u64, u64) = (u64::from_le_bytes(*b"exceptio"), 9);
const RESPONSE: (u64, u64) = (u64::from_le_bytes(*b"response"), 8);

/// Of the classes that say that a model answered, `LLMChatEndEvent` and `LLMCompletionEndEvent`, the first
/// eight bytes, and the second eight.
const CHAT_ENDS: u64 = u64::from_le_bytes(*b"LLMChatE");
const COMPLETION_ENDS: u64 = u64::from_le_bytes(*b"etionEnd");
/// The same of those that say that one is asked, `LLMChatStartEvent` and `LLMCompletionStartEvent`.
const CHAT_STARTS: u64 = u64::from_le_bytes(*b"LLMChatS");
const COMPLETION_STARTS: u64 = u64::from_le_bytes(*b"etionSta");

/// Bits of `co_flags`: a generator, an asynchronous generator.
const GIVES_A_STREAM: u32 = 0x20 | 0x200;

/// A watchpoint of the dispatcher was hit.
#[perf_event]
pub fn dispatch_watched(ctx: PerfEventContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    // SAFETY: the context is the kernel's.
    let address = unsafe { (*ctx.ctx).addr };
    let Some(watch) = watch(process, address) else {
        return 0;
    };
    let Some(state) = thread_state(&process.python) else {
        return 0;
    };
    let Some(current) = current_frame(&process.python, state) else {
        return 0;
    };
    if is_entered(&process.python, watch, current, address) {
        genspan_dispatch(address, current, state);
        return 0;
    }
    in_registers!(ctx, frame {
        if is_entered(&process.python, watch, frame, address) {
            genspan_dispatch(address, frame, state);
            return 0;
        }
    });
    0
}

/// Tells what the dispatcher is told, whose method is entered in this frame.
///
/// Verifier: a global function, so it is verified once and by itself, not for each register in which
/// the frame may be. Such a one takes numbers, so what the caller looked up is looked up again.
#[unsafe(no_mangle)]
pub extern "C" fn genspan_dispatch(entry: u64, frame: u64, state: u64) -> u64 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(process) = watched(tgid) else {
        return 0;
    };
    let Some(watch) = watch(process, entry) else {
        return 0;
    };
    match watch.what {
        hook::ENTERS => enters(process, watch, frame, state),
        hook::EVENT => event(process, watch, frame, state, tgid),
        _ => leaves(process, watch, frame, state, tgid),
    }
    0
}

/// A span begins.
#[inline(always)]
fn enters(process: &WatchedProcess, watch: &Watch, frame: u64, state: u64) {
    let Some(mut record) = DATA.reserve::<SpanEntered>(0) else {
        lose(Loss::RunsLost, 1);
        return;
    };
    let at = record.as_mut_ptr();
    clear::<{ size_of::<SpanEntered>() / 8 }>(at.cast());
    let id = argument(process, watch, frame, 0);
    let object = argument(process, watch, frame, 1);
    let parent = argument(process, watch, frame, 2);
    let (mut is_tool, mut is_embedding) = (false, false);
    // SAFETY: the record is of this type's size and alignment, and was cleared.
    unsafe {
        let told = ptr::addr_of_mut!((*at).told);
        common(process, watch, frame, state, told);
        ptr::addr_of_mut!((*told).header).write(emit::header(EventKind::SpanEntered));
        tail(process, id, ptr::addr_of_mut!((*told).id));
        tail(process, parent, ptr::addr_of_mut!((*at).parent));
        if process.contents != 0 && (parent == 0 || parent == process.objects.none) {
            // Who reads a stream may be in nothing else.
            ptr::addr_of_mut!((*told).around).write(genspan_run_around((*told).caller));
        }
        head(process, id, at);
        if object != process.objects.none {
            ptr::addr_of_mut!((*told).object).write(object);
            let class = word(object.wrapping_add(TYPE));
            name_of(class, &mut (*told).class);
            bases(class, at);
            for index in 0..MAX_BASES {
                let start = ptr::addr_of!((*at).bases[index]).cast::<u64>().read();
                let next = (*at).bases[index][8];
                is_tool |= start == OF_TOOLS && next == 0;
                is_embedding |= start == OF_EMBEDDINGS;
            }
        }
    }
    record.submit(emit::wake_flags());
    // Of embeddings nothing is told: it would be many texts.
    let number = number(process, id);
    if process.contents != 0 && number != 0 && !is_embedding {
        let arguments = argument(process, watch, frame, 3);
        genspan_snapshot_given(number, arguments, object, u64::from(is_tool));
    }
}

/// A span's function is over.
#[inline(always)]
fn leaves(process: &WatchedProcess, watch: &Watch, frame: u64, state: u64, tgid: u32) {
    if watch.what == hook::EXITS {
        // What it gives is told before that it is over.
        let number = number(process, argument(process, watch, frame, 0));
        if number != 0 {
            genspan_snapshot_got(number, argument(process, watch, frame, 1));
        }
    }
    let Some(mut record) = DATA.reserve::<SpanTold>(0) else {
        lose(Loss::RunsLost, 1);
        return;
    };
    let at = record.as_mut_ptr();
    clear::<{ size_of::<SpanTold>() / 8 }>(at.cast());
    let id = argument(process, watch, frame, 0);
    let value = argument(process, watch, frame, 1);
    let mut stream = 0;
    if watch.what == hook::EXITS && process.contents != 0 {
        stream = genspan_stream_frame(value);
        if stream != 0 {
            owner::stepped(tgid, stream, code_of(&process.python, stream));
        }
    }
    // SAFETY: as above.
    unsafe {
        ptr::addr_of_mut!((*at).around).write(stream);
        common(process, watch, frame, state, at);
        tail(process, id, ptr::addr_of_mut!((*at).id));
        name_of(word(value.wrapping_add(TYPE)), &mut (*at).class);
    }
    record.submit(emit::wake_flags());
}

/// Something is told of a span: of models, and of exceptions, it is passed on.
#[inline(always)]
fn event(process: &WatchedProcess, watch: &Watch, frame: u64, state: u64, tgid: u32) {
    let object = argument(process, watch, frame, 0);
    let class = word(object.wrapping_add(TYPE));
    let name = word(class.wrapping_add(TYPE_NAME));
    let start = word(name) as u32;
    if start != OF_MODELS && start != OF_EXCEPTIONS {
        return;
    }
    let is_given = watch.arguments > 1;
    let dict = dict_of(object, class);
    let mut id = argument(process, watch, frame, 1);
    if id == 0 || id == process.objects.none {
        id = genspan_dict_value(dict, SPAN_ID.0, SPAN_ID.1);
    }
    let is_chat_end = word(name) == CHAT_ENDS;
    let is_start = word(name) == CHAT_STARTS || word(name.wrapping_add(8)) == COMPLETION_STARTS;
    let is_end = is_chat_end || word(name.wrapping_add(8)) == COMPLETION_ENDS;
    let is_stream = gives_a_stream(process, frame);
    if is_end && is_given {
        // Such a version tells each piece of a completion so.
        if is_chat_end || !is_stream {
            genspan_model_answered(genspan_caller(frame), dict, 0);
        }
    } else if is_end && is_stream {
        // What a stream gave is told before that it is over. Of what is answered at once the function's own
        // result says it.
        let number = number(process, id);
        if number != 0 {
            let response = genspan_dict_value(dict, RESPONSE.0, RESPONSE.1);
            genspan_snapshot_got(number, response);
        }
    }
    let Some(mut record) = DATA.reserve::<SpanTold>(0) else {
        lose(Loss::RunsLost, 1);
        return;
    };
    let at = record.as_mut_ptr();
    clear::<{ size_of::<SpanTold>() / 8 }>(at.cast());
    // SAFETY: as above.
    unsafe {
        common(process, watch, frame, state, at);
        tail(process, id, ptr::addr_of_mut!((*at).id));
        name_of(class, &mut (*at).class);
        if start == OF_EXCEPTIONS {
            let exception = genspan_dict_value(dict, EXCEPTION.0, EXCEPTION.1);
            name_of(word(exception.wrapping_add(TYPE)), &mut (*at).exception);
        }
        if is_given {
            // What such a version says of spans is not enough: frames say what is within what.
            ptr::addr_of_mut!((*at).given).write(1);
            let (caller, code) = ((*at).caller, (*at).caller_code);
            if is_stream {
                ptr::addr_of_mut!((*at).object).write(genspan_first_cell(caller));
            } else if is_start {
                ptr::addr_of_mut!((*at).around).write(genspan_run_around(caller));
                variables(process, caller, ptr::addr_of_mut!((*at).exception));
            }
            if caller != 0 {
                owner::stepped(tgid, caller, code);
            }
        }
    }
    record.submit(emit::wake_flags());
    if !is_given {
        return;
    }
    let caller = genspan_caller(frame);
    if is_start && !is_stream {
        genspan_model_asked(caller, dict);
    } else if is_end && !is_chat_end && is_stream {
        // Its first piece says whose stream it is.
        genspan_model_answered(caller, dict, 1);
    }
}

/// Whether the function that calls that of this frame is a generator.
#[inline(always)]
fn gives_a_stream(process: &WatchedProcess, frame: u64) -> bool {
    let python = &process.python;
    let caller = genspan_caller(frame);
    let code = word(caller.wrapping_add(u64::from(python.frame_code))) & !u64::from(python.tag);
    let flags = user::<u32>(code.wrapping_add(u64::from(python.code_flags))).unwrap_or(0);
    flags & GIVES_A_STREAM != 0
}

/// What is told of anything: where it is told.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn common(
    process: &WatchedProcess,
    watch: &Watch,
    frame: u64,
    state: u64,
    at: *mut SpanTold,
) {
    let python = &process.python;
    let caller = genspan_caller(frame);
    let code = code_of(python, caller);
    let flags = user::<u32>(code.wrapping_add(u64::from(python.code_flags))).unwrap_or(0);
    // SAFETY: the caller's record.
    unsafe {
        ptr::addr_of_mut!((*at).header).write(emit::header(EventKind::SpanTold));
        ptr::addr_of_mut!((*at).hook).write(watch.what);
        ptr::addr_of_mut!((*at).root).write(process.root);
        ptr::addr_of_mut!((*at).context).write(context(python, state).unwrap_or(0));
        ptr::addr_of_mut!((*at).caller).write(caller);
        ptr::addr_of_mut!((*at).caller_code).write(code);
        ptr::addr_of_mut!((*at).caller_flags).write(flags);
    }
}

/// All bytes of a record, which was used before.
///
/// Verifier: volatile, else LLVM makes it a call of a function that there is not.
#[inline(always)]
fn clear<const WORDS: usize>(at: *mut u64) {
    for index in 0..WORDS {
        // SAFETY: for callers whose record has so many words, and is aligned.
        unsafe { at.add(index).write_volatile(0) };
    }
}

/// An argument of a function that is entered; zero when it has no such.
#[inline(always)]
fn argument(process: &WatchedProcess, watch: &Watch, frame: u64, index: usize) -> u64 {
    if index as u32 >= watch.arguments {
        return 0;
    }
    let slot = u64::from(watch.slots[index & 7].slot);
    local(&process.python, frame, slot)
}

/// A text that is read: its characters, how many, and the bytes of each. None when it is no text, or
/// kept in another way.
#[inline(always)]
fn text(process: &WatchedProcess, object: u64) -> Option<(u64, u64, u32)> {
    if object == 0 || word(object.wrapping_add(TYPE)) != process.objects.text {
        return None;
    }
    let length = word(object.wrapping_add(SIZE));
    let state = word(object.wrapping_add(TEXT_STATE)) as u32;
    // interned:2, kind:3, compact:1, ascii:1 (`Include/cpython/unicodeobject.h`).
    let (kind, is_compact, is_ascii) = (state >> 2 & 7, state & 0x20 != 0, state & 0x40 != 0);
    if !is_compact || kind == 0 || kind > 2 {
        return None;
    }
    let data = if is_ascii {
        process.python.string_data
    } else {
        process.text_compact
    };
    Some((object.wrapping_add(u64::from(data)), length, kind))
}

/// A part of the UUID in an id, by which a snapshot says whose it is; zero when it has none.
#[inline(always)]
fn number(process: &WatchedProcess, id: u64) -> u64 {
    match text(process, id) {
        Some((from, length, 1)) if length >= NUMBER_FROM_END => {
            word(from.wrapping_add(length - NUMBER_FROM_END))
        }
        _ => 0,
    }
}

/// The last characters of an id.
///
/// Verifier: lengths are constants, or masked to less than there is room for.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn tail(process: &WatchedProcess, object: u64, at: *mut Tail) {
    const ALL: u64 = TAIL_CHARACTERS as u64;
    if object == 0 || object == process.objects.none {
        return;
    }
    let Some((from, length, kind)) = text(process, object) else {
        return;
    };
    // SAFETY: the helper checks the address, and writes no more than there is room for.
    unsafe {
        let to = ptr::addr_of_mut!((*at).bytes);
        let read = if length < ALL {
            if kind != 1 {
                return;
            }
            read_user(to.cast(), length as u32 & 63, from as *const _)
        } else if kind == 1 {
            let from = from.wrapping_add(length.wrapping_sub(ALL));
            read_user(to.cast(), ALL as u32, from as *const _)
        } else {
            let from = from.wrapping_add(length.wrapping_sub(ALL).wrapping_mul(2));
            read_user(to.cast(), 2 * ALL as u32, from as *const _)
        };
        if read == 0 {
            let characters = if length < ALL { length } else { ALL };
            ptr::addr_of_mut!((*at).width).write(kind);
            ptr::addr_of_mut!((*at).characters).write(characters as u32);
        }
    }
}

/// An id from its beginning.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn head(process: &WatchedProcess, object: u64, at: *mut SpanEntered) {
    let Some((from, length, kind)) = text(process, object) else {
        return;
    };
    let most = HEAD_BYTES as u64 - 4;
    let bytes = if length > most { most } else { length } * u64::from(kind);
    let bytes = if bytes > most { most } else { bytes };
    // SAFETY: the helper checks the address, and writes less than there is room for.
    unsafe {
        let to = ptr::addr_of_mut!((*at).head);
        let bytes = bytes as u32 & (HEAD_BYTES as u32 - 1);
        if read_user(to.cast(), bytes, from as *const _) == 0 {
            ptr::addr_of_mut!((*at).head_width).write(kind);
            ptr::addr_of_mut!((*at).characters).write(length);
        }
    }
}

/// The names of the classes that one is derived from, in the order in which methods are looked for.
#[inline(always)]
// SAFETY: for callers whose pointer is into a record that they reserved.
unsafe fn bases(class: u64, at: *mut SpanEntered) {
    let all = word(class.wrapping_add(TYPE_MRO));
    let count = word(all.wrapping_add(SIZE));
    for index in 0..MAX_BASES {
        // The first is the class itself.
        let number = index as u64 + 1;
        if number >= count {
            break;
        }
        let base = word(all.wrapping_add(ITEMS + 8 * number));
        let name = word(base.wrapping_add(TYPE_NAME));
        // SAFETY: the caller's record.
        unsafe {
            let to: &mut [u8; BASE_BYTES] = &mut (*at).bases[index];
            let _ = bpf_probe_read_user_str_bytes(name as *const u8, to);
        }
    }
}

/// The dict that has an object's attributes; zero when there is none.
#[inline(always)]
pub fn dict_of(object: u64, class: u64) -> u64 {
    let offset = word(class.wrapping_add(TYPE_DICT_OFFSET)) as i64;
    let at = if offset > 0 && offset < 4096 {
        object.wrapping_add(offset as u64)
    } else {
        object.wrapping_sub(MANAGED_DICT)
    };
    let dict = word(at);
    // In 3.12 a lowest bit says that it is no dict but values.
    if dict & 1 != 0 { 0 } else { dict }
}
