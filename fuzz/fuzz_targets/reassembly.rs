//! Sequences of records at any offsets: what comes out is in order, at its place, and bounded.
#![no_main]

use arbitrary::Arbitrary;
use genspan::model::event::{ConnectionId, Data, Direction};
use genspan::model::time::BootTime;
use genspan::stream::{Assembler, MAX_HELD_BYTES, Piece};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A record a little way off the end of the one before.
    Near {
        ahead: i16,
        len: u16,
        flags: u8,
    },
    /// A record anywhere.
    Far {
        offset: u64,
        len: u16,
        flags: u8,
    },
    Flush,
}

/// The byte that every record has at this position.
fn byte_at(position: u64) -> u8 {
    (position ^ (position >> 8)).wrapping_mul(31) as u8
}

/// Checks pieces against the positions they must have.
struct Check {
    position: u64,
    seen: u64,
}

impl Check {
    fn piece(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Gap { missing, .. } => {
                assert!(missing > 0);
                self.position = self.position.checked_add(missing).expect("a position");
            }
            Piece::Bytes { bytes, .. } => {
                assert!(!bytes.is_empty());
                for b in bytes {
                    assert_eq!(*b, byte_at(self.position), "at {}", self.position);
                    self.position += 1;
                }
                self.seen += bytes.len() as u64;
            }
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut assembler = Assembler::new();
    let mut check = Check {
        position: 0,
        seen: 0,
    };
    let (mut end, mut pushed) = (0_u64, 0);
    for step in steps {
        let (offset, len, flags) = match step {
            Step::Near { ahead, len, flags } => {
                (end.saturating_add_signed(i64::from(ahead)), len, flags)
            }
            Step::Far { offset, len, flags } => (offset, len, flags),
            Step::Flush => {
                assembler.flush(&mut |p| check.piece(p));
                assert_eq!(assembler.held_bytes(), 0);
                continue;
            }
        };
        end = offset.saturating_add(u64::from(len));
        let bytes: Vec<u8> = (0..u64::from(len))
            .map(|i| byte_at(offset.wrapping_add(i)))
            .collect();
        pushed += bytes.len() as u64;
        let data = Data {
            connection: ConnectionId {
                pid: 1,
                ssl: 1,
                generation: 1,
            },
            direction: Direction::Read,
            tid: 1,
            time: BootTime(1),
            offset,
            lost_before: flags & 1 != 0,
            skipped_before: flags & 2 != 0,
            bytes: &bytes,
        };
        assembler.push(&data, &mut |p| check.piece(p));
        assert!(assembler.held_bytes() <= MAX_HELD_BYTES);
    }
    assembler.flush(&mut |p| check.piece(p));
    let counters = assembler.counters();
    assert_eq!(counters.bytes, check.seen);
    assert!(counters.bytes + counters.stale_bytes <= pushed);
    if counters.invalid == 0 {
        assert_eq!(counters.bytes + counters.stale_bytes, pushed);
    }
});
