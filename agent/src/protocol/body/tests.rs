use super::*;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use std::io::Write;

const TEXT: &str = "data: {\"id\":\"c-1\",\"choices\":[{\"delta\":{\"content\":\"Bl\"}}]}\n\n";

fn decode(coding: &str, pieces: &[&[u8]]) -> (Vec<u8>, Defects) {
    let mut decoder = Decoder::for_codings(coding.split(','));
    let mut got = Vec::new();
    for p in pieces {
        decoder.feed(p, &mut |b| got.extend_from_slice(b));
    }
    (got, decoder.finish(true))
}

/// All at once, byte by byte and in every two pieces.
fn check(coding: &str, coded: &[u8], want: &[u8]) {
    let want = (want.to_vec(), Defects::NONE);
    assert_eq!(decode(coding, &[coded]), want, "{coding} at once");
    let bytes: Vec<&[u8]> = coded.chunks(1).collect();
    assert_eq!(decode(coding, &bytes), want, "{coding} byte by byte");
    for at in 0..=coded.len() {
        let (a, b) = coded.split_at(at);
        assert_eq!(decode(coding, &[a, b]), want, "{coding} split at {at}");
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut w = GzEncoder::new(Vec::new(), Compression::default());
    w.write_all(data).unwrap();
    w.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut w = ZlibEncoder::new(Vec::new(), Compression::default());
    w.write_all(data).unwrap();
    w.finish().unwrap()
}

fn raw(data: &[u8]) -> Vec<u8> {
    let mut w = DeflateEncoder::new(Vec::new(), Compression::default());
    w.write_all(data).unwrap();
    w.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ::zstd::stream::encode_all(data, 3).unwrap()
}

/// Brotli data of stored blocks (RFC 7932, section 9.2), one per part, each flushed.
fn brotli_stored(parts: &[&[u8]]) -> Vec<u8> {
    let mut coded = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let len = part.len() as u32 - 1;
        // Not last, four nibbles of length, stored; before the first, a bit for a 64 KiB window.
        let bits = len << 3 | 1 << 19;
        let bits = if i == 0 { bits << 1 } else { bits };
        coded.extend_from_slice(&bits.to_le_bytes()[..3]);
        coded.extend_from_slice(part);
    }
    coded.push(3);
    coded
}

/// A text as a brotli encoder wrote it (quality 11, window 22).
const BROTLI_TEXT: &[u8] = b"Hello hello hello hello hello hello hello hello!";
const BROTLI_CODED: &[u8] = &[
    27, 47, 0, 248, 141, 212, 78, 119, 115, 71, 149, 108, 72, 111, 13, 18, 82, 134, 166, 20, 177,
    39, 14, 88, 138, 153,
];

#[test]
fn every_coding_in_any_split() {
    let text = TEXT.repeat(3);
    let text = text.as_bytes();
    check("identity", text, text);
    check("", text, text);
    check("gzip", &gzip(text), text);
    check("x-gzip", &gzip(text), text);
    check("GZIP", &gzip(text), text);
    check("deflate", &zlib(text), text);
    check("deflate", &raw(text), text);
    check("br", &brotli_stored(&[text, text]), &[text, text].concat());
    check("br", BROTLI_CODED, BROTLI_TEXT);
    check("zstd", &zstd(text), text);
    check("gzip, zstd", &zstd(&gzip(text)), text);
    check("deflate,identity,gzip", &gzip(&zlib(text)), text);
    for coding in ["gzip", "deflate", "br", "zstd"] {
        check(coding, b"", b"");
    }
}

#[test]
fn several_members_and_padding() {
    let (a, b) = (gzip(b"one "), gzip(b"two"));
    check("gzip", &[&a[..], &b[..]].concat(), b"one two");
    check("gzip", &[&a[..], &[0; 9]].concat(), b"one ");
    check("zstd", &[zstd(b"one "), zstd(b"two")].concat(), b"one two");
}

#[test]
fn gzip_header_with_everything() {
    let plain = gzip(TEXT.as_bytes());
    let mut coded = vec![0x1f, 0x8b, 8, FLAGS, 0, 0, 0, 0, 0, 0xff];
    const FLAGS: u8 = 0b0001_1110;
    coded.extend_from_slice(&[3, 0, 1, 2, 3]);
    coded.extend_from_slice(b"name\0comment\0");
    coded.extend_from_slice(&[9, 9]);
    coded.extend_from_slice(&plain[10..]);
    check("gzip", &coded, TEXT.as_bytes());
}

