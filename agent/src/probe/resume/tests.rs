//! Code of CPython 3.13.0 as a compiler made it is found where it is, and nothing where it is not sure.

use genspan_common::resume::register;

use super::{Data, Found, NotFound, Wanted, find};
use crate::probe::elf::Image;

/// Offsets in the file, which are addresses as well.
const UNKNOWN: usize = 0x1000;
const RESUMES: usize = 0x1100;
const CHECKS: usize = RESUMES + 0x3e;
const INSTRUMENTED: usize = 0x1200;
const RETURNS: usize = 0x1300;
const POPS: usize = 0x1400;
const CLEARS: usize = 0x1500;
const OTHER: usize = 0x1600;
const END: usize = 0x2000;

const WANTED: Wanted = Wanted {
    resume: &[149, 207, 236],
    returns: 36,
    instruction: 56,
    code: 0,
    object: 48,
    runs: false,
    marked: 0xa8,
};

/// `RESUME`, and right behind it `RESUME_CHECK`, which jumps into it.
const RESUME_CODE: [u8; 0x74] = [
    0x4c, 0x89, 0x7d, 0x38, // mov %r15,0x38(%rbp)
    0x49, 0x83, 0xc7, 0x02, // add $2,%r15
    0x48, 0x8b, 0x04, 0x24, // mov (%rsp),%rax
    0x4d, 0x8d, 0x67, 0xfe, // lea -2(%r15),%r12
    0x8b, 0x70, 0x3c, // mov 0x3c(%rax),%esi
    0x85, 0xf6, // test %esi,%esi
    0x0f, 0x84, 0x8c, 0x3b, 0x00, 0x00, // je
    0x41, 0x83, 0xe6, 0x02, // and $2,%r14d
    0x0f, 0x84, 0x4e, 0x3b, 0x00, 0x00, // je
    0x41, 0x0f, 0xb7, 0x07, // movzwl (%r15),%eax
    0x48, 0x8b, 0x7c, 0x24, 0x08, // mov 8(%rsp),%rdi
    0x0f, 0xb6, 0xd4, // movzbl %ah,%edx
    0x41, 0x89, 0xc3, // mov %eax,%r11d
    0x0f, 0xb6, 0xc0, // movzbl %al,%eax
    0x44, 0x0f, 0xb6, 0xf2, // movzbl %dl,%r14d
    0xff, 0x24, 0xc7, // jmp *(%rdi,%rax,8)
    // `RESUME_CHECK`
    0x48, 0x8b, 0x04, 0x24, // mov (%rsp),%rax
    0x4c, 0x89, 0x7d, 0x38, // mov %r15,0x38(%rbp)
    0x49, 0x83, 0xc7, 0x02, // add $2,%r15
    0x48, 0x8b, 0x40, 0x18, // mov 0x18(%rax),%rax
    0x48, 0x8b, 0x55, 0x00, // mov (%rbp),%rdx
    0x48, 0x39, 0x82, 0xa8, 0x00, 0x00, 0x00, // cmp %rax,0xa8(%rdx)
    0x75, 0xad, // jne, into `RESUME`
    0x41, 0x0f, 0xb7, 0x07, // movzwl (%r15),%eax
    0x48, 0x8b, 0x7c, 0x24, 0x08, // mov 8(%rsp),%rdi
    0x0f, 0xb6, 0xd4, // movzbl %ah,%edx
    0x41, 0x89, 0xc3, // mov %eax,%r11d
    0x0f, 0xb6, 0xc0, // movzbl %al,%eax
    0x44, 0x0f, 0xb6, 0xf2, // movzbl %dl,%r14d
    0xff, 0x24, 0xc7, // jmp *(%rdi,%rax,8)
];

/// `INSTRUMENTED_RESUME`, up to its first branch.
const INSTRUMENTED_CODE: [u8; 31] = [
    0x48, 0x8b, 0x34, 0x24, // mov (%rsp),%rsi
    0x4c, 0x89, 0x7d, 0x38, // mov %r15,0x38(%rbp)
    0x4d, 0x8d, 0x6f, 0x02, // lea 2(%r15),%r13
    0x48, 0x8b, 0x46, 0x18, // mov 0x18(%rsi),%rax
    0x48, 0x8b, 0x7d, 0x00, // mov (%rbp),%rdi
    0x30, 0xc0, // xor %al,%al
    0x48, 0x3b, 0x87, 0xa8, 0x00, 0x00, 0x00, // cmp 0xa8(%rdi),%rax
    0x74, 0x0b, // je
];

