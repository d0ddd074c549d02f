//! Snapshots of objects that are none, in the types of a process that is sound: no panic, and what
//! comes of it is bounded.
#![no_main]

use arbitrary::Arbitrary;
use genspan::capture::decode;
use genspan::model::event::Event;
use genspan::model::snapshot::{CLASS, without_classes};
use genspan::python::copied;
use genspan::python::heap_process::Process;
use genspan::python::layout::Layout;
use genspan::python::memory::Memory as _;
use genspan::python::reader::Types;
use genspan::python::render;
use genspan::python::version::Version;
use libfuzzer_sys::fuzz_target;

/// Where objects are that are in no process.
const BASE: u64 = 0x10_0000;
/// The most that is told of a snapshot, in bytes of JSON.
const MOST: usize = 32 << 20;

#[derive(Arbitrary, Debug)]
enum Word {
    /// Whatever.
    Raw(u64),
    /// A small number.
    Small(u8),
    /// An address of another segment.
    Segment(u8),
    /// The address of a piece of the process: a type, perhaps.
    Process(u16),
}

#[derive(Arbitrary, Debug)]
enum Segment {
    /// An object made of words.
    Words(Vec<Word>),
    /// A piece of the process as it is, with one word changed.
    Copy(u16, u8, Word),
    /// Bytes that are no segment, perhaps.
    Bytes(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    version: u8,
    record: Vec<u8>,
    segments: Vec<Segment>,
}

fuzz_target!(|input: Input| {
    let _ = decode::data(&input.record);
    let version = Version::ALL[usize::from(input.version) % Version::ALL.len()];
    let layout = Layout::table(version);
    let process = Process::new(version, layout.interpreter.modules);
    let image = &process.heap.image;
    let pieces: Vec<(u64, usize)> = image.pieces().collect();
    let piece = |n: u16| pieces[usize::from(n) % pieces.len()];
    let word = |word: &Word| match word {
        Word::Raw(raw) => *raw,
        Word::Small(small) => u64::from(*small),
        Word::Segment(n) => BASE + u64::from(*n) * 0x1000,
        Word::Process(n) => piece(*n).0,
    };
    let mut segments = Vec::new();
    let mut roots = Vec::new();
    for (n, segment) in (0_u64..).zip(input.segments.iter().take(64)) {
        let (address, bytes) = match segment {
            Segment::Words(words) => {
                let words = words.iter().take(256).flat_map(|w| word(w).to_le_bytes());
                (BASE + n * 0x1000, words.collect::<Vec<u8>>())
            }
            Segment::Copy(of, at, to) => {
                let (start, len) = piece(*of);
                let mut bytes = vec![0; len.min(1024)];
                let _ = image.read(start, &mut bytes);
                let at = usize::from(*at) % (bytes.len() / 8).max(1) * 8;
                if let Some(there) = bytes.get_mut(at..at + 8) {
                    there.copy_from_slice(&word(to).to_le_bytes());
                }
                (start, bytes)
            }
            Segment::Bytes(bytes) => {
                segments.extend_from_slice(bytes);
                continue;
            }
        };
        roots.push(address);
        segments.extend(address.to_ne_bytes());
        segments.extend((bytes.len() as u64).to_ne_bytes());
        segments.extend(&bytes);
        segments.resize(segments.len().next_multiple_of(8), 0);
    }
    roots.truncate(8);
    let types = Types::default();
    let found = copied::values(&segments, &roots, image, (layout, &types));
    assert_eq!(found.len(), roots.len());
    for value in found.iter().flatten() {
        let mut told = render::classed(value, CLASS);
        assert!(told.to_string().len() <= MOST);
        without_classes(&mut told);
    }
    // A record of them is what it was made of.
    let mut record: Vec<u8> = [21_u32, 1, 1, 0]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    record.extend(5_u64.to_ne_bytes());
    record.extend([1_u32, 1].into_iter().flat_map(u32::to_ne_bytes));
    record.extend([1_u64, 0].into_iter().flat_map(u64::to_ne_bytes));
    let len = u32::try_from(segments.len()).unwrap_or(0);
    record.extend([1, 0, len, 0].into_iter().flat_map(u32::to_ne_bytes));
    record.extend([0_u64; 8].into_iter().flat_map(u64::to_ne_bytes));
    record.extend(&segments);
    let Ok(Event::RawSnapshot(raw)) = decode::data(&record) else {
        panic!("no snapshot");
    };
    assert_eq!(raw.segments, segments);
});
