//! An answer of HTTP/1 to a request of our own, off the pieces in which it comes. Pure; each byte is looked at
//! once, and all that is kept has a bound.
//!
//! What others say to each other is followed by `protocol`, which is there for traffic that may be broken anywhere.
//! Here the connection is ours and is closed behind the answer: what breaks the rules is an error.

use std::fmt;

/// Most bytes of the head.
const MAX_HEAD: usize = 64 << 10;
/// Most header fields.
const MAX_FIELDS: usize = 64;
/// Most bytes of a line with a chunk's size.
const MAX_LINE: usize = 4 << 10;

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// The status is another one than 200.
    Status(u16),
    /// It is longer than it may be.
    Large,
    /// It is none of HTTP, or breaks its rules.
    Senseless(&'static str),
    /// It ends before its end.
    Cut,
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Large => f.write_str("it is too long"),
            Self::Senseless(what) => f.write_str(what),
            Self::Cut => f.write_str("it broke off"),
        }
    }
}

/// An answer under way.
#[derive(Debug)]
pub struct Answer {
    /// The head, then the body.
    held: Vec<u8>,
    /// Most bytes of the body.
    most: usize,
    part: Part,
}

/// Where the next byte is.
#[derive(Debug)]
enum Part {
    Head,
    /// In a body of so many bytes more.
    Length(usize),
    /// In a body that ends with the connection.
    Open,
    /// In the line before a chunk, as far as that is there (RFC 9112, section 7.1). `first`: nothing stands before it.
    Size {
        line: Vec<u8>,
        first: bool,
    },
    /// In a chunk of so many bytes more.
    Chunk(usize),
    Over,
}

impl Answer {
    /// One whose body may have so many bytes.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            held: Vec::new(),
            most,
            part: Part::Head,
        }
    }

    /// Takes a piece. Says whether the answer is whole; of trailers nothing is waited for.
    ///
    /// # Errors
    ///
    /// When there will be no body, or none that can be used.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<bool, BadAnswer> {
        loop {
            match &mut self.part {
                Part::Over => return Ok(true),
                Part::Length(0) => self.part = Part::Over,
                _ if piece.is_empty() => return Ok(false),
                Part::Head => piece = self.head(piece)?,
                Part::Open => {
                    self.keep(piece)?;
                    return Ok(false);
                }
                Part::Length(left) | Part::Chunk(left) => {
                    let (data, rest) = piece.split_at((*left).min(piece.len()));
                    *left -= data.len();
                    if matches!(self.part, Part::Chunk(0)) {
                        self.part = Part::Size {
                            line: Vec::new(),
                            first: false,
                        };
                    }
                    self.keep(data)?;
                    piece = rest;
                }
                Part::Size { line, first } => {
                    let end = memchr::memchr(b'\n', piece);
                    let (part, rest) = piece.split_at(end.unwrap_or(piece.len()));
                    piece = rest.get(1..).unwrap_or_default();
                    if line.len() + part.len() > MAX_LINE {
                        return Err(BadAnswer::Senseless("its chunks make no sense"));
                    }
                    line.extend_from_slice(part);
                    if end.is_none() {
                        return Ok(false);
                    }
                    // The line end of the chunk before.
                    if !*first && line.iter().all(|b| *b == b'\r') {
                        line.clear();
                        *first = true;
                        continue;
                    }
                    if !*first {
                        return Err(BadAnswer::Senseless("its chunks make no sense"));
                    }
                    self.part = match size(line)? {
                        0 => Part::Over,
                        n => Part::Chunk(n),
                    };
                }
            }
        }
    }

    /// Nothing more comes: the body.
    ///
    /// # Errors
    ///
    /// When it is not whole.
    pub fn body(self) -> Result<Vec<u8>, BadAnswer> {
        match self.part {
            Part::Open | Part::Over | Part::Length(0) => Ok(self.held),
            _ => Err(BadAnswer::Cut),
        }
    }

    fn keep(&mut self, data: &[u8]) -> Result<(), BadAnswer> {
        if self.held.len() + data.len() > self.most {
            return Err(BadAnswer::Large);
        }
        self.held.extend_from_slice(data);
        Ok(())
    }

    /// Takes what is of the head; gives what follows.
    fn head<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], BadAnswer> {
        let before = self.held.len();
        let room = (MAX_HEAD - before).min(piece.len());
        self.held.extend_from_slice(&piece[..room]);
        // Its end may have begun in the piece before.
        let from = before.saturating_sub(2);
        let Some(end) = blank_line(&self.held[from..]) else {
            if room < piece.len() {
                return Err(BadAnswer::Large);
            }
            return Ok(&[]);
        };
        let head = &self.held[..from + end];
        let taken = head.len().saturating_sub(before);
        let part = after_head(head)?;
        if matches!(part, Part::Length(n) if n > self.most) {
            return Err(BadAnswer::Large);
        }
        self.part = part;
        self.held.clear();
        Ok(piece.get(taken..).unwrap_or_default())
    }
}

