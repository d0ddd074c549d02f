//! Records of frameworks as events.

use std::mem::offset_of;

use genspan_common::event::EventHeader;
use genspan_common::framework::{
    IDENTITY_DIGITS, Identity, RUN_NAME_BYTES, RunHit as Record, hook,
};

use super::decode::{DecodeError, Fields, at_least};
use crate::model::event::Event;
use crate::model::framework::{RunHit, RunName, RunStart, RunStep};
use crate::model::time::BootTime;

/// Bits of a digit of CPython's integers.
const DIGIT_BITS: u32 = 30;

/// The process whose watchpoints the process has: itself, or the one it was forked from.
///
/// # Errors
///
/// When the record is too short.
pub fn root(record: &[u8]) -> Result<u32, DecodeError> {
    at_least(record, size_of::<Record>())?;
    Ok(Fields(record).u32(offset_of!(Record, root)))
}

/// The event in a record of this kind.
///
/// # Errors
///
/// When the record is not one that the programs write.
pub(super) fn event(head: EventHeader, record: &[u8]) -> Result<Event<'_>, DecodeError> {
    at_least(record, size_of::<Record>())?;
    let f = Fields(record);
    let text = |at: usize, size: usize| until_zero(record.get(at..at + size).unwrap_or_default());
    let manager = f.u64(offset_of!(Record, manager));
    let owner = f.u64(offset_of!(Record, owner));
    let owner_code = f.u64(offset_of!(Record, owner_code));
    let certain = f.u32(offset_of!(Record, certain)) != 0;
    let class = text(offset_of!(Record, class), 64);
    let function = text(offset_of!(Record, function), 64);
    let what = match f.u32(offset_of!(Record, hook)) {
        hook::BEGINS => RunStep::Begins(Box::new(RunStart {
            manager,
            run: identity(record, offset_of!(Record, run)),
            parent: identity(record, offset_of!(Record, parent)),
            around: Some(f.u64(offset_of!(Record, around))).filter(|frame| *frame != 0),
            context: Some(f.u64(offset_of!(Record, context))).filter(|context| *context != 0),
            owner,
            owner_code,
            owner_flags: f.u32(offset_of!(Record, owner_flags)),
            owner_class: text(offset_of!(Record, owner_class), 64),
            method: function,
            flags: f.u32(offset_of!(Record, flags)),
            followed: certain,
            name: name(record)?,
        })),
        hook::ENDS => RunStep::Ends { manager },
        hook::SHIELDED => RunStep::Told {
            manager,
            method: function,
            class,
        },
        hook::RAISED => RunStep::Raised {
            owner,
            owner_code,
            class,
        },
        hook::GONE => RunStep::Gone {
            manager,
            returned: certain,
        },
        number => return Err(DecodeError::Tag(number)),
    };
    Ok(Event::Run(RunHit {
        pid: head.tgid,
        tid: head.tid,
        time: BootTime(head.time),
        what,
    }))
}

/// The name that was given to a run.
fn name(record: &[u8]) -> Result<Option<RunName<'_>>, DecodeError> {
    let f = Fields(record);
    let width = match f.u32(offset_of!(Record, name_width)) {
        0 => return Ok(None),
        1 => 1,
        2 => 2,
        4 => 4,
        number => return Err(DecodeError::Tag(number)),
    };
    let characters = f.u64(offset_of!(Record, name_characters));
    let start = offset_of!(Record, name);
    // The programs leave the last bytes free.
    let most = RUN_NAME_BYTES - 4;
    let told = usize::try_from(characters).unwrap_or(usize::MAX);
    let bytes = told.saturating_mul(width).min(most);
    Ok(Some(RunName {
        bytes: record.get(start..start + bytes).unwrap_or_default(),
        width,
        characters,
    }))
}

