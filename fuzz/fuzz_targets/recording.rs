//! Any file is a recording or an error; what is recorded holds no secret and replays.
#![no_main]

use genspan::capture::decode::encode_data;
use genspan::capture::record::{Frame, Header, Recorder, Recording};
use genspan::model::event::{ConnectionId, Data, Direction, Event};
use genspan::model::time::BootTime;
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"sk-test-0123456789";

fuzz_target!(|input: (&[u8], Vec<u8>)| {
    let (file, sizes) = input;
    if let Ok(mut recording) = Recording::open(file) {
        while let Ok(Some(_)) = recording.next_frame() {}
    }
    // A request with a secret, split as the fuzzer likes, with its bytes as body.
    let mut request = b"POST /v1/x?key=".to_vec();
    request.extend_from_slice(SECRET);
    request.extend_from_slice(b"&a=1 HTTP/1.1\r\nHost: h\r\nauthorization: Bearer ");
    request.extend_from_slice(SECRET);
    request.extend_from_slice(b"\r\nX-Api-Key:");
    request.extend_from_slice(SECRET);
    request.extend_from_slice(b"\r\n\r\n");
    let head = request.len();
    request.extend_from_slice(file);
    let mut out = Vec::new();
    let Ok(mut recorder) = Recorder::new(&mut out, &Header::new(1, String::new())) else {
        return;
    };
    let mut sizes = sizes.iter().cycle();
    let mut offset = 0;
    while offset < request.len() {
        let n = sizes.next().map_or(request.len(), |n| usize::from(*n) + 1);
        let end = request.len().min(offset + n);
        let data = Data {
            connection: ConnectionId {
                pid: 1,
                ssl: 1,
                generation: 1,
            },
            direction: Direction::Write,
            tid: 1,
            time: BootTime(1),
            offset: offset as u64,
            lost_before: false,
            skipped_before: false,
            bytes: &request[offset..end],
        };
        let done = recorder.record(&encode_data(&data), &Event::Data(data));
        assert!(done.is_ok());
        offset = end;
    }
    let mut replayed = Vec::new();
    let Ok(mut recording) = Recording::open(out.as_slice()) else {
        panic!("own recording")
    };
    while let Ok(Some(frame)) = recording.next_frame() {
        if let Frame::Event(Event::Data(d)) = frame {
            replayed.extend_from_slice(d.bytes);
        }
    }
    assert_eq!(replayed.len(), request.len());
    let secret = replayed[..head].windows(SECRET.len()).any(|w| w == SECRET);
    assert!(!secret, "a secret was recorded");
});
