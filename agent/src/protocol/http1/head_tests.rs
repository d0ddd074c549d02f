use super::*;
use std::fmt::Write;

fn ends(pieces: &[&[u8]]) -> Option<usize> {
    let mut buffer = HeadBuffer::new();
    let mut before = 0;
    for p in pieces {
        match buffer.gather(p) {
            Gathered::End(n) => return Some(before + n),
            Gathered::More => before += p.len(),
            Gathered::TooLong => return None,
        }
    }
    None
}

#[test]
fn ends_are_found_in_any_split() {
    for (head, want) in [
        (&b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest"[..], Some(24)),
        (b"GET / HTTP/1.1\nA: b\n\nrest", Some(21)),
        (b"GET / HTTP/1.1\r\nA: b\r\n\nrest", Some(23)),
        (b"GET / HTTP/1.1\r\nA: b\r\n \r\nrest", None),
        (b"GET / HTTP/1.1\r\nA: b\r\n\r\r\n", None),
    ] {
        assert_eq!(ends(&[head]), want);
        let bytes: Vec<&[u8]> = head.chunks(1).collect();
        assert_eq!(ends(&bytes), want);
        for at in 0..head.len() {
            let (a, b) = head.split_at(at);
            assert_eq!(ends(&[a, b]), want, "split at {at}");
        }
    }
}

#[test]
fn requests() {
    let r = parse_request(
        b"POST /v1/chat/completions?api-version=1&api_key=s3cret HTTP/1.1\r\n\
          Host: api.example:8443\r\nAuthorization: Bearer s3cret\r\n\
          Cookie: s3cret\r\nX-Api-Key: s3cret\r\nContent-Length: 12\r\n\
          Expect: 100-Continue\r\nX-Stainless-Retry-Count: 1\r\n\r\n",
    )
    .unwrap();
    assert_eq!(r.head.method, "POST");
    assert_eq!(r.head.path, "/v1/chat/completions");
    assert_eq!(r.head.query, "api-version=1&api_key=");
    assert_eq!(r.head.host.as_deref(), Some("api.example:8443"));
    assert_eq!(r.head.headers.get("x-stainless-retry-count"), Some("1"));
    assert_eq!(r.length, Length::Known(12));
    assert!(r.expects_continue);
    assert!(!format!("{:?}", r.head).contains("s3cret"));

    let r = parse_request(b"GET http://u:pw@h:1/p HTTP/1.0\nHost: u:pw@other\n\n").unwrap();
    assert_eq!(r.head.host.as_deref(), Some("h:1"));
    assert!(!format!("{:?}", r.head).contains("pw"));
    let r = parse_request(b"CONNECT h:443 HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(
        (r.head.path.as_str(), r.head.host.as_deref()),
        ("", Some("h:443"))
    );
    assert!(parse_request(b"no request\r\n\r\n").is_none());
}

#[test]
fn responses() {
    let r = parse_response(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;\r\n  charset=utf-8\r\n\
          Set-Cookie: s3cret\r\nTransfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\
          X-Request-Id : r1\r\nbroken line\r\nServer: x\xff\r\n\r\n",
    )
    .unwrap();
    assert_eq!(r.head.status, 200);
    let kind = r.head.headers.get("content-type").unwrap();
    assert!(kind.starts_with("text/event-stream;") && kind.ends_with("charset=utf-8"));
    assert_eq!(r.head.headers.get("x-request-id"), Some("r1"));
    assert_eq!(r.length, Length::Chunked);
    assert!(!format!("{:?}", r.head).contains("s3cret"));
    assert_eq!(
        parse_response(b"HTTP/1.0 404\r\n\r\n").unwrap().head.status,
        404
    );
    assert!(parse_response(b"HTTP/2 200\r\n\r\n").is_none());
}

#[test]
fn many_fields() {
    let request = |n: usize| {
        let mut head = "GET / HTTP/1.1\r\n".to_owned();
        for i in 0..n {
            write!(head, "X-Field-{i}: {i}\r\n").unwrap();
        }
        head + "Server: x\r\n\r\n"
    };
    let r = parse_request(request(MAX_HEADER_FIELDS - 1).as_bytes()).unwrap();
    assert_eq!(r.head.headers.get("server"), Some("x"));
    assert!(parse_request(request(MAX_HEADER_FIELDS).as_bytes()).is_none());
}
