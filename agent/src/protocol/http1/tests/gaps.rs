use super::*;

const OPEN: &str = "1 > GET /a h tid7\n1 >end\n1 < 200";
const NEXT: &str = "2 > GET /a h tid7\n2 >end\n2 < 200\n2 <body ok\n2 <end";
const LENGTH9: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";

/// A response with a gap, and a whole exchange after it.
#[track_caller]
fn check_response(responses: &[Say<'_>], want: &str) -> Talk {
    let conversation = [&[Q(GET)], responses, &[Q(GET), R(OK2), Closed]].concat();
    check(&conversation, &format!("{OPEN}\n{want}\n{NEXT}"))
}

#[test]
fn inside_a_body_of_known_length() {
    check_response(
        &[R(LENGTH9), R(b"abc"), LostR(3), R(b"ghi")],
        "1 <body abc
         1 <body <3>ghi
         1 <end response_gap",
    );
    check_response(
        &[R(LENGTH9), R(b"abc"), SkipR(6)],
        "1 <body abc
         1 <body <6>
         1 <end response_over_limit",
    );
}

#[test]
fn beyond_a_body_of_known_length() {
    // The next response's start is among the missing bytes, or at the next piece.
    check_response(
        &[R(LENGTH9), R(b"abc"), LostR(50)],
        "1 <body abc
         1 <body <6>
         1 <end response_gap",
    );
}

#[test]
fn inside_a_chunk() {
    check_response(
        &[R(CHUNKED), R(b"9\r\nabc"), LostR(3), R(b"ghi\r\n0\r\n\r\n")],
        "1 <body abc
         1 <body <3>ghi
         1 <end response_gap",
    );
}

#[test]
fn of_whole_chunks() {
    let talk = check_response(
        &[
            R(EVENTS),
            R(b"9\r\ndata: a\n\n\r\n"),
            LostR(14),
            R(b"9\r\ndata: c\n\n\r\n"),
            R(b"9\r\ndata: d\n\n\r\n"),
            R(b"0\r\n\r\n"),
        ],
        "1 <event |a|
         1 <doubtful
         1 <event |c|
         1 <event |d|
         1 <end response_gap",
    );
    assert_eq!(talk.http.counters().lost_framings, 1);
}

#[test]
fn tails_of_skipped_messages() {
    check_response(
        &[
            R(CHUNKED),
            R(b"5\r\n{\"a\":\r\n"),
            SkipR(100_000),
            R(b",\"usage\":1}\r\n0\r\n\r\n"),
        ],
        "1 <body {\"a\":
         1 <body <100000>,\"usage\":1}
         1 <end response_over_limit",
    );
    // The last chunk in a piece of its own.
    check_response(
        &[
            R(CHUNKED),
            R(b"5\r\n{\"a\":\r\n"),
            SkipR(100_000),
            R(b"}"),
            R(b"\r\n0\r\n\r\n"),
        ],
        "1 <body {\"a\":
         1 <body <100000>}
         1 <end response_over_limit",
    );
}

#[test]
fn lost_framing_ends_with_the_next_request() {
    check_response(
        &[R(CHUNKED), R(b"5\r\n{\"a\":\r\n"), LostR(9), R(b"rest")],
        "1 <body {\"a\":
         1 <body <9>
         1 <end response_gap",
    );
    check(
        &[Q(GET), R(CHUNKED), LostR(9), R(b"rest"), Closed],
        &format!("{OPEN}\n1 <body <9>\n1 <end response_gap"),
    );
    // The end was lost, which shows when the next response comes.
    check(
        &[
            Q(GET),
            R(CHUNKED),
            R(b"2\r\nhi\r\n"),
            Q(GET),
            LostR(5),
            R(OK2),
        ],
        "1 > GET /a h tid7
         1 >end
         1 < 200
         1 <body hi
         2 > GET /a h tid7
         2 >end
         1 <body <5>
         1 <end response_gap
         2 < 200
         2 <body ok
         2 <end",
    );
}

