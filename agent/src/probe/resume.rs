//! Finding the code by which CPython begins each function, from 3.11 on, in a file that has no names for it.
//!
//! There Python functions call each other without a call in C, so no symbol's address is reached by all of
//! them. But each begins with the instruction `RESUME`, and the interpreter's code for an instruction is
//! where a table of 256 addresses says, by opcode (`opcode_targets`, `Python/opcode_targets.h`). It belongs to
//! nobody by name. A wrong guess would put a breakpoint into code that is run for something else, so nothing
//! is taken that not all of this says:
//!
//! 1. 256 words in a row are addresses of code, some of them the same, that of opcodes there are none of;
//! 2. the code for each form of `RESUME`, and that for `RETURN_VALUE`, stores the address of its own
//!    instruction in a frame, of the same register in the same one, before it branches;
//! 3. that for one of these forms reads of the code object of that frame what only they read: how often it is
//!    still to run before it is specialised (3.11), how it is instrumented (later);
//! 4. there is one such table in the file;
//! 5. no other code jumps to between the start of that code and the place for the probe: the first branch
//!    behind where the frame was told of its instruction. The kernel emulates branches;
//! 6. the function that clears a frame has its name, or is what `RETURN_VALUE` hands its frame to, or what
//!    that hands it to; and it reads whether somebody has an object for the frame.
//!
//! What the probes then hit is held against what it should be once more, in the kernel
//! ([`genspan_common::resume`]). Pure: the bytes come from the caller. Hostile ones cost bounded work.

use thiserror::Error;

/// Why the code was not found.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotFound {
    /// Code of this processor is not read.
    #[error("it is known for x86-64 only how to find it")]
    Processor,
    /// There is more of it than is searched, or it cannot be read.
    #[error("its code cannot be read, or is too much")]
    NoCode,
    /// None, or several, look like the interpreter's.
    #[error("{0} of its tables look like that of an interpreter's instructions")]
    NoTable(usize),
    /// Other code jumps to behind where it begins.
    #[error("other instructions share the beginning of its code with RESUME")]
    Shared,
    /// What clears a frame was not found.
    #[error("the function that clears a frame is not found")]
    NoEnd,
    /// It lies in no part of the file that is loaded.
    #[error("it is in no part of the file that is loaded")]
    NotLoaded,
}

/// What is looked for: by the version of CPython.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The opcodes by which functions begin: `RESUME`, and what it is specialised or instrumented to.
    pub resume: &'static [u8],
    /// That of `RETURN_VALUE`.
    pub returns: u8,
    /// In a frame: `prev_instr`, `instr_ptr`.
    pub instruction: u32,
    /// In a frame: its code object.
    pub code: u32,
    /// In a frame: `frame_obj`.
    pub object: u32,
    /// In 3.11 a frame that C has run is cleared by who called that, maybe by code of its own: then its end is
    /// to be seen where what runs it returns.
    pub runs: bool,
    /// In a code object: what only the code for `RESUME` reads of it.
    pub marked: u32,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Places for probes: offsets in the file, in ascending order, each once.
    pub places: Vec<u64>,
    /// Where the frame is then: a number of [`genspan_common::resume::register`].
    pub register: u32,
    /// The beginning of the function that clears a frame, likewise.
    pub clears: u64,
    /// Which argument of it is the frame, counted from zero.
    pub argument: u32,
    /// The beginning of `_PyEval_EvalFrameDefault`, if its returns are to be seen.
    pub runs: Option<u64>,
}

/// A part of what is not code, as it is in a process: with addresses as the file counts.
#[derive(Clone, Debug)]
pub struct Data {
    /// Address of its first byte.
    pub address: u64,
    /// What is there.
    pub bytes: Vec<u8>,
}

#[cfg(not(target_arch = "x86_64"))]
pub use other::find;

#[cfg(not(target_arch = "x86_64"))]
mod other {
    use object::ReadRef;

