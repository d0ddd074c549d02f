//! Records of LlamaIndex's dispatcher as events.

use std::mem::offset_of;

use genspan_common::dispatch::{
    BASE_BYTES, CELLS, HEAD_BYTES, MAX_BASES, SpanEntered, SpanTold, TAIL_BYTES, TAIL_CHARACTERS,
    Tail, hook,
};
use genspan_common::event::EventHeader;
use genspan_common::function::TYPE_NAME_BYTES;

use super::decode::{DecodeError, Fields, at_least};
use crate::model::dispatch::{Around, Caller, SpanHit, SpanStart, SpanStep};
use crate::model::event::Event;
use crate::model::framework::RunName;
use crate::model::time::BootTime;

/// The process whose watchpoints the process has: itself, or the one it was forked from.
///
/// # Errors
///
/// When the record is too short.
pub fn root(record: &[u8]) -> Result<u32, DecodeError> {
    at_least(record, size_of::<SpanTold>())?;
    Ok(Fields(record).u32(offset_of!(SpanTold, root)))
}

/// The event in a record of this kind.
///
/// # Errors
///
/// When the record is not one that the programs write.
pub(super) fn event(head: EventHeader, record: &[u8]) -> Result<Event<'_>, DecodeError> {
    at_least(record, size_of::<SpanTold>())?;
    let f = Fields(record);
    let some = |at: usize| Some(f.u64(at)).filter(|word| *word != 0);
    let class = text(record, offset_of!(SpanTold, class), TYPE_NAME_BYTES);
    let what = match f.u32(offset_of!(SpanTold, hook)) {
        hook::ENTERS => {
            at_least(record, size_of::<SpanEntered>())?;
            let bases = (0..MAX_BASES)
                .map(|n| offset_of!(SpanEntered, bases) + n * BASE_BYTES)
                .map(|at| text(record, at, BASE_BYTES));
            SpanStep::Enters(Box::new(SpanStart {
                label: label(record)?,
                parent: id(record, offset_of!(SpanEntered, parent))?,
                around: some(offset_of!(SpanTold, around)),
                object: some(offset_of!(SpanTold, object)),
                class,
                bases: bases.take_while(|name| !name.is_empty()).collect(),
            }))
        }
        hook::EXITS => SpanStep::Exits {
            result: class,
            stream: some(offset_of!(SpanTold, around)),
        },
        hook::DROPS => SpanStep::Drops { class },
        hook::EVENT => SpanStep::Event {
            class,
            exception: text(record, offset_of!(SpanTold, exception), TYPE_NAME_BYTES),
            old: (f.u32(offset_of!(SpanTold, given)) != 0).then(|| Around {
                frame: some(offset_of!(SpanTold, around)),
                cell: some(offset_of!(SpanTold, object)),
                variables: record
                    .get(offset_of!(SpanTold, exception)..)
                    .and_then(|rest| rest.get(..8 * CELLS))
                    .unwrap_or_default(),
            }),
        },
        number => return Err(DecodeError::Tag(number)),
    };
    Ok(Event::Span(SpanHit {
        pid: head.tgid,
        tid: head.tid,
        time: BootTime(head.time),
        context: some(offset_of!(SpanTold, context)),
        caller: Caller {
            frame: f.u64(offset_of!(SpanTold, caller)),
            code: f.u64(offset_of!(SpanTold, caller_code)),
            flags: f.u32(offset_of!(SpanTold, caller_flags)),
        },
        id: id(record, offset_of!(SpanTold, id))?,
        what,
    }))
}

/// The beginning of an id.
fn label(record: &[u8]) -> Result<Option<RunName<'_>>, DecodeError> {
    let f = Fields(record);
    let width = match f.u32(offset_of!(SpanEntered, head_width)) {
        0 => return Ok(None),
        1 => 1,
        2 => 2,
        number => return Err(DecodeError::Tag(number)),
    };
    let characters = f.u64(offset_of!(SpanEntered, characters));
    let start = offset_of!(SpanEntered, head);
    // The programs leave the last bytes free.
    let most = HEAD_BYTES - 4;
    let told = usize::try_from(characters).unwrap_or(usize::MAX);
    let bytes = told.saturating_mul(width).min(most);
    Ok(Some(RunName {
        bytes: record.get(start..start + bytes).unwrap_or_default(),
        width,
        characters,
    }))
}

/// The number of the UUID that an id ends with; of one that does not, a number that is the same for
/// the same characters. None when there is no id.
fn id(record: &[u8], at: usize) -> Result<Option<u128>, DecodeError> {
    let f = Fields(record);
    let width = match f.u32(at + offset_of!(Tail, width)) {
        0 => return Ok(None),
        1 => 1,
        2 => 2,
        number => return Err(DecodeError::Tag(number)),
    };
    let count = f.u32(at + offset_of!(Tail, characters)) as usize;
    if count == 0 {
        return Ok(None);
    }
    let bytes = count.min(TAIL_CHARACTERS) * width;
    let start = at + offset_of!(Tail, bytes);
    let characters = record
        .get(start..start + bytes.min(TAIL_BYTES))
        .unwrap_or_default();
    Ok(Some(
        uuid(characters, width).unwrap_or_else(|| hash(characters)),
    ))
}

/// A UUID as it is written.
fn uuid(characters: &[u8], width: usize) -> Option<u128> {
    let mut all: u128 = 0;
    let mut count = 0;
    for (n, character) in characters.chunks_exact(width).enumerate() {
        let (byte, rest) = character.split_first()?;
        if rest.iter().any(|b| *b != 0) {
            return None;
        }
        if matches!(n, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = char::from(*byte).to_digit(16)?;
        all = all << 4 | u128::from(digit);
        count += 1;
    }
    (count == 32).then_some(all)
}

/// FNV-1a with 128 bits (RFC 9923).
fn hash(bytes: &[u8]) -> u128 {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in bytes {
        hash ^= u128::from(*byte);
        hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    hash
}

fn text(record: &[u8], at: usize, size: usize) -> &[u8] {
    let bytes = record.get(at..at + size).unwrap_or_default();
    let end = bytes.iter().position(|b| *b == 0);
    bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default()
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
