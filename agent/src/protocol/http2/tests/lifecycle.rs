//! How exchanges begin and end.

use super::*;

#[test]
fn heads_methods_and_interim_answers() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let get = q.block(&[
        (":method", "GET"),
        (":path", "/models?x=1"),
        ("host", "u:p@h:2"),
    ]);
    let head = q.block(&[(":method", "HEAD"), (":path", "/x"), (":authority", "h")]);
    let connect = q.block(&[(":method", "CONNECT"), (":authority", "far:443")]);
    let web_socket = q.block(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":path", "/ws"),
        (":authority", "h"),
    ]);
    check(
        &[
            Q(headers(1, true, &get)),
            R(headers(1, false, &r.block(&[(":status", "100")]))),
            R(headers(1, false, &r.block(&[(":status", "103")]))),
            R(headers(1, true, &r.block(&[(":status", "204")]))),
            Q(headers(3, true, &head)),
            R(headers(3, true, &r.status("404", "text/plain"))),
            Q(headers(5, false, &connect)),
            Q(headers(7, false, &web_socket)),
            Closed,
        ],
        "1 > GET /models h:2 tid7
         1 >end
         1 < 204
         1 <end
         2 > HEAD /x h tid7
         2 >end
         2 < 404
         2 <end
         3 > CONNECT  far:443 tid7
         4 > CONNECT /ws h tid7
         3 >end request_cut
         3 <end response_cut
         4 >end request_cut
         4 <end response_cut",
    );
}

#[test]
fn answers_before_the_request_is_whole() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    check(
        &[
            Q(headers(1, false, &q.post("/a"))),
            R(headers(1, true, &r.status("413", "text/plain"))),
            // RFC 9113, section 8.1: the rest need not be sent.
            R(frame(3, 0, 1, &[0, 0, 0, 0])),
            R(headers(1, true, &r.status("200", "text/plain"))),
            Q(headers(3, false, &q.post("/b"))),
            R(headers(3, true, &r.status("200", "text/plain"))),
            Q(data(3, true, b"late")),
        ],
        "1 > POST /a h tid7
         1 < 413
         1 >end request_cut
         1 <end
         2 > POST /b h tid7
         2 < 200
         2 >body late
         2 >end
         2 <end",
    );
}

#[test]
fn resets_and_going_away() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let talk = check(
        &[
            Q(headers(1, true, &q.post("/left"))),
            R(headers(1, false, &r.status("200", "text/event-stream"))),
            R(data(1, false, b"data: a\n\n")),
            Q(frame(3, 0, 1, &[0, 0, 0, 8])),
            // On its way already.
            R(data(1, true, b"data: b\n\n")),
            Q(headers(3, true, &q.post("/done"))),
            Q(headers(5, true, &q.post("/refused"))),
            R(frame(7, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])),
            R(frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0, b'b', b'y', b'e'])),
            R(headers(3, true, &r.status("200", "text/plain"))),
            Q(headers(7, false, &q.post("/cut"))),
            Eof,
            Closed,
        ],
        "1 > POST /left h tid7
         1 >end
         1 < 200
         1 <event |a|
         1 <end response_cut
         2 > POST /done h tid7
         2 >end
         3 > POST /refused h tid7
         3 >end
         3 <end response_cut,server_ended
         2 < 200
         2 <end
         4 > POST /cut h tid7
         4 >end request_cut
         4 <end response_cut,server_ended",
    );
    assert_eq!(talk.http.counters().resets, 1);
    assert_eq!(talk.http.counters().half_seen, 0);
}