    use super::super::elf::Image;
    use super::{Data, Found, NotFound, Wanted};

    /// Nothing is found.
    ///
    /// # Errors
    ///
    /// That.
    pub fn find<'d, R: ReadRef<'d>>(
        _: &Image<'d, R>,
        _: &[Data],
        _: &Wanted,
    ) -> Result<Found, NotFound> {
        Err(NotFound::Processor)
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::find;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use genspan_common::resume::register;
    use iced_x86::{
        Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
        OpKind, Register,
    };
    use object::ReadRef;

    use super::super::elf::{Function, Image, Segment};
    use super::super::place::{self, Form};
    use super::{Data, Found, NotFound, Wanted};

    /// Opcodes that there may be.
    const OPCODES: usize = 256;
    /// At least so many of them there are none of.
    const UNKNOWN: usize = 4;
    /// Most instructions of the code for an opcode up to its first branch.
    const MAX_HEAD: usize = 24;
    /// Most instructions that are followed to a call, and most jumps on the way.
    const MAX_FOLLOWED: usize = 160;
    const MAX_JUMPS: usize = 4;
    /// Most instructions of a function that clears a frame until it reads of it what it must.
    const MAX_CLEARING: usize = 48;
    /// How far into functions that `RETURN_VALUE` calls its frame is followed.
    const MAX_DEPTH: usize = 3;
    /// Most bytes of the code for one opcode that are searched for jumps.
    const MAX_BODY: u64 = 1 << 13;

    /// Names of the function that clears a frame, and of the one that calls it.
    const CLEARS: [&str; 2] = ["_PyFrame_ClearExceptCode", "_PyFrame_Clear"];
    /// Name of what runs a frame.
    const RUNS: &str = "_PyEval_EvalFrameDefault";
    const POPS: [&str; 2] = ["_PyEval_FrameClearAndPop", "_PyEvalFrameClearAndPop"];

    /// The registers that the first two arguments of a function are in.
    const ARGUMENTS: [Register; 2] = [Register::RDI, Register::RSI];
    /// Those that a function need not keep (System V AMD64 ABI, 3.2.1).
    const SPOILT: [Register; 9] = [
        Register::RAX,
        Register::RCX,
        Register::RDX,
        Register::RSI,
        Register::RDI,
        Register::R8,
        Register::R9,
        Register::R10,
        Register::R11,
    ];

    /// What the code for an opcode begins with.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Head {
        start: u64,
        /// Of the first branch behind the store.
        place: u64,
        /// What is stored, and the frame that it is stored in.
        next: Register,
        frame: Register,
        /// What is marked was read of the frame's code.
        marked: bool,
    }

