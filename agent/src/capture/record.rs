//! Recordings: what the kernel sent, in a file, with what the pipeline needs beside it.
//!
//! Layout: the magic `GENSPAN\n`, then frames. A frame is its kind (1 byte), its length (4 bytes,
//! little endian) and its content. The first frame is the header, as JSON. Frames of the kinds
//! `Data` hold a record of the data ring as the kernel wrote it, without slack and without
//! secrets (see [`super::scrub`], which withholds what it cannot clean: HTTP/2); the others JSON.

use std::io::{self, BufRead, Read, Write};

use genspan_common::ABI_VERSION;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::decode::{self, DecodeError};
use super::function;
use super::scrub::Scrubber;
use crate::model::event::{ConnectionId, Event};
use crate::model::function::FunctionFacts;
use crate::model::process::ProcessFacts;
use crate::model::snapshot::SnapshotFacts;
use crate::model::stack::CallPath;
use crate::model::time::{BootTime, ClockOffset};

const MAGIC: &[u8; 8] = b"GENSPAN\n";

/// Version of the layout of the file; raised when an older reader could misread it.
const FORMAT_VERSION: u32 = 1;

/// Longest frame that is read: a record of the largest tier is far below.
const MAX_FRAME: u32 = 16 << 20;

const KIND_HEADER: u8 = 0;
const KIND_DATA: u8 = 1;
const KIND_PROCESS: u8 = 2;
const KIND_EXIT: u8 = 3;
const KIND_CLOCK: u8 = 4;
const KIND_TICK: u8 = 5;
const KIND_FUNCTION: u8 = 6;
const KIND_CALL_PATH: u8 = 7;
const KIND_SNAPSHOT: u8 = 8;

/// Why a recording cannot be written or read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Input or output failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not a recording.
    #[error("not a genspan recording")]
    NotARecording,
    /// Of another version.
    #[error(
        "recorded with format {format}, event layout {abi}; this genspan reads format \
         {FORMAT_VERSION}, layout {ABI_VERSION}: replay it with the version that recorded it ({by})"
    )]
    Version {
        /// Version of the file's layout.
        format: u32,
        /// Version of the records' layout.
        abi: u32,
        /// The genspan that recorded.
        by: String,
    },
    /// A frame that makes no sense.
    #[error("broken frame at byte {0}")]
    Broken(u64),
}

/// First frame of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the file's layout.
    pub format: u32,
    /// Version of the kernel's records ([`ABI_VERSION`]).
    pub abi: u32,
    /// The genspan that recorded.
    pub genspan: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor architecture; little endian like all that genspan runs on.
    pub arch: String,
    /// Seed of the trace ids, in hexadecimal.
    pub seed: String,
}

impl Header {
    /// A header for a recording made now.
    #[must_use]
    pub fn new(seed: u128, kernel: String) -> Self {
        Self {
            format: FORMAT_VERSION,
            abi: ABI_VERSION,
            genspan: env!("CARGO_PKG_VERSION").to_owned(),
            kernel,
            arch: std::env::consts::ARCH.to_owned(),
            seed: format!("{seed:032x}"),
        }
    }

