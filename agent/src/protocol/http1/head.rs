//! Heads of messages: where they end, and what they say.

use super::framing::Length;
use crate::model::exchange::{Headers, RequestHead, ResponseHead};
use crate::protocol::{headers, target};
use httparse::{Header, ParserConfig, Status};
use memchr::memchr;
use std::borrow::Cow;
use std::mem::MaybeUninit;

/// Longest head; a longer one is malformed.
pub const MAX_HEAD_BYTES: usize = 256 << 10;

/// Most header fields of one head; one with more is malformed.
pub const MAX_HEADER_FIELDS: usize = 256;

/// A buffer that grew beyond this gives its memory back after the head.
const KEPT_CAPACITY: usize = 16 << 10;

/// Room for the fields of a head while it is parsed.
type Fields<'a> = [MaybeUninit<Header<'a>>; MAX_HEADER_FIELDS];

/// What the line under way consists of so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty,
    Cr,
    Text,
}

/// Gathers a head, when it does not lie whole in one piece.
pub(super) struct HeadBuffer {
    bytes: Vec<u8>,
    line: Line,
}

/// What came of looking for the end of a head.
pub(super) enum Gathered {
    /// It ends after so many bytes of the input.
    End(usize),
    /// All of the input is of the head.
    More,
    /// It is too long.
    TooLong,
}

impl HeadBuffer {
    pub(super) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            line: Line::Empty,
        }
    }

    /// Looks for the end of the head in `input`. When it is not there, `input` is kept.
    pub(super) fn gather(&mut self, input: &[u8]) -> Gathered {
        let mut rest = input;
        while let Some(end) = memchr(b'\n', rest) {
            let blank = match self.line {
                Line::Empty => matches!(&rest[..end], [] | [b'\r']),
                Line::Cr => end == 0,
                Line::Text => false,
            };
            rest = &rest[end + 1..];
            self.line = Line::Empty;
            if blank {
                let taken = input.len() - rest.len();
                return if self.bytes.len() + taken > MAX_HEAD_BYTES {
                    Gathered::TooLong
                } else {
                    Gathered::End(taken)
                };
            }
        }
        self.line = match (self.line, rest) {
            (line, []) => line,
            (Line::Empty, [b'\r']) => Line::Cr,
            _ => Line::Text,
        };
        if self.bytes.len() + input.len() > MAX_HEAD_BYTES {
            return Gathered::TooLong;
        }
        self.bytes.extend_from_slice(input);
        Gathered::More
    }

    /// The whole head, given its last part; and makes room for the next.
    pub(super) fn take<'a>(&mut self, last: &'a [u8]) -> Cow<'a, [u8]> {
        self.line = Line::Empty;
        if self.bytes.is_empty() {
            return Cow::Borrowed(last);
        }
        let mut head = std::mem::take(&mut self.bytes);
        head.extend_from_slice(last);
        Cow::Owned(head)
    }

    /// Uses the memory of a head that was taken again.
    pub(super) fn give_back(&mut self, head: Cow<'_, [u8]>) {
        if let Cow::Owned(bytes) = head {
            self.bytes = bytes;
            self.clear();
        }
    }

    /// What was gathered so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.line = Line::Empty;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY);
    }
}

/// A request's head and what framing needs of it.
pub(super) struct ParsedRequest {
    pub(super) head: RequestHead,
    pub(super) length: Length,
    pub(super) expects_continue: bool,
}

/// A response's head and what framing needs of it.
pub(super) struct ParsedResponse {
    pub(super) head: ResponseHead,
    pub(super) length: Length,
}

/// Parses the whole head of a request; `None` when it is malformed.
pub(super) fn parse_request(bytes: &[u8]) -> Option<ParsedRequest> {
    let bytes = unfolded(bytes);
    let mut fields: Fields<'_> = [const { MaybeUninit::uninit() }; MAX_HEADER_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let mut config = ParserConfig::default();
    config.allow_multiple_spaces_in_request_line_delimiters(true);
    config.ignore_invalid_headers_in_requests(true);
    match config.parse_request_with_uninit_headers(&mut request, &bytes, &mut fields) {
        Ok(Status::Complete(_)) => {}
        _ => return None,
    }
    let method = request.method?;
    let target = target::parse(request.path?, method == "CONNECT");
    let (headers, length) = keep(request.headers);
    Some(ParsedRequest {
        length,
        expects_continue: headers
            .get("expect")
            .is_some_and(|e| e.eq_ignore_ascii_case("100-continue")),
        head: RequestHead {
            method: method.to_owned(),
            path: target.path,
            query: target.query,
            // RFC 9112, section 3.2.2: the target goes before the header.
            host: target
                .host
                .or_else(|| headers.get("host").and_then(target::host)),
            headers,
            stream: None,
        },
    })
}

/// Parses the whole head of a response; `None` when it is malformed.
pub(super) fn parse_response(bytes: &[u8]) -> Option<ParsedResponse> {
    let bytes = unfolded(bytes);
    let mut fields: Fields<'_> = [const { MaybeUninit::uninit() }; MAX_HEADER_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let mut config = ParserConfig::default();
    config.allow_multiple_spaces_in_response_status_delimiters(true);
    config.allow_spaces_after_header_name_in_responses(true);
    config.ignore_invalid_headers_in_responses(true);
    match config.parse_response_with_uninit_headers(&mut response, &bytes, &mut fields) {
        Ok(Status::Complete(_)) => {}
        _ => return None,
    }
    let (headers, length) = keep(response.headers);
    Some(ParsedResponse {
        head: ResponseHead {
            status: response.code?,
            headers,
        },
        length,
    })
}

/// The headers worth keeping, and what all of them say of the length.
fn keep(fields: &[Header<'_>]) -> (Headers, Length) {
    let mut kept = Headers::default();
    let mut length = Length::Absent;
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-length") {
            length.content_length(field.value.trim_ascii());
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            length.transfer_encoding(field.value);
        }
        let name = field.name.as_bytes();
        if name.eq_ignore_ascii_case(b"host") {
            // The one kept header whose value might carry a password, if a client goes wrong.
            if let Some(host) = target::host(&String::from_utf8_lossy(field.value)) {
                headers::keep(&mut kept, name, host.as_bytes());
            }
        } else {
            headers::keep(&mut kept, name, field.value);
        }
    }
    (kept, length)
}

/// The head with folded lines joined by spaces (RFC 9112, section 5.2).
fn unfolded(bytes: &[u8]) -> Cow<'_, [u8]> {
    let folds = |end: usize| matches!(bytes.get(end + 1), Some(b' ' | b'\t'));
    if !memchr::memchr_iter(b'\n', bytes).any(folds) {
        return Cow::Borrowed(bytes);
    }
    let mut joined = bytes.to_vec();
    for end in memchr::memchr_iter(b'\n', bytes).filter(|end| folds(*end)) {
        joined[end] = b' ';
        if end > 0 && joined[end - 1] == b'\r' {
            joined[end - 1] = b' ';
        }
    }
    Cow::Owned(joined)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
