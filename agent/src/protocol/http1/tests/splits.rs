use super::*;

/// Bytes of one direction at a time, in turns.
fn conversation() -> Vec<Say<'static>> {
    vec![
        Q(GET),
        R(OK2),
        Q(
            b"POST /v1/x?key=k HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
            5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nTr: x\r\n\r\n",
        ),
        R(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\
            Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
            10\r\nevent: x\r\ndata: \r\n4\r\na\r\n\r\r\n1\r\n\n\r\n\
            10\r\ndata: b\n\ndata: c\r\n2\r\n\n\n\r\n0\r\n\r\n"),
        Q(b"\r\nHEAD /h HTTP/1.1\n\n"),
        R(b"HTTP/1.1 200 OK\nContent-Length: 7\n\n"),
        Q(POST5),
        R(b"HTTP/1.0 200 OK\r\n\r\nup to the end"),
        Eof,
        Closed,
    ]
}

fn told(pieces: impl IntoIterator<Item = Say<'static>>) -> String {
    let mut talk = Talk::new(Role::Client);
    for say in pieces {
        talk.say(say);
    }
    talk.sink.text()
}

fn in_pieces_of(say: Say<'static>, n: usize) -> Vec<Say<'static>> {
    match say {
        Q(bytes) => bytes.chunks(n).map(Q).collect(),
        R(bytes) => bytes.chunks(n).map(R).collect(),
        other => vec![other],
    }
}

#[test]
fn any_split_tells_the_same() {
    let want = told(conversation());
    assert_eq!(want.lines().filter(|l| l.contains("<end")).count(), 4);
    assert_eq!(want.lines().filter(|l| l.contains("<event")).count(), 3);
    for n in 1..20 {
        let pieces = conversation().into_iter().flat_map(|s| in_pieces_of(s, n));
        assert_eq!(told(pieces), want, "pieces of {n}");
    }
    for (i, say) in conversation().into_iter().enumerate() {
        let (Q(bytes) | R(bytes)) = say else { continue };
        for at in 0..=bytes.len() {
            let (a, b) = bytes.split_at(at);
            let parts = match say {
                Q(_) => [Q(a), Q(b)],
                _ => [R(a), R(b)],
            };
            let mut pieces = conversation();
            pieces.splice(i..=i, parts);
            assert_eq!(told(pieces), want, "step {i} split at {at}");
        }
    }
}