    /// The seed as a number.
    #[must_use]
    pub fn seed(&self) -> u128 {
        u128::from_str_radix(&self.seed, 16).unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
struct ProcessFrame {
    time: u64,
    facts: ProcessFacts,
}

#[derive(Serialize, Deserialize)]
struct FunctionFrame {
    time: u64,
    facts: FunctionFacts,
}

#[derive(Serialize, Deserialize)]
struct CallPathFrame {
    time: u64,
    pid: u32,
    ssl: u64,
    generation: u64,
    path: CallPath,
}

#[derive(Serialize, Deserialize)]
struct ExitFrame {
    time: u64,
    pid: u32,
}

#[derive(Serialize, Deserialize)]
struct ClockFrame {
    time: u64,
    offset: i64,
}

/// Writes a recording.
pub struct Recorder<W: Write> {
    out: W,
    scrubber: Scrubber,
    record: Vec<u8>,
    withheld: u64,
}

impl<W: Write> Recorder<W> {
    /// Starts a recording.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn new(mut out: W, header: &Header) -> Result<Self, RecordError> {
        out.write_all(MAGIC)?;
        let mut recorder = Self {
            out,
            scrubber: Scrubber::default(),
            record: Vec::new(),
            withheld: 0,
        };
        recorder.json(KIND_HEADER, header)?;
        Ok(recorder)
    }

    fn frame(&mut self, kind: u8, content: &[u8]) -> Result<(), RecordError> {
        let len = u32::try_from(content.len()).map_err(io::Error::other)?;
        self.out.write_all(&[kind])?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(content)?;
        Ok(())
    }

    fn json(&mut self, kind: u8, value: &impl Serialize) -> Result<(), RecordError> {
        let content = serde_json::to_vec(value).map_err(io::Error::other)?;
        self.frame(kind, &content)
    }

    /// Records that were left out because secrets in them could not be blanked (see
    /// [`super::scrub`]).
    pub const fn withheld(&self) -> u64 {
        self.withheld
    }

    /// Takes down a record of the data ring, and the event that was decoded from it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn record(&mut self, record: &[u8], event: &Event<'_>) -> Result<(), RecordError> {
        if matches!(event, Event::Stack { .. } | Event::RawSnapshot(_)) {
            // Addresses, and memory: what they stand for is taken down beside it.
            return Ok(());
        }
        let mut copy = std::mem::take(&mut self.record);
        copy.clear();
        match event {
            Event::Data(d) => {
                let Ok(payload) = decode::payload_range(record) else {
                    return Ok(());
                };
                copy.extend_from_slice(record.get(..payload.end).unwrap_or(record));
                let bytes = copy.get_mut(payload);
                if !bytes.is_some_and(|bytes| self.scrubber.data(d, bytes)) {
                    self.withheld += 1;
                    self.record = copy;
                    return Ok(());
                }
            }
            Event::Closed { connection, .. } => {
                copy.extend_from_slice(record);
                self.scrubber.closed(*connection);
            }
            Event::FunctionArgument { .. } => {
                // What follows is what was in the ring before.
                let end = function::payload_range(record).map_or(0, |payload| payload.end);
                copy.extend_from_slice(record.get(..end).unwrap_or(record));
            }
            _ => copy.extend_from_slice(record),
        }
        let done = self.frame(KIND_DATA, &copy);
        self.record = copy;
        done
    }

    /// Takes down an event that did not come from the data ring.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn event(&mut self, event: &Event<'_>) -> Result<(), RecordError> {
        match event {
            Event::Process { facts, time } => self.json(
                KIND_PROCESS,
                &ProcessFrame {
                    time: time.0,
                    facts: (**facts).clone(),
                },
            ),
            Event::ProcessExit { pid, time } => {
                self.scrubber.process_exit(*pid);
                self.json(
                    KIND_EXIT,
                    &ExitFrame {
                        time: time.0,
                        pid: *pid,
                    },
                )
            }
            Event::Clock { offset, time } => self.json(
                KIND_CLOCK,
                &ClockFrame {
                    time: time.0,
                    offset: offset.0,
                },
            ),
            Event::Tick { time } => self.frame(KIND_TICK, &time.0.to_le_bytes()),
            Event::Function { facts, time } => self.json(
                KIND_FUNCTION,
                &FunctionFrame {
                    time: time.0,
                    facts: (**facts).clone(),
                },
            ),
            Event::CallPath {
                connection,
                path,
                time,
            } => self.json(
                KIND_CALL_PATH,
                &CallPathFrame {
                    time: time.0,
                    pid: connection.pid,
                    ssl: connection.ssl,
                    generation: connection.generation,
                    path: (**path).clone(),
                },
            ),
            Event::Snapshot(found) => {
                self.json(KIND_SNAPSHOT, &SnapshotFacts::from(found.as_ref()))
            }
            // These come from the data ring, as records.
            Event::Data(_)
            | Event::RawSnapshot(_)
            | Event::Stack { .. }
            | Event::Socket { .. }
            | Event::Context { .. }
            | Event::ContextCopied { .. }
            | Event::EndOfStream { .. }
            | Event::Closed { .. }
            | Event::FunctionBegan { .. }
            | Event::WriteWithin { .. }
            | Event::FunctionArgument { .. }
            | Event::FunctionEnded { .. }
            | Event::Run(_)
            | Event::Span(_) => Ok(()),
        }
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        Ok(self.out.flush()?)
    }
}

