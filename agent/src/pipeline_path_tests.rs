//! Which request a call path is told of.

use super::*;
use crate::model::event::{Socket, SocketRole};
use crate::model::process::ProcessFacts;
use crate::model::stack::Place;
use crate::vocabulary::attr;

const PID: u32 = 7;
const GET: &[u8] = b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n";
const FOUND: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn id(number: u64) -> ConnectionId {
    ConnectionId {
        pid: PID,
        ssl: 1 << 63 | number,
        generation: 5,
    }
}

/// What happens on connections, in order, by their number.
enum Step {
    Path(u64, &'static str),
    Write(u64, &'static [u8]),
    Read(u64, &'static [u8]),
}
use Step::{Path, Read, Write};

/// The functions that are told of the requests.
fn run(steps: &[Step]) -> Vec<Option<String>> {
    let mut pipeline = Pipeline::new(1, Limits::default());
    pipeline.event(&Event::Process {
        facts: Box::new(ProcessFacts {
            pid: PID,
            ..ProcessFacts::default()
        }),
        time: BootTime(1),
    });
    let mut offsets: BTreeMap<(u64, bool), u64> = BTreeMap::new();
    for (time, step) in (10..).zip(steps) {
        let time = BootTime(time);
        let (number, direction, bytes) = match step {
            Path(number, function) => {
                pipeline.event(&Event::CallPath {
                    connection: id(*number),
                    path: Box::new(CallPath {
                        places: vec![Place {
                            function: (*function).to_owned(),
                            file: "/srv/a.py".to_owned(),
                            line: 1,
                        }],
                        cut: false,
                    }),
                    time,
                });
                continue;
            }
            Write(number, bytes) => (*number, Direction::Write, *bytes),
            Read(number, bytes) => (*number, Direction::Read, *bytes),
        };
        if !offsets.keys().any(|(known, _)| *known == number) {
            pipeline.event(&Event::Socket {
                connection: id(number),
                socket: Socket {
                    role: SocketRole::Connected,
                    local: None,
                    peer: None,
                },
                time,
            });
        }
        let offset = offsets
            .entry((number, direction == Direction::Read))
            .or_default();
        pipeline.event(&Event::Data(Data {
            connection: id(number),
            direction,
            tid: PID,
            time,
            offset: *offset,
            lost_before: false,
            skipped_before: false,
            bytes,
        }));
        *offset += bytes.len() as u64;
    }
    pipeline.finish();
    let spans: Vec<_> = pipeline.spans().collect();
    let name = |span: &Span| {
        let told = span.attribute(attr::CODE_FUNCTION_NAME);
        assert_eq!(
            told.is_some(),
            span.attribute(attr::CODE_STACKTRACE).is_some()
        );
        told.map(|value| match value {
            crate::model::span::Value::Str(text) => text.to_string(),
            other => panic!("{other:?}"),
        })
    };
    spans.iter().map(name).collect()
}

#[test]
fn a_path_is_of_the_request_that_is_written_next() {
    let one = Some("one".to_owned());
    let two = Some("two".to_owned());
    // Each request its own; one without a path has none, also after one that has.
    assert_eq!(
        run(&[
            Path(1, "one"),
            Write(1, GET),
            Read(1, FOUND),
            Write(1, GET),
            Read(1, FOUND),
            Path(1, "two"),
            Write(1, GET),
            Read(1, FOUND),
        ]),
        [one.clone(), None, two.clone()]
    );
    // Two at a time.
    assert_eq!(
        run(&[
            Path(1, "one"),
            Write(1, GET),
            Path(2, "two"),
            Write(2, GET),
            Read(2, FOUND),
            Read(1, FOUND),
        ]),
        [two, one]
    );
}

#[test]
fn a_path_is_of_no_other_request() {
    // Of another connection; of what does not begin a request; of a request that was written whole
    // later.
    let other = run(&[Path(2, "one"), Write(1, GET), Read(1, FOUND)]);
    assert_eq!(other, [None]);
    let lost = run(&[
        Path(1, "one"),
        Read(2, FOUND),
        Write(1, GET),
        Read(1, FOUND),
    ]);
    assert_eq!(lost.last(), Some(&None));
    let rest = run(&[
        Write(
            1,
            b"POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n",
        ),
        Path(1, "one"),
        Write(1, b"ok"),
        Read(1, FOUND),
        Write(1, GET),
        Read(1, FOUND),
    ]);
    assert_eq!(rest, [None, None]);
}
