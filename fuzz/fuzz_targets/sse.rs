//! An event stream in any split gives the events that it gives all at once.
#![no_main]

use genspan::model::exchange::SseEvent;
use genspan::protocol::sse::SseParser;
use libfuzzer_sys::fuzz_target;

type Event = (String, Vec<u8>, String);

fn owned(e: SseEvent<'_>) -> Event {
    (e.event.to_owned(), e.data.to_vec(), e.comment.to_owned())
}

/// The events of `stream`, fed in pieces whose lengths `sizes` give in turn; with a gap after
/// `before_gap` bytes, if at all.
fn events(stream: &[u8], sizes: &[u8], before_gap: Option<usize>) -> Vec<Event> {
    let mut parser = SseParser::new();
    let mut got = Vec::new();
    let mut out = |e: SseEvent<'_>| got.push(owned(e));
    let (a, b) = stream.split_at(before_gap.unwrap_or(0).min(stream.len()));
    let mut sizes = sizes.iter().cycle();
    let mut feed = |mut rest: &[u8], parser: &mut SseParser| {
        while !rest.is_empty() {
            let n = sizes.next().map_or(rest.len(), |n| usize::from(*n) + 1);
            let (piece, later) = rest.split_at(n.min(rest.len()));
            parser.feed(piece, &mut out);
            assert!(parser.buffered() <= stream.len());
            rest = later;
        }
    };
    feed(a, &mut parser);
    if before_gap.is_some() {
        parser.gap();
    }
    feed(b, &mut parser);
    parser.finish(true, &mut out);
    got
}

fuzz_target!(|input: (Vec<u8>, Option<u16>, &[u8])| {
    let (sizes, gap, stream) = input;
    let gap = gap.map(usize::from);
    let whole = events(stream, &[], gap);
    assert_eq!(whole, events(stream, &sizes, gap));
    assert_eq!(whole, events(stream, &[0], gap));
});
