//! Records of the rings as events: every field checked, nothing trusted, nothing copied.

use genspan_common::event::{
    ConnectionContext, ConnectionEvent, ContextCopy, DataHeader, Direction, EventHeader, EventKind,
    ProcessEvent, SocketEvent, SocketRole, family, flag,
};
use genspan_common::guess::GuessEvent;
use genspan_common::imports::{MAX_CONSTANTS, ModuleBegins};
use genspan_common::stack::{Frame, StackEvent};
use std::mem::offset_of;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use thiserror::Error;

use crate::model::event::{ConnectionId, Data, Event, Socket};
use crate::model::function::CallName;
use crate::model::process::ModuleBody;
use crate::model::stack::RawFrames;
use crate::model::time::BootTime;

/// Bytes of [`ContextCopy`] in recordings from before it was told in what a copy was made.
const WITHOUT_MAKERS: usize = 40;

/// Why a record means nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than its kind.
    #[error("record of {0} bytes is too short for its kind")]
    Short(usize),
    /// A kind that we do not know.
    #[error("record of unknown kind {0}")]
    Kind(u32),
    /// A direction that does not exist.
    #[error("record with direction {0}")]
    Direction(u32),
    /// A tag or a number in a record that does not exist, or does not fit its value.
    #[error("record with the tag {0}")]
    Tag(u32),
    /// More payload announced than there is.
    #[error("record announces {announced} bytes of payload and has {there}")]
    Payload {
        /// As the record says.
        announced: u32,
        /// As it is.
        there: usize,
    },
}

/// What happened to a process, from the control ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessChange {
    /// The process.
    pub pid: u32,
    /// What happened.
    pub kind: ProcessChangeKind,
    /// When.
    pub time: BootTime,
}

/// Kinds of [`ProcessChange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessChangeKind {
    /// It forked this child.
    Forked(u32),
    /// It runs another program now.
    Executed,
    /// Its main thread ended.
    Exited,
    /// Its list of libraries changed.
    LibrariesChanged,
    /// A call of a function that was guessed says whether the guess is right.
    Guess {
        /// Address of the probe.
        place: u64,
        /// A number of [`genspan_common::guess::verdict`].
        verdict: u32,
    },
    /// It begins to run the body of a module that is waited for.
    ModuleBegins(ModuleBody),
    /// Such a one is over.
    ModuleEnded,
}

/// Reads fixed-size integers off a record.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn u32(&self, at: usize) -> u32 {
        self.0
            .get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        self.0
            .get(at..at + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_ne_bytes)
    }
}

fn header(record: &[u8]) -> EventHeader {
    let f = Fields(record);
    EventHeader {
        kind: f.u32(0),
        tgid: f.u32(4),
        tid: f.u32(8),
        flags: f.u32(12),
        time: f.u64(16),
    }
}

pub(super) fn at_least(record: &[u8], size: usize) -> Result<(), DecodeError> {
    if record.len() < size {
        Err(DecodeError::Short(record.len()))
    } else {
        Ok(())
    }
}

/// Where the payload of a data record lies in it, for those who must change it in place.
///
/// # Errors
///
/// When the record is no data record, or too short.
pub fn payload_range(record: &[u8]) -> Result<std::ops::Range<usize>, DecodeError> {
    at_least(record, size_of::<DataHeader>())?;
    let announced = Fields(record).u32(52);
    let start = size_of::<DataHeader>();
    let there = record.len() - start;
    if announced as usize > there {
        return Err(DecodeError::Payload { announced, there });
    }
    Ok(start..start + announced as usize)
}