/// Where the first blank line ends.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// What follows a head.
fn after_head(bytes: &[u8]) -> Result<Part, BadAnswer> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err(BadAnswer::Senseless("it does not speak HTTP")),
    }
    match head.code {
        Some(200) => {}
        code => return Err(BadAnswer::Status(code.unwrap_or_default())),
    }
    let field = |name: &str| {
        let mut all = head.headers.iter();
        let found = all.find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| field.value.trim_ascii())
    };
    if let Some(coding) = field("transfer-encoding") {
        let chunked = coding.eq_ignore_ascii_case(b"chunked");
        let other = BadAnswer::Senseless("its transfer coding is not known");
        return chunked
            .then(|| Part::Size {
                line: Vec::new(),
                first: true,
            })
            .ok_or(other);
    }
    let Some(length) = field("content-length") else {
        return Ok(Part::Open);
    };
    let length = std::str::from_utf8(length).ok();
    let length = length.filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let length = length.and_then(|text| text.parse().ok());
    let length = length.ok_or(BadAnswer::Senseless("its length is none"))?;
    Ok(Part::Length(length))
}

/// A chunk's size, off its line.
fn size(line: &[u8]) -> Result<usize, BadAnswer> {
    let senseless = BadAnswer::Senseless("its chunks make no sense");
    let end = line.iter().position(|b| b";\r \t".contains(b));
    let digits = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(senseless);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| senseless)?;
    usize::from_str_radix(digits, 16).map_err(|_| BadAnswer::Large)
}

#[cfg(test)]
mod tests {
    use super::{Answer, BadAnswer, MAX_HEAD, MAX_LINE};

    const MOST: usize = 1000;

    /// In pieces of this size, the connection closed behind it; with the number of pieces that were taken.
    fn read(answer: &[u8], size: usize) -> (Result<String, BadAnswer>, usize) {
        let mut read = Answer::new(MOST);
        let mut taken = 0;
        for piece in answer.chunks(size) {
            taken += 1;
            match read.push(piece) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => return (Err(error), taken),
            }
        }
        let body = read.body();
        (
            body.map(|body| String::from_utf8_lossy(&body).into_owned()),
            taken,
        )
    }

    fn check(answer: &[u8], want: Result<&str, &BadAnswer>) {
        for size in 1..=answer.len() {
            let (got, _) = read(answer, size);
            let shown = String::from_utf8_lossy(answer);
            assert_eq!(got.as_deref(), want, "{shown} by {size}");
        }
    }

    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
        3\r\na 1\r\n2;x\r\n\nb\r\n0A \r\n0123456789\r\n0\r\nT: 1\r\n\r\n";

    #[test]
    fn answers_end_where_they_say() {
        check(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na 1 and more",
            Ok("a 1"),
        );
        check(b"HTTP/1.1 200 OK\nContent-Length: 3\n\na 1", Ok("a 1"));
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok(""));
        check(CHUNKED, Ok("a 1\nb0123456789"));
        check(b"HTTP/1.0 200 OK\r\n\r\na 1", Ok("a 1"));
        check(b"HTTP/1.0 200 OK\r\n\r\n", Ok(""));
        // Nothing is waited for behind the last chunk, nor behind the length.
        let (_, taken) = read(CHUNKED, 1);
        assert_eq!(taken, CHUNKED.len() - b"T: 1\r\n\r\n".len());
        let length = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc";
        assert_eq!(read(length, 1).1, length.len() - 2);
    }

    #[test]
    fn what_is_cut_is_no_answer() {
        let end = CHUNKED.len() - b"\nT: 1\r\n\r\n".len();
        for cut in 0..end {
            assert_eq!(read(&CHUNKED[..cut], 7).0, Err(BadAnswer::Cut), "{cut}");
        }
        check(
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1",
            Err(&BadAnswer::Cut),
        );
    }

    #[test]
    fn what_breaks_the_rules_is_an_error() {
        let chunked = |body: &str| {
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes()
        };
        let senseless = BadAnswer::Senseless("its chunks make no sense");
        for body in ["xyz\r\n", "\r\n", "-1\r\n", "1\r\nab\r\n0\r\n", ";1\r\n"] {
            check(&chunked(body), Err(&senseless));
        }
        let long = chunked(&format!("1;{}\r\n", "x".repeat(MAX_LINE)));
        assert_eq!(read(&long, 100).0, Err(senseless));
        check(&chunked("ffffffffffffffffff\r\n"), Err(&BadAnswer::Large));
        check(
            b"nonsense\r\n\r\n",
            Err(&BadAnswer::Senseless("it does not speak HTTP")),
        );
        for length in ["many", "-1", "+1", ""] {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nabc");
            check(
                answer.as_bytes(),
                Err(&BadAnswer::Senseless("its length is none")),
            );
        }
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n",
            Err(&BadAnswer::Senseless("its transfer coding is not known")),
        );
        check(b"HTTP/1.1 401 No\r\n\r\n", Err(&BadAnswer::Status(401)));
    }

    #[test]
    fn all_has_a_bound() {
        let body = "x".repeat(MOST + 1);
        let size = MOST + 1;
        for answer in [
            format!("HTTP/1.1 200 OK\r\n\r\n{body}"),
            format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"),
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n"
            ),
            format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(MAX_HEAD)),
        ] {
            for size in [1, 7, answer.len()] {
                assert_eq!(read(answer.as_bytes(), size).0, Err(BadAnswer::Large));
            }
        }
        let whole = format!("HTTP/1.1 200 OK\r\n\r\n{}", &body[1..]);
        assert_eq!(read(whole.as_bytes(), 9).0.unwrap().len(), MOST);
    }
}