/// The number of a UUID; none when it has none, or more than 128 bits.
fn identity(record: &[u8], at: usize) -> Option<u128> {
    let f = Fields(record);
    let count = f.u32(at + offset_of!(Identity, count)) as usize;
    if count == 0 || count > IDENTITY_DIGITS {
        return None;
    }
    let mut all: u128 = 0;
    for index in (0..count).rev() {
        let digit = f.u32(at + 4 * index);
        if digit >> DIGIT_BITS != 0 || all >> (u128::BITS - DIGIT_BITS) != 0 {
            return None;
        }
        all = all << DIGIT_BITS | u128::from(digit);
    }
    Some(all)
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|b| *b == 0);
    bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::decode::{DecodeError, data};
    use super::*;

    const KIND: u32 = 19;

    /// A record with these words set.
    fn record(words: &[(usize, u32)], texts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut all = vec![0; size_of::<Record>()];
        let mut put = |at: usize, bytes: &[u8]| all[at..at + bytes.len()].copy_from_slice(bytes);
        for (at, word) in [(0, KIND), (4, 7), (8, 8), (16, 100)] {
            put(at, &word.to_ne_bytes());
        }
        for (at, word) in words {
            put(*at, &word.to_ne_bytes());
        }
        for (at, text) in texts {
            put(*at, text);
        }
        all
    }

    fn step(record: &[u8]) -> Result<RunStep<'_>, DecodeError> {
        match data(record)? {
            Event::Run(hit) => {
                assert_eq!((hit.pid, hit.tid, hit.time), (7, 8, BootTime(100)));
                Ok(hit.what)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn beginnings() {
        let words = [
            (24, hook::BEGINS),
            (28, 6),
            (32, 0x1000),
            (48, 0x2000),
            (56, 0x3000),
            (64, 0x20),
            (68, 2),
            (72, 2),
            // 2^128 - 1, and one beyond.
            (88, (1 << 30) - 1),
            (92, (1 << 30) - 1),
            (96, (1 << 30) - 1),
            (100, (1 << 30) - 1),
            (104, 0xff),
            (108, 5),
            (112 + 16, 0x100),
            (132, 5),
            (456, 0x80),
            (460, 1),
        ];
        let texts: [(usize, &[u8]); 3] = [
            (200, b"CallbackManager.on_chain_start\0rest"),
            (264, &[b'a'; 64]),
            (328, &[0x60, 0x4f, 0x7d, 0x59, 1, 1]),
        ];
        let record = record(&words, &texts);
        assert_eq!(root(&record), Ok(6));
        let wanted = RunStart {
            manager: 0x1000,
            run: Some(u128::MAX),
            parent: None,
            around: None,
            context: None,
            owner: 0x2000,
            owner_code: 0x3000,
            owner_flags: 0x20,
            owner_class: &[b'a'; 64],
            method: b"CallbackManager.on_chain_start",
            flags: 0x80,
            followed: true,
            name: Some(RunName {
                bytes: &[0x60, 0x4f, 0x7d, 0x59],
                width: 2,
                characters: 2,
            }),
        };
        assert_eq!(step(&record), Ok(RunStep::Begins(Box::new(wanted))));
        for n in 0..record.len() {
            assert!(
                data(&record[..n]).is_err() && root(&record[..n]).is_err(),
                "{n}"
            );
        }
    }

    #[test]
    fn what_comes_later() {
        let ends = record(&[(24, hook::ENDS), (32, 5)], &[]);
        assert_eq!(step(&ends), Ok(RunStep::Ends { manager: 5 }));
        let texts: [(usize, &[u8]); 2] = [(136, b"ValueError"), (200, b"A.on_chain_error")];
        let told = record(&[(24, hook::SHIELDED), (32, 5)], &texts);
        let wanted = RunStep::Told {
            manager: 5,
            method: b"A.on_chain_error",
            class: b"ValueError",
        };
        assert_eq!(step(&told), Ok(wanted));
        let raised = record(&[(24, hook::RAISED), (48, 9), (56, 8)], &texts);
        let wanted = RunStep::Raised {
            owner: 9,
            owner_code: 8,
            class: b"ValueError",
        };
        assert_eq!(step(&raised), Ok(wanted));
        let gone = record(&[(24, hook::GONE), (32, 5), (460, 1)], &[]);
        let wanted = RunStep::Gone {
            manager: 5,
            returned: true,
        };
        assert_eq!(step(&gone), Ok(wanted));
        for words in [[(24, 8), (68, 0)], [(24, hook::BEGINS), (68, 3)]] {
            let record = record(&words, &[]);
            assert!(matches!(step(&record), Err(DecodeError::Tag(_))));
        }
    }

    #[test]
    fn a_name_is_told_as_far_as_it_was_copied() {
        let long = record(&[(24, hook::BEGINS), (68, 4), (72, 4000)], &[]);
        let Ok(RunStep::Begins(start)) = step(&long) else {
            panic!("no beginning");
        };
        assert_eq!(start.run, None);
        let name = start.name.expect("a name");
        assert_eq!((name.bytes.len(), name.characters), (124, 4000));
    }
}
