//! Where to put a probe so that it costs little.
//!
//! A uprobe replaces an instruction by a breakpoint. Some instructions the kernel emulates
//! (`push`, near `call`, `jmp`, `jcc`, `nop`: `push_setup_xol_ops` and `branch_setup_xol_ops` in
//! `arch/x86/kernel/uprobes.c`); every other one it single-steps out of line, at the price of a
//! second exception. OpenSSL's `SSL_read` and kin begin with `sub $N,%rsp` in common builds, but
//! soon call an internal function with the same arguments that begins with `push`. So: look for
//! an emulated instruction that is reached first, with the arguments still in their registers
//! and the return address on top of the stack; in the function itself, else in the internal
//! function that both forms of the call lead to; else take the symbol as it is.

use super::elf::{Function, Image};
use object::ReadRef;

/// How a probed function tells the length that it transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// By its return value.
    Plain,
    /// Through a pointer in its fourth argument.
    Ex,
    /// The same, and it returns 0 whatever went wrong (`SSL_read_ex`, `SSL_write_ex`), where the
    /// internal function tells the end of the stream from a wish for more data.
    PublicEx,
    /// Through a pointer in its fifth argument (`ssl_write_internal` since OpenSSL 3.3).
    Ex5,
}

/// A place for a pair of probes, entry and return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// Offset in the file.
    pub offset: u64,
    /// What the function is.
    pub form: Form,
    /// Whether the kernel emulates the instruction there.
    pub emulated: bool,
}

/// Where the probes of one TLS library go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPlacements {
    /// Reads.
    pub reads: Vec<Placement>,
    /// Writes.
    pub writes: Vec<Placement>,
    /// `SSL_free`.
    pub free: Option<u64>,
}

impl TlsPlacements {
    /// Whether no place is that of two functions. Where one is, it is none of what it is taken for: a
    /// read would be told as a write.
    #[must_use]
    pub fn are_distinct(&self) -> bool {
        let data = self.reads.iter().chain(&self.writes).map(|p| p.offset);
        let mut all: Vec<u64> = data.chain(self.free).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        all.len() == count
    }
}

/// Places for one direction: one that serves both forms of the call, or one for each form that
/// the library has. `plain` is `SSL_read`, `ex` is `SSL_read_ex`, or the writes.
pub fn pair<'d, R: ReadRef<'d>>(
    image: &Image<'d, R>,
    plain: Option<Function>,
    ex: Option<Function>,
) -> Vec<Placement> {
    if let (Some(plain), Some(ex)) = (plain, ex)
        && let Some(shared) = shared_callee(image, plain, ex)
    {
        return vec![shared];
    }
    let one = |f: Option<Function>, form| f.and_then(|f| own(image, f, form));
    [one(plain, Form::Plain), one(ex, Form::PublicEx)]
        .into_iter()
        .flatten()
        .collect()
}

/// Places behind the system calls that a function makes, for one probe each: conditional jumps on
/// the result, which the kernel emulates and where the call's arguments still are in their
/// registers. Empty when the function leaves (some of) its system calls to another.
pub fn behind_system_calls<'d, R: ReadRef<'d>>(image: &Image<'d, R>, f: Function) -> Vec<u64> {
    let code = image.code(f.address, f.size);
    if f.size == 0 || (code.len() as u64) < f.size {
        return Vec::new();
    }
    let offset = |at: u64| image.file_offset(f.address + at);
    x86::behind_system_calls(code, f.address)
        .into_iter()
        .map(offset)
        .collect::<Option<_>>()
        .unwrap_or_default()
}

/// Whether a function hands over to another one, to which it may jump or which it calls first.
pub fn hands_over<'d, R: ReadRef<'d>>(image: &Image<'d, R>, f: Function, to: Function) -> bool {
    reached(image, f).iter().any(|t| t.target == to.address)
}

/// The cheapest place in the function itself.
pub fn own<'d, R: ReadRef<'d>>(image: &Image<'d, R>, f: Function, form: Form) -> Option<Placement> {
    let cheap = x86::emulated_offset(image.code(f.address, f.size), f.address);
    let offset = image.file_offset(f.address + cheap.unwrap_or(0))?;
    Some(Placement {
        offset,
        form,
        emulated: cheap.is_some(),
    })
}

