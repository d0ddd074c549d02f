//! Missing bytes, and connections whose start was not seen.

use super::*;

#[test]
fn a_gap_inside_a_frame_takes_no_more_than_it_is() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let answer = data(1, false, b"0123456789");
    let post = q.post("/a");
    let status = r.status("200", "text/plain");
    let talk = check(
        &[
            Q(headers(1, false, &post)),
            Q(data(1, false, b"abcdef")[..11].to_vec()),
            LostQ(4),
            Q(data(1, true, b"gh")),
            R(headers(1, false, &status)),
            R(answer[..12].to_vec()),
            SkipR(5),
            R([&answer[17..], &data(1, false, b"ab")[..]].concat()),
            // All of a frame's content, and the padding of another.
            R(data(1, false, b"xyz")[..9].to_vec()),
            LostR(3),
            R(frame(0, 8, 1, &[&[4][..], b"padded", &[0; 4]].concat())[..18].to_vec()),
            LostR(2),
            R(data(1, true, b"!")),
            Q(headers(3, true, &q.post("/a"))),
        ],
        "1 > POST /a h tid7
         1 >body ab
         1 >body <4>gh
         1 >end request_gap
         1 < 200
         1 <body 012
         1 <body <5>89ab
         1 <body <3>padded!
         1 <end response_gap,response_over_limit
         2 > POST /a h tid7
         2 >end",
    );
    assert_eq!(talk.http.counters().resyncs, 0);
    assert_eq!(talk.http.counters().malformed_frames, 0);
}

#[test]
fn a_gap_over_frames_is_searched_past() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let talk = check(
        &[
            Q(headers(1, true, &q.post("/a"))),
            Q(headers(3, true, &q.post("/b"))),
            R(headers(1, false, &r.status("200", "text/event-stream"))),
            R(data(1, false, b"data: 1\n\ndat")),
            LostR(100),
            // The middle of something.
            R(b"\0\0\x05 not a frame".to_vec()),
            R(data(1, false, b"a: 3\n\ndata: 4\n\n")),
            // The head of the other answer is new, so it is known.
            R(headers(
                3,
                false,
                &Encoder::default().status("200", "text/event-stream"),
            )),
            R([data(3, true, b"data: x\n\n"), data(1, true, b"")].concat()),
            Q(headers(5, true, &q.post("/c"))),
        ],
        "1 > POST /a h tid7
         1 >end
         2 > POST /b h tid7
         2 >end
         1 < 200
         1 <event |1|
         1 <event |4|
         2 < 200
         2 <event |x|
         2 <end response_gap
         1 <end response_gap
         3 > POST /c h tid7
         3 >end",
    );
    let counters = talk.http.counters();
    assert_eq!((counters.resyncs, counters.resync_bytes), (1, 15));
    assert_eq!(counters.unknown_heads, 0);
}

#[test]
fn streams_whose_end_was_missed_end() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let mut says = vec![
        Q(headers(1, false, &q.post("/a"))),
        Q(headers(3, true, &q.post("/b"))),
        R(headers(3, false, &r.status("200", "text/plain"))),
        LostQ(50),
        LostR(50),
        Q(headers(5, true, &Encoder::default().post("/c"))),
        R(headers(1, true, &[0x88])),
        Closed,
    ];
    let want = "1 > POST /a h tid7
         2 > POST /b h tid7
         2 >end
         2 < 200
         1 >body <50>
         2 <body <50>
         3 > POST /c h tid7
         3 >end
         1 < 200
         1 >end request_gap
         1 <end response_gap
         2 <end response_gap
         3 <end response_cut";
    check(&says, want);
    // Or when many newer ones came.
    says.pop();
    let mut talk = Talk::new(Http2::new(CONNECTION, Role::Client));
    talk.say(&Q(client_preface()));
    for say in &says {
        talk.say(say);
    }
    let mut q = Encoder::default();
    for n in 4..4 + 2 * PATIENCE {
        talk.say(&Q(headers(2 * n + 1, true, &q.post("/d"))));
        talk.say(&R(headers(2 * n + 1, true, &[0x88])));
    }
    let end = talk
        .sink
        .lines
        .iter()
        .position(|l| l == "2 <end response_gap");
    assert!(end.is_some_and(|at| at < talk.sink.lines.len() - 50));
}

