//! ELF files with anything in them, and files of the right form with code that may look like
//! OpenSSL's: no panic, an end, and no place outside of the code.
#![no_main]

use arbitrary::Arbitrary;
use genspan::probe::elf::Image;
use genspan::probe::stripped;
use libfuzzer_sys::fuzz_target;

const STRINGS: &[u8] =
    b"\0../ssl/ssl_lib.c\0SSL_read\0ssl_read_internal\0SSL_write\0ssl_write_internal\0";
/// Where in them something begins.
const BEGINNINGS: [usize; 6] = [1, 18, 27, 45, 55, 74];
/// Addresses are offsets in the file.
const CODE: usize = 0x1000;
/// Most functions, so that the table fits before the code.
const MOST: usize = 48;

#[derive(Arbitrary, Debug)]
enum Step {
    /// Bytes of an instruction, or not.
    Raw([u8; 4]),
    /// `lea` of a string into the register of an argument.
    Text {
        register: u8,
        which: u8,
    },
    /// `mov` of a number that errors have, or any.
    Number {
        register: u8,
        which: u8,
    },
    /// `lea` of a place on the stack.
    Stack {
        register: u8,
    },
    /// `movsxd rdx, edx`
    Extend,
    /// A call of a function, or of something in its middle.
    Call {
        function: u8,
        into: u8,
    },
    /// A jump to a function, or into it, on a condition or without.
    Jump {
        function: u8,
        into: u8,
        on_condition: bool,
    },
    /// `call *0x50(%rax)`
    Method,
    /// `lock xadd %eax, 0x20(%rdi)`
    Count,
    /// `lea 0x30(%rdi), %rdx`
    Part,
    Return,
}

#[derive(Arbitrary, Debug)]
struct Input {
    raw: Vec<u8>,
    functions: Vec<Vec<Step>>,
    /// Words of what is before the code that are changed.
    changes: Vec<(u16, u32)>,
}

/// REX prefix and number in ModRM of rdi, rsi, rdx, rcx, r8.
fn register(n: u8) -> (u8, u8) {
    [(0x48, 7), (0x48, 6), (0x48, 2), (0x48, 1), (0x4c, 0)][usize::from(n) % 5]
}

fn word(value: usize) -> [u8; 4] {
    (value as u32).to_le_bytes()
}

/// How far it is from one address to another.
fn distance(from: usize, to: usize) -> [u8; 4] {
    word(to.wrapping_sub(from))
}

struct Builder<'a> {
    code: Vec<u8>,
    strings: usize,
    starts: &'a [usize],
}

impl Builder<'_> {
    fn at(&self) -> usize {
        CODE + self.code.len()
    }

    fn place(&self, function: u8, into: u8) -> usize {
        self.starts[usize::from(function) % self.starts.len()] + usize::from(into % 4) * 3
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Raw(bytes) => self.code.extend(bytes),
            Step::Text { register: r, which } => {
                let (rex, number) = register(r);
                let text = self.strings + BEGINNINGS[usize::from(which) % 6];
                let distance = distance(self.at() + 7, text);
                self.code.extend([rex, 0x8d, number << 3 | 5]);
                self.code.extend(distance);
            }
            Step::Number { register: r, which } => {
                let numbers = [20, 271, 276, 223, 208, 523, 524, 0, usize::from(which)];
                let (rex, number) = register(r);
                if rex == 0x4c {
                    self.code.push(0x41);
                }
                self.code.push(0xb8 + number);
                self.code
                    .extend(word(numbers[usize::from(which) % numbers.len()]));
            }
            Step::Stack { register: r } => {
                let (rex, number) = register(r);
                self.code.extend([rex, 0x8d, 0x44 | number << 3, 0x24, 8]);
            }
            Step::Extend => self.code.extend([0x48, 0x63, 0xd2]),
            Step::Call { function, into } => {
                let distance = distance(self.at() + 5, self.place(function, into));
                self.code.push(0xe8);
                self.code.extend(distance);
            }
            Step::Jump {
                function,
                into,
                on_condition,
            } => {
                let opcode: &[u8] = if on_condition { &[0x0f, 0x84] } else { &[0xe9] };
                let to = self.place(function, into);
                let distance = distance(self.at() + opcode.len() + 4, to);
                self.code.extend(opcode);
                self.code.extend(distance);
            }
            Step::Method => self.code.extend([0xff, 0x50, 0x50]),
            Step::Count => self.code.extend([0xf0, 0x0f, 0xc1, 0x47, 0x20]),
            Step::Part => self.code.extend([0x48, 0x8d, 0x57, 0x30]),
            Step::Return => self.code.push(0xc3),
        }
    }
}

