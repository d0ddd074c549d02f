//! Coded bodies, sound or not, in any split: bounded, and the same bytes as all at once.
#![no_main]

use genspan::model::defect::Defects;
use genspan::protocol::body::{Decoder, MAX_CODINGS, MAX_DECODED_BYTES};
use libfuzzer_sys::fuzz_target;

const CODINGS: &[&str] = &["gzip", "deflate", "br", "zstd", "identity"];

fn decode(codings: &[&str], coded: &[u8], sizes: &[u8]) -> (Vec<u8>, Defects) {
    let mut decoder = Decoder::for_codings(codings.iter().copied());
    let mut got = Vec::new();
    let mut sizes = sizes.iter().cycle();
    let mut rest = coded;
    while !rest.is_empty() {
        let n = sizes.next().map_or(rest.len(), |n| usize::from(*n) + 1);
        let (piece, later) = rest.split_at(n.min(rest.len()));
        decoder.feed(piece, &mut |b| got.extend_from_slice(b));
        rest = later;
    }
    assert!(got.len() as u64 <= MAX_DECODED_BYTES);
    (got, decoder.finish(true))
}

fuzz_target!(|input: (u8, [u8; MAX_CODINGS], Vec<u8>, &[u8])| {
    let (n, which, sizes, coded) = input;
    let codings: Vec<&str> = which
        .iter()
        .take(1 + usize::from(n) % MAX_CODINGS)
        .map(|w| CODINGS[usize::from(*w) % CODINGS.len()])
        .collect();
    let (whole, defects) = decode(&codings, coded, &[]);
    let (split, split_defects) = decode(&codings, coded, &sizes);
    assert_eq!(defects, split_defects, "{codings:?}");
    if defects.is_none() {
        assert_eq!(whole, split, "{codings:?}");
    } else {
        // How much comes out before broken data is told may differ; what comes may not.
        let n = whole.len().min(split.len());
        assert_eq!(whole[..n], split[..n], "{codings:?}");
    }
});
