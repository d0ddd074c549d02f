//! Records of snapshots as events.

use std::mem::offset_of;

use genspan_common::event::EventHeader;
use genspan_common::snapshot::{SnapshotHead, cut};

use super::decode::{DecodeError, Fields, at_least};
use crate::model::event::Event;
use crate::model::snapshot::{RawSnapshot, Subject};
use crate::model::time::BootTime;

/// The event in a record of this kind.
///
/// # Errors
///
/// When the record is not one that the programs write.
pub(super) fn event(head: EventHeader, record: &[u8]) -> Result<Event<'_>, DecodeError> {
    const HEAD: usize = size_of::<SnapshotHead>();
    at_least(record, HEAD)?;
    let f = Fields(record);
    let purpose = f.u32(offset_of!(SnapshotHead, purpose));
    let subject = Subject::of(
        purpose,
        f.u32(offset_of!(SnapshotHead, number)),
        f.u64(offset_of!(SnapshotHead, subject)),
        head.tgid,
        head.tid,
    );
    let announced = f.u32(offset_of!(SnapshotHead, bytes));
    let there = record.len() - HEAD;
    let segments = record.get(HEAD..HEAD.saturating_add(announced as usize));
    let at = |index: usize| f.u64(offset_of!(SnapshotHead, roots) + 8 * index);
    Ok(Event::RawSnapshot(RawSnapshot {
        pid: head.tgid,
        tid: head.tid,
        time: BootTime(head.time),
        subject: subject.ok_or(DecodeError::Tag(purpose))?,
        context: Some(f.u64(offset_of!(SnapshotHead, context))).filter(|context| *context != 0),
        root: f.u32(offset_of!(SnapshotHead, root)),
        cut: f.u32(offset_of!(SnapshotHead, cut)) & (cut::BYTES | cut::OBJECTS) != 0,
        roots: std::array::from_fn(at),
        segments: segments.ok_or(DecodeError::Payload { announced, there })?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::decode::{DecodeError, data};
    use super::SnapshotHead;
    use crate::model::event::Event;
    use crate::model::function::FunctionCall;
    use crate::model::snapshot::Subject;
    use crate::model::time::BootTime;

    fn record(purpose: u32, segments: &[u8]) -> Vec<u8> {
        let mut all: Vec<u8> = [21, 7, 8, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        all.extend(200_u64.to_ne_bytes());
        all.extend([purpose, 3].into_iter().flat_map(u32::to_ne_bytes));
        all.extend([100_u64, 0x70].into_iter().flat_map(u64::to_ne_bytes));
        let len = u32::try_from(segments.len()).unwrap();
        all.extend([6, 1, len, 2].into_iter().flat_map(u32::to_ne_bytes));
        all.extend((1..9_u64).flat_map(u64::to_ne_bytes));
        assert_eq!(all.len(), size_of::<SnapshotHead>());
        all.extend(segments);
        all
    }

    #[test]
    fn all_that_a_record_says() {
        let record = record(1, b"segments");
        let Ok(Event::RawSnapshot(raw)) = data(&record) else {
            panic!("{:?}", data(&record));
        };
        let call = FunctionCall {
            pid: 7,
            tid: 8,
            function: 3,
            began: BootTime(100),
        };
        assert_eq!(raw.subject, Subject::Call(call));
        assert_eq!((raw.pid, raw.tid, raw.root, raw.cut), (7, 8, 6, true));
        assert_eq!((raw.time, raw.context), (BootTime(200), Some(0x70)));
        assert_eq!(raw.roots, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(raw.segments, b"segments");
        for n in 0..record.len() {
            assert!(data(&record[..n]).is_err(), "{n}");
        }
    }

    #[test]
    fn whose_objects_they_are() {
        for (purpose, wanted) in [
            (
                2,
                Subject::Run {
                    hook: 3,
                    manager: 100,
                },
            ),
            (4, Subject::Span { hook: 3, id: 100 }),
            (5, Subject::Counts { hook: 3, of: 100 }),
            (
                3,
                Subject::Hook {
                    hook: 3,
                    first: 100,
                },
            ),
        ] {
            let record = record(purpose, b"");
            let Ok(Event::RawSnapshot(raw)) = data(&record) else {
                panic!("{:?}", data(&record));
            };
            assert_eq!(raw.subject, wanted);
            let (purpose_of, number, subject) = wanted.numbers();
            assert_eq!((purpose_of, number, subject), (purpose, 3, 100));
        }
        assert_eq!(data(&record(6, b"")), Err(DecodeError::Tag(6)));
    }
}
