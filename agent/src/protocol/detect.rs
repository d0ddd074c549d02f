//! What a piece of a stream looks like at its start. Applications write the head of a message
//! with a call of its own, so that a piece that starts like one most likely is one; nothing is
//! concluded from the middle of a piece.

/// What a connection carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Not known yet.
    #[default]
    Undecided,
    /// HTTP/1.x.
    Http1,
    /// HTTP/2, by the client's preface (RFC 9113, section 3.4).
    Http2,
    /// WebSocket, of which somebody wants to hear.
    WebSocket,
    /// HTTP/1.1 until an upgrade or a CONNECT; something else now, or a WebSocket that nobody wants
    /// to hear of.
    Switched,
    /// None of these, or broken beyond following: nobody wants these bytes.
    NotHttp,
}

/// Longest method that is believed to be one.
const MAX_METHOD: usize = 24;

/// Start of the HTTP/2 client preface.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How far bytes look like the start of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// They are.
    Yes,
    /// They may be: too few to tell.
    Maybe,
    /// They are not.
    No,
}

/// Whether these bytes look like a request line: `METHOD target HTTP/1.x`.
#[must_use]
pub fn request_line(bytes: &[u8]) -> Looks {
    let method = bytes
        .iter()
        .take(MAX_METHOD + 1)
        .position(|b| !(b.is_ascii_uppercase() || matches!(b, b'-' | b'_')));
    let Some(method) = method else {
        return if bytes.len() <= MAX_METHOD {
            Looks::Maybe
        } else {
            Looks::No
        };
    };
    if method == 0 || bytes[method] != b' ' {
        return Looks::No;
    }
    let target = without_spaces(&bytes[method..]);
    let Some(end) = target.iter().position(|b| *b <= b' ' || *b == 0x7f) else {
        return Looks::Maybe;
    };
    if end == 0 || target[end] != b' ' {
        return Looks::No;
    }
    version(without_spaces(&target[end..]))
}

/// More than one space between the parts is tolerated.
fn without_spaces(bytes: &[u8]) -> &[u8] {
    let n = bytes.iter().take_while(|b| **b == b' ').count();
    &bytes[n..]
}

/// Whether these bytes look like a status line: `HTTP/1.x NNN`.
#[must_use]
pub fn status_line(bytes: &[u8]) -> Looks {
    match version(bytes) {
        Looks::Yes => {}
        other => return other,
    }
    let Some((space, code)) = bytes[8..].split_first() else {
        return Looks::Maybe;
    };
    let digits = code
        .iter()
        .take(3)
        .take_while(|b| b.is_ascii_digit())
        .count();
    match (*space, digits) {
        (b' ', 3) => Looks::Yes,
        (b' ', n) if n == code.len() => Looks::Maybe,
        _ => Looks::No,
    }
}

fn version(bytes: &[u8]) -> Looks {
    const PREFIX: &[u8] = b"HTTP/1.";
    let n = bytes.len().min(PREFIX.len());
    if bytes[..n] != PREFIX[..n] {
        return Looks::No;
    }
    match bytes.get(PREFIX.len()) {
        Some(b) if b.is_ascii_digit() => Looks::Yes,
        Some(_) => Looks::No,
        None => Looks::Maybe,
    }
}

/// Whether these bytes start the HTTP/2 client preface.
#[must_use]
pub fn http2_preface(bytes: &[u8]) -> Looks {
    let n = bytes.len().min(HTTP2_PREFACE.len());
    if bytes[..n] != HTTP2_PREFACE[..n] {
        Looks::No
    } else if n == HTTP2_PREFACE.len() {
        Looks::Yes
    } else {
        Looks::Maybe
    }
}

/// What the first bytes of the client's direction say, when they are the first of the
/// connection.
#[must_use]
pub fn first_bytes(bytes: &[u8]) -> Verdict {
    match (http2_preface(bytes), request_line(bytes)) {
        (Looks::Yes, _) => Verdict::Http2,
        (_, Looks::Yes) => Verdict::Http1,
        _ => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let whole = b"POST /v1/chat/completions?a=b HTTP/1.1\r\n";
        for n in 0..=whole.len() {
            let want = if n < whole.len() - 2 {
                Looks::Maybe
            } else {
                Looks::Yes
            };
            assert_eq!(request_line(&whole[..n]), want, "{n}");
        }
        for no in [
            "{\"a\":1}",
            " GET / HTTP/1.1",
            "get / HTTP/1.1",
            "GET  HTTP/1.1\r\n",
            "GET /\r\n",
            "GET / FTP/1.1",
            "GET / HTTP/2.0",
            "data: x\n\n",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        ] {
            assert_eq!(request_line(no.as_bytes()), Looks::No, "{no}");
        }
    }

    #[test]
    fn status_lines() {
        let whole = b"HTTP/1.1 200";
        for n in 0..=whole.len() {
            let want = if n < whole.len() {
                Looks::Maybe
            } else {
                Looks::Yes
            };
            assert_eq!(status_line(&whole[..n]), want, "{n}");
        }
        for no in [
            "HTTP/2 200",
            "HTTP/1.1 2x0",
            "HTTP/1.1-200",
            "200 OK",
            "\r\n",
        ] {
            assert_eq!(status_line(no.as_bytes()), Looks::No, "{no}");
        }
    }

    #[test]
    fn prefaces() {
        for n in 0..HTTP2_PREFACE.len() {
            assert_eq!(first_bytes(&HTTP2_PREFACE[..n]), Verdict::Undecided);
        }
        assert_eq!(first_bytes(HTTP2_PREFACE), Verdict::Http2);
        assert_eq!(first_bytes(b"GET / HTTP/1.0\r\n"), Verdict::Http1);
        assert_eq!(first_bytes(b"\x00\x01"), Verdict::Undecided);
    }
}