#[test]
fn what_a_server_pushes_keeps_the_table_right() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let promise = r.block(&[(":path", "/pushed"), ("server", "s1")]);
    let pushed = r.status("200", "text/pushed");
    let answer = r.block(&[
        (":status", "200"),
        ("server", "s1"),
        ("content-type", "text/event-stream"),
    ]);
    let talk = check(
        &[
            Q(headers(1, true, &q.post("/a"))),
            R(frame(5, 4, 1, &[&[0, 0, 0, 2][..], &promise].concat())),
            R(headers(2, false, &pushed)),
            R(data(2, true, b"nobody asked")),
            R(headers(1, false, &answer)),
            R(data(1, true, b"data: x\n\n")),
        ],
        "1 > POST /a h tid7
         1 >end
         1 < 200
         1 <event |x|
         1 <end",
    );
    assert_eq!(talk.http.counters().pushed, 1);
    assert_eq!(talk.http.counters().half_seen, 0);
}

#[test]
fn what_nobody_wants_is_followed_in_silence() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let mut talk = Talk::new(Http2::new(CONNECTION, Role::Client));
    talk.sink.unwanted_path = Some("/no");
    talk.sink.unwanted_status = Some(500);
    let talk = check_talk(
        talk,
        &[
            Q([client_preface(), headers(1, false, &q.post("/no"))].concat()),
            Q(headers(3, false, &q.post("/yes"))),
            Q([data(1, true, b"secret"), data(3, false, b"body")].concat()),
            R(headers(1, true, &r.status("200", "text/plain"))),
            R(headers(3, false, &r.status("500", "text/plain"))),
            R(data(3, true, b"error")),
            Q(data(3, true, b"more")),
        ],
        "1 > POST /no h tid7
         2 > POST /yes h tid7
         2 >body body
         2 < 500",
    );
    assert_eq!(talk.http.open_streams(), 0);
    let counters = talk.http.counters();
    assert_eq!((counters.exchanges, counters.wanted), (2, 1));
}

#[test]
fn grpc_is_counted() {
    let mut q = Encoder::default();
    let mut call = |content_type| {
        q.block(&[
            (":method", "POST"),
            (":path", "/p.S/M"),
            ("content-type", content_type),
        ])
    };
    let talk = check(
        &[
            Q(headers(1, true, &call("application/grpc"))),
            Q(headers(3, true, &call("application/grpc+proto"))),
            Q(headers(5, true, &call("application/grpc-web"))),
            Q(headers(7, true, &call("application/grpcx"))),
        ],
        "1 > POST /p.S/M - tid7
         1 >end
         2 > POST /p.S/M - tid7
         2 >end
         3 > POST /p.S/M - tid7
         3 >end
         4 > POST /p.S/M - tid7
         4 >end",
    );
    assert_eq!(talk.http.counters().grpc, 3);
}

#[test]
fn a_server_in_the_middle() {
    let (mut q, mut r) = (Encoder::default(), Encoder::default());
    let mut talk = Talk::new(Http2::new(CONNECTION, Role::Server));
    talk.say(&Q(client_preface()));
    check_talk(
        talk,
        &[
            Q(headers(1, false, &q.post("/a"))),
            Q(data(1, true, b"in")),
            R(headers(1, false, &r.status("200", "text/plain"))),
            Q(headers(3, false, &q.post("/b"))),
            // The client is gone; the answer is written to the end.
            Eof,
            R(data(1, true, b"out")),
        ],
        "1 > POST /a h tid7
         1 >body in
         1 >end
         1 < 200
         2 > POST /b h tid7
         2 >end request_cut
         1 <body out
         1 <end",
    );
}

#[test]
fn more_streams_than_are_followed() {
    let mut q = Encoder::default();
    let mut talk = Talk::new(Http2::new(CONNECTION, Role::Client));
    talk.say(&Q(client_preface()));
    for n in 0..MAX_STREAMS as u32 + 10 {
        talk.say(&Q(headers(2 * n + 1, false, &q.post("/a"))));
        assert!(talk.http.open_streams() <= MAX_STREAMS);
    }
    let counters = talk.http.counters();
    assert_eq!(counters.exchanges, MAX_STREAMS as u64);
    assert_eq!(counters.overflowed, 10);
    talk.say(&Closed);
    assert_eq!(talk.http.open_streams(), 0);
    let ends = talk.sink.lines.iter().filter(|l| l.contains("<end"));
    assert_eq!(ends.count(), MAX_STREAMS);
}
