use super::*;

fn tell(got: &mut Vec<String>, e: SseEvent<'_>) {
    let data = String::from_utf8_lossy(e.data);
    got.push(format!("{}|{}|{}", e.event, data, e.comment));
}

fn events(pieces: &[&[u8]]) -> Vec<String> {
    let mut parser = SseParser::new();
    let mut got = Vec::new();
    for p in pieces {
        parser.feed(p, &mut |e| tell(&mut got, e));
    }
    parser.finish(true, &mut |e| tell(&mut got, e));
    got
}

/// All at once, byte by byte and in every two pieces.
fn check(input: &[u8], want: &[&str]) {
    assert_eq!(events(&[input]), want, "all at once");
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(events(&bytes), want, "byte by byte");
    for at in 0..=input.len() {
        let (a, b) = input.split_at(at);
        assert_eq!(events(&[a, b]), want, "split at {at}");
    }
}

#[test]
fn plain_events() {
    check(b"data: a\n\ndata:b\n\n", &["|a|", "|b|"]);
    check(b"data: [DONE]\n\n", &["|[DONE]|"]);
    check(b"event: x\nid: 7\nretry: 5\ndata:  y\n\n", &["x| y|"]);
    check(b"event:x\ndata:y\nevent: z\n\n", &["z|y|"]);
    check(b"unknown: x\nnocolon\ndata\n\n", &["||"]);
    check(b"databas: x\ndata:1\n\n", &["|1|"]);
}

#[test]
fn line_ends() {
    check(b"data: a\r\n\r\ndata: b\r\n\r\n", &["|a|", "|b|"]);
    check(b"data: a\r\rdata: b\r\r", &["|a|", "|b|"]);
    check(b"data: a\n\r\ndata: b\r\n\n", &["|a|", "|b|"]);
    check(b"\r\n\n\rdata: a\r\n\rdata: b\n\n\n\n", &["|a|", "|b|"]);
}

#[test]
fn several_data_lines() {
    check(b"data: a\ndata:\ndata: b\n\n", &["|a\n\nb|"]);
    check(b"data:\ndata:\n\n", &["|\n|"]);
}

#[test]
fn events_without_data_are_none() {
    check(b"event: x\n\ndata: y\n\n", &["|y|"]);
    check(b": ping\n\n: ping\n\ndata: y\n\n", &["|y|"]);
    check(b"\n\n\n", &[]);
}

/// llama.cpp's way to say it. Beside data it is an unknown field, and so is what is no object.
#[test]
fn errors_in_a_field_of_their_own() {
    check(b"error: {\"code\":1}\n\n", &["error|{\"code\":1}|"]);
    check(
        b"data: a\n\nerror:{}\r\n\r\ndata: b\n\n",
        &["|a|", "error|{}|", "|b|"],
    );
    check(
        b":x\nevent: y\nerror: {1}\nerror: {2}\n\n",
        &["error|{2}|x"],
    );
    check(b"error: {}\ndata: a\n\n", &["|a|"]);
    check(
        b"data: a\nevent: y\nerror: {}\n\ndata: b\n\n",
        &["y|a|", "|b|"],
    );
    check(b"error: no\n\nerror\n\nerror:\n\nerrors: {}\n\n", &[]);
    check(b"error: {}", &["error|{}|"]);
}

#[test]
fn comments() {
    check(
        b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n",
        &["result|{}|HTTP_STATUS/200"],
    );
    check(b": a\n:b\ndata:1\n\n", &["|1|a\nb"]);
    check(
        b"event:response.created:HTTP_STATUS/200\ndata:{}\n\n",
        &["response.created|{}|HTTP_STATUS/200"],
    );
}

#[test]
fn byte_order_mark() {
    check(b"\xef\xbb\xbfdata: a\n\n", &["|a|"]);
    check(b"\xef\xbbdata: a\ndata: b\n\n", &["|b|"]);
    check(b"data: \xef\xbb\xbf\n\n", &["|\u{feff}|"]);
}

