use super::super::decode::{DecodeError, data};
use super::*;

/// Kinds of records: a span that begins, and all else.
const ENTERED: u32 = 24;
const TOLD: u32 = 25;

const UUID: &str = "0193e0a2-7b1c-7def-8123-456789abcdef";
const NUMBER: u128 = 0x0193_e0a2_7b1c_7def_8123_4567_89ab_cdef;

/// A record of a kind with these words and texts set.
fn record(kind: u32, words: &[(usize, u64)], texts: &[(usize, &[u8])]) -> Vec<u8> {
    let size = if kind == ENTERED {
        size_of::<SpanEntered>()
    } else {
        size_of::<SpanTold>()
    };
    let mut all = vec![0; size];
    let mut put = |at: usize, bytes: &[u8]| all[at..at + bytes.len()].copy_from_slice(bytes);
    for (at, word) in [(0, kind), (4, 7), (8, 8), (16, 100)] {
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

/// Two words of half the size.
fn halves(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

const ID: usize = offset_of!(SpanTold, id);
const ID_BYTES: usize = ID + offset_of!(Tail, bytes);
const PARENT: usize = offset_of!(SpanEntered, parent);
const CLASS: usize = offset_of!(SpanTold, class);
const AROUND: usize = offset_of!(SpanTold, around);

fn hit(record: &[u8]) -> Result<SpanHit<'_>, DecodeError> {
    match data(record)? {
        Event::Span(hit) => {
            assert_eq!((hit.pid, hit.tid, hit.time), (7, 8, BootTime(100)));
            Ok(hit)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn beginnings() {
    let label = format!("Flow.run-{UUID}");
    let wide: Vec<u8> = UUID.bytes().flat_map(|b| [b, 0]).collect();
    let bases = offset_of!(SpanEntered, bases);
    let record = record(
        ENTERED,
        &[
            (24, halves(hook::ENTERS, 6)),
            (32, 0x10),
            (40, 0x20),
            (48, 0x30),
            (56, 0x40),
            (64, 0x80),
            (AROUND, 0x90),
            (ID, halves(1, 36)),
            (PARENT, halves(2, 36)),
            (offset_of!(SpanEntered, head_width), 1),
            (offset_of!(SpanEntered, characters), label.len() as u64),
        ],
        &[
            (ID_BYTES, UUID.as_bytes()),
            (PARENT + 8, &wide),
            (offset_of!(SpanEntered, head), label.as_bytes()),
            (CLASS, b"Flow\0rest"),
            (bases, b"Workflow\0"),
            (bases + BASE_BYTES, b"object\0"),
        ],
    );
    assert_eq!(root(&record), Ok(6));
    let found = hit(&record).unwrap();
    let wanted = SpanStart {
        label: Some(RunName {
            bytes: label.as_bytes(),
            width: 1,
            characters: label.len() as u64,
        }),
        parent: Some(NUMBER),
        around: Some(0x90),
        object: Some(0x20),
        class: b"Flow",
        bases: vec![b"Workflow", b"object"],
    };
    assert_eq!(found.what, SpanStep::Enters(Box::new(wanted)));
    assert_eq!((found.id, found.context), (Some(NUMBER), Some(0x10)));
    let caller = Caller {
        frame: 0x30,
        code: 0x40,
        flags: 0x80,
    };
    assert_eq!(found.caller, caller);
    for n in 0..record.len() {
        assert!(data(&record[..n]).is_err(), "{n}");
    }
}

#[test]
fn what_comes_later() {
    let words = |hook| [(24, halves(hook, 6)), (ID, halves(1, 36))];
    let texts: [(usize, &[u8]); 2] = [(ID_BYTES, UUID.as_bytes()), (CLASS, b"KeyError")];
    let exits = record(TOLD, &words(hook::EXITS), &texts);
    let result = b"KeyError".as_slice();
    let stream = None;
    assert_eq!(
        hit(&exits).unwrap().what,
        SpanStep::Exits { result, stream }
    );
    let mut streamed = words(hook::EXITS).to_vec();
    streamed.push((AROUND, 0x90));
    let exits = record(TOLD, &streamed, &texts);
    let stream = Some(0x90);
    assert_eq!(
        hit(&exits).unwrap().what,
        SpanStep::Exits { result, stream }
    );
    let drops = record(TOLD, &words(hook::DROPS), &texts);
    let found = hit(&drops).unwrap();
    assert_eq!(found.what, SpanStep::Drops { class: result });
    assert_eq!((found.id, found.context), (Some(NUMBER), None));
    let mut all = words(hook::EVENT).to_vec();
    let event = record(TOLD, &all, &texts);
    let told = |record: &[u8]| match hit(record).unwrap().what {
        SpanStep::Event { old, .. } => old.map(|of| (of.frame, of.cell, of.addresses())),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&event), None);
    all.push((offset_of!(SpanTold, caller_flags), halves(0, 1)));
    let event = record(TOLD, &all, &texts);
    let none = [0; CELLS];
    assert_eq!(told(&event), Some((None, None, none)));
    all.push((offset_of!(SpanTold, around), 5));
    let event = record(TOLD, &all, &texts);
    assert_eq!(told(&event), Some((Some(5), None, none)));
    let last = offset_of!(SpanTold, exception) + 8 * 7;
    all.extend([(offset_of!(SpanTold, object), 0x40), (last, 0x41)]);
    let event = record(TOLD, &all, &texts);
    let some = [0, 0, 0, 0, 0, 0, 0, 0x40];
    assert_eq!(told(&event), Some((Some(5), Some(0x40), some)));
    for n in 0..event.len() {
        assert!(
            data(&event[..n]).is_err() && root(&event[..n]).is_err(),
            "{n}"
        );
    }
}

#[test]
fn ids_that_are_no_uuids_are_told_apart() {
    let id = |text: &[u8], width: u32, count: u32| {
        let words = [(24, halves(hook::EXITS, 6)), (ID, halves(width, count))];
        let record = record(TOLD, &words, &[(ID_BYTES, text)]);
        hit(&record).map(|hit| hit.id)
    };
    assert_eq!(id(b"", 0, 0), Ok(None));
    assert_eq!(id(b"", 1, 0), Ok(None));
    let some = id(b"one", 1, 3).unwrap();
    assert!(some.is_some() && some == id(b"one", 1, 3).unwrap());
    assert_ne!(some, id(b"two", 1, 3).unwrap());
    // One that only looks like a UUID.
    let other = UUID.replace('-', "_");
    let other = id(other.as_bytes(), 1, 36).unwrap();
    assert!(other.is_some_and(|id| id != NUMBER));
    // More characters than there is room for.
    assert_eq!(id(UUID.as_bytes(), 1, 4000), Ok(Some(NUMBER)));
    assert!(matches!(id(b"", 4, 36), Err(DecodeError::Tag(4))));
    let unknown = record(TOLD, &[(24, halves(28, 6))], &[]);
    assert!(matches!(hit(&unknown), Err(DecodeError::Tag(28))));
}