/// A client whose library puts the path into the table (Python's, Go's): after the attach it is
/// unknown where it was sent before, and of such an exchange only the answer is told.
#[test]
fn attached_midway() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    q.post("/a");
    r.status("200", "text/event-stream");
    r.status("201", "text/event-stream");
    let mut talk = Talk::new(Http2::midway(CONNECTION, Role::Client));
    let known_answer = r.block(&[(":status", "200"), ("x-request-id", "new")]);
    let unknown_answer = r.block(&[(":status", "201"), ("content-type", "text/plain")]);
    for say in [
        R(data(7, false, b"data: half\n\n")),
        R(data(7, true, b"data: seen\n\n")),
        R(headers(5, true, &[0x88])),
        Q(headers(9, false, &q.post("/a"))),
        Q(data(9, true, b"body")),
        R(headers(9, false, &[0x88])),
        R(data(9, true, b"{\"a\":1}")),
        Q(headers(11, false, &q.post("/new"))),
        Q(data(11, true, b"body")),
        R(headers(11, false, &known_answer)),
        R(data(11, true, b"answer")),
        Q(headers(13, true, &q.post("/new"))),
        R(headers(13, true, &unknown_answer)),
        Q(headers(15, true, &q.post("/a"))),
    ] {
        talk.say(&say);
    }
    let want = "1 half-seen tid8
         1 <event |half|
         1 <event |seen|
         1 <end
         2 half-seen tid8
         2 < 200
         2 <end
         3 half-seen tid7
         3 < 200
         3 <body {\"a\":1}
         3 <end
         4 > POST /new - tid7
         4 >body body
         4 >end headers_unknown
         4 < 200
         4 <body answer
         4 <end
         5 > POST /new - tid7
         5 >end headers_unknown
         5 <end headers_unknown
         6 half-seen tid7";
    let talk = check_talk(talk, &[], want);
    let counters = talk.http.counters();
    assert_eq!(counters.unknown_heads, 2);
    assert_eq!(counters.half_seen, 4);
    assert_eq!(counters.exchanges, 2);
    assert_eq!(talk.http.open_streams(), 1);
}

#[test]
fn a_block_with_a_gap_in_it() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let first = headers(1, true, &q.post("/a"));
    let answer = headers(3, true, &r.status("200", "text/plain"));
    let talk = check(
        &[
            Q(first[..20].to_vec()),
            LostQ(first.len() as u64 - 20),
            Q(headers(3, true, &Encoder::default().post("/b"))),
            R(answer[..12].to_vec()),
            LostR(4),
            R(answer[16..].to_vec()),
            Q(headers(5, true, &[0x83, 0x84])),
            R(headers(5, true, &[0x88])),
        ],
        "1 > POST /b h tid7
         1 >end
         1 <end response_malformed
         2 > POST / - tid7
         2 >end
         2 < 200
         2 <end",
    );
    assert_eq!(talk.http.counters().resyncs, 0);
}

/// When a header is unknown, a body says itself what it is.
#[test]
fn bodies_of_unknown_kind() {
    // The newest entry of a table that was not seen.
    let unknown = |more: &[u8]| [&[0x88, 0xbe][..], more].concat();
    let coded = unknown(b"\x5a\x04gzip");
    for (block, body, want) in [
        (unknown(b""), "data: a\n\n", "<event |a|\n"),
        (unknown(b""), ":c\nevent: e\ndata: a\n\n", "<event e|a|c\n"),
        (unknown(b""), "{\"a\":1}", "<body {\"a\":1}\n"),
        (unknown(b""), " [1]", "<body  [1]\n"),
        (
            unknown(b"\x5f\x0atext/plain"),
            "data: a\n\n",
            "<body data: a\n\n\n",
        ),
        (unknown(b""), "\u{1f}binary", "!"),
        (unknown(b""), "da", "!"),
        (unknown(b""), "", ""),
        (coded, "not gzip", "!"),
    ] {
        for n in [1, 2, 100] {
            let mut q = Encoder::default();
            let mut talk = Talk::new(Http2::midway(CONNECTION, Role::Client));
            talk.say(&Q(headers(1, true, &q.post("/a"))));
            talk.say(&R(headers(1, false, &block)));
            for piece in data(1, true, body.as_bytes()).chunks(n) {
                talk.say(&R(piece.to_vec()));
            }
            let (told, broken) = match want {
                "!" => ("", "body_undecodable,"),
                told => (told, ""),
            };
            let told = told.replacen('<', "1 <", 1);
            let start = "1 > POST /a h tid7\n1 >end\n1 < 200\n";
            let want = format!("{start}{told}1 <end {broken}headers_unknown");
            assert_eq!(talk.sink.text(), want, "{body} in pieces of {n}");
        }
    }
}

#[test]
fn trailers_of_a_request_that_was_not_seen() {
    let mut q = Encoder::default();
    let mut talk = Talk::new(Http2::midway(CONNECTION, Role::Client));
    talk.say(&R(headers(7, false, &[0x88])));
    let talk = check_talk(
        talk,
        &[Q(headers(7, true, &q.post("/a"))), R(data(7, true, b"{}"))],
        "1 half-seen tid8
         1 < 200
         1 <body {}
         1 <end",
    );
    assert_eq!(talk.http.open_streams(), 0);
}
