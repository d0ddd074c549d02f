//! Records of the rings: any bytes are an event or an error, and a whole run over them ends with
//! its bounds kept. The input is a sequence of operations, so that connections really open, carry
//! HTTP, lose bytes and close.
#![no_main]

use arbitrary::Arbitrary;
use genspan::capture::decode;
use genspan::model::event::{ConnectionId, Data, Direction, Event};
use genspan::model::process::ProcessFacts;
use genspan::model::time::{BootTime, ClockOffset};
use genspan::pipeline::{Limits, Pipeline};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// Raw bytes as a record of the data ring.
    Raw(&'a [u8]),
    /// Raw bytes as a record of the control ring.
    Control(&'a [u8]),
    /// Bytes on one of a few connections, right after the last ones.
    Bytes {
        connection: u8,
        read: bool,
        bytes: &'a [u8],
    },
    /// A ready-made piece of HTTP.
    Piece { connection: u8, piece: u8 },
    /// Bytes that were not seen.
    Gap {
        connection: u8,
        read: bool,
        missing: u32,
        skipped: bool,
    },
    /// The connection is gone.
    Close(u8),
    /// The peer ended.
    End(u8),
    /// The process ended.
    Exit,
    /// Time passes.
    Tick(u32),
    /// The clock was set.
    Clock(i64),
}

const PIECES: [(bool, &[u8]); 8] = [
    (false, b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: 49\r\nx-stainless-retry-count: 0\r\n\r\n{\"messages\":[],\"model\":\"m-1\",\"stream\":true,\"n\":2}"),
    (false, b"POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Length: 27\r\n\r\n{\"input\":\"a\",\"model\":\"e-1\"}"),
    (false, b"GET /v1/responses/resp_1?stream=true HTTP/1.1\r\nHost: h\r\n\r\n"),
    (true, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (true, b"1c\r\ndata: {\"id\":\"c\",\"model\":\"m\n\n\r\n"),
    (true, b"f\r\ndata: [DONE]\n\n\n\r\n0\r\n\r\n"),
    (true, b"HTTP/1.1 429 Too Many\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n{\"error\":{\"code\":\"rate\",\"x\":null}}"),
    (true, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
];

struct Run {
    pipeline: Pipeline,
    offsets: [[u64; 2]; 4],
    time: u64,
}

impl Run {
    fn id(connection: u8) -> ConnectionId {
        ConnectionId {
            pid: 1 + u32::from(connection & 1),
            ssl: u64::from(connection & 3),
            generation: 1,
        }
    }

    fn bytes(&mut self, connection: u8, read: bool, bytes: &[u8], gap: Option<(u32, bool)>) {
        let offset = &mut self.offsets[usize::from(connection & 3)][usize::from(read)];
        let (missing, skipped) = gap.unwrap_or((0, false));
        *offset += u64::from(missing);
        let data = Data {
            connection: Self::id(connection),
            direction: if read {
                Direction::Read
            } else {
                Direction::Write
            },
            tid: 1,
            time: BootTime(self.time),
            offset: *offset,
            lost_before: gap.is_some() && !skipped,
            skipped_before: skipped,
            bytes,
        };
        *offset += bytes.len() as u64;
        // Through the layout of the ring, as the kernel does.
        let record = decode::encode_data(&data);
        assert_eq!(decode::data(&record), Ok(Event::Data(data)));
        self.pipeline.event(&Event::Data(data));
    }
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut run = Run {
        pipeline: Pipeline::new(
            1,
            Limits {
                body_bytes: 4096,
                ..Limits::default()
            },
        ),
        offsets: [[0; 2]; 4],
        time: 0,
    };
    let facts = Box::new(ProcessFacts {
        pid: 1,
        ..ProcessFacts::default()
    });
    run.pipeline.event(&Event::Process {
        facts,
        time: BootTime(0),
    });
    for step in steps {
        run.time += 1000;
        let time = BootTime(run.time);
        match step {
            Step::Raw(bytes) => {
                if let Ok(event) = decode::data(bytes) {
                    run.pipeline.event(&event);
                }
            }
            Step::Control(bytes) => drop(decode::control(bytes)),
            Step::Bytes {
                connection,
                read,
                bytes,
            } => run.bytes(connection, read, bytes, None),
            Step::Piece { connection, piece } => {
                let (read, bytes) = PIECES[usize::from(piece) % PIECES.len()];
                run.bytes(connection, read, bytes, None);
            }
            Step::Gap {
                connection,
                read,
                missing,
                skipped,
            } => {
                run.bytes(connection, read, b"x", Some((missing, skipped)));
            }
            Step::Close(c) => {
                run.pipeline.event(&Event::Closed {
                    connection: Run::id(c),
                    time,
                });
                run.offsets[usize::from(c & 3)] = [0; 2];
            }
            Step::End(c) => run.pipeline.event(&Event::EndOfStream {
                connection: Run::id(c),
                time,
            }),
            Step::Exit => run.pipeline.event(&Event::ProcessExit { pid: 1, time }),
            Step::Tick(millis) => {
                run.time += u64::from(millis) * 1_000_000;
                run.pipeline.event(&Event::Tick {
                    time: BootTime(run.time),
                });
            }
            Step::Clock(offset) => {
                run.pipeline.event(&Event::Clock {
                    offset: ClockOffset(offset),
                    time,
                });
            }
        }
        for span in run.pipeline.spans() {
            assert!(span.trace_id != 0 && span.span_id != 0 && span.end >= span.start);
        }
        run.pipeline.modes().for_each(drop);
    }
    run.pipeline.finish();
    let open = run.pipeline.progress(BootTime(run.time));
    assert!(open.is_empty(), "calls still open after the end");
    run.pipeline.spans().for_each(drop);
});
