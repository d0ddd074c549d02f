//! Compressed messages (RFC 7692, section 7.2): one stream of deflate data for each side, in which
//! a message may refer to what was said before it.
//!
//! After a loss, or an attach in mid-connection, what was said before is not known, and a message
//! that refers to it cannot be told. Whether one does is found out for sure: it is inflated
//! twice, behind two windows that differ in every byte. What comes out the same refers to nothing
//! that is in them.
//!
//! A message may end the stream of data and go on with a new one behind the same window (section
//! 7.2.3.4). No sender is known that does; such a message counts as broken.

use flate2::{Decompress, FlushDecompress};

/// Bytes of a message that are inflated at most; of a longer one the rest is not followed.
pub const MAX_INFLATED_BYTES: u64 = 64 << 20;

/// What a message of deflate data ends with, and senders leave out.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The longest window (RFC 1951, section 2).
const WINDOW: usize = 32 << 10;

/// Bytes inflated in one step.
const STEP: usize = 16 << 10;

/// The state of one side.
pub(super) struct Inflate {
    state: Decompress,
    /// The second state, while the window is not known.
    twin: Option<Twin>,
    /// Bytes that the message under way gave so far.
    made: u64,
    /// The message under way is as it was sent so far.
    certain: bool,
    step: Box<[u8; 2 * STEP]>,
}

/// The same side behind another window.
struct Twin {
    state: Decompress,
    /// Bytes that both gave since: as many as a window, and there is no difference any more.
    since: u64,
}

/// A message cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Inflate {
    /// From the start of the connection, or of a message that stands for itself.
    pub(super) fn new() -> Self {
        Self {
            state: Decompress::new(false),
            twin: None,
            made: 0,
            certain: true,
            step: Box::new([0; 2 * STEP]),
        }
    }

    /// When something was said before that was not seen.
    pub(super) fn unseen() -> Self {
        let mut inflate = Self::new();
        inflate.state = behind(0);
        inflate.twin = Some(Twin {
            state: behind(0xff),
            since: 0,
        });
        inflate
    }

    /// The next part of a message; what it gives is handed to `out`.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(&[u8])) -> Result<(), Broken> {
        self.run(bytes, out)
    }

    /// The end of a message; tells whether all that it gave is certain.
    pub(super) fn end(&mut self, out: &mut impl FnMut(&[u8])) -> Result<bool, Broken> {
        self.run(&TAIL, out)?;
        self.made = 0;
        if self.twin.as_ref().is_some_and(|t| t.since >= WINDOW as u64) {
            self.twin = None;
        }
        Ok(std::mem::replace(&mut self.certain, true))
    }

    /// Whether what the message under way gave so far is certain.
    pub(super) const fn is_certain(&self) -> bool {
        self.certain
    }

    fn run(&mut self, mut bytes: &[u8], out: &mut impl FnMut(&[u8])) -> Result<(), Broken> {
        let (mine, other) = self.step.split_at_mut(STEP);
        loop {
            let (taken, made) = step(&mut self.state, bytes, mine)?;
            if let Some(twin) = &mut self.twin {
                // Where the data goes does not depend on the window: both take the same way.
                let same = step(&mut twin.state, bytes, other)? == (taken, made)
                    && mine[..made] == other[..made];
                self.certain &= same;
                // What is not certain is in the window as well.
                twin.since = if same { twin.since + made as u64 } else { 0 };
            }
            self.made += made as u64;
            if self.made > MAX_INFLATED_BYTES {
                return Err(Broken);
            }
            out(&mine[..made]);
            bytes = &bytes[taken..];
            if made < STEP && (bytes.is_empty() || taken == 0 && made == 0) {
                return if bytes.is_empty() {
                    Ok(())
                } else {
                    Err(Broken)
                };
            }
        }
    }
}

/// One step; how much was taken and how much made.
fn step(state: &mut Decompress, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Broken> {
    let before = (state.total_in(), state.total_out());
    state
        .decompress(input, output, FlushDecompress::Sync)
        .map_err(|_| Broken)?;
    let taken = state.total_in() - before.0;
    let made = state.total_out() - before.1;
    Ok((taken as usize, made as usize))
}

/// A state whose window is full of a byte: it has inflated a stored block of them.
fn behind(fill: u8) -> Decompress {
    let mut state = Decompress::new(false);
    let len = (WINDOW as u16).to_le_bytes();
    let check = (!(WINDOW as u16)).to_le_bytes();
    let mut block = vec![0];
    block.extend(len);
    block.extend(check);
    block.resize(block.len() + WINDOW, fill);
    let mut output = [0; STEP];
    let mut input = &block[..];
    while let Ok((taken, made)) = step(&mut state, input, &mut output) {
        input = &input[taken..];
        if taken == 0 && made == 0 || input.is_empty() && made < STEP {
            break;
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::super::tests::peer::Deflater;
    use super::*;

    fn read(inflate: &mut Inflate, bytes: &[u8]) -> Option<(String, bool)> {
        let mut text = Vec::new();
        let mut out = |b: &[u8]| text.extend_from_slice(b);
        inflate.push(bytes, &mut out).ok()?;
        let certain = inflate.end(&mut out).ok()?;
        Some((String::from_utf8_lossy(&text).into_owned(), certain))
    }

    const SAID: [&str; 4] = [
        r#"{"type":"session.created","text":"the first words of all"}"#,
        r#"{"type":"session.updated","text":"the first words of all"}"#,
        "qwertyuiop asdfghjkl 1234567890",
        "qwertyuiop asdfghjkl 1234567890 again",
    ];

    #[test]
    fn from_the_start_all_is_certain() {
        let (mut deflater, mut inflate) = (Deflater::new(true), Inflate::new());
        for text in SAID {
            let got = read(&mut inflate, &deflater.message(text.as_bytes()));
            assert_eq!(got, Some((text.to_owned(), true)));
        }
        assert_eq!(read(&mut inflate, b"\x02\xff\xff"), None);
    }

    #[test]
    fn what_refers_to_what_was_not_seen_is_told_apart() {
        let mut deflater = Deflater::new(true);
        let said = SAID.map(|text| deflater.message(text.as_bytes()));
        let mut inflate = Inflate::unseen();
        let (_, certain) = read(&mut inflate, &said[1]).unwrap();
        assert!(!certain);
        // It has nothing in common with what was before; the next one only with it.
        let got = read(&mut inflate, &said[2]);
        assert_eq!(got, Some((SAID[2].to_owned(), true)));
        let got = read(&mut inflate, &said[3]);
        assert_eq!(got, Some((SAID[3].to_owned(), true)));
        assert!(inflate.twin.is_some());
        // When as much as a window is known there is no doubt any more.
        let mut last = String::new();
        for n in 0..8000u32 {
            last.push_str(&n.wrapping_mul(2_654_435_761).to_string());
        }
        let got = read(&mut inflate, &deflater.message(last.as_bytes()));
        assert_eq!(got.map(|(_, certain)| certain), Some(true));
        assert!(inflate.twin.is_none());
        let got = read(&mut inflate, &deflater.message(last.as_bytes()));
        assert_eq!(got, Some((last, true)));
    }

    #[test]
    fn a_bomb_is_given_up() {
        let mut deflater = Deflater::new(true);
        let bomb = deflater.message(&vec![0; MAX_INFLATED_BYTES as usize + 1]);
        let mut inflate = Inflate::new();
        let mut most = 0;
        let result = inflate.push(&bomb, &mut |b| most += b.len() as u64);
        assert_eq!(result, Err(Broken));
        assert!(most <= MAX_INFLATED_BYTES && bomb.len() < 1 << 20);
    }
}