#[test]
fn flushed_parts_come_at_once() {
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    let mut zl = ZlibEncoder::new(Vec::new(), Compression::default());
    let mut zs = ::zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    let br: Vec<&[u8]> = vec![TEXT.as_bytes(); 20];
    let br = brotli_stored(&br);
    let mut decoders =
        ["gzip", "deflate", "zstd", "br"].map(|c| Decoder::for_codings([c].into_iter()));
    for i in 0..20 {
        gz.write_all(TEXT.as_bytes()).unwrap();
        gz.flush().unwrap();
        zl.write_all(TEXT.as_bytes()).unwrap();
        zl.flush().unwrap();
        zs.write_all(TEXT.as_bytes()).unwrap();
        zs.flush().unwrap();
        let step = TEXT.len() + 3;
        let parts = [
            std::mem::take(gz.get_mut()),
            std::mem::take(zl.get_mut()),
            std::mem::take(zs.get_mut()),
            br[i * step..(i + 1) * step].to_vec(),
        ];
        for (decoder, part) in decoders.iter_mut().zip(&parts) {
            let mut got = Vec::new();
            decoder.feed(part, &mut |b| got.extend_from_slice(b));
            assert_eq!(got, TEXT.as_bytes(), "part {i}");
        }
    }
}

#[test]
fn cut_and_broken_bodies_keep_what_was_decoded() {
    let text = TEXT.repeat(500);
    for (coding, coded) in [
        ("gzip", gzip(text.as_bytes())),
        ("deflate", zlib(text.as_bytes())),
        ("deflate", raw(text.as_bytes())),
        ("zstd", zstd(text.as_bytes())),
        ("br", brotli_stored(&[text.as_bytes(), text.as_bytes()])),
    ] {
        let (got, defects) = decode(coding, &[&coded[..coded.len() - 5]]);
        assert!(defects.has(Defects::BODY_UNDECODABLE), "{coding}");
        assert!(text.repeat(2).as_bytes().starts_with(&got), "{coding}");
        let (got, defects) = decode(coding, &[&coded, b"more"]);
        assert!(defects.has(Defects::BODY_UNDECODABLE), "{coding}");
        assert!(got.starts_with(text.as_bytes()), "{coding}");
        let (got, defects) = decode(coding, &[b"\xff\xfethis is not it"]);
        assert!(defects.has(Defects::BODY_UNDECODABLE), "{coding}");
        assert!(got.len() < 20, "{coding}");
    }
}

#[test]
fn unknown_codings() {
    for coding in ["snappy", "gzip,snappy", "gzip,gzip,gzip,gzip,gzip"] {
        let (got, defects) = decode(coding, &[b"x"]);
        assert_eq!(
            (got.as_slice(), defects),
            (&[][..], Defects::BODY_UNDECODABLE)
        );
        assert_eq!(decode(coding, &[]).1, Defects::NONE);
    }
}

#[test]
fn bombs_are_left_alone() {
    let zeros = vec![0; MAX_DECODED_BYTES as usize + 1];
    for (coding, coded) in [
        ("gzip", gzip(&zeros)),
        ("deflate", raw(&zeros)),
        ("zstd", zstd(&zeros)),
        ("gzip,gzip", gzip(&gzip(&zeros))),
    ] {
        let mut decoder = Decoder::for_codings(coding.split(','));
        let mut got = 0;
        decoder.feed(&coded, &mut |b| got += b.len() as u64);
        decoder.feed(&coded, &mut |b| got += b.len() as u64);
        assert_eq!(decoder.finish(true), Defects::BODY_TOO_EXPANSIVE);
        assert!(got <= MAX_DECODED_BYTES, "{coding}");
    }
}

#[test]
fn a_gap_ends_a_coded_body_only() {
    let coded = gzip(TEXT.as_bytes());
    let mut got = Vec::new();
    let mut decoder = Decoder::for_codings(["gzip"].into_iter());
    decoder.feed(&coded[..20], &mut |b| got.extend_from_slice(b));
    decoder.gap();
    let seen = got.len();
    decoder.feed(&coded[20..], &mut |b| got.extend_from_slice(b));
    assert_eq!(got.len(), seen);
    assert_eq!(decoder.finish(true), Defects::BODY_UNDECODABLE);

    let mut decoder = Decoder::for_codings(std::iter::empty());
    assert!(decoder.is_identity());
    decoder.gap();
    decoder.feed(b"x", &mut |b| got.extend_from_slice(b));
    assert_eq!(got.len(), seen + 1);
    assert_eq!(decoder.finish(true), Defects::NONE);
}
