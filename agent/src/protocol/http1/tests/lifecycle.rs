use super::*;

const FIRST: &str = "1 > GET /a h tid7\n1 >end\n1 < 200\n1 <body ok\n1 <end";

#[test]
fn attached_in_the_middle_of_a_response() {
    for leftover in [
        &b"\"}}]}\n\n"[..],
        b"{\"id\":1}",
        b"\r\n0\r\n\r\n",
        b"\x1f\x8b",
    ] {
        let talk = check(&[R(leftover), R(b"more"), Q(GET), R(OK2)], FIRST);
        assert_eq!(talk.http.counters().half_seen, 1);
        assert_eq!(talk.http.counters().unrequested, 0);
        assert_eq!(talk.http.verdict(), Verdict::Http1);
    }
}

/// What can be read of a half-seen response is told.
#[test]
fn half_seen_exchanges() {
    let next = FIRST.replace("1 ", "2 ");
    let middle = "1 <event |a|\n1 <event |b|\n1 <end attached_midway";
    for (seen, told) in [
        // All of the response.
        (&[R(OK2)][..], "1 < 200\n1 <body ok\n1 <end attached_midway"),
        // At the start of a chunk, of an event, and of what only a later piece is the start.
        (
            &[R(b"9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n")],
            middle,
        ),
        (
            &[
                R(b"\r\n9\r\ndata: a\n\n\r\n"),
                R(b"9\r\ndata: b\n\n\r\n0\r\n\r\n"),
            ],
            middle,
        ),
        (
            &[
                R(b"data: a\n\n"),
                R(b"\r\n"),
                R(b"9\r\ndata: b\n\n\r\n0\r\n\r\n"),
            ],
            middle,
        ),
        (&[R(b"data: a\n\ndata: b\n\n")], middle),
        (
            &[
                R(b"of an event\n\n\r\n"),
                R(b"12\r\ndata: a\n\ndata: b\n\n\r\n"),
            ],
            middle,
        ),
        // The end of a request before it.
        (
            &[Q(b"\"}]}"), R(OK2)],
            "1 < 200\n1 <body ok\n1 <end attached_midway",
        ),
        // It is over when the next request begins.
        (
            &[R(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")],
            "1 < 200\n1 <body abc\n1 <end attached_midway",
        ),
        (&[R(b"HTTP/1.1 200 OK\r\nCont")], "1 <end attached_midway"),
    ] {
        let conversation = [seen, &[Q(GET), R(OK2)]].concat();
        let talk = check(&conversation, &format!("1 half-seen tid8\n{told}\n{next}"));
        let counters = talk.http.counters();
        assert_eq!((counters.half_seen, counters.unrequested), (1, 0));
    }
}

/// However the pieces lie after the first one's start.
#[test]
fn any_split_of_a_half_seen_response_tells_the_same() {
    for leftover in [
        &b"\r\n9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n"[..],
        b"data: a\n\ndata: b\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let told = |pieces: &[&[u8]]| {
            let mut talk = Talk::new(Role::Client);
            for piece in pieces {
                talk.say(R(piece));
            }
            talk.say(Q(GET));
            talk.say(R(OK2));
            talk.sink.text()
        };
        let want = told(&[leftover]);
        assert!(want.starts_with("1 half-seen"), "{want}");
        for at in 0..leftover.len() {
            let (a, b) = leftover.split_at(at);
            assert_eq!(told(&[a, b]), want, "split at {at}");
        }
        for n in 1..8 {
            assert_eq!(told(&leftover.chunks(n).collect::<Vec<_>>()), want, "{n}");
        }
    }
}

/// Bytes were missed: then a response without a request is no sign of a late attach.
#[test]
fn after_a_gap_nothing_is_half_seen() {
    for gap in [LostQ(9), LostR(9)] {
        check(&[gap, R(OK2), Q(GET), R(OK2)], FIRST);
    }
}

#[test]
fn attached_in_the_middle_of_a_request() {
    let talk = check(&[Q(b"ontent\":\"x\"}"), R(b"{}"), Q(GET), R(OK2)], FIRST);
    assert_eq!(talk.http.counters().half_seen, 1);
    // A request line in the middle of a piece is not believed.
    check(
        &[Q(b"x\r\nGET / HTTP/1.1\r\n\r\n"), R(b"{}"), Q(GET), R(OK2)],
        FIRST,
    );
}

#[test]
fn leftovers_after_the_first_request() {
    let talk = check(
        &[Q(GET), R(b"data: old\n\n"), R(b"0\r\n\r\n"), R(OK2)],
        FIRST,
    );
    assert_eq!(talk.http.counters().resyncs, 1);
}

#[test]
fn responses_that_nobody_asked_for() {
    let talk = check(
        &[
            Q(GET),
            R(OK2),
            R(b"HTTP/1.1 408 Timeout\r\n\r\n"),
            R(b"x"),
            Closed,
        ],
        FIRST,
    );
    assert_eq!(talk.http.counters().unrequested, 1);
}

#[test]
fn closed_at_any_moment() {
    let request = "1 > POST /p - tid7";
    for (conversation, want) in [
        (&[Q(&POST5[..10])][..], String::new()),
        (
            &[Q(&POST5[..POST5.len() - 1])],
            format!("{request}\n1 >body hell\n1 >end request_cut\n1 <end response_cut"),
        ),
        (
            &[Q(POST5)],
            format!("{request}\n1 >body hello\n1 >end\n1 <end response_cut"),
        ),
        (
            &[Q(POST5), R(&OK2[..20])],
            format!("{request}\n1 >body hello\n1 >end\n1 <end response_cut"),
        ),
        (
            &[Q(POST5), R(&OK2[..OK2.len() - 1])],
            format!("{request}\n1 >body hello\n1 >end\n1 < 200\n1 <body o\n1 <end response_cut"),
        ),
    ] {
        let conversation = |end| [conversation, &[end, Closed, Closed]].concat();
        check(&conversation(Closed), &want);
        // Then it was the server.
        let want = want.replace("response_cut", "response_cut,server_ended");
        check(&conversation(Eof), &want);
    }
}

#[test]
fn a_cut_stream_keeps_its_whole_lines() {
    check(
        &[Q(GET), R(EVENTS), R(b"20\r\ndata: a\n\ndata: {\"x"), Closed],
        "1 > GET /a h tid7
         1 >end
         1 < 200
         1 <event |a|
         1 <end response_cut",
    );
}

#[test]
fn unwanted_exchanges_are_followed_in_silence() {
    let sink = || Recorder {
        unwanted_path: Some("/p"),
        unwanted_status: Some(404),
        ..Recorder::default()
    };
    let talk = check_with(
        sink(),
        &[
            Q(POST5),
            R(OK2),
            Q(GET),
            R(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"),
            Q(GET),
            R(OK2),
            Q(POST5),
            Closed,
        ],
        "1 > POST /p - tid7
         2 > GET /a h tid7
         2 >end
         2 < 404
         3 > GET /a h tid7
         3 >end
         3 < 200
         3 <body ok
         3 <end
         4 > POST /p - tid7",
    );
    assert_eq!(talk.http.counters().exchanges, 4);
    assert_eq!(talk.http.counters().wanted, 2);
}

#[test]
fn upgrades_and_tunnels() {
    let talk = check(
        &[
            Q(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
            R(b"HTTP/1.1 101 Switching\r\n\r\n\x81\x01a"),
            Q(GET),
            R(OK2),
            Closed,
        ],
        "1 > GET /ws - tid7
         1 >end
         1 < 101
         1 <end",
    );
    assert_eq!(talk.http.verdict(), Verdict::Switched);
    assert!(talk.http.counters().unfollowed_bytes > 0);
    let talk = check(
        &[
            Q(b"CONNECT h:443 HTTP/1.1\r\n\r\n"),
            R(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"),
            Q(b"CONNECT h:443 HTTP/1.1\r\n\r\n"),
            R(b"HTTP/1.1 200 OK\r\n\r\n"),
            Q(GET),
        ],
        "1 > CONNECT  h:443 tid7
         1 >end
         1 < 407
         1 <end
         2 > CONNECT  h:443 tid7
         2 >end
         2 < 200
         2 <end",
    );
    assert_eq!(talk.http.verdict(), Verdict::Switched);
}

#[test]
fn http2_is_told_by_its_preface() {
    let whole = [detect::HTTP2_PREFACE, b"\0\0\0"].concat();
    for at in 0..whole.len() - 3 {
        let mut talk = Talk::new(Role::Client);
        talk.say(Q(&whole[..at]));
        assert_eq!(talk.http.verdict(), Verdict::Undecided);
        talk.say(Q(&whole[at..]));
        assert_eq!(talk.http.verdict(), Verdict::Http2);
        assert_eq!(talk.http.first_bytes(), whole);
        talk.say(Q(GET));
        assert_eq!(talk.sink.text(), "");
    }
}

#[test]
fn other_protocols_are_told_soon() {
    let mut talk = Talk::new(Role::Client);
    for _ in 0..MAX_FAILED_TURNS {
        assert_eq!(talk.http.verdict(), Verdict::Undecided);
        talk.say(Q(b"\x00\x00\x00\x05query"));
        talk.say(R(b"\x01\x02rows"));
    }
    assert_eq!(talk.http.verdict(), Verdict::NotHttp);
    // No exchange of it was missed.
    assert_eq!(talk.http.counters().half_seen, 0);

    let mut talk = Talk::new(Role::Client);
    let mut n = 0;
    while talk.http.verdict() == Verdict::Undecided {
        talk.say(Q(&[b'x'; 1 << 20]));
        n += 1;
    }
    assert_eq!(n, (MAX_UNSYNCED_BYTES >> 20) + 1);
}

#[test]
fn too_many_requests_at_once() {
    let mut talk = Talk::new(Role::Client);
    for _ in 0..=MAX_OPEN_EXCHANGES {
        talk.say(Q(GET));
        assert!(talk.http.open_exchanges() <= MAX_OPEN_EXCHANGES);
    }
    assert_eq!(talk.http.open_exchanges(), 0);
    assert_eq!(talk.http.verdict(), Verdict::NotHttp);
    assert_eq!(talk.http.counters().overflowed, MAX_OPEN_EXCHANGES as u64);
    let ends = talk.sink.text().matches("<end response_cut").count();
    assert_eq!(ends, MAX_OPEN_EXCHANGES);
}

#[test]
fn the_server_side() {
    let mut talk = Talk::new(Role::Server);
    for say in [
        Q(GET),
        R(OK2),
        Q(GET),
        R(b"HTTP/1.0 200 OK\r\n\r\nok"),
        Eof,
        Closed,
    ] {
        talk.say(say);
    }
    assert_eq!(
        talk.sink.text(),
        format!("{FIRST}\n{}", FIRST.replace("1 ", "2 "))
    );
}

#[test]
fn debug_shows_no_bytes() {
    let mut talk = Talk::new(Role::Client);
    talk.say(Q(b"GET /s3cret HTTP/1.1\r\nAuthorization: s3cret"));
    assert!(!format!("{:?}", talk.http).contains("s3cret"));
}