/// The internal function that both forms call, if it can be told for sure and is cheaper. What the
/// plain form hands over where the other one hands over its place for the length is a place on its
/// own stack: else it may be something that raises an error, or that both forms call before.
fn shared_callee<'d, R: ReadRef<'d>>(
    image: &Image<'d, R>,
    plain: Function,
    ex: Function,
) -> Option<Placement> {
    let from_plain = reached(image, plain);
    let (shared, position) = reached(image, ex).into_iter().find_map(|e| {
        let position = e.position_of_fourth().filter(|_| e.keeps_first_two())?;
        let same = |p: &x86::Transfer| {
            p.target == e.target && p.keeps_first_two() && p.gives_stack(position)
        };
        from_plain.iter().any(same).then_some((e, position))
    })?;
    let cheap = x86::emulated_offset(image.code(shared.target, 0), shared.target)?;
    let form = match position {
        3 => Form::Ex,
        4 => Form::Ex5,
        _ => return None,
    };
    let offset = image.file_offset(shared.target + cheap)?;
    Some(Placement {
        offset,
        form,
        emulated: true,
    })
}

/// Most jumps from one function into the next that are followed.
const MAX_JUMPS: usize = 2;

/// The functions that this one hands over to by falling through: those it jumps to
/// (`SSL_write_ex` to `SSL_write_ex2` since OpenSSL 3.3), and the first that it calls.
fn reached<'d, R: ReadRef<'d>>(image: &Image<'d, R>, f: Function) -> Vec<x86::Transfer> {
    let mut all = Vec::new();
    let mut code = image.code(f.address, f.size);
    let mut address = f.address;
    let mut holds = x86::UNTOUCHED;
    for _ in 0..=MAX_JUMPS {
        let Some(transfer) = x86::first_transfer(code, address, holds) else {
            break;
        };
        let jump = transfer.jump;
        (address, holds) = (transfer.target, transfer.holds);
        code = image.code(address, 0);
        all.push(transfer);
        if !jump {
            break;
        }
    }
    all
}