/// `RETURN_VALUE`, up to its call, which goes to `POPS`.
const RETURN_CODE: [u8; 52] = [
    0x4c, 0x8b, 0x6b, 0xf8, // mov -8(%rbx),%r13
    0x48, 0x29, 0xeb, // sub %rbp,%rbx
    0x4c, 0x8b, 0x65, 0x08, // mov 8(%rbp),%r12
    0x4c, 0x89, 0x7d, 0x38, // mov %r15,0x38(%rbp)
    0x48, 0x8d, 0x43, 0xb0, // lea -0x50(%rbx),%rax
    0x48, 0x89, 0xee, // mov %rbp,%rsi
    0x48, 0xc1, 0xf8, 0x03, // sar $3,%rax
    0x89, 0x45, 0x40, // mov %eax,0x40(%rbp)
    0x48, 0x8b, 0x04, 0x24, // mov (%rsp),%rax
    0x4c, 0x89, 0xe5, // mov %r12,%rbp
    0x83, 0x40, 0x2c, 0x01, // addl $1,0x2c(%rax)
    0x48, 0x89, 0xc7, // mov %rax,%rdi
    0x4c, 0x89, 0x60, 0x48, // mov %r12,0x48(%rax)
    0xe8, 0xcc, 0x00, 0x00, 0x00, // call
];

/// `_PyEval_FrameClearAndPop`, up to its first call, which goes to `CLEARS`.
const POP_CODE: [u8; 34] = [
    0x55, // push %rbp
    0x48, 0x89, 0xfd, // mov %rdi,%rbp
    0x53, // push %rbx
    0x48, 0x89, 0xf3, // mov %rsi,%rbx
    0x48, 0x83, 0xec, 0x08, // sub $8,%rsp
    0x8b, 0x47, 0x34, // mov 0x34(%rdi),%eax
    0x83, 0xe8, 0x01, // sub $1,%eax
    0x80, 0x7e, 0x46, 0x00, // cmpb $0,0x46(%rsi)
    0x75, 0x40, // jne
    0x89, 0x47, 0x34, // mov %eax,0x34(%rdi)
    0x48, 0x89, 0xf7, // mov %rsi,%rdi
    0xe8, 0xdd, 0x00, 0x00, // call, but for its last byte
];

/// `_PyFrame_ClearExceptCode`, its beginning.
const CLEAR_CODE: [u8; 23] = [
    0x41, 0x55, // push %r13
    0x41, 0x54, // push %r12
    0x55, // push %rbp
    0x48, 0x89, 0xfd, // mov %rdi,%rbp
    0x53, // push %rbx
    0x48, 0x83, 0xec, 0x08, // sub $8,%rsp
    0x48, 0x8b, 0x5f, 0x30, // mov 0x30(%rdi),%rbx
    0x48, 0x85, 0xdb, // test %rbx,%rbx
    0x74, 0x26, // je
    0xc3, // ret
];

/// A file with this code, and a table for it.
struct File {
    bytes: Vec<u8>,
    table: Vec<u64>,
}

impl File {
    fn new() -> Self {
        let mut bytes = vec![0; END];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[6] = 1;
        // A shared object for x86-64, with one program header of 56 bytes at 64.
        bytes[16] = 3;
        bytes[18] = 62;
        bytes[20] = 1;
        bytes[32] = 64;
        bytes[52] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        // Loaded, readable and executable, all of it where it is.
        bytes[64] = 1;
        bytes[68] = 5;
        for at in [96, 104] {
            bytes[at..at + 8].copy_from_slice(&(END as u64).to_le_bytes());
        }
        let mut file = Self {
            bytes,
            table: vec![UNKNOWN as u64; 256],
        };
        file.put(UNKNOWN, &[0xc3]);
        file.put(RESUMES, &RESUME_CODE);
        file.put(INSTRUMENTED, &INSTRUMENTED_CODE);
        file.put(RETURNS, &RETURN_CODE);
        file.put(POPS, &POP_CODE);
        file.put(CLEARS, &CLEAR_CODE);
        let opcodes = [
            (149, RESUMES),
            (207, CHECKS),
            (236, INSTRUMENTED),
            (36, RETURNS),
        ];
        for (opcode, at) in opcodes {
            file.table[opcode] = at as u64;
        }
        file
    }

    fn put(&mut self, at: usize, code: &[u8]) {
        self.bytes[at..at + code.len()].copy_from_slice(code);
    }

    /// What is found when these words are data.
    fn find_in(&self, words: &[u64]) -> Result<Found, NotFound> {
        let image = Image::parse(self.bytes.as_slice()).unwrap();
        let data = Data {
            address: 0x8000,
            bytes: words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        };
        find(&image, &[data], &WANTED)
    }

    fn find(&self) -> Result<Found, NotFound> {
        self.find_in(&self.table)
    }
}

#[test]
fn it_is_found_at_the_first_branch() {
    let file = File::new();
    let expected = Found {
        places: vec![0x1115, 0x1159, 0x121d],
        register: register::RBP,
        clears: CLEARS as u64,
        argument: 0,
        runs: None,
    };
    assert_eq!(file.find(), Ok(expected.clone()));
    // In the midst of other addresses of code, and of other things.
    for around in [vec![7, 9], vec![UNKNOWN as u64 + 8; 300]] {
        let words = [around.clone(), file.table.clone(), around].concat();
        assert_eq!(file.find_in(&words), Ok(expected.clone()));
    }
}