#[test]
fn in_a_body_up_to_the_end() {
    check(
        &[
            Q(GET),
            R(b"HTTP/1.0 200 OK\r\n\r\nab"),
            LostR(3),
            R(b"cd"),
            Eof,
        ],
        &format!("{OPEN}\n1 <body ab\n1 <body <3>cd\n1 <end response_gap"),
    );
}

#[test]
fn in_heads() {
    let talk = check(
        &[Q(b"GET /lost HT"), LostQ(30), R(OK2), Q(GET), R(OK2)],
        &NEXT.replace('2', "1").replace("100", "200"),
    );
    assert_eq!(talk.http.counters().unrequested, 1);
    check(
        &[
            Q(GET),
            R(b"HTTP/1.1 200 OK\r\nCont"),
            LostR(30),
            R(b"body"),
            Q(GET),
            R(OK2),
        ],
        &format!("1 > GET /a h tid7\n1 >end\n1 <end response_gap\n{NEXT}"),
    );
    // An interim response was lost, or the response, another request, and now comes its response.
    check(
        &[Q(GET), LostR(30), R(OK2), Q(GET), R(OK2)],
        &format!("1 > GET /a h tid7\n1 >end\n1 <end response_gap\n{NEXT}"),
    );
}

#[test]
fn of_requests() {
    check(
        &[
            Q(b"POST /p HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"),
            SkipQ(3),
            Q(b"ghi"),
            R(OK2),
        ],
        "1 > POST /p - tid7
         1 >body abc
         1 >body <3>ghi
         1 >end request_over_limit
         1 < 200
         1 <body ok
         1 <end",
    );
    // A chunked request whose end cannot be seen ends with the response's start.
    check(
        &[
            Q(b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            LostQ(3),
            Q(b"ghi"),
            R(OK2),
            Q(GET),
            R(OK2),
        ],
        &format!(
            "1 > POST /p - tid7
             1 >body abc
             1 >body <3>
             1 < 200
             1 >end request_gap
             1 <body ok
             1 <end
             {NEXT}"
        ),
    );
    // Or with the next request.
    check(
        &[
            Q(b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            LostQ(3),
            Q(GET),
            R(&[OK2, OK2].concat()),
        ],
        "1 > POST /p - tid7
         1 >body abc
         1 >body <3>
         1 >end request_gap
         2 > GET /a h tid7
         2 >end
         1 < 200
         1 <body ok
         1 <end
         2 < 200
         2 <body ok
         2 <end",
    );
}

#[test]
fn of_a_whole_exchange() {
    check(
        &[Q(GET), R(OK2), LostQ(40), LostR(40), Q(GET), R(OK2)],
        &format!("{OPEN}\n1 <body ok\n1 <end\n{NEXT}"),
    );
    // Its request alone: the response is nobody's.
    let talk = check(
        &[Q(GET), R(OK2), R(OK2), LostQ(40), Q(GET), R(OK2)],
        &format!("{OPEN}\n1 <body ok\n1 <end\n{NEXT}"),
    );
    assert_eq!(talk.http.counters().unrequested, 1);
    // Its response alone.
    check(
        &[Q(GET), LostR(40), Q(GET), R(OK2)],
        &format!("1 > GET /a h tid7\n1 >end\n1 <end response_gap\n{NEXT}"),
    );
}

/// That the response was lost shows only when the next one comes.
#[test]
fn of_responses_before_the_next_request() {
    let lost = "1 > GET /a h tid7\n1 >end\n2 > GET /a h tid7\n2 >end\n1 <end response_gap\n";
    let next = "2 < 200\n2 <body ok\n2 <end";
    check(
        &[Q(GET), Q(GET), LostR(40), R(OK2)],
        &format!("{lost}{next}"),
    );
    // And of the head of it something was seen.
    check(
        &[
            Q(GET),
            R(b"HTTP/1.1 200 OK\r\nCont"),
            Q(GET),
            LostR(40),
            R(OK2),
        ],
        &format!("{lost}{next}"),
    );
    // Of the next one too the start is missing: it is not to be had.
    check(
        &[Q(GET), Q(GET), LostR(40), R(b"{}"), Q(GET), R(OK2)],
        &format!(
            "{lost}2 <end response_gap
             3 > GET /a h tid7
             3 >end
             3 < 200
             3 <body ok
             3 <end"
        ),
    );
}

/// Bytes of both directions are missing before a request: its response is its own.
#[test]
fn of_exchanges_before_a_request() {
    check(
        &[Q(GET), R(OK2), LostQ(80), Q(GET), LostR(40), R(OK2)],
        &format!("{OPEN}\n1 <body ok\n1 <end\n{NEXT}"),
    );
    // The response that comes is that of a request of which only the end was seen.
    check(
        &[
            Q(GET),
            LostQ(80),
            Q(b"end"),
            LostR(40),
            R(OK2),
            Q(GET),
            R(OK2),
        ],
        &format!("1 > GET /a h tid7\n1 >end\n1 <end response_gap\n{NEXT}"),
    );
    // And so here, where the end of a body is missing too.
    check(
        &[
            Q(GET),
            R(CHUNKED),
            LostR(90),
            R(OK2),
            LostQ(40),
            Q(GET),
            R(OK2),
        ],
        &format!("{OPEN}\n1 <body <90>\n1 <end response_gap\n{NEXT}"),
    );
}

/// Which response is whose cannot be known any more.
#[test]
fn of_a_client_that_pipelines() {
    let whole = "1 < 200\n1 <body ok\n1 <end";
    check(
        &[
            Q(&[GET, GET, GET].concat()),
            R(OK2),
            LostR(40),
            R(OK2),
            Q(GET),
            R(OK2),
            Closed,
        ],
        &format!(
            "1 > GET /a h tid7\n1 >end\n2 > GET /a h tid7\n2 >end\n3 > GET /a h tid7\n3 >end
             {whole}
             2 <end response_gap
             3 <end response_gap
             4 > GET /a h tid7
             4 >end
             4 <end response_cut"
        ),
    );
}

/// A response whose end is missing, and after it nothing.
#[test]
fn a_silent_end() {
    let event = b"9\r\ndata: a\n\n\r\n";
    for (head, body, lost, silent) in [
        (EVENTS, &event[..], LostR(30), true),
        (EVENTS, event, SkipR(30), true),
        (LENGTH9, b"abc", LostR(3), true),
        (EVENTS, event, LostQ(30), false),
    ] {
        let mut talk = Talk::new(Role::Client);
        for say in [Q(GET), R(head), R(body), lost] {
            talk.say(say);
        }
        let at = |after: u64| BootTime(3 + STALE_AFTER + after);
        talk.http.tick(at(0), &mut talk.sink);
        assert_eq!(talk.http.open_exchanges(), 1);
        talk.http.tick(at(1), &mut talk.sink);
        assert_eq!(talk.http.open_exchanges(), usize::from(!silent));
        assert_eq!(talk.http.counters().stale, u64::from(silent));
        // What comes in spite of it is nobody's, and the next exchange is right.
        for say in [R(b"late"), Q(GET), R(OK2)] {
            talk.say(say);
        }
        assert!(talk.sink.text().ends_with(NEXT), "{}", talk.sink.text());
    }
}

#[test]
fn no_gap_is_too_large() {
    for gap in [LostQ(u64::MAX), LostR(u64::MAX), SkipR(u64::MAX)] {
        for start in [
            &[][..],
            &[Q(GET)],
            &[Q(GET), R(CHUNKED)],
            &[Q(GET), R(LENGTH9)],
            &[Q(
                b"POST /p HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
            )],
        ] {
            let mut talk = Talk::new(Role::Client);
            for say in start.iter().chain(&[gap, gap, Closed]) {
                talk.say(*say);
            }
            assert_eq!(talk.http.open_exchanges(), 0);
        }
    }
}