/// Reads a recording.
pub struct Recording<R: BufRead> {
    input: R,
    header: Header,
    at: u64,
    frame: Vec<u8>,
}

/// What a frame of a recording could be read as.
pub enum Frame<'a> {
    /// An event.
    Event(Event<'a>),
    /// A record that means nothing: counted, as in a live run.
    Undecodable(DecodeError),
}

impl<R: BufRead> Recording<R> {
    /// Opens a recording.
    ///
    /// # Errors
    ///
    /// When it is none, or of another version.
    pub fn open(mut input: R) -> Result<Self, RecordError> {
        let mut magic = [0; MAGIC.len()];
        let read = input.read_exact(&mut magic);
        if read.is_err() || &magic != MAGIC {
            return Err(RecordError::NotARecording);
        }
        let mut recording = Self {
            input,
            header: Header::new(0, String::new()),
            at: MAGIC.len() as u64,
            frame: Vec::new(),
        };
        if recording.read_frame()? != Some(KIND_HEADER) {
            return Err(RecordError::NotARecording);
        }
        recording.header = recording.json()?;
        let h = &recording.header;
        if h.format != FORMAT_VERSION || h.abi != ABI_VERSION {
            return Err(RecordError::Version {
                format: h.format,
                abi: h.abi,
                by: h.genspan.clone(),
            });
        }
        Ok(recording)
    }

    /// The first frame.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The next frame; `None` at the end. A recording that was cut (the recorder was killed)
    /// ends at its last whole frame.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or a frame makes no sense.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, RecordError> {
        let Some(kind) = self.read_frame()? else {
            return Ok(None);
        };
        let event = match kind {
            KIND_DATA => {
                return Ok(Some(match decode::data(&self.frame) {
                    Ok(event) => Frame::Event(event),
                    Err(e) => Frame::Undecodable(e),
                }));
            }
            KIND_PROCESS => {
                let f: ProcessFrame = self.json()?;
                Event::Process {
                    facts: Box::new(f.facts),
                    time: BootTime(f.time),
                }
            }
            KIND_FUNCTION => {
                let f: FunctionFrame = self.json()?;
                Event::Function {
                    facts: Box::new(f.facts),
                    time: BootTime(f.time),
                }
            }
            KIND_CALL_PATH => {
                let f: CallPathFrame = self.json()?;
                Event::CallPath {
                    connection: ConnectionId {
                        pid: f.pid,
                        ssl: f.ssl,
                        generation: f.generation,
                    },
                    path: Box::new(f.path),
                    time: BootTime(f.time),
                }
            }
            KIND_SNAPSHOT => {
                let f: SnapshotFacts = self.json()?;
                let found = f.snapshot().ok_or(RecordError::Broken(self.at))?;
                Event::Snapshot(Box::new(found))
            }
            KIND_EXIT => {
                let f: ExitFrame = self.json()?;
                Event::ProcessExit {
                    pid: f.pid,
                    time: BootTime(f.time),
                }
            }
            KIND_CLOCK => {
                let f: ClockFrame = self.json()?;
                Event::Clock {
                    offset: ClockOffset(f.offset),
                    time: BootTime(f.time),
                }
            }
            KIND_TICK => {
                let bytes = self.frame.as_slice().try_into();
                let time = bytes
                    .map(u64::from_le_bytes)
                    .map_err(|_| RecordError::Broken(self.at))?;
                Event::Tick {
                    time: BootTime(time),
                }
            }
            _ => return Err(RecordError::Broken(self.at)),
        };
        Ok(Some(Frame::Event(event)))
    }

    fn json<T: for<'d> Deserialize<'d>>(&self) -> Result<T, RecordError> {
        serde_json::from_slice(&self.frame).map_err(|_| RecordError::Broken(self.at))
    }

    /// Reads the next whole frame into the buffer and gives its kind.
    fn read_frame(&mut self) -> Result<Option<u8>, RecordError> {
        let mut head = [0; 5];
        if !fill(&mut self.input, &mut head)? {
            return Ok(None);
        }
        let [kind, a, b, c, d] = head;
        let len = u32::from_le_bytes([a, b, c, d]);
        if len > MAX_FRAME {
            return Err(RecordError::Broken(self.at));
        }
        self.frame.clear();
        let read = (&mut self.input)
            .take(u64::from(len))
            .read_to_end(&mut self.frame)?;
        if read < len as usize {
            return Ok(None);
        }
        self.at += 5 + u64::from(len);
        Ok(Some(kind))
    }
}