/// Registers of the first five integer arguments (System V AMD64 ABI, 3.2.3).
pub(super) const ARGUMENTS: [iced_x86::Register; 5] = [
    iced_x86::Register::RDI,
    iced_x86::Register::RSI,
    iced_x86::Register::RDX,
    iced_x86::Register::RCX,
    iced_x86::Register::R8,
];

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{emulated as is_emulated, written as written_by};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::ARGUMENTS;
    use iced_x86::{
        Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
        OpAccess, OpKind, Register,
    };

    /// Most instructions that are followed.
    const MAX_INSTRUCTIONS: usize = 48;

    /// What a register holds.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Held {
        /// An argument of the caller, counted from zero.
        Argument(usize),
        /// The address of something on the stack.
        Stack,
        /// Something else.
        Other,
    }

    /// What each of the five registers of arguments holds.
    pub(super) type Holds = [Held; 5];

    /// At a function's entry.
    pub(super) const UNTOUCHED: Holds = [
        Held::Argument(0),
        Held::Argument(1),
        Held::Argument(2),
        Held::Argument(3),
        Held::Argument(4),
    ];

    /// A call or jump out of a function, and what became of the caller's arguments.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Transfer {
        pub(super) target: u64,
        pub(super) holds: Holds,
        /// A jump: the target returns to our caller.
        pub(super) jump: bool,
    }

    impl Transfer {
        /// The first two arguments are handed on.
        pub(super) fn keeps_first_two(&self) -> bool {
            self.holds[0] == Held::Argument(0) && self.holds[1] == Held::Argument(1)
        }

        /// Position in which the caller's fourth argument is handed on.
        pub(super) fn position_of_fourth(&self) -> Option<usize> {
            self.holds.iter().position(|h| *h == Held::Argument(3))
        }

        /// The argument in this position is the address of something on the stack.
        pub(super) fn gives_stack(&self, position: usize) -> bool {
            self.holds.get(position) == Some(&Held::Stack)
        }
    }

    /// Offset of the first instruction that the kernel emulates, if everything before it leaves
    /// argument registers and stack alone.
    pub(super) fn emulated_offset(code: &[u8], address: u64) -> Option<u64> {
        let mut info = InstructionInfoFactory::new();
        for instruction in decode(code, address).take(8) {
            if emulated(&instruction) {
                return Some(instruction.ip() - address);
            }
            let spoils = written(&mut info, &instruction)
                .any(|r| r == Register::RSP || ARGUMENTS.contains(&r));
            if spoils || instruction.flow_control() != FlowControl::Next {
                return None;
            }
        }
        None
    }

    /// Offsets of the jumps behind all system calls, if it is sure that these are all: each is
    /// followed by a comparison of its result and a jump, and a function that calls others has
    /// two of them. (glibc's have one for a program with a single thread, and one between the
    /// calls that make it a cancellation point for others: `sysdeps/unix/sysv/linux/sysdep-cancel.h`
    /// until 2.40. From 2.41 on those are in a function of their own.)
    pub(super) fn behind_system_calls(code: &[u8], address: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let mut calls = false;
        let mut all = Decoder::with_ip(64, code, address, DecoderOptions::NONE).into_iter();
        while let Some(instruction) = all.next() {
            if instruction.is_invalid() {
                return Vec::new();
            }
            calls |= instruction.flow_control() == FlowControl::Call
                && instruction.mnemonic() != Mnemonic::Syscall;
            if instruction.mnemonic() != Mnemonic::Syscall {
                continue;
            }
            let compares = all.next().is_some_and(|i| {
                i.mnemonic() == Mnemonic::Cmp
                    && i.op0_kind() == OpKind::Register
                    && i.op0_register() == Register::RAX
            });
            match all.next() {
                Some(jump)
                    if compares
                        && emulated(&jump)
                        && jump.flow_control() == FlowControl::ConditionalBranch =>
                {
                    found.push(jump.ip() - address);
                }
                _ => return Vec::new(),
            }
        }
        if calls && found.len() < 2 {
            return Vec::new();
        }
        found
    }

    /// The first near call, or jump out of the function, reached by falling through.
    pub(super) fn first_transfer(code: &[u8], address: u64, mut holds: Holds) -> Option<Transfer> {
        let mut info = InstructionInfoFactory::new();
        // RBP points to the stack, as where frame pointers are kept.
        let mut framed = false;
        for instruction in decode(code, address) {
            let flow = instruction.flow_control();
            match flow {
                FlowControl::Call | FlowControl::UnconditionalBranch
                    if instruction.op0_kind() == OpKind::NearBranch64 =>
                {
                    let target = instruction.near_branch_target();
                    let jump = flow == FlowControl::UnconditionalBranch;
                    // A jump back is a loop, not a hand-over. (One forward within the function
                    // is taken for one; what it leads to is then no function of both forms.)
                    let inside = (address..=instruction.ip()).contains(&target);
                    return (!inside).then_some(Transfer {
                        target,
                        holds,
                        jump,
                    });
                }
                FlowControl::Next | FlowControl::ConditionalBranch => {}
                _ => return None,
            }
            let result = result(&instruction, &holds, framed);
            for register in written(&mut info, &instruction) {
                let now = match result {
                    Some((to, held)) if to == register => held,
                    _ => Held::Other,
                };
                if let Some(slot) = ARGUMENTS.iter().position(|a| *a == register) {
                    holds[slot] = now;
                }
                if register == Register::RBP {
                    framed = now == Held::Stack;
                }
            }
        }
        None
    }

    fn decode(code: &[u8], address: u64) -> impl Iterator<Item = Instruction> {
        Decoder::with_ip(64, code, address, DecoderOptions::NONE)
            .into_iter()
            .take(MAX_INSTRUCTIONS)
            .take_while(|i| !i.is_invalid())
    }

    /// The register that an instruction fills with something known: `mov r64, r64`, or `lea` of a
    /// place on the stack.
    fn result(i: &Instruction, holds: &Holds, framed: bool) -> Option<(Register, Held)> {
        if i.op0_kind() != OpKind::Register || !i.op0_register().is_gpr64() {
            return None;
        }
        let stack = |r: Register| r == Register::RSP || (framed && r == Register::RBP);
        let held = match (i.mnemonic(), i.op1_kind()) {
            (Mnemonic::Mov, OpKind::Register) => {
                let from = i.op1_register();
                let slot = ARGUMENTS.iter().position(|a| *a == from);
                match slot {
                    Some(slot) => holds[slot],
                    None if stack(from) => Held::Stack,
                    None => Held::Other,
                }
            }
            (Mnemonic::Lea, _) if stack(i.memory_base()) && i.memory_index() == Register::None => {
                Held::Stack
            }
            _ => Held::Other,
        };
        Some((i.op0_register(), held))
    }

    /// Full registers that an instruction writes, even in part or perhaps.
    pub(in super::super) fn written(
        info: &mut InstructionInfoFactory,
        i: &Instruction,
    ) -> impl Iterator<Item = Register> {
        info.info(i)
            .used_registers()
            .iter()
            .filter(|u| {
                !matches!(
                    u.access(),
                    OpAccess::Read | OpAccess::CondRead | OpAccess::None
                )
            })
            .map(|u| u.register().full_register())
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// What the kernel emulates instead of single-stepping it.
    pub(in super::super) fn emulated(i: &Instruction) -> bool {
        match i.mnemonic() {
            Mnemonic::Push => i.op0_kind() == OpKind::Register && i.op0_register().is_gpr64(),
            Mnemonic::Nop => i.len() == 1,
            _ => {
                i.op0_kind() == OpKind::NearBranch64
                    && matches!(
                        i.flow_control(),
                        FlowControl::Call
                            | FlowControl::UnconditionalBranch
                            | FlowControl::ConditionalBranch
                    )
                    && !matches!(
                        i.mnemonic(),
                        Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne | Mnemonic::Jrcxz
                    )
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::{UNTOUCHED, behind_system_calls, emulated_offset, first_transfer};

        #[test]
        fn push_is_found_behind_endbr() {
            // endbr64; push %r13
            assert_eq!(
                emulated_offset(&[0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x55], 0x1000),
                Some(4)
            );
        }

        #[test]
        fn nothing_behind_a_changed_stack_or_argument() {
            // sub $0x18,%rsp; push %rbx
            assert_eq!(
                emulated_offset(&[0x48, 0x83, 0xec, 0x18, 0x53], 0x1000),
                None
            );
            // mov %rsi,%rdi; push %rbx
            assert_eq!(emulated_offset(&[0x48, 0x89, 0xf7, 0x53], 0x1000), None);
            // ret
            assert_eq!(emulated_offset(&[0xc3, 0x53], 0x1000), None);
        }

        #[test]
        fn arguments_are_followed_to_the_call() {
            let transfer = |code: &[u8]| first_transfer(code, 0x1000, UNTOUCHED).unwrap();
            // sub $8,%rsp; call +0x100
            let call = transfer(&[0x48, 0x83, 0xec, 0x08, 0xe8, 0x00, 0x01, 0x00, 0x00]);
            assert_eq!(call.target, 0x1109);
            assert!(call.keeps_first_two() && !call.jump);
            assert_eq!(call.position_of_fourth(), Some(3));
            // mov %rcx,%r8; xor %ecx,%ecx; call +0x100
            let call = transfer(&[0x49, 0x89, 0xc8, 0x31, 0xc9, 0xe8, 0x00, 0x01, 0x00, 0x00]);
            assert_eq!(call.position_of_fourth(), Some(4));
            // mov %rsp,%rcx; call +0x100: the plain form hands on a pointer of its own
            let call = transfer(&[0x48, 0x89, 0xe1, 0xe8, 0x00, 0x01, 0x00, 0x00]);
            assert!(call.keeps_first_two());
            assert_eq!(call.position_of_fourth(), None);
            // xor %esi,%esi; call +0x100
            let call = transfer(&[0x31, 0xf6, 0xe8, 0x00, 0x01, 0x00, 0x00]);
            assert!(!call.keeps_first_two());
        }

        #[test]
        fn places_on_the_stack_are_known() {
            let fourth = |code: &[u8]| {
                let code = [code, &[0xe8, 0x00, 0x01, 0x00, 0x00]].concat();
                let call = first_transfer(&code, 0x1000, UNTOUCHED).unwrap();
                assert!(call.keeps_first_two());
                call.gives_stack(3)
            };
            // lea 8(%rsp),%rcx; mov %rsp,%rcx
            assert!(fourth(&[0x48, 0x8d, 0x4c, 0x24, 0x08]));
            assert!(fourth(&[0x48, 0x89, 0xe1]));
            // push %rbp; mov %rsp,%rbp; lea -8(%rbp),%rcx
            assert!(fourth(&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x8d, 0x4d, 0xf8]));
            // Nothing, as where an error is raised; lea -8(%rbp),%rcx without a frame; mov %rdi,%rbp
            // and then the same; lea 8(%rdi),%rcx; lea (%rsp,%rax),%rcx; mov (%rsp),%rcx
            assert!(!fourth(&[]));
            assert!(!fourth(&[0x48, 0x8d, 0x4d, 0xf8]));
            assert!(!fourth(&[0x48, 0x89, 0xfd, 0x48, 0x8d, 0x4d, 0xf8]));
            assert!(!fourth(&[0x48, 0x8d, 0x4f, 0x08]));
            assert!(!fourth(&[0x48, 0x8d, 0x0c, 0x04]));
            assert!(!fourth(&[0x48, 0x8b, 0x0c, 0x24]));
        }

        #[test]
        fn jumps_hand_on_what_the_registers_hold() {
            // SSL_write_ex of OpenSSL 3.3: mov %rcx,%r8; xor %ecx,%ecx; jmp -0x20 (a function
            // that lies before)
            let code = [0x49, 0x89, 0xc8, 0x31, 0xc9, 0xeb, 0xd9];
            let jump = first_transfer(&code, 0x1000, UNTOUCHED).unwrap();
            assert_eq!(jump.target, 0x0fe0);
            assert!(jump.jump && jump.keeps_first_two());
            // SSL_write_ex2: sub $8,%rsp; call +0x100
            let code = [0x48, 0x83, 0xec, 0x08, 0xe8, 0x00, 0x01, 0x00, 0x00];
            let call = first_transfer(&code, jump.target, jump.holds).unwrap();
            assert_eq!(call.position_of_fourth(), Some(4));
        }

        #[test]
        fn jumps_behind_system_calls() {
            // mov $0,%eax; syscall; cmp $-4096,%rax; ja +1; ret; nop
            let one = [
                0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0x77, 0x01, 0xc3,
                0x90,
            ];
            assert_eq!(behind_system_calls(&one, 0x1000), [13]);
            let two = [one, one].concat();
            assert_eq!(behind_system_calls(&two, 0x1000), [13, 30]);
            // A call besides the only system call: it may make the others.
            let call: &[u8] = &[0xe8, 0, 1, 0, 0];
            assert!(behind_system_calls(&[&one, call].concat(), 0x1000).is_empty());
            assert_eq!(
                behind_system_calls(&[&two, call].concat(), 0x1000),
                [13, 30]
            );
            // Nobody looks at the result; cut anywhere; no system call.
            assert!(behind_system_calls(&[0x0f, 0x05, 0xc3], 0x1000).is_empty());
            for n in 7..15 {
                assert!(behind_system_calls(&one[..n], 0x1000).is_empty(), "{n}");
            }
            assert!(behind_system_calls(&[0xc3], 0x1000).is_empty());
        }

        #[test]
        fn garbage_and_loops_are_no_transfer() {
            assert!(first_transfer(&[0xff; 64], 0x1000, UNTOUCHED).is_none());
            assert!(first_transfer(&[], 0, UNTOUCHED).is_none());
            // nop; jmp to itself
            assert!(first_transfer(&[0x90, 0xeb, 0xfd], 0x1000, UNTOUCHED).is_none());
            assert_eq!(emulated_offset(&[0x06; 16], 0), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Placement, TlsPlacements};

    #[test]
    fn one_place_for_two_functions_is_noticed() {
        let at = |offset| {
            vec![Placement {
                offset,
                form: Form::Ex,
                emulated: true,
            }]
        };
        let places = |reads, writes, free| TlsPlacements {
            reads: at(reads),
            writes: at(writes),
            free,
        };
        assert!(places(1, 2, Some(3)).are_distinct());
        assert!(places(1, 2, None).are_distinct());
        assert!(!places(1, 1, Some(3)).are_distinct());
        assert!(!places(1, 2, Some(1)).are_distinct());
        let mut twice = places(1, 2, None);
        twice.reads.extend(at(1));
        assert!(!twice.are_distinct());
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod x86 {
    //! Which instructions are emulated is known for x86-64 only; elsewhere probes go on symbols.

    pub(super) type Holds = [(); 5];

    pub(super) const UNTOUCHED: Holds = [(); 5];

    pub(super) struct Transfer {
        pub(super) target: u64,
        pub(super) holds: Holds,
        pub(super) jump: bool,
    }

    impl Transfer {
        pub(super) fn keeps_first_two(&self) -> bool {
            false
        }

        pub(super) fn position_of_fourth(&self) -> Option<usize> {
            None
        }

        pub(super) fn gives_stack(&self, _: usize) -> bool {
            false
        }
    }

    pub(super) fn emulated_offset(_: &[u8], _: u64) -> Option<u64> {
        None
    }

    pub(super) fn behind_system_calls(_: &[u8], _: u64) -> Vec<u64> {
        Vec::new()
    }

    pub(super) fn first_transfer(_: &[u8], _: u64, _: Holds) -> Option<Transfer> {
        None
    }
}