fn build(functions: &[Vec<Step>], strings: usize, starts: &[usize]) -> (Vec<u8>, Vec<usize>) {
    let code = Vec::new();
    let mut builder = Builder {
        code,
        strings,
        starts,
    };
    let mut begins = Vec::new();
    for function in functions {
        begins.push(builder.at());
        function.iter().for_each(|s| builder.step(s));
        builder.code.push(0x90);
    }
    begins.push(builder.at());
    (builder.code, begins)
}

/// A file with these functions and its unwind table.
fn file(functions: &[Vec<Step>]) -> Vec<u8> {
    // Once to learn where everything is, and once more with that.
    let blank = vec![CODE; functions.len()];
    let (code, begins) = build(functions, CODE, &blank);
    let strings = CODE + code.len();
    let (code, _) = build(functions, strings, &begins[..functions.len()]);
    let size = strings + STRINGS.len();

    let table = 0x40 + 2 * 0x38;
    let frames = table + 12 + functions.len() * 8;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    let long = |n: usize| (n as u64).to_le_bytes();
    bytes.extend([long(0), long(0x40), long(0)].concat());
    bytes.extend([0, 0, 0, 0, 0x40, 0, 0x38, 0, 2, 0, 0x40, 0, 0, 0, 0, 0]);
    for (kind, at, len) in [(1, 0, size), (0x6474_e550, table, frames - table)] {
        bytes.extend([word(kind), word(5)].concat());
        bytes.extend([at, at, at, len, len, 0x1000].map(long).concat());
    }
    // Version, and encodings: of a pointer, relative; of the count; of the table, relative to it.
    bytes.extend([1, 0x1b, 0x03, 0x3b]);
    bytes.extend(distance(table + 4, frames));
    bytes.extend(word(functions.len()));
    for (n, start) in begins[..functions.len()].iter().enumerate() {
        bytes.extend(distance(table, *start));
        bytes.extend(distance(table, frames + 24 + n * 20));
    }
    // One common entry, and one for each function.
    bytes.extend(word(20));
    bytes.extend([
        0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b, 12, 7, 8, 0, 0, 0, 0,
    ]);
    for (n, pair) in begins.windows(2).enumerate() {
        let at = frames + 24 + n * 20;
        bytes.extend(word(16));
        bytes.extend(word(at + 4 - frames));
        bytes.extend(distance(at + 8, pair[0]));
        bytes.extend(word(pair[1] - pair[0]));
        bytes.extend([0; 4]);
    }
    bytes.extend([0; 4]);
    bytes.resize(CODE, 0);
    bytes.extend(code);
    bytes.extend(STRINGS);
    bytes
}

fn search(bytes: &[u8]) {
    let Ok(image) = Image::parse(bytes) else {
        return;
    };
    let Some(segments) = image.read_only() else {
        return;
    };
    if let Ok(found) = stripped::find(&image, segments) {
        assert!(found.evidence.iter().all(|r| r.start < r.end));
        let found = found.places;
        assert!(found.are_distinct());
        let places = found.reads.iter().chain(&found.writes).map(|p| p.offset);
        for offset in places.chain(found.free) {
            assert!(offset < bytes.len() as u64, "outside of the file");
            let address = image.address(offset).expect("what is loaded");
            assert!(!image.code(address, 1).is_empty(), "no code");
        }
    }
}

fuzz_target!(|input: Input| {
    search(&input.raw);
    let functions = &input.functions[..input.functions.len().min(MOST)];
    if functions.is_empty() {
        return;
    }
    let mut bytes = file(functions);
    search(&bytes);
    if input.changes.is_empty() {
        return;
    }
    for (at, to) in &input.changes {
        let at = usize::from(*at) % (CODE - 4);
        bytes[at..at + 4].copy_from_slice(&to.to_le_bytes());
    }
    search(&bytes);
});