/// The event in a record of the data ring.
///
/// # Errors
///
/// When the record is not one that the programs write.
pub fn data(record: &[u8]) -> Result<Event<'_>, DecodeError> {
    at_least(record, size_of::<EventHeader>())?;
    let head = header(record);
    let f = Fields(record);
    let time = BootTime(head.time);
    match EventKind::from_u32(head.kind) {
        Some(EventKind::Data) => {
            let payload = payload_range(record)?;
            let number = f.u32(48);
            let direction = Direction::from_u32(number).ok_or(DecodeError::Direction(number))?;
            Ok(Event::Data(Data {
                connection: ConnectionId {
                    pid: head.tgid,
                    ssl: f.u64(24),
                    generation: f.u64(32),
                },
                direction,
                tid: head.tid,
                time,
                offset: f.u64(40),
                lost_before: head.flags & flag::LOST_BEFORE != 0,
                skipped_before: head.flags & flag::SKIPPED_BEFORE != 0,
                bytes: record.get(payload).unwrap_or_default(),
            }))
        }
        Some(kind @ (EventKind::EndOfStream | EventKind::Closed)) => {
            at_least(record, size_of::<ConnectionEvent>())?;
            let connection = ConnectionId {
                pid: head.tgid,
                ssl: f.u64(24),
                generation: f.u64(32),
            };
            Ok(match kind {
                EventKind::Closed => Event::Closed { connection, time },
                _ => Event::EndOfStream { connection, time },
            })
        }
        Some(EventKind::Socket) => {
            at_least(record, size_of::<SocketEvent>())?;
            let kind = f.u32(40);
            Ok(Event::Socket {
                connection: ConnectionId {
                    pid: head.tgid,
                    ssl: f.u64(24),
                    generation: f.u64(32),
                },
                socket: Socket {
                    role: SocketRole::from_u32(f.u32(44)),
                    local: address(kind, record.get(56..72), f.u32(48)),
                    peer: address(kind, record.get(72..88), f.u32(52)),
                },
                time,
            })
        }
        Some(EventKind::Context) => {
            at_least(record, size_of::<ConnectionContext>())?;
            let number = f.u32(48);
            Ok(Event::Context {
                connection: ConnectionId {
                    pid: head.tgid,
                    ssl: f.u64(24),
                    generation: f.u64(32),
                },
                direction: Direction::from_u32(number).ok_or(DecodeError::Direction(number))?,
                tid: head.tid,
                context: Some(f.u64(40)).filter(|context| *context != 0),
                copies_lost: head.flags & flag::LOST_BEFORE != 0,
                time,
            })
        }
        Some(EventKind::ContextCopied) => {
            at_least(record, WITHOUT_MAKERS)?;
            // What follows is not in records from before it was told.
            let whole = record.len() >= size_of::<ContextCopy>();
            let began = if whole { f.u64(40) } else { 0 };
            Ok(Event::ContextCopied {
                pid: head.tgid,
                tid: head.tid,
                parent: Some(f.u64(24)).filter(|parent| *parent != 0),
                child: f.u64(32),
                within: (began != 0).then(|| CallName {
                    pid: head.tgid,
                    tid: f.u32(48),
                    began: BootTime(began),
                }),
                copies_lost: head.flags & flag::LOST_BEFORE != 0,
                time,
            })
        }
        Some(EventKind::Stack) => {
            let start = offset_of!(StackEvent, frames);
            at_least(record, start)?;
            let announced = f.u32(offset_of!(StackEvent, count));
            let there = record.len() - start;
            let bytes = (announced as usize).saturating_mul(size_of::<Frame>());
            let frames = record.get(start..start.saturating_add(bytes));
            let frames = frames.ok_or(DecodeError::Payload { announced, there })?;
            Ok(Event::Stack {
                connection: ConnectionId {
                    pid: head.tgid,
                    ssl: f.u64(offset_of!(StackEvent, ssl)),
                    generation: f.u64(offset_of!(StackEvent, generation)),
                },
                frames: RawFrames::new(frames, f.u32(offset_of!(StackEvent, more)) != 0),
                time,
            })
        }
        Some(
            kind @ (EventKind::FunctionBegan
            | EventKind::FunctionArgument
            | EventKind::FunctionEnded
            | EventKind::WriteWithin),
        ) => super::function::event(kind, head, record),
        Some(EventKind::Run) => super::framework::event(head, record),
        Some(EventKind::Snapshot) => super::snapshot::event(head, record),
        Some(EventKind::SpanEntered | EventKind::SpanTold) => super::dispatch::event(head, record),
        _ => Err(DecodeError::Kind(head.kind)),
    }
}

/// An address as a socket has it. An IPv6 socket may carry IPv4 (RFC 4291, section 2.5.5.2).
fn address(kind: u32, bytes: Option<&[u8]>, port: u32) -> Option<SocketAddr> {
    let bytes: [u8; 16] = bytes?.try_into().ok()?;
    let address = match kind {
        family::INET => {
            let [a, b, c, d, ..] = bytes;
            IpAddr::from([a, b, c, d])
        }
        family::INET6 => Ipv6Addr::from(bytes).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::try_from(port).ok()?))
}

