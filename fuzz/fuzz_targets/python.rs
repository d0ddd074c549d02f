//! Memory of a process that is anything but CPython's, or was until words of it changed: no panic,
//! and an end within the budget.
#![no_main]

use arbitrary::Arbitrary;
use genspan::python::check::{self, Root};
use genspan::python::find::FunctionName;
use genspan::python::heap_process::Process;
use genspan::python::layout::{DEBUG_OFFSETS_BYTES, DebugOffsets, Layout};
use genspan::python::lines::{self, Table};
use genspan::python::memory::Image;
use genspan::python::reader::Reader;
use genspan::python::render;
use genspan::python::value::Limits;
use genspan::python::version::Version;
use libfuzzer_sys::fuzz_target;

/// Where the memory begins.
const BASE: u64 = 0x10_0000;
/// What a question may cost here.
const BUDGET: u64 = 1 << 20;
/// Names that types of the interpreter have, one of them at each of the first places.
const NAMES: [&[u8; 16]; 16] = [
    b"NoneType\0\0\0\0\0\0\0\0",
    b"float\0\0\0\0\0\0\0\0\0\0\0",
    b"set\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"module\0\0\0\0\0\0\0\0\0\0",
    b"function\0\0\0\0\0\0\0\0",
    b"method\0\0\0\0\0\0\0\0\0\0",
    b"code\0\0\0\0\0\0\0\0\0\0\0\0",
    b"property\0\0\0\0\0\0\0\0",
    b"staticmethod\0\0\0\0",
    b"mappingproxy\0\0\0\0",
    b"member_descripto",
    b"r\0UUID\0\0\0\0\0\0\0\0\0\0",
    b"bool\0\0\0\0\0\0\0\0\0\0\0\0",
    b"cell\0\0\0\0\0\0\0\0\0\0\0\0",
    b"a.b.Class\0\0\0\0\0\0\0",
    b"sys\0builtins\0\0\0\0",
];

#[derive(Arbitrary, Debug)]
enum Word {
    /// Whatever.
    Raw(u64),
    /// A small number.
    Small(u8),
    /// The address of one of the words.
    Pointer(u16),
    /// A type's flags: ready, and these.
    Flags(u8, bool),
    /// Text.
    Text([u8; 8]),
    /// The address of a name.
    Name(u8),
}

#[derive(Arbitrary, Debug)]
struct Input {
    version: u8,
    words: Vec<Word>,
    at: u16,
    table: Vec<u8>,
    offset: u16,
    changes: Vec<Change>,
}

/// A word of a sound process that is changed.
#[derive(Arbitrary, Debug)]
struct Change {
    piece: u16,
    word: u8,
    to: To,
}

#[derive(Arbitrary, Debug)]
enum To {
    Raw(u64),
    Small(u8),
    /// To the start of a piece, and so far into it.
    Piece(u16, u8),
}

/// A sound process with changes: whatever is asked has an answer or an error.
fn changed(version: Version, changes: &[Change]) {
    let layout = Layout::table(version);
    let process = Process::new(version, layout.interpreter.modules);
    let mut image = process.heap.image.clone();
    let pieces: Vec<(u64, usize)> = image.pieces().collect();
    let piece = |n: u16| pieces[usize::from(n) % pieces.len()];
    for change in changes {
        let (start, len) = piece(change.piece);
        let at = start + u64::from(change.word) % (len as u64 / 8).max(1) * 8;
        let word = match change.to {
            To::Raw(raw) => raw,
            To::Small(small) => u64::from(small),
            To::Piece(n, into) => piece(n).0 + u64::from(into),
        };
        image.change(at, &word.to_le_bytes());
    }
    let reader = || Reader::new(&image, layout, BUDGET);
    let fit = check::fit(&image, layout, Root::Runtime(process.runtime));
    assert!(!changes.is_empty() || fit.is_ok(), "it was sound");
    let name = FunctionName::parse("app:Service.handler").expect("a name");
    let _ = reader().find(process.interpreter, &name);
    let _ = reader().functions(process.interpreter, None);
    let _ = reader().code(process.code);
    for (state, _) in &process.threads {
        let Ok(frames) = reader().frames(*state, 100) else {
            continue;
        };
        for frame in frames {
            let r = reader();
            let offset = r.instruction_offset(frame.code, frame.instruction);
            let _ = r.place(frame.code, offset.unwrap_or(0));
        }
    }
    for (_, module) in reader().modules(process.interpreter).unwrap_or_default() {
        let r = reader();
        if let Ok(dict) = r.module_dict(module) {
            let _ = render::json(&r.value(dict, Limits::default())).to_string();
        }
    }
}

fuzz_target!(|input: Input| {
    let version = Version::ALL[usize::from(input.version) % Version::ALL.len()];
    changed(version, &input.changes);
    let layout = Layout::table(version);
    let mut bytes: Vec<u8> = NAMES.iter().flat_map(|name| **name).collect();
    let count = input.words.len().max(1) as u64;
    let first = BASE + bytes.len() as u64;
    for word in &input.words {
        let word = match word {
            Word::Raw(raw) => *raw,
            Word::Small(small) => u64::from(*small),
            Word::Pointer(to) => first + u64::from(*to) % count * 8,
            Word::Flags(bit, heap) => {
                1 << 12 | 1 << (24 + bit % 8) | u64::from(*heap) << 9 | u64::from(bit >> 3) << 2
            }
            Word::Text(text) => u64::from_le_bytes(*text),
            Word::Name(name) => BASE + u64::from(*name % 16) * 16,
        };
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    let mut image = Image::new();
    image.put(BASE, bytes.clone());
    let at = first + u64::from(input.at) % count * 8;
    let reader = || Reader::new(&image, layout, BUDGET);

    let r = reader();
    let value = r.value(at, Limits::default());
    let text = render::json(&value).to_string();
    // All of it was read, and a few words stand for what was not.
    assert!(text.len() as u64 <= 64 * BUDGET, "{}", text.len());
    assert!(r.left() <= BUDGET);
    drop((value, text));

    let _ = reader().code(at);
    let _ = reader().place(at, input.offset.into());
    let _ = reader().attributes(at, 100);
    let _ = reader().nested_code(at);
    let _ = reader().frames(at, 1000);
    let _ = reader().threads(at);
    let _ = reader().functions(at, None);
    if let Ok(name) = FunctionName::parse("sys:A.<locals>.f") {
        let _ = reader().find(at, &name);
    }
    for root in [Root::Runtime(at), Root::Interpreter(at)] {
        assert!(
            check::fit(&image, layout, root).is_err(),
            "this was never a process"
        );
    }
    let words: Vec<u64> = (0..count).map(|i| first + i * 8).collect();
    let _ = check::scan(&image, layout, &words);

    let mut head = b"xdebugpy".to_vec();
    head.extend(0x030e_00f0_u64.to_le_bytes());
    head.extend(0_u64.to_le_bytes());
    head.extend(&bytes);
    head.resize(DEBUG_OFFSETS_BYTES, 0);
    if let Ok(offsets) = DebugOffsets::read(&head)
        && let Ok(layout) = offsets.layout()
    {
        let _ = layout.kernel(i32::from(input.at)).checked();
        let _ = Reader::new(&image, &layout, BUDGET).value(at, Limits::default());
        let _ = check::fit(&image, &layout, Root::Runtime(at));
    }
    for table in [Table::LineNumbers, Table::Lines, Table::Locations] {
        let _ = lines::line(
            table,
            &input.table,
            input.version.into(),
            input.offset.into(),
        );
    }
});
