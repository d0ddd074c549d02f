use super::*;
use crate::model::event::{ConnectionId, Direction};

const LOST: u8 = 1;
const SKIPPED: u8 = 2;

fn record(offset: u64, flags: u8, bytes: &[u8]) -> Data<'_> {
    Data {
        connection: ConnectionId {
            pid: 1,
            ssl: 2,
            generation: 3,
        },
        direction: Direction::Read,
        tid: 1,
        time: BootTime(offset),
        offset,
        lost_before: flags & LOST != 0,
        skipped_before: flags & SKIPPED != 0,
        bytes,
    }
}

fn tell(pieces: &mut Vec<String>, piece: Piece<'_>) {
    pieces.push(match piece {
        Piece::Bytes { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
        Piece::Gap {
            missing, reason, ..
        } => format!("<{missing} {reason:?}>"),
    });
}

/// Pushes the records, then `|`, then what a flush gives.
fn check(records: &[(u64, u8, &str)], want: &str) -> Counters {
    let mut assembler = Assembler::new();
    let mut got = Vec::new();
    for (offset, flags, bytes) in records {
        assembler.push(&record(*offset, *flags, bytes.as_bytes()), &mut |p| {
            tell(&mut got, p);
        });
    }
    got.push("|".to_owned());
    assembler.flush(&mut |p| tell(&mut got, p));
    assert_eq!(got.join(" "), want);
    assert_eq!(assembler.held_bytes(), 0);
    assert_eq!(assembler.waiting_since(), None);
    assembler.counters()
}

#[test]
fn in_order() {
    check(&[(0, 0, "ab"), (2, 0, "cd")], "ab cd |");
    check(&[(0, 0, "ab"), (2, 0, ""), (2, 0, "cd")], "ab cd |");
}

#[test]
fn an_empty_record_tells_of_skipped_bytes() {
    check(
        &[(0, 0, "ab"), (9, SKIPPED, ""), (9, 0, "cd")],
        "ab <7 Skipped> cd |",
    );
    let c = check(&[(0, 0, "ab"), (9, SKIPPED, "")], "ab <7 Skipped> |");
    assert_eq!(
        (c.skipped_bytes, c.missing_bytes),
        (7, 0),
        "not a loss: it was to be"
    );
    // Not when others are missing before it, nor twice, nor without a word of it.
    check(
        &[(0, 0, "ab"), (4, 0, "ef"), (9, SKIPPED, ""), (2, 0, "cd")],
        "ab cd ef |",
    );
    check(
        &[(0, 0, "ab"), (9, SKIPPED, ""), (9, SKIPPED, "")],
        "ab <7 Skipped> |",
    );
    check(&[(0, 0, "ab"), (9, 0, ""), (2, 0, "cd")], "ab cd |");
}

#[test]
fn duplicates_and_overlaps_are_trimmed() {
    let c = check(&[(0, 0, "abcd"), (0, 0, "abcd"), (1, 0, "bc")], "abcd |");
    assert_eq!(c.stale_bytes, 6);
    let c = check(&[(0, 0, "abcd"), (2, 0, "cdef")], "abcd ef |");
    assert_eq!(c.stale_bytes, 2);
}

#[test]
fn gaps_that_the_kernel_explains_come_at_once() {
    check(&[(0, 0, "ab"), (10, LOST, "cd")], "ab <8 Lost> cd |");
    check(&[(0, 0, "ab"), (10, SKIPPED, "cd")], "ab <8 Skipped> cd |");
    check(&[(0, 0, "ab"), (2, LOST, "cd")], "ab cd |");
}

#[test]
fn first_record_may_lie_anywhere() {
    let c = check(&[(5, 0, "ab"), (7, 0, "c")], "<5 Midway> ab c |");
    assert_eq!(
        (c.midway_bytes, c.missing_bytes),
        (5, 0),
        "nobody lost them"
    );
    let c = check(&[(5, LOST, "ab")], "<5 Midway> ab |");
    assert_eq!((c.midway_bytes, c.missing_bytes), (0, 5));
    check(&[(5, 0, "ab"), (0, 0, "xxxxx")], "<5 Midway> ab |");
}

#[test]
fn wrong_order_is_put_right() {
    let c = check(
        &[
            (0, 0, "a"),
            (2, 0, "c"),
            (3, 0, "d"),
            (1, 0, "b"),
            (4, 0, "e"),
        ],
        "a b c d e |",
    );
    assert_eq!(c.held, 2);
    check(
        &[
            (0, 0, "a"),
            (4, 0, "e"),
            (2, 0, "cd"),
            (2, 0, "c"),
            (1, 0, "b"),
        ],
        "a b cd e |",
    );
    // Explained behind one that is waited for.
    check(
        &[(0, 0, "a"), (2, 0, "c"), (9, LOST, "j"), (1, 0, "b")],
        "a b c <6 Lost> j |",
    );
}

#[test]
fn what_does_not_come_is_given_up() {
    check(
        &[(0, 0, "a"), (2, 0, "c"), (5, 0, "f")],
        "a | <1 Missing> c <2 Missing> f",
    );
    check(
        &[(0, 0, "a"), (2, 0, "c"), (3, 0, "d"), (1, 0, "bc")],
        "a bc d |",
    );
}

#[test]
fn holding_is_bounded() {
    let mut assembler = Assembler::new();
    let mut gaps = 0;
    let mut bytes = 0;
    let mut out = |p: Piece<'_>| match p {
        Piece::Gap { .. } => gaps += 1,
        Piece::Bytes { .. } => bytes += 1,
    };
    assembler.push(&record(0, 0, b"a"), &mut out);
    for i in 1..=MAX_HELD_SEGMENTS as u64 + 3 {
        assembler.push(&record(i * 2, 0, b"x"), &mut out);
    }
    assert_eq!((gaps, bytes), (3, 4));

    let big = vec![0; 40 << 10];
    let mut assembler = Assembler::new();
    let mut got = 0;
    assembler.push(&record(0, 0, b"a"), &mut |_| got += 1);
    assembler.push(&record(10, 0, &big), &mut |_| got += 1);
    assert_eq!(got, 1);
    assembler.push(&record(100_000, 0, &big), &mut |_| got += 1);
    assert_eq!(got, 3);
    assert!(assembler.held_bytes() <= MAX_HELD_BYTES);
    // Before what is held, and too long to be held as well: it goes out, with a gap before it.
    assembler.push(&record(50_000, 0, &big), &mut |_| got += 1);
    assert_eq!(got, 5);
    assert_eq!(assembler.counters().gave_up, 2);
}

