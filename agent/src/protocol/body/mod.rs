//! Content codings of message bodies (RFC 9110, section 8.4.1), undone as the bytes come.
//!
//! What a server flushes comes out at once, so that each event of a compressed stream has its
//! own time. A body is followed up to a bound on what it grows to. Checksums are not checked:
//! the bytes came over TLS, which did.

mod brotli;
mod deflate;
mod gzip;
mod zstd;

use crate::model::defect::Defects;
use crate::model::exchange::Headers;

/// Most bytes that one body may grow to, counted at each of its codings.
pub const MAX_DECODED_BYTES: u64 = 64 << 20;

/// Most codings on top of each other.
pub const MAX_CODINGS: usize = 4;

/// Size of the buffer that decoded bytes are handed on from.
pub const OUTPUT_BYTES: usize = 16 << 10;

/// The data is not what its coding says.
struct Broken;

/// What a step of a decoder did.
struct Step {
    /// Bytes of the input it took.
    taken: usize,
    /// Bytes it put out.
    made: usize,
}

/// One content coding.
trait Codec: Send {
    /// Decodes some of `input` into `output`. Doing nothing although there is room for output
    /// means that it needs more input.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Broken>;

    /// Whether the data may end here.
    fn may_end(&self) -> bool;
}

/// A coding with the buffer it decodes into.
struct Stage {
    codec: Box<dyn Codec>,
    output: Box<[u8]>,
    made: u64,
}

/// Undoes the content codings of one body.
pub struct Decoder {
    /// In the order of decoding: the one applied last comes first.
    stages: Vec<Stage>,
    /// Nothing more comes out.
    stopped: bool,
    /// Bytes came in.
    begun: bool,
    defects: Defects,
}

impl Decoder {
    /// For a body with these headers.
    #[must_use]
    pub fn new(headers: &Headers) -> Self {
        let codings = headers
            .iter()
            .filter(|(name, _)| *name == "content-encoding")
            .flat_map(|(_, value)| value.split(','));
        Self::for_codings(codings)
    }

    /// For a body with these codings, in the order in which they were applied.
    #[must_use]
    pub fn for_codings<'a>(codings: impl Iterator<Item = &'a str>) -> Self {
        let mut decoder = Self {
            stages: Vec::new(),
            stopped: false,
            begun: false,
            defects: Defects::NONE,
        };
        for coding in codings.map(str::trim) {
            if coding.is_empty() || coding.eq_ignore_ascii_case("identity") {
                continue;
            }
            match codec(coding).filter(|_| decoder.stages.len() < MAX_CODINGS) {
                Some(codec) => decoder.stages.insert(
                    0,
                    Stage {
                        codec,
                        output: vec![0; OUTPUT_BYTES].into_boxed_slice(),
                        made: 0,
                    },
                ),
                None => {
                    decoder.stages.clear();
                    decoder.stopped = true;
                    break;
                }
            }
        }
        decoder
    }

    /// Whether bytes pass as they are.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.stages.is_empty() && !self.stopped
    }

    /// Takes the next bytes and gives out what they decode to.
    pub fn feed(&mut self, input: &[u8], out: &mut impl FnMut(&[u8])) {
        if input.is_empty() {
            return;
        }
        self.begun = true;
        if self.stopped {
            if self.defects.is_none() {
                self.defects.add(Defects::BODY_UNDECODABLE);
            }
        } else if self.stages.is_empty() {
            out(input);
        } else if let Err(defects) = run(&mut self.stages, input, out) {
            self.stop(defects);
        }
    }

    /// Bytes are missing here: a coded body can't go on.
    pub fn gap(&mut self) {
        if !self.stages.is_empty() {
            self.stop(Defects::BODY_UNDECODABLE);
        }
    }

    /// The body is over, `whole` or cut; what was wrong with it. Coded data that does not end is
    /// wrong only when the body is whole.
    pub fn finish(&mut self, whole: bool) -> Defects {
        if whole && self.begun && !self.stages.iter().all(|s| s.codec.may_end()) {
            self.stop(Defects::BODY_UNDECODABLE);
        }
        self.defects
    }

    fn stop(&mut self, defects: Defects) {
        self.defects.add(defects);
        self.stopped = true;
        self.stages.clear();
    }
}

fn codec(name: &str) -> Option<Box<dyn Codec>> {
    let is = |n: &str| name.eq_ignore_ascii_case(n);
    if is("gzip") || is("x-gzip") {
        Some(Box::new(gzip::Gzip::new()))
    } else if is("deflate") {
        Some(Box::new(deflate::Deflate::new()))
    } else if is("br") {
        Some(Box::new(brotli::Brotli::new()))
    } else if is("zstd") {
        zstd::Zstd::new().map(|z| Box::new(z) as Box<dyn Codec>)
    } else {
        None
    }
}

/// Sends bytes through the stages.
fn run(stages: &mut [Stage], mut input: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), Defects> {
    let Some((stage, later)) = stages.split_first_mut() else {
        out(input);
        return Ok(());
    };
    loop {
        let step = stage
            .codec
            .step(input, &mut stage.output)
            .map_err(|Broken| Defects::BODY_UNDECODABLE)?;
        input = input.get(step.taken..).unwrap_or_default();
        if step.made > 0 {
            stage.made += step.made as u64;
            if stage.made > MAX_DECODED_BYTES {
                return Err(Defects::BODY_TOO_EXPANSIVE);
            }
            run(later, &stage.output[..step.made], out)?;
        }
        let full = step.made == stage.output.len();
        if !full && (input.is_empty() || (step.taken == 0 && step.made == 0)) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
