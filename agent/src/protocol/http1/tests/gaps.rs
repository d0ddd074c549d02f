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
         1 <body <9>rest
         1 <end response_gap",
    );
    check(
        &[Q(GET), R(CHUNKED), LostR(9), R(b"rest"), Closed],
        &format!("{OPEN}\n1 <body <9>rest\n1 <end response_gap"),
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
    // The interim response was lost, or something else that did no harm.
    check(
        &[Q(GET), LostR(30), R(OK2)],
        "1 > GET /a h tid7
         1 >end
         1 < 200
         1 <body ok
         1 <end response_gap",
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
             1 >body <3>ghi
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
