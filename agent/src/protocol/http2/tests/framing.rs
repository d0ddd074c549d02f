//! Frames and blocks that break the rules, or are larger than is followed.

use super::*;

/// A broken direction is searched for its next frame; its table is unknown from then on.
#[track_caller]
fn broken_answer(broken: &[u8], frames: u64, heads: u64) {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let talk = check(
        &[
            Q(headers(1, true, &q.post("/a"))),
            R(broken.to_vec()),
            R(headers(1, false, &r.status("200", "text/event-stream"))),
            R(data(1, true, b"data: x\n\n")),
        ],
        match frames {
            0 => {
                "1 > POST /a h tid7
                 1 >end
                 1 < 200
                 1 <event |x|
                 1 <end"
            }
            _ => {
                "1 > POST /a h tid7
                 1 >end
                 1 < 200
                 1 <event |x|
                 1 <end response_malformed"
            }
        },
    );
    let counters = talk.http.counters();
    assert_eq!(counters.malformed_frames, frames, "{broken:x?}");
    assert_eq!(counters.resyncs, frames);
    assert_eq!(counters.malformed_heads, heads);
}

#[test]
fn what_is_no_frame() {
    for broken in [
        data(0, false, b"x"),
        headers(0, false, &[0x88]),
        frame(9, 4, 0, b""),
        frame(4, 0, 1, b""),
        frame(4, 0, 0, b"12345"),
        frame(6, 0, 0, b"123456789"),
        frame(3, 0, 1, b"123"),
        frame(8, 0, 1, b"12345"),
        frame(2, 0, 1, b"1234"),
        frame(7, 0, 0, b"1234567"),
        // Longer than the client takes.
        data(1, false, &[b'x'; 16385]),
        // Nothing but padding is said to be there, or less.
        frame(0, 8, 1, &[9, b'x']),
        frame(1, 8, 1, &[]),
        frame(1, 0x20 | 4, 1, &[0; 4]),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ] {
        broken_answer(&broken, 1, 0);
    }
}

#[test]
fn what_is_a_frame_but_says_nothing() {
    for odd in [
        // An extension, an unknown setting, padding without content.
        frame(0x10, 0xff, 7, b"whatever"),
        frame(4, 0, 0, &[0xff, 0xff, 0, 0, 0, 0]),
        frame(0, 8, 9, &[2, 0, 0]),
        frame(2, 0, 1, &[0; 5]),
        frame(8, 0, 0, &[0, 0, 1, 0]),
        frame(3, 0, 99, &[0; 4]),
        frame(7, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
    ] {
        broken_answer(&odd, 0, 0);
    }
    // Parts of blocks where none should be, and blocks of nothing that can be read.
    broken_answer(&frame(9, 4, 1, &[0x88]), 0, 1);
    broken_answer(
        &[frame(1, 0, 9, &[0x88]), data(9, false, b"")].concat(),
        0,
        1,
    );
    broken_answer(
        &[frame(1, 0, 9, &[]), frame(9, 4, 11, &[0x88])].concat(),
        0,
        1,
    );
    broken_answer(&headers(9, true, &[0x80]), 0, 1);
}

#[test]
fn the_largest_frame_is_what_the_receiver_says() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let large = [0, 5, 0, 1, 0, 0];
    let talk = check(
        &[
            Q(frame(4, 0, 0, &large)),
            // Two in one frame, the second of no allowed size.
            R(frame(4, 0, 0, &[&large[..], &[0, 5, 0, 0, 0, 1]].concat())),
            Q(headers(1, false, &q.post("/a"))),
            Q(data(1, true, &[b'q'; 1 << 16])),
            R(headers(1, false, &r.status("200", "text/plain"))),
            R(data(1, true, &[b'r'; 1 << 16])),
        ],
        &format!(
            "1 > POST /a h tid7\n1 >body {}\n1 >end\n1 < 200\n1 <body {}\n1 <end",
            "q".repeat(1 << 16),
            "r".repeat(1 << 16)
        ),
    );
    assert_eq!(talk.http.counters().malformed_frames, 0);
}

#[test]
fn blocks_and_lists_over_the_limit() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    // Continuations without an end: their bytes are not kept.
    let mut talk = Talk::new(Http2::new(CONNECTION, Role::Client));
    talk.say(&Q(client_preface()));
    talk.say(&Q(frame(1, 1, 1, &q.post("/a"))));
    for _ in 0..40 {
        talk.say(&Q(frame(9, 0, 1, &[0x82; 16384])));
        assert!(talk.http.buffered() <= MAX_BLOCK_BYTES);
    }
    talk.say(&Q(frame(9, 4, 1, &[0x82])));
    assert_eq!(talk.http.counters().oversized_heads, 1);
    // The table is unknown then, what is added afterwards is not.
    let mut q = Encoder::default();
    talk.say(&Q(headers(3, true, &q.post("/b"))));
    talk.say(&Q(headers(5, true, &q.post("/b"))));
    // A list that unfolds from few bytes: the fields up to the limit are kept, the table goes on.
    let long = "x".repeat(3000);
    let mut bomb = q.block(&[(":method", "POST"), (":path", "/c"), ("server", &long)]);
    bomb.extend([0xbe; 1000]);
    bomb.extend(q.block(&[("user-agent", "last")]));
    talk.say(&Q(headers(7, true, &bomb)));
    talk.say(&Q(headers(
        9,
        true,
        &q.block(&[(":method", "GET"), (":path", "/d"), ("user-agent", "last")]),
    )));
    let counters = talk.http.counters();
    assert_eq!(counters.oversized_heads, 2);
    assert_eq!(counters.unknown_fields, 0);
    talk.say(&R(frame(4, 0, 0, &[])));
    talk.say(&R(headers(9, true, &r.status("200", "a"))));
    assert_eq!(
        talk.sink.text(),
        "1 > POST /b h tid7\n1 >end\n2 > POST /b h tid7\n2 >end\n3 > POST /c - tid7\n3 >end\n\
         4 > GET /d - tid7\n4 >end\n4 < 200\n4 <end"
    );
}

#[test]
fn heads_that_say_too_little() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let talk = check(
        &[
            Q(headers(
                1,
                true,
                &q.block(&[(":method", "GET"), ("server", "x")]),
            )),
            Q(headers(3, true, &q.block(&[(":path", "/")]))),
            R(headers(1, true, &r.status("200", "a"))),
            Q(headers(5, true, &q.post("/a"))),
            R(headers(5, true, &r.block(&[("server", "x")]))),
            // Numbers do not go back, and a client's are odd.
            Q(headers(4, true, &q.post("/even"))),
            Q(headers(1, true, &q.post("/again"))),
        ],
        "1 > POST /a h tid7
         1 >end
         1 <end response_malformed",
    );
    assert_eq!(talk.http.counters().malformed_heads, 3);
}
