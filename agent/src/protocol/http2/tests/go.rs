//! The client of Go's standard library (`net/http` of Go 1.19): its own bytes.
//!
//! It puts everything into its header table, keys too, and asks for a window of a gigabyte first.

use super::*;

/// Preface, `SETTINGS` (no pushes, windows of 4 MiB, 10 MiB of headers), `WINDOW_UPDATE`.
const OPENING: &str = "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a000012040000000000000200000000000400\
    400000000600a0000000000408000000000040000000";

/// Heads of four POSTs to `/v1/chat/completions` with a key, each with a `content-length`: whole first,
/// then as little as the table leaves.
const HEADS: [&str; 4] = [
    "00005c010400000001418b089d5c0b8170dc644f883f83458e63b85824e34b043d35d05498f523875f8b\
    1d75d0620d263d4c7441ea5796ba51d85b14475592542560044cb4db8ebcf8e32485975c820b8050839b\
    d9ab7a8dc475a74a6b589418b525812e0f",
    "00000d010400000003c483c387c2c15c03313939c0bf",
    "000009010400000005c583c487c3c2c1c0bf",
    "000009010400000007c583c487c3c2bec0bf",
];

/// Whom they address.
const HOST: &str = "127.0.0.1:32921";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A request whose body is as long as its head says.
fn request(n: u32) -> Vec<u8> {
    let stream = 2 * n + 1;
    let length = if n.is_multiple_of(2) { 160 } else { 199 };
    let body = format!("{n:>length$}");
    let head = bytes(HEADS[n as usize]);
    [head, data(stream, true, body.as_bytes())].concat()
}

/// The first alone, then three at the same time, answered in another order.
fn conversation() -> Vec<(bool, Vec<u8>)> {
    let mut r = Encoder::default();
    let mut answer = |n: u32| {
        let stream = 2 * n + 1;
        let head = headers(stream, false, &r.status("200", "text/plain"));
        (false, [head, data(stream, true, b"of")].concat())
    };
    vec![
        (true, [bytes(OPENING), request(0)].concat()),
        (false, frame(4, 0, 0, &[])),
        (true, frame(4, 1, 0, &[])),
        answer(0),
        (true, [request(1), request(2), request(3)].concat()),
        answer(3),
        answer(1),
        answer(2),
    ]
}

fn told(pieces: usize) -> String {
    let mut talk = Talk::new(Http2::new(CONNECTION, Role::Server));
    for (asks, bytes) in conversation() {
        for piece in bytes.chunks(pieces) {
            let piece = piece.to_vec();
            talk.say(&if asks { Q(piece) } else { R(piece) });
        }
    }
    let text = talk.sink.text();
    let secret = format!("{:?}", talk.http);
    assert!(!secret.contains("sk-test") && !text.contains("sk-test"));
    text
}

#[test]
fn calls_at_the_same_time() {
    let whole = told(usize::MAX);
    let lines: Vec<&str> = whole.lines().collect();
    for id in 1..=4 {
        let of = |rest: &str| format!("{id} {rest}");
        let own = lines.iter().filter(|line| line.starts_with(&of("")));
        let own: Vec<&str> = own.copied().collect();
        let body = if id % 2 == 1 { 160 } else { 199 };
        let want = [
            of(&format!("> POST /v1/chat/completions {HOST} tid7")),
            of(&format!(">body {:>body$}", id - 1)),
            of(">end"),
            of("< 200"),
            of("<body of"),
            of("<end"),
        ];
        assert_eq!(own, want);
    }
    assert_eq!(lines.len(), 24);
    for pieces in [1, 2, 3, 7, 64, 163] {
        assert_eq!(told(pieces), whole, "{pieces}");
    }
}

/// Attached after the first request: its table is not known, and nothing is guessed.
#[test]
fn in_mid_connection() {
    let mut talk = Talk::new(Http2::midway(CONNECTION, Role::Server));
    for (asks, bytes) in conversation().into_iter().skip(4) {
        talk.say(&if asks { Q(bytes) } else { R(bytes) });
    }
    // Types of answers are in its table as well, so that their bodies are of no known kind.
    check_talk(
        talk,
        &[],
        "1 half-seen tid7
         2 half-seen tid7
         3 half-seen tid7
         3 < 200
         3 <end body_undecodable,headers_unknown
         1 < 200
         1 <end body_undecodable,headers_unknown
         2 < 200
         2 <end body_undecodable,headers_unknown",
    );
}