/// The change in a record of the control ring.
///
/// # Errors
///
/// When the record is not one that the programs write.
pub fn control(record: &[u8]) -> Result<ProcessChange, DecodeError> {
    at_least(record, size_of::<ProcessEvent>())?;
    let head = header(record);
    let kind = match EventKind::from_u32(head.kind) {
        Some(EventKind::Fork) => ProcessChangeKind::Forked(Fields(record).u32(24)),
        Some(EventKind::Exec) => ProcessChangeKind::Executed,
        Some(EventKind::Exit) => ProcessChangeKind::Exited,
        Some(EventKind::LibrariesChanged) => ProcessChangeKind::LibrariesChanged,
        Some(EventKind::Guess) => {
            at_least(record, size_of::<GuessEvent>())?;
            let f = Fields(record);
            ProcessChangeKind::Guess {
                place: f.u64(offset_of!(GuessEvent, place)),
                verdict: f.u32(offset_of!(GuessEvent, verdict)),
            }
        }
        Some(EventKind::ModuleBegins) => ProcessChangeKind::ModuleBegins(module_body(record)?),
        Some(EventKind::ModuleEnded) => ProcessChangeKind::ModuleEnded,
        _ => return Err(DecodeError::Kind(head.kind)),
    };
    Ok(ProcessChange {
        pid: head.tgid,
        kind,
        time: BootTime(head.time),
    })
}

fn module_body(record: &[u8]) -> Result<ModuleBody, DecodeError> {
    at_least(record, size_of::<ModuleBegins>())?;
    let fields = Fields(record);
    let count = fields.u64(32);
    let most = usize::try_from(count).map_or(MAX_CONSTANTS, |count| count.min(MAX_CONSTANTS));
    Ok(ModuleBody {
        code: fields.u64(24),
        count,
        constants: (0..most).map(|at| fields.u64(40 + 8 * at)).collect(),
    })
}

