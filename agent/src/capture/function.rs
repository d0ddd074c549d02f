//! Records of watched functions as events.

use genspan_common::event::{EventHeader, EventKind};
use genspan_common::function::{
    FunctionArgument, FunctionBegan, FunctionEnded, WriteWithin, how, tag,
};

use std::mem::offset_of;

use super::decode::{DecodeError, Fields, at_least};
use crate::model::event::{ConnectionId, Event};
use crate::model::function::{Argument, CallName, FunctionCall, FunctionEnd};
use crate::model::time::BootTime;

/// Bytes of [`FunctionBegan`] in recordings from before generators were watched.
const WITHOUT_GENERATORS: usize = 40;
/// The same from before contexts were told with it.
const WITHOUT_CONTEXT: usize = 56;

/// Where the bytes of an argument's record lie in it: what follows them is slack.
///
/// # Errors
///
/// When the record is too short.
pub fn payload_range(record: &[u8]) -> Result<std::ops::Range<usize>, DecodeError> {
    let start = size_of::<FunctionArgument>();
    at_least(record, start)?;
    let announced = Fields(record).u32(44);
    let there = record.len() - start;
    if announced as usize > there {
        return Err(DecodeError::Payload { announced, there });
    }
    Ok(start..start + announced as usize)
}

/// The process whose watchpoints the process has in which a function begins: itself, or the one it
/// was forked from. For who must know of a process before its first event.
///
/// # Errors
///
/// When the record is too short.
pub fn root(record: &[u8]) -> Result<u32, DecodeError> {
    at_least(record, WITHOUT_GENERATORS)?;
    Ok(Fields(record).u32(32))
}

/// Whether the record is of a function whose frame its thread had in a register only when it began
/// ([`FunctionBegan::ahead`]).
#[must_use]
pub fn is_ahead(record: &[u8]) -> bool {
    let fields = Fields(record);
    record.len() >= size_of::<FunctionBegan>()
        && fields.u32(0) == EventKind::FunctionBegan as u32
        && fields.u32(offset_of!(FunctionBegan, ahead)) != 0
}

