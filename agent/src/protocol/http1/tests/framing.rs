use super::*;

#[test]
fn keep_alive() {
    let talk = check(
        &[Q(GET), R(OK2), Q(POST5), R(OK2), Closed],
        "1 > GET /a h tid7
         1 >end
         1 < 200
         1 <body ok
         1 <end
         2 > POST /p - tid7
         2 >body hello
         2 >end
         2 < 200
         2 <body ok
         2 <end",
    );
    assert_eq!(talk.http.verdict(), Verdict::Http1);
    let want = Counters {
        exchanges: 2,
        wanted: 2,
        ..Counters::default()
    };
    assert_eq!(talk.http.counters(), want);
}

#[test]
fn pipelining() {
    check(
        &[Q(&[GET, POST5, GET].concat()), R(&[OK2, OK2, OK2].concat())],
        "1 > GET /a h tid7
         1 >end
         2 > POST /p - tid7
         2 >body hello
         2 >end
         3 > GET /a h tid7
         3 >end
         1 < 200
         1 <body ok
         1 <end
         2 < 200
         2 <body ok
         2 <end
         3 < 200
         3 <body ok
         3 <end",
    );
}

#[test]
fn chunked_both_ways() {
    check(
        &[
            Q(b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n"),
            Q(b"3;x=y\r\nabc\r\n"),
            Q(b"0\r\nTrailer: v\r\n\r\n"),
            R(CHUNKED),
            R(b"2\r\nok\r\n0\r\n\r\n"),
        ],
        "1 > POST /p - tid7
         1 >body abc
         1 >end
         1 < 200
         1 <body ok
         1 <end",
    );
}

#[test]
fn responses_without_a_body() {
    for (q, r) in [
        ("HEAD", "200 OK\r\nContent-Length: 50"),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked"),
        ("GET", "204 No Content"),
        ("GET", "304 Not Modified\r\nContent-Length: 50"),
        ("GET", "200 OK\r\nContent-Length: 0"),
        ("GET", "200 OK\r\nContent-Length: 0, 0"),
    ] {
        let status = &r[..3];
        check(
            &[
                Q(format!("{q} / HTTP/1.1\r\n\r\n").as_bytes()),
                R(format!("HTTP/1.1 {r}\r\n\r\n").as_bytes()),
                Q(GET),
                R(OK2),
            ],
            &format!(
                "1 > {q} / - tid7
                 1 >end
                 1 < {status}
                 1 <end
                 2 > GET /a h tid7
                 2 >end
                 2 < 200
                 2 <body ok
                 2 <end"
            ),
        );
    }
}

#[test]
fn bodies_up_to_the_end_of_the_connection() {
    let open = "1 > GET /a h tid7
                1 >end
                1 < 200
                1 <body some more";
    for head in [
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
    ] {
        let conversation = [Q(GET), R(head.as_bytes()), R(b"some "), R(b"more")];
        let ended = [&conversation[..], &[Eof, Closed]].concat();
        check(&ended, &format!("{open}\n1 <end"));
        let cut = [&conversation[..], &[Closed]].concat();
        check(&cut, &format!("{open}\n1 <end response_cut"));
    }
}

#[test]
fn interim_responses() {
    check(
        &[
            Q(b"POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
            R(b"HTTP/1.1 100 Continue\r\n\r\n"),
            Q(b"hi"),
            R(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
            R(OK2),
        ],
        "1 > POST /p - tid7
         1 >body hi
         1 >end
         1 < 200
         1 <body ok
         1 <end",
    );
}

#[test]
fn refused_expectation() {
    check(
        &[
            Q(b"POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n"),
            R(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"),
            Q(GET),
            R(OK2),
        ],
        "1 > POST /p - tid7
         1 < 417
         1 >end request_cut
         1 <end
         2 > GET /a h tid7
         2 >end
         2 < 200
         2 <body ok
         2 <end",
    );
}

#[test]
fn early_responses_wait_for_their_request() {
    let mut talk = Talk::new(Role::Client);
    talk.sink.times = true;
    for say in [
        Q(b"POST /p HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"),
        R(OK2),
        Q(b"cd"),
        Q(GET),
        R(OK2),
    ] {
        talk.say(say);
    }
    let want = [
        "1@1 > POST /p - tid7",
        "1 >body ab",
        "1@2 < 200",
        "1 <body ok",
        "1 >body cd",
        "1@3 >end",
        "1@2 <end",
        "2@4 > GET /a h tid7",
        "2@4 >end",
        "2@5 < 200",
        "2 <body ok",
        "2@5 <end",
    ];
    assert_eq!(talk.sink.text(), want.join("\n"));
}

#[test]
fn event_streams() {
    check(
        &[
            Q(GET),
            R(EVENTS),
            R(b"9\r\ndata: a\n\n\r\n"),
            R(b"10\r\n:s\nevent: e\ndata\r\n5\r\n: b\n\n\r\n0\r\n\r\n"),
        ],
        "1 > GET /a h tid7
         1 >end
         1 < 200
         1 <event |a|
         1 <event e|b|s
         1 <end",
    );
}

#[test]
fn tolerated_forms() {
    check(
        &[
            Q(b"\r\n\r\nGET  /a HTTP/1.1\nHost: h\nX: a\n folded\n\n"),
            R(b"\r\nHTTP/1.1 200\nContent-Length: 2\n\nok"),
            Q(b"GET http://u:p@abs:1/x HTTP/1.1\r\nHost: h\r\n\r\n"),
            R(OK2),
        ],
        "1 > GET /a h tid7
         1 >end
         1 < 200
         1 <body ok
         1 <end
         2 > GET /x abs:1 tid7
         2 >end
         2 < 200
         2 <body ok
         2 <end",
    );
}

#[test]
fn malformed_lengths() {
    for length in [
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Content-Length: 1\r\nContent-Length: 2",
    ] {
        let q = format!("POST /p HTTP/1.1\r\n{length}\r\n\r\nbody");
        let r = format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\nbody");
        let talk = check(
            &[
                Q(q.as_bytes()),
                R(OK2),
                Q(GET),
                R(r.as_bytes()),
                Q(GET),
                R(OK2),
            ],
            "1 > POST /p - tid7
             1 >end request_malformed
             1 < 200
             1 <body ok
             1 <end
             2 > GET /a h tid7
             2 >end
             2 < 200
             2 <end response_malformed
             3 > GET /a h tid7
             3 >end
             3 < 200
             3 <body ok
             3 <end",
        );
        assert_eq!(talk.http.counters().malformed_heads, 2);
    }
}

#[test]
fn malformed_chunks() {
    for size in ["1ffffffffffffffff", "-5", "zz"] {
        let r = [CHUNKED, b"2\r\nok\r\n", size.as_bytes(), b"\r\nabc"].concat();
        let talk = check(
            &[Q(GET), R(&r), Q(GET), R(OK2)],
            "1 > GET /a h tid7
             1 >end
             1 < 200
             1 <body ok
             1 <end response_malformed
             2 > GET /a h tid7
             2 >end
             2 < 200
             2 <body ok
             2 <end",
        );
        assert_eq!(talk.http.counters().malformed_bodies, 1);
    }
}

#[test]
fn endless_heads() {
    let line = b"X-Filler: 0123456789012345678901234567890123456789\r\n".repeat(100);
    let mut talk = Talk::new(Role::Client);
    talk.say(Q(b"GET /endless HTTP/1.1\r\n"));
    for _ in 0..200 {
        talk.say(Q(&line));
        assert!(talk.http.buffered() <= MAX_HEAD_BYTES);
    }
    assert_eq!(talk.http.counters().malformed_heads, 1);
    talk.say(R(OK2));
    talk.say(Q(GET));
    talk.say(R(b"HTTP/1.1 200 OK\r\n"));
    for _ in 0..200 {
        talk.say(R(&line));
    }
    talk.say(Q(GET));
    talk.say(R(OK2));
    assert_eq!(
        talk.sink.text(),
        "1 > GET /a h tid7\n1 >end\n1 <end response_malformed\n\
         2 > GET /a h tid7\n2 >end\n2 < 200\n2 <body ok\n2 <end"
    );
}

#[test]
fn coded_bodies() {
    use std::io::Write;
    let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    w.write_all(b"data: a\n\n").unwrap();
    let coded = w.finish().unwrap();
    let n = coded.len();
    let r = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/event-stream\r\n\
         Content-Length: {n}\r\n\r\n"
    );
    let q = format!("POST /p HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: {n}\r\n\r\n");
    check(
        &[Q(q.as_bytes()), Q(&coded), R(r.as_bytes()), R(&coded)],
        "1 > POST /p - tid7
         1 >body data: a


         1 >end
         1 < 200
         1 <event |a|
         1 <end",
    );
}
