//! Amazon's event stream encoding (`application/vnd.amazon.eventstream`), cut into events as the
//! bytes come. A message is a prelude (length of the whole, length of the headers, checksum of
//! these eight bytes; big-endian), headers, a payload and a checksum. The last one is not
//! checked: the bytes came over TLS, which did.
//!
//! Source: AWS, "Amazon Transcribe streaming: event stream encoding", which describes it for all
//! services.

use super::sse::{KEPT_CAPACITY, MAX_EVENT_BYTES};
use crate::model::defect::Defects;
use crate::model::exchange::SseEvent;
use flate2::Crc;

/// Bytes before the headers.
const PRELUDE: usize = 12;

/// Bytes after the payload.
const TRAILER: usize = 4;

/// Most bytes of headers, by the encoding's own rule.
const MAX_HEADERS: usize = 128 << 10;

/// Cuts one body of messages. An event's name is the message's `:event-type`, `:exception-type`
/// or `:error-code`, its data the payload, its comment the `:message-type`.
#[derive(Debug, Default)]
pub struct AwsFrames {
    /// The message under way, when it did not lie whole in one piece of input.
    buffer: Vec<u8>,
    /// Bytes of a message that is too long still to be passed over.
    skip: usize,
    /// The start of a message is searched for.
    lost: bool,
    defects: Defects,
}

/// What the first bytes are.
enum Start {
    /// Of a message of this many bytes.
    Message(usize),
    /// Of none.
    None,
    /// There are too few to tell.
    Short,
}