#[test]
fn last_event_without_its_blank_line() {
    check(b"data: a\n\ndata: b\n", &["|a|", "|b|"]);
    check(b"data: a\n\ndata: b", &["|a|", "|b|"]);
    check(b"data: a\n\nevent: b", &["|a|"]);

    let mut parser = SseParser::new();
    let mut got = Vec::new();
    parser.feed(b"data: a\ndata: {\"cut", &mut |e| tell(&mut got, e));
    parser.finish(false, &mut |e| tell(&mut got, e));
    parser.feed(b"\n\ndata: late\n\n", &mut |e| tell(&mut got, e));
    assert_eq!(got, ["|a|"]);
}

#[test]
fn bad_text_in_a_name_is_no_name() {
    check(b"event: \xff\ndata: \xff\n\n", &["|\u{fffd}|"]);
}

#[test]
fn after_a_gap() {
    for (before, after, want) in [
        // A whole event is missing.
        ("data: a\n\n", "data: b\n\n", vec!["|a|", "|b|"]),
        ("data: a\n\n", "event: e\ndata: b\n\n", vec!["|a|", "|b|"]),
        // From the middle of one to the middle of another.
        (
            "data: a\n\ndata: xx",
            "yy\ndata: z\n\ndata: b\n\n",
            vec!["|a|", "|b|"],
        ),
        ("data: a\n\ndata: xx", "\n\ndata: b\n\n", vec!["|a|", "|b|"]),
        ("data: xx\r", "\nid: 5\n\ndata: b\r\n\r\n", vec!["|b|"]),
        ("data: xx", "retry: 1\rdata: b\r\r", vec!["|b|"]),
        (
            "data: xx",
            "error: {}\n\ndata: b\n\n",
            vec!["error|{}|", "|b|"],
        ),
        ("data: xx", "more text without an end", vec![]),
    ] {
        let want: Vec<&str> = want
            .into_iter()
            .map(|w| {
                if after.starts_with("event") && w == "|b|" {
                    "e|b|"
                } else {
                    w
                }
            })
            .collect();
        for step in [1, 2, 3, 1000] {
            let mut parser = SseParser::new();
            let mut got = Vec::new();
            for piece in before.as_bytes().chunks(step) {
                parser.feed(piece, &mut |e| tell(&mut got, e));
            }
            parser.gap();
            for piece in after.as_bytes().chunks(step) {
                parser.feed(piece, &mut |e| tell(&mut got, e));
            }
            parser.finish(true, &mut |e| tell(&mut got, e));
            assert_eq!(got, want, "{before:?} {after:?} by {step}");
        }
    }
}

#[test]
fn an_endless_line_is_harmless() {
    let mut parser = SseParser::new();
    let mut got = Vec::new();
    parser.feed(b"data: a\n\ndata: ", &mut |e| tell(&mut got, e));
    let part = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        parser.feed(&part, &mut |e| tell(&mut got, e));
        assert!(parser.buffered() <= MAX_EVENT_BYTES);
    }
    parser.feed(b"\ndata: still\n\ndata: b\n\n", &mut |e| tell(&mut got, e));
    assert_eq!(got, ["|a|", "|b|"]);
    assert_eq!(parser.defects(), Defects::EVENT_OVER_LIMIT);
    assert!(parser.line.capacity() <= KEPT_CAPACITY);
}

#[test]
fn an_endless_event_is_harmless() {
    let mut parser = SseParser::new();
    let mut got = Vec::new();
    let line = [b"data: ".as_slice(), &vec![b'x'; 1 << 20], b"\n"].concat();
    for _ in 0..40 {
        parser.feed(&line, &mut |e| tell(&mut got, e));
        assert!(parser.buffered() <= MAX_EVENT_BYTES);
    }
    parser.feed(b"\ndata: b\n\n", &mut |e| tell(&mut got, e));
    assert_eq!(got, ["|b|"]);
    assert_eq!(parser.defects(), Defects::EVENT_OVER_LIMIT);
}

#[test]
fn many_lines_without_an_event_take_linear_time() {
    let lines = b"id: 1\n".repeat(200_000);
    let mut parser = SseParser::new();
    parser.feed(&lines, &mut |_| panic!("no event"));
    assert_eq!(parser.buffered(), 0);
}

#[test]
fn whole_events_are_not_copied() {
    let input = b"event: a\ndata: {}\n\ndata: b\n\n";
    let range = input.as_ptr_range();
    let mut n = 0;
    SseParser::new().feed(input, &mut |e| {
        assert!(range.contains(&e.data.as_ptr()));
        n += 1;
    });
    assert_eq!(n, 2);
}