#[test]
fn what_is_no_table_is_none() {
    let none = Err(NotFound::NoTable(0));
    let file = File::new();
    assert_eq!(file.find_in(&[]), none);
    assert_eq!(file.find_in(&file.table[1..]), none);
    let twice = [file.table.clone(), file.table.clone()].concat();
    assert_eq!(file.find_in(&twice), Err(NotFound::NoTable(2)));
    // One of its words is no address of code.
    let mut file = File::new();
    file.table[3] = END as u64;
    assert_eq!(file.find(), none);
    // There are code for all opcodes, which no version has.
    let mut file = File::new();
    for (opcode, word) in file.table.iter_mut().enumerate() {
        if *word == UNKNOWN as u64 {
            *word = (OTHER + opcode) as u64;
        }
    }
    assert_eq!(file.find(), none);
}

#[test]
fn what_is_not_the_code_is_not_taken_for_it() {
    let none = Err(NotFound::NoTable(0));
    // The address of the instruction is stored in something else, or not before the branch.
    for (at, byte) in [(RESUMES + 2, 0x7b), (RESUMES + 3, 0x30), (RESUMES, 0x75)] {
        let mut file = File::new();
        file.bytes[at] = byte;
        assert_eq!(file.find(), none, "{at:#x}");
    }
    // Nothing of the code object is read that only this code reads.
    let mut file = File::new();
    file.bytes[CHECKS + 23] = 0xa0;
    file.bytes[INSTRUMENTED + 25] = 0xa0;
    assert_eq!(file.find(), none);
    // It is `RETURN_VALUE` as well.
    let mut file = File::new();
    file.table[36] = RESUMES as u64;
    assert_eq!(file.find(), none);
}

#[test]
fn code_that_others_jump_into_is_refused() {
    // jmp to behind the store, and to behind the place for the probe.
    for (target, found) in [(RESUMES + 8, false), (RESUMES + 0x1b, true)] {
        let mut file = File::new();
        file.table[77] = OTHER as u64;
        let distance = i32::try_from(target).unwrap() - i32::try_from(OTHER + 5).unwrap();
        let jump = [vec![0xe9], distance.to_le_bytes().to_vec()].concat();
        file.put(OTHER, &jump);
        let expected = if found { Ok(()) } else { Err(NotFound::Shared) };
        assert_eq!(file.find().map(drop), expected, "{target:#x}");
    }
}

#[test]
fn what_clears_a_frame_may_be_built_in() {
    // Nothing that the frame is handed to reads what it must.
    let mut file = File::new();
    file.bytes[CLEARS + 16] = 0x28;
    assert_eq!(file.find(), Err(NotFound::NoEnd));
    // What pops it does: mov 0x30(%rsi),%rax in place of what it counts.
    file.put(POPS + 12, &[0x48, 0x8b, 0x46, 0x30, 0x90, 0x90]);
    let found = file.find().unwrap();
    assert_eq!((found.clears, found.argument), (POPS as u64, 1));
    // `RETURN_VALUE` hands it to nobody.
    let mut file = File::new();
    file.bytes[RETURNS + 21] = 0xc0;
    file.bytes[RETURNS + 47] = 0xc3;
    assert_eq!(file.find(), Err(NotFound::NoEnd));
}

/// What has no such name cannot be seen to return.
#[test]
fn what_runs_a_frame_is_wanted_in_311() {
    let file = File::new();
    let image = Image::parse(file.bytes.as_slice()).unwrap();
    let data = Data {
        address: 0x8000,
        bytes: file.table.iter().flat_map(|w| w.to_le_bytes()).collect(),
    };
    let wanted = Wanted {
        runs: true,
        ..WANTED
    };
    assert_eq!(find(&image, &[data], &wanted), Err(NotFound::NoEnd));
}

/// Whatever there is, it is looked through to its end.
#[test]
fn hostile_code_does_no_harm() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200 {
        let mut file = File::new();
        // Some of it is as it should be.
        let from = if round % 2 == 0 { OTHER } else { UNKNOWN };
        for at in from..END {
            file.bytes[at] = random().to_le_bytes()[0];
        }
        for _ in 0..8 {
            let at = UNKNOWN + usize::try_from(random()).unwrap() % (END - UNKNOWN);
            file.bytes[at] = random().to_le_bytes()[0];
        }
        for opcode in (round % 7..256).step_by(9) {
            if ![149, 207, 236, 36].contains(&opcode) {
                file.table[opcode] = UNKNOWN as u64 + random() % (END - UNKNOWN) as u64;
            }
        }
        if let Ok(found) = file.find() {
            assert!(found.places.iter().all(|at| *at < END as u64));
        }
    }
}