/// Writes a data record as the kernel does, for tests, benchmarks and fuzzing.
#[must_use]
pub fn encode_data(d: &Data<'_>) -> Vec<u8> {
    let mut flags = 0;
    if d.lost_before {
        flags |= flag::LOST_BEFORE;
    }
    if d.skipped_before {
        flags |= flag::SKIPPED_BEFORE;
    }
    let mut out = Vec::with_capacity(size_of::<DataHeader>() + d.bytes.len());
    for word in [EventKind::Data as u32, d.connection.pid, d.tid, flags] {
        out.extend(word.to_ne_bytes());
    }
    for long in [
        d.time.0,
        d.connection.ssl,
        d.connection.generation,
        d.offset,
    ] {
        out.extend(long.to_ne_bytes());
    }
    out.extend((d.direction as u32).to_ne_bytes());
    out.extend((d.bytes.len() as u32).to_ne_bytes());
    out.extend_from_slice(d.bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::{DecodeError, ModuleBody, ProcessChangeKind, control, data, encode_data};
    use crate::model::event::{ConnectionId, Data, Direction, Event, SocketRole};
    use crate::model::time::BootTime;
    use genspan_common::event::EventKind;

    fn sample(bytes: &[u8]) -> Data<'_> {
        Data {
            connection: ConnectionId {
                pid: 7,
                ssl: 0xdead_beef,
                generation: 99,
            },
            direction: Direction::Read,
            tid: 8,
            time: BootTime(123),
            offset: 1 << 40,
            lost_before: true,
            skipped_before: false,
            bytes,
        }
    }

    #[test]
    fn what_is_written_is_read_and_slack_is_ignored() {
        let mut record = encode_data(&sample(b"hello"));
        assert_eq!(data(&record), Ok(Event::Data(sample(b"hello"))));
        record.resize(300, 0xaa);
        assert_eq!(data(&record), Ok(Event::Data(sample(b"hello"))));
    }

    #[test]
    fn every_cut_is_an_error() {
        let record = encode_data(&sample(b"hello"));
        for n in 0..record.len() {
            assert!(data(&record[..n]).is_err(), "{n}");
            assert!(control(&record[..n]).is_err(), "{n}");
        }
    }

    #[test]
    fn wrong_numbers_are_errors() {
        let good = encode_data(&sample(b"hello"));
        let mut bad = good.clone();
        bad[0] = 77;
        assert_eq!(data(&bad), Err(DecodeError::Kind(77)));
        let mut bad = good.clone();
        bad[48] = 2;
        assert_eq!(data(&bad), Err(DecodeError::Direction(2)));
        let mut bad = good;
        bad[52] = 6;
        assert_eq!(
            data(&bad),
            Err(DecodeError::Payload {
                announced: 6,
                there: 5
            })
        );
    }

    /// A record of a socket as the kernel writes it.
    fn socket_record(kind: u32, role: u32, local: &[u8], peer: &[u8]) -> Vec<u8> {
        let mut record: Vec<u8> = [8u32, 7, 8, 0]
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        for long in [123u64, 1 << 63 | 42, 99] {
            record.extend(long.to_ne_bytes());
        }
        for word in [kind, role, 8000, 50_000] {
            record.extend(word.to_ne_bytes());
        }
        for address in [local, peer] {
            let mut wide = [0; 16];
            wide[..address.len()].copy_from_slice(address);
            record.extend(wide);
        }
        record
    }

    #[test]
    fn sockets() {
        let read = |record: &[u8]| match data(record) {
            Ok(Event::Socket {
                connection, socket, ..
            }) => {
                assert!(connection.is_socket());
                assert_eq!((connection.pid, connection.generation), (7, 99));
                socket
            }
            other => panic!("{other:?}"),
        };
        let four = read(&socket_record(2, 2, &[127, 0, 0, 1], &[10, 0, 0, 2]));
        assert_eq!(four.role, SocketRole::Accepted);
        assert_eq!(four.local, Some("127.0.0.1:8000".parse().unwrap()));
        assert_eq!(four.peer, Some("10.0.0.2:50000".parse().unwrap()));
        let mapped = "::ffff:10.0.0.2".parse::<std::net::Ipv6Addr>().unwrap();
        let six = read(&socket_record(10, 1, &[0; 16], &mapped.octets()));
        assert_eq!(six.role, SocketRole::Connected);
        assert_eq!(six.peer, four.peer);
        let unix = read(&socket_record(1, 77, &[], &[]));
        assert_eq!(
            (unix.role, unix.local, unix.peer),
            (SocketRole::Unknown, None, None)
        );
        let record = socket_record(2, 2, &[], &[]);
        for n in 0..record.len() {
            assert!(data(&record[..n]).is_err(), "{n}");
        }
        // A port that is none.
        let mut record = record;
        record[50] = 1;
        assert_eq!(read(&record).local, None);
    }

    #[test]
    fn stacks() {
        let mut record: Vec<u8> = [11u32, 7, 8, 0]
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        for long in [123u64, 42, 99] {
            record.extend(long.to_ne_bytes());
        }
        for word in [2u32, 1] {
            record.extend(word.to_ne_bytes());
        }
        for long in [0x1000u64, 4, 0x2000, 6, 0xaa, 0xaa] {
            record.extend(long.to_ne_bytes());
        }
        // What is not counted is anything.
        let Ok(Event::Stack {
            connection, frames, ..
        }) = data(&record)
        else {
            panic!("{:?}", data(&record));
        };
        assert_eq!(
            (connection.pid, connection.ssl, connection.generation),
            (7, 42, 99)
        );
        assert!(frames.more);
        assert_eq!(
            frames.iter().collect::<Vec<_>>(),
            [(0x1000, 4), (0x2000, 6)]
        );
        for n in 0..record.len() - 16 {
            assert!(data(&record[..n]).is_err(), "{n}");
        }
        record[40..44].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(matches!(data(&record), Err(DecodeError::Payload { .. })));
    }

    #[test]
    fn control_records() {
        let mut record: Vec<u8> = [4u32, 10, 10, 0]
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        record.extend(5u64.to_ne_bytes());
        record.extend(11u32.to_ne_bytes());
        record.extend(0u32.to_ne_bytes());
        let change = control(&record).unwrap();
        assert_eq!(change.kind, ProcessChangeKind::Forked(11));
        assert_eq!((change.pid, change.time), (10, BootTime(5)));
        record[..4].copy_from_slice(&(EventKind::ModuleEnded as u32).to_ne_bytes());
        assert_eq!(
            control(&record).unwrap().kind,
            ProcessChangeKind::ModuleEnded
        );
        record[..4].copy_from_slice(&(EventKind::ModuleBegins as u32).to_ne_bytes());
        assert!(control(&record).is_err());
        record.truncate(24);
        for (count, told) in [(2, 2), (u64::MAX, 32)] {
            let mut record = record.clone();
            for word in [1 << 40, count].into_iter().chain(100..132) {
                record.extend(word.to_ne_bytes());
            }
            let body = ModuleBody {
                code: 1 << 40,
                count,
                constants: (100..100 + told).collect(),
            };
            assert_eq!(
                control(&record).unwrap().kind,
                ProcessChangeKind::ModuleBegins(body)
            );
        }
    }
}
