//! Bodies that come as events other than SSE, in any split: the same events as all at once.
#![no_main]

use genspan::model::defect::Defects;
use genspan::model::exchange::SseEvent;
use genspan::protocol::aws_frames::AwsFrames;
use genspan::protocol::json_array::JsonArray;
use genspan::protocol::lines::JsonLines;
use libfuzzer_sys::fuzz_target;

type Event = (String, Vec<u8>, String);

fn owned(e: SseEvent<'_>) -> Event {
    (e.event.to_owned(), e.data.to_vec(), e.comment.to_owned())
}

/// What comes of a body in pieces of this many bytes, with a gap before one of them.
fn cut(kind: u8, body: &[u8], step: usize, gap: Option<usize>) -> (Vec<Event>, Defects) {
    let mut got = Vec::new();
    let mut out = |e: SseEvent<'_>| got.push(owned(e));
    let (mut lines, mut array, mut frames) = (JsonLines::new(), JsonArray::new(), AwsFrames::new());
    for (at, piece) in body.chunks(step).enumerate() {
        let lost = gap == Some(at);
        match kind % 3 {
            0 => {
                if lost {
                    lines.gap();
                }
                lines.feed(piece, &mut out);
                assert!(lines.buffered() <= body.len());
            }
            1 => {
                if lost {
                    array.gap();
                }
                array.feed(piece, &mut out);
                assert!(array.buffered() <= body.len());
            }
            _ => {
                if lost {
                    frames.gap();
                }
                frames.feed(piece, &mut out);
                assert!(frames.buffered() <= body.len());
            }
        }
    }
    lines.finish(true, &mut out);
    frames.finish(true);
    (
        got,
        lines.defects().with(array.defects()).with(frames.defects()),
    )
}

fuzz_target!(|input: (u8, u8, u8, &[u8])| {
    let (kind, step, gap, body) = input;
    let whole = cut(kind, body, usize::MAX, None);
    assert_eq!(cut(kind, body, 1, None), whole);
    let step = usize::from(step).max(1);
    assert_eq!(cut(kind, body, step, None), whole);
    cut(kind, body, step, Some(usize::from(gap)));
});