/// Reads exactly `buffer`; `false` when the input ends before.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Header, RecordError, Recorder, Recording};
    use crate::capture::decode::encode_data;
    use crate::model::event::{ConnectionId, Data, Direction, Event};
    use crate::model::process::ProcessFacts;
    use crate::model::time::{BootTime, ClockOffset};

    fn sample() -> Vec<u8> {
        let mut file = Vec::new();
        let mut recorder = Recorder::new(&mut file, &Header::new(7, "6.1".into())).unwrap();
        let facts = ProcessFacts {
            pid: 1,
            service_name: "s".into(),
            ..ProcessFacts::default()
        };
        recorder
            .event(&Event::Process {
                facts: Box::new(facts),
                time: BootTime(1),
            })
            .unwrap();
        recorder
            .event(&Event::Clock {
                offset: ClockOffset(-5),
                time: BootTime(2),
            })
            .unwrap();
        let data = Data {
            connection: ConnectionId {
                pid: 1,
                ssl: 2,
                generation: 3,
            },
            direction: Direction::Write,
            tid: 1,
            time: BootTime(3),
            offset: 0,
            lost_before: false,
            skipped_before: false,
            bytes: b"GET / HTTP/1.1\r\nauthorization: Bearer x\r\n\r\n",
        };
        let mut record = encode_data(&data);
        record.resize(1000, 0xee);
        recorder.record(&record, &Event::Data(data)).unwrap();
        recorder.event(&Event::Tick { time: BootTime(4) }).unwrap();
        recorder
            .event(&Event::ProcessExit {
                pid: 1,
                time: BootTime(5),
            })
            .unwrap();
        file
    }

    #[test]
    fn what_is_recorded_is_replayed_without_secrets() {
        let file = sample();
        assert!(!String::from_utf8_lossy(&file).contains("Bearer x"));
        let mut recording = Recording::open(file.as_slice()).unwrap();
        assert_eq!(recording.header().seed(), 7);
        let mut kinds = Vec::new();
        while let Some(frame) = recording.next_frame().unwrap() {
            let Frame::Event(event) = frame else {
                panic!("undecodable")
            };
            kinds.push(match event {
                Event::Process { facts, .. } => facts.service_name,
                Event::Clock { offset, .. } => offset.0.to_string(),
                Event::Data(d) => d.bytes.len().to_string(),
                Event::Tick { time } => format!("t{}", time.0),
                Event::ProcessExit { pid, .. } => format!("x{pid}"),
                other => format!("{other:?}"),
            });
        }
        assert_eq!(kinds, ["s", "-5", "43", "t4", "x1"]);
    }

    #[test]
    fn a_cut_recording_ends_and_a_foreign_file_is_refused() {
        let file = sample();
        for n in 0..file.len() {
            if let Ok(mut recording) = Recording::open(&file[..n]) {
                while let Ok(Some(_)) = recording.next_frame() {}
            }
        }
        assert!(matches!(
            Recording::open(&b"PK\x03\x04...."[..]),
            Err(RecordError::NotARecording)
        ));
        let text = String::from_utf8_lossy(&file).replace("\"format\":1", "\"format\":9");
        assert!(matches!(
            Recording::open(text.as_bytes()),
            Err(RecordError::Version { format: 9, .. }) | Err(RecordError::NotARecording)
        ));
    }
}