/// The event in a record of one of these kinds.
///
/// # Errors
///
/// When the record is not one that the programs write.
pub(super) fn event(
    kind: EventKind,
    head: EventHeader,
    record: &[u8],
) -> Result<Event<'_>, DecodeError> {
    let f = Fields(record);
    let call = |function: u32, began: u64| FunctionCall {
        pid: head.tgid,
        tid: head.tid,
        function,
        began: BootTime(began),
    };
    let call_name = |began: u64, tid: u32| {
        (began != 0).then_some(CallName {
            pid: head.tgid,
            tid,
            began: BootTime(began),
        })
    };
    match kind {
        EventKind::FunctionBegan => {
            at_least(record, WITHOUT_GENERATORS)?;
            // What follows is not in records from before generators were watched.
            let whole = record.len() >= WITHOUT_CONTEXT;
            let context = match record.len() >= size_of::<FunctionBegan>() {
                true => f.u64(56),
                false => 0,
            };
            let within = call_name(f.u64(40), f.u32(48)).filter(|_| whole);
            Ok(Event::FunctionBegan {
                call: call(f.u32(24), head.time),
                depth: f.u32(28),
                generator: whole && f.u32(36) != 0,
                within,
                context: (context != 0).then_some(context),
            })
        }
        EventKind::WriteWithin => {
            at_least(record, size_of::<WriteWithin>())?;
            let call = call_name(f.u64(40), f.u32(48));
            Ok(Event::WriteWithin {
                connection: ConnectionId {
                    pid: head.tgid,
                    ssl: f.u64(24),
                    generation: f.u64(32),
                },
                call: call.ok_or(DecodeError::Short(record.len()))?,
                time: BootTime(head.time),
            })
        }
        EventKind::FunctionArgument => {
            let bytes = payload_range(record)?;
            let bytes = record.get(bytes).unwrap_or_default();
            let word = f.u64(48);
            let number = f.u32(40);
            let value = match number {
                tag::NONE => Argument::None,
                tag::BOOL => Argument::Bool(word != 0),
                tag::INT | tag::NEGATIVE => {
                    let magnitude = i64::try_from(word).map_err(|_| DecodeError::Tag(number))?;
                    Argument::Int(if number == tag::INT {
                        magnitude
                    } else {
                        -magnitude
                    })
                }
                tag::FLOAT => Argument::Float(f64::from_bits(word)),
                tag::TEXT => Argument::Text {
                    bytes,
                    width: match word {
                        1 => 1,
                        2 => 2,
                        4 => 4,
                        _ => return Err(DecodeError::Tag(number)),
                    },
                    characters: f.u64(56),
                },
                tag::OTHER => Argument::Other(until_zero(bytes)),
                _ => return Err(DecodeError::Tag(number)),
            };
            Ok(Event::FunctionArgument {
                call: call(f.u32(32), f.u64(24)),
                index: f.u32(36),
                value,
                time: BootTime(head.time),
            })
        }
        EventKind::FunctionEnded => {
            at_least(record, size_of::<FunctionEnded>())?;
            let how = match f.u32(36) {
                how::RETURNED => FunctionEnd::Returned,
                how::RAISED => {
                    let name = record.get(40..size_of::<FunctionEnded>());
                    FunctionEnd::Raised(until_zero(name.unwrap_or_default()))
                }
                how::LATE => FunctionEnd::Late,
                how::THREAD_ENDED => FunctionEnd::ThreadEnded,
                how::CLOSED => FunctionEnd::Closed,
                number => return Err(DecodeError::Tag(number)),
            };
            Ok(Event::FunctionEnded {
                call: call(f.u32(32), f.u64(24)),
                how,
                time: BootTime(head.time),
            })
        }
        _ => Err(DecodeError::Kind(head.kind)),
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|b| *b == 0);
    bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::decode::{DecodeError, data};
    use crate::model::event::{ConnectionId, Event};
    use crate::model::function::{Argument, CallName, FunctionCall, FunctionEnd};
    use crate::model::time::BootTime;

    const CALL: FunctionCall = FunctionCall {
        pid: 7,
        tid: 8,
        function: 3,
        began: BootTime(100),
    };

    fn record(kind: u32, time: u64, words: &[u32]) -> Vec<u8> {
        let mut all: Vec<u8> = [kind, 7, 8, 0]
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        all.extend(time.to_ne_bytes());
        all.extend(words.iter().flat_map(|w| w.to_ne_bytes()));
        all
    }

    fn argument(tag: u32, word: u64, characters: u64, bytes: &[u8]) -> Vec<u8> {
        let mut all = record(17, 101, &[100, 0, 3, 1, tag, bytes.len() as u32]);
        all.extend(word.to_ne_bytes());
        all.extend(characters.to_ne_bytes());
        all.extend(bytes);
        all
    }

    fn value(record: &[u8]) -> Result<Argument<'_>, DecodeError> {
        match data(record)? {
            Event::FunctionArgument {
                call, index, value, ..
            } => {
                assert_eq!((call, index), (CALL, 1));
                Ok(value)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn beginnings_and_ends() {
        let began = record(16, 100, &[3, 2, 6, 0]);
        assert_eq!(super::root(&began), Ok(6));
        let event = Event::FunctionBegan {
            call: CALL,
            depth: 2,
            generator: false,
            within: None,
            context: None,
        };
        assert_eq!(data(&began), Ok(event));
        assert!(data(&began[..39]).is_err() && super::root(&began[..39]).is_err());
        for (how, wanted) in [
            (0, FunctionEnd::Returned),
            (1, FunctionEnd::Raised(b"ValueError")),
            (2, FunctionEnd::Late),
            (3, FunctionEnd::ThreadEnded),
            (4, FunctionEnd::Closed),
        ] {
            let mut ended = record(18, 200, &[100, 0, 3, how]);
            ended.extend(b"ValueError\0rest");
            ended.resize(104, 0xee);
            let event = Event::FunctionEnded {
                call: CALL,
                how: wanted,
                time: BootTime(200),
            };
            assert_eq!(data(&ended), Ok(event));
            for n in 0..104 {
                assert!(data(&ended[..n]).is_err(), "{n}");
            }
        }
        assert!(data(&record(18, 200, &[100, 0, 3, 5]).repeat(4)).is_err());
    }

    #[test]
    fn generators_and_what_is_within_them() {
        let around = CallName {
            pid: 7,
            tid: 9,
            began: BootTime(90),
        };
        let began = record(16, 100, &[3, 0, 6, 1, 90, 0, 9, 0]);
        let event = Event::FunctionBegan {
            call: CALL,
            depth: 0,
            generator: true,
            within: Some(around),
            context: None,
        };
        assert_eq!(data(&began), Ok(event));
        let began = record(16, 100, &[3, 0, 6, 1, 90, 0, 9, 0, 0x70, 0]);
        let event = Event::FunctionBegan {
            call: CALL,
            depth: 0,
            generator: true,
            within: Some(around),
            context: Some(0x70),
        };
        assert_eq!(data(&began), Ok(event));
        let wrote = record(20, 100, &[5, 0, 6, 0, 90, 0, 9, 0]);
        let event = Event::WriteWithin {
            connection: ConnectionId {
                pid: 7,
                ssl: 5,
                generation: 6,
            },
            call: around,
            time: BootTime(100),
        };
        assert_eq!(data(&wrote), Ok(event));
        for n in 0..wrote.len() {
            assert!(data(&wrote[..n]).is_err(), "{n}");
        }
        // Within none it is not told at all.
        assert!(data(&record(20, 100, &[5, 0, 6, 0, 0, 0, 9, 0])).is_err());
    }

    #[test]
    fn arguments() {
        assert_eq!(value(&argument(0, 0, 0, b"")), Ok(Argument::None));
        assert_eq!(value(&argument(1, 1, 0, b"")), Ok(Argument::Bool(true)));
        assert_eq!(value(&argument(2, 5, 0, b"")), Ok(Argument::Int(5)));
        assert_eq!(value(&argument(3, 5, 0, b"")), Ok(Argument::Int(-5)));
        let bits = 1.5_f64.to_bits();
        assert_eq!(value(&argument(4, bits, 0, b"")), Ok(Argument::Float(1.5)));
        let mut text = argument(5, 1, 900, b"hello");
        text.resize(200, 0xee);
        let wanted = Argument::Text {
            bytes: b"hello",
            width: 1,
            characters: 900,
        };
        assert_eq!(value(&text), Ok(wanted));
        let other = argument(6, 0, 0, b"Thing\0");
        assert_eq!(value(&other), Ok(Argument::Other(b"Thing")));
        for bad in [
            argument(7, 0, 0, b""),
            argument(5, 3, 1, b"abc"),
            argument(2, u64::MAX, 0, b""),
        ] {
            assert!(matches!(value(&bad), Err(DecodeError::Tag(_))));
        }
        let whole = argument(5, 1, 5, b"hello");
        for n in 0..whole.len() {
            assert!(data(&whole[..n]).is_err(), "{n}");
        }
    }
}