impl AwsFrames {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives out the messages that they complete.
    pub fn feed(&mut self, mut input: &[u8], out: &mut impl FnMut(SseEvent<'_>)) {
        while !input.is_empty() {
            let skipped = self.skip.min(input.len());
            self.skip -= skipped;
            input = &input[skipped..];
            if self.buffer.is_empty() {
                let taken = self.take(input, out);
                input = &input[taken..];
                if taken == 0 {
                    self.buffer.extend_from_slice(input);
                    return;
                }
                continue;
            }
            // As much as the message (or its prelude) still needs.
            let needed = match self.start(&self.buffer) {
                Start::Message(n) => n.saturating_sub(self.buffer.len()),
                Start::Short => PRELUDE.saturating_sub(self.buffer.len()),
                Start::None => 0,
            };
            let (part, rest) = input.split_at(needed.min(input.len()));
            self.buffer.extend_from_slice(part);
            input = rest;
            let buffer = std::mem::take(&mut self.buffer);
            let taken = self.take(&buffer, out);
            self.buffer = buffer;
            self.buffer.drain(..taken);
            self.buffer.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Bytes are missing here: the message they belong to is dropped, the next one searched for.
    pub fn gap(&mut self) {
        self.buffer.clear();
        self.skip = 0;
        self.lost = true;
    }

    /// The body is over; of one that is `whole` nothing may be left.
    pub fn finish(&mut self, whole: bool) {
        if whole && !self.lost && (!self.buffer.is_empty() || self.skip > 0) {
            self.defects.add(Defects::EVENT_BROKEN);
        }
        self.buffer = Vec::new();
    }

    /// What was wrong so far.
    #[must_use]
    pub const fn defects(&self) -> Defects {
        self.defects
    }

    /// Bytes kept for the message under way.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn start(&self, bytes: &[u8]) -> Start {
        let Some(prelude) = bytes.first_chunk::<PRELUDE>() else {
            return Start::Short;
        };
        let word = |at: usize| {
            let mut four = [0; 4];
            four.copy_from_slice(&prelude[at..at + 4]);
            u32::from_be_bytes(four)
        };
        let (total, headers) = (word(0) as usize, word(4) as usize);
        let mut crc = Crc::new();
        crc.update(&prelude[..8]);
        let fits = headers <= MAX_HEADERS && PRELUDE + headers + TRAILER <= total;
        if fits && crc.sum() == word(8) {
            Start::Message(total)
        } else {
            Start::None
        }
    }

    /// Gives out the messages that lie whole at the start of `input`, and passes over what is
    /// none; gives how many bytes need not be seen again.
    fn take(&mut self, input: &[u8], out: &mut impl FnMut(SseEvent<'_>)) -> usize {
        let mut at = 0;
        while at < input.len() {
            match self.start(&input[at..]) {
                Start::Short => break,
                Start::None => {
                    if !self.lost {
                        self.defects.add(Defects::EVENT_BROKEN);
                        self.lost = true;
                    }
                    at += 1;
                }
                Start::Message(total) if total > MAX_EVENT_BYTES => {
                    self.defects.add(Defects::EVENT_OVER_LIMIT);
                    self.lost = false;
                    let here = total.min(input.len() - at);
                    self.skip = total - here;
                    at += here;
                }
                Start::Message(total) => {
                    self.lost = false;
                    let Some(message) = input.get(at..at + total) else {
                        break;
                    };
                    self.give(message, out);
                    at += total;
                }
            }
        }
        at
    }

    fn give(&mut self, message: &[u8], out: &mut impl FnMut(SseEvent<'_>)) {
        let mut four = [0; 4];
        four.copy_from_slice(&message[4..8]);
        let headers = u32::from_be_bytes(four) as usize;
        let (headers, rest) = message[PRELUDE..].split_at(headers);
        let data = &rest[..rest.len() - TRAILER];
        let (mut event, mut kind) = ("", "");
        if !each_header(headers, |name, value| match name {
            b":event-type" | b":exception-type" | b":error-code" => event = value,
            b":message-type" => kind = value,
            _ => {}
        }) {
            self.defects.add(Defects::EVENT_BROKEN);
        }
        out(SseEvent {
            event,
            data,
            comment: kind,
        });
    }
}

/// Tells each header whose value is text; whether all could be read.
fn each_header<'a>(mut bytes: &'a [u8], mut told: impl FnMut(&[u8], &'a str)) -> bool {
    while let Some((name_len, rest)) = bytes.split_first() {
        let Some((name, rest)) = rest.split_at_checked(usize::from(*name_len)) else {
            return false;
        };
        let Some((kind, rest)) = rest.split_first() else {
            return false;
        };
        let (value_len, rest) = match (kind, rest) {
            (0 | 1, _) => (0, rest),
            (2, _) => (1, rest),
            (3, _) => (2, rest),
            (4, _) => (4, rest),
            (5 | 8, _) => (8, rest),
            (6 | 7, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (9, _) => (16, rest),
            _ => return false,
        };
        let Some((value, rest)) = rest.split_at_checked(value_len) else {
            return false;
        };
        if let (7, Ok(text)) = (kind, std::str::from_utf8(value)) {
            told(name, text);
        }
        bytes = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut list = vec![3, b'n', b'u', b'm', 4, 0, 0, 0, 9];
        for (name, value) in headers {
            list.push(name.len() as u8);
            list.extend_from_slice(name.as_bytes());
            list.push(7);
            list.extend_from_slice(&(value.len() as u16).to_be_bytes());
            list.extend_from_slice(value.as_bytes());
        }
        let total = PRELUDE + list.len() + payload.len() + TRAILER;
        let mut all = (total as u32).to_be_bytes().to_vec();
        all.extend_from_slice(&(list.len() as u32).to_be_bytes());
        let mut crc = Crc::new();
        crc.update(&all);
        all.extend_from_slice(&crc.sum().to_be_bytes());
        all.extend_from_slice(&list);
        all.extend_from_slice(payload);
        all.extend_from_slice(&[0; TRAILER]);
        all
    }

    fn body() -> Vec<u8> {
        let named = [(":message-type", "event"), (":event-type", "chunk")];
        let failed = [
            (":message-type", "exception"),
            (":exception-type", "throttled"),
        ];
        [
            message(&named, b"{\"a\":1}"),
            message(&named, b""),
            message(&failed, b"{}"),
        ]
        .concat()
    }

    const WANT: [&str; 3] = [
        "event chunk {\"a\":1}",
        "event chunk ",
        "exception throttled {}",
    ];

    fn cut(pieces: &[Option<&[u8]>]) -> (Vec<String>, Defects) {
        let mut got = Vec::new();
        let mut out = |e: SseEvent<'_>| {
            let data = String::from_utf8_lossy(e.data);
            got.push(format!("{} {} {data}", e.comment, e.event));
        };
        let mut frames = AwsFrames::new();
        for piece in pieces {
            match piece {
                Some(bytes) => frames.feed(bytes, &mut out),
                None => frames.gap(),
            }
        }
        frames.finish(true);
        (got, frames.defects())
    }

    #[test]
    fn any_split_gives_the_same() {
        let body = body();
        for step in 1..=body.len() {
            let pieces: Vec<_> = body.chunks(step).map(Some).collect();
            let (got, defects) = cut(&pieces);
            assert_eq!(got, WANT, "{step}");
            assert!(defects.is_none());
        }
    }

    #[test]
    fn after_a_gap_the_next_message_is_found() {
        let body = body();
        let first = message(
            &[(":message-type", "event"), (":event-type", "chunk")],
            b"{\"a\":1}",
        );
        for at in 1..first.len() {
            for step in [1, 7, 1000] {
                let mut pieces = vec![Some(&body[..at]), None];
                pieces.extend(body[at + 1..].chunks(step).map(Some));
                let (got, _) = cut(&pieces);
                assert_eq!(got, WANT[1..], "{at} {step}");
            }
        }
    }

    #[test]
    fn what_is_none_is_told_and_passed_over() {
        let body = [b"no message".to_vec(), body()].concat();
        for step in [1, 5, 1000] {
            let pieces: Vec<_> = body.chunks(step).map(Some).collect();
            let (got, defects) = cut(&pieces);
            assert_eq!(got, WANT);
            assert_eq!(defects, Defects::EVENT_BROKEN);
        }
        let body = self::body();
        assert_eq!(cut(&[Some(&body[..20])]).1, Defects::EVENT_BROKEN);
    }

    #[test]
    fn a_message_that_is_too_long_is_passed_over() {
        let long = message(&[], &vec![0; MAX_EVENT_BYTES]);
        let body = [long, body()].concat();
        for step in [100_000, body.len()] {
            let pieces: Vec<_> = body.chunks(step).map(Some).collect();
            let (got, defects) = cut(&pieces);
            assert_eq!(got, WANT);
            assert_eq!(defects, Defects::EVENT_OVER_LIMIT);
        }
    }
}