#[test]
fn no_offset_is_too_large() {
    let c = check(&[(u64::MAX - 1, 0, "abc")], "|");
    assert_eq!(c.invalid, 1);
    let c = check(
        &[(0, 0, "a"), (u64::MAX - 1, LOST, "z"), (u64::MAX, 0, "")],
        &format!("a <{} Lost> z |", u64::MAX - 2),
    );
    assert_eq!(c.gaps, 1);
    check(
        &[(u64::MAX, 0, "a"), (u64::MAX - 5, 0, "ab")],
        &format!("<{} Midway> ab |", u64::MAX - 5),
    );
}

#[test]
fn any_split_in_any_order_gives_the_same_bytes() {
    let text: Vec<u8> = (0..60).map(|i| b'A' + i).collect();
    for step in 1..=text.len() {
        for rotate in 0..4 {
            let mut records: Vec<_> = text.chunks(step).enumerate().collect();
            // Keep the first in front: it says where the stream starts.
            let window = (rotate + 1).min(records.len());
            for group in records[1..].chunks_mut(window) {
                group.reverse();
            }
            let mut assembler = Assembler::new();
            let mut got = Vec::new();
            for (i, bytes) in records {
                assembler.push(&record((i * step) as u64, 0, bytes), &mut |p| match p {
                    Piece::Bytes { bytes, .. } => got.extend_from_slice(bytes),
                    Piece::Gap { missing, .. } => panic!("gap of {missing}"),
                });
            }
            assert_eq!(got, text, "step {step}, rotate {rotate}");
        }
    }
}