    /// All code of the file.
    struct Code<'d>(Vec<Segment<'d>>);

    impl<'d> Code<'d> {
        /// From this address on.
        fn at(&self, address: u64) -> Option<&'d [u8]> {
            let segment = self.0.iter().find(|s| s.contains(address))?;
            let into = usize::try_from(address - segment.address).ok()?;
            segment.bytes.get(into..)
        }

        fn has(&self, address: u64) -> bool {
            self.0.iter().any(|s| s.contains(address))
        }

        /// Instructions from this address on, as long as there are any.
        fn decode(&self, address: u64) -> impl Iterator<Item = Instruction> {
            let bytes = self.at(address).unwrap_or_default();
            Decoder::with_ip(64, bytes, address, DecoderOptions::NONE)
                .into_iter()
                .take_while(|i| !i.is_invalid())
        }
    }

    /// Finds them in the file and in the data that belong to it.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn find<'d, R: ReadRef<'d>>(
        image: &Image<'d, R>,
        data: &[Data],
        wanted: &Wanted,
    ) -> Result<Found, NotFound> {
        let mut segments = image.read_only().ok_or(NotFound::NoCode)?;
        segments.retain(|segment| segment.executable);
        let code = Code(segments);
        let tables = tables(&code, data, wanted);
        let [(targets, heads)] = tables.as_slice() else {
            return Err(NotFound::NoTable(tables.len()));
        };
        if is_shared(&code, targets, heads) {
            return Err(NotFound::Shared);
        }
        let frame = heads.first().ok_or(NotFound::NoTable(0))?.frame;
        let returns = targets[usize::from(wanted.returns)];
        let (clears, argument) = clears(image, &code, (returns, frame), wanted)?;
        let clears = Function {
            address: clears,
            size: 0,
        };
        let clears = place::own(image, clears, Form::Plain).ok_or(NotFound::NotLoaded)?;
        let mut runs = None;
        if wanted.runs {
            let (named, _) = image.functions(&[RUNS]);
            let function = named.get(RUNS).ok_or(NotFound::NoEnd)?;
            let place = place::own(image, *function, Form::Plain);
            runs = Some(place.ok_or(NotFound::NotLoaded)?.offset);
        }
        let places = heads.iter().map(|head| image.file_offset(head.place));
        let places: Option<Vec<u64>> = places.collect();
        let mut places = places.ok_or(NotFound::NotLoaded)?;
        places.sort_unstable();
        places.dedup();
        Ok(Found {
            places,
            register: number(frame).ok_or(NotFound::NoTable(0))?,
            clears: clears.offset,
            argument,
            runs,
        })
    }

    /// The number of a register, if it is one in which the frame is.
    fn number(of: Register) -> Option<u32> {
        Some(match of {
            Register::RBX => register::RBX,
            Register::RBP => register::RBP,
            Register::R12 => register::R12,
            Register::R13 => register::R13,
            Register::R14 => register::R14,
            Register::R15 => register::R15,
            _ => return None,
        })
    }

    /// All tables that look like that of the interpreter's code, with what it begins with for `RESUME`.
    fn tables(code: &Code<'_>, data: &[Data], wanted: &Wanted) -> Vec<(Vec<u64>, Vec<Head>)> {
        let mut all = Vec::new();
        for part in data {
            if part.address % 8 != 0 {
                continue;
            }
            let words = part.bytes.chunks_exact(8);
            let words: Vec<u64> = words
                .map(|word| word.try_into().map_or(0, u64::from_le_bytes))
                .collect();
            let mut run = 0;
            for (index, word) in words.iter().enumerate() {
                run = if code.has(*word) { run + 1 } else { 0 };
                if run < OPCODES {
                    continue;
                }
                let table = &words[index + 1 - OPCODES..=index];
                if let Some(heads) = heads(code, table, wanted) {
                    all.push((table.to_vec(), heads));
                }
            }
        }
        all
    }

    /// What the code for each form of `RESUME` begins with, if this is the table.
    fn heads(code: &Code<'_>, table: &[u64], wanted: &Wanted) -> Option<Vec<Head>> {
        // The cheapest first: of a long row of addresses each is looked at.
        let returns = store(code, *table.get(usize::from(wanted.returns))?, wanted)?;
        let of = |opcode: u8| head(code, *table.get(usize::from(opcode))?, wanted);
        let resumes = wanted.resume.iter().map(|opcode| of(*opcode));
        let resumes = resumes.collect::<Option<Vec<_>>>()?;
        let first = resumes.first()?;
        number(first.frame)?;
        let mut starts = table.to_vec();
        starts.sort_unstable();
        let is_table = resumes.iter().any(|head| head.marked)
            && resumes
                .iter()
                .all(|head| (head.next, head.frame) == (first.next, first.frame))
            && returns == (first.next, first.frame)
            && !resumes
                .iter()
                .any(|head| head.start == table[usize::from(wanted.returns)])
            && starts
                .chunk_by(|one, other| one == other)
                .any(|same| same.len() >= UNKNOWN);
        is_table.then_some(resumes)
    }

    /// The store of an instruction's own address: the register with that, and the frame's.
    fn stored(i: &Instruction, wanted: &Wanted) -> Option<(Register, Register)> {
        let is_store = i.mnemonic() == Mnemonic::Mov
            && i.op0_kind() == OpKind::Memory
            && i.op1_kind() == OpKind::Register
            && i.op1_register().is_gpr64()
            && reads_at(i, i.memory_base(), wanted.instruction);
        is_store.then(|| (i.op1_register(), i.memory_base()))
    }

    /// Whether its operand in memory is at this offset from a register.
    fn reads_at(i: &Instruction, base: Register, offset: u32) -> bool {
        base.is_gpr64()
            && base != Register::RSP
            && i.memory_base() == base
            && i.memory_index() == Register::None
            && i.memory_displacement64() == u64::from(offset)
    }

    /// The same of the code for an opcode, before it branches.
    fn store(code: &Code<'_>, start: u64, wanted: &Wanted) -> Option<(Register, Register)> {
        let all = code.decode(start).take(MAX_HEAD);
        let mut all = all.take_while(|i| i.flow_control() == FlowControl::Next);
        all.find_map(|i| stored(&i, wanted))
    }

    /// What the code for an opcode begins with, if it is as that for `RESUME` is.
    fn head(code: &Code<'_>, start: u64, wanted: &Wanted) -> Option<Head> {
        let mut info = InstructionInfoFactory::new();
        let mut store: Option<(Register, Register)> = None;
        let mut loaded: Option<(Register, Register)> = None;
        let mut marked = false;
        for i in code.decode(start).take(MAX_HEAD) {
            if i.flow_control() != FlowControl::Next {
                let (next, frame) = store?;
                return place::is_emulated(&i).then_some(Head {
                    start,
                    place: i.ip(),
                    next,
                    frame,
                    marked,
                });
            }
            if store.is_none() {
                store = stored(&i, wanted);
            }
            if let Some((base, object)) = loaded
                && reads_at(&i, object, wanted.marked)
                && store.is_none_or(|(_, frame)| frame == base)
            {
                marked = true;
            }
            let written: Vec<_> = place::written_by(&mut info, &i).collect();
            if store.is_some_and(|(_, frame)| written.contains(&frame)) {
                return None;
            }
            let loads = i.mnemonic() == Mnemonic::Mov
                && i.op0_kind() == OpKind::Register
                && i.op0_register().is_gpr64()
                && i.op1_kind() == OpKind::Memory
                && reads_at(&i, i.memory_base(), wanted.code);
            // A tag is taken off with `and`.
            let untags = i.mnemonic() == Mnemonic::And
                && i.op1_kind() != OpKind::Register
                && i.op1_kind() != OpKind::Memory;
            if loads {
                loaded = Some((i.memory_base(), i.op0_register()));
            } else if !untags
                && loaded.is_some_and(|(base, object)| {
                    written.contains(&object) || written.contains(&base)
                })
            {
                loaded = None;
            }
        }
        None
    }

    /// Whether code for other opcodes jumps to between the beginning of what begins so and the place for a
    /// probe.
    fn is_shared(code: &Code<'_>, targets: &[u64], heads: &[Head]) -> bool {
        let mut starts = targets.to_vec();
        starts.sort_unstable();
        starts.dedup();
        let own = |address: u64| {
            heads
                .iter()
                .any(|head| (head.start..=head.place).contains(&address))
        };
        let inside = |address: u64| {
            heads
                .iter()
                .any(|head| address > head.start && address <= head.place)
        };
        starts.iter().enumerate().any(|(index, start)| {
            let longest = start.saturating_add(MAX_BODY);
            let end = starts
                .get(index + 1)
                .map_or(longest, |next| longest.min(*next));
            let body = code.decode(*start).take_while(|i| i.ip() < end);
            body.filter(|i| i.op0_kind() == OpKind::NearBranch64)
                .any(|i| inside(i.near_branch_target()) && !own(i.ip()))
        })
    }

    /// The function that clears a frame, and which argument of it that is.
    fn clears<'d, R: ReadRef<'d>>(
        image: &Image<'d, R>,
        code: &Code<'_>,
        (returns, frame): (u64, Register),
        wanted: &Wanted,
    ) -> Result<(u64, u32), NotFound> {
        let names = [CLEARS[0], CLEARS[1], POPS[0], POPS[1]];
        let (named, _) = image.functions(&names);
        let of = |names: [&'static str; 2]| names.iter().find_map(|name| named.get(name));
        let mut at = match (of(CLEARS), of(POPS)) {
            (Some(function), _) => Some((function.address, 0)),
            (None, Some(function)) => Some((function.address, 1)),
            (None, None) => handed(code, returns, frame),
        };
        let mut best = None;
        for _ in 0..MAX_DEPTH {
            let Some((function, argument)) = at else {
                break;
            };
            let register = ARGUMENTS[argument];
            if clears_by(code, function, register, wanted) {
                best = Some((function, u32::try_from(argument).unwrap_or(0)));
            }
            at = if argument == 0 {
                None
            } else {
                handed(code, function, register)
            };
        }
        best.ok_or(NotFound::NoEnd)
    }

    /// Whether the code at this address reads of the frame in this register whether there is an object for
    /// it.
    fn clears_by(code: &Code<'_>, start: u64, frame: Register, wanted: &Wanted) -> bool {
        let mut copies = Copies::of(frame);
        for i in code.decode(start).take(MAX_CLEARING) {
            let reads = i.op0_kind() == OpKind::Memory || i.op1_kind() == OpKind::Memory;
            if reads && copies.has(i.memory_base()) && reads_at(&i, i.memory_base(), wanted.object)
            {
                return true;
            }
            match i.flow_control() {
                FlowControl::Next | FlowControl::ConditionalBranch => {}
                FlowControl::Call => copies.call(),
                _ => return false,
            }
            copies.after(&i);
        }
        false
    }

    /// The first function that the frame in this register is handed to, and as which argument.
    fn handed(code: &Code<'_>, start: u64, frame: Register) -> Option<(u64, usize)> {
        let mut copies = Copies::of(frame);
        let mut from = start;
        let mut left = MAX_FOLLOWED;
        for _ in 0..=MAX_JUMPS {
            let mut jumps = None;
            for i in code.decode(from) {
                left = left.checked_sub(1)?;
                let near = i.op0_kind() == OpKind::NearBranch64;
                match i.flow_control() {
                    FlowControl::Next | FlowControl::ConditionalBranch => {}
                    FlowControl::Call => {
                        let argument = ARGUMENTS.iter().position(|a| copies.has(*a));
                        if let Some(argument) = argument.filter(|_| near) {
                            return Some((i.near_branch_target(), argument));
                        }
                        copies.call();
                    }
                    FlowControl::UnconditionalBranch if near => {
                        jumps = Some(i.near_branch_target());
                        break;
                    }
                    _ => return None,
                }
                copies.after(&i);
            }
            from = jumps?;
        }
        None
    }

    /// The registers that have the frame.
    struct Copies {
        registers: Vec<Register>,
        info: InstructionInfoFactory,
    }

    impl Copies {
        fn of(register: Register) -> Self {
            Self {
                registers: vec![register],
                info: InstructionInfoFactory::new(),
            }
        }

        fn has(&self, register: Register) -> bool {
            self.registers.contains(&register)
        }

        /// A function was called.
        fn call(&mut self) {
            self.registers.retain(|r| !SPOILT.contains(r));
        }

        /// An instruction was run.
        fn after(&mut self, i: &Instruction) {
            let copies = i.mnemonic() == Mnemonic::Mov
                && i.op0_kind() == OpKind::Register
                && i.op1_kind() == OpKind::Register
                && i.op0_register().is_gpr64()
                && self.has(i.op1_register());
            let written: Vec<_> = place::written_by(&mut self.info, i).collect();
            self.registers.retain(|r| !written.contains(r));
            if copies {
                self.registers.push(i.op0_register());
            }
        }
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests;
